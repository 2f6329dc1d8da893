"""The report in a browser."""

import shutil

import pytest
import stored_suites

from srl_bench.report.html import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install 'srl-bench[browser]')")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (Debian: apt install chromium)"),
]


@pytest.fixture(scope="module")
def report(tmp_path_factory, blobs):
    run = stored_suites.write(tmp_path_factory.mktemp("runs") / "stored", blobs)
    return write_report(run, run / "report.html")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as play:
        found = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=["desktop", "phone"])
def page(request, browser, report):
    width, scheme = request.param
    found = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    faults = []
    found.on("console", lambda message: faults.append(message.text))
    found.on("pageerror", lambda error: faults.append(str(error)))
    found.on("request", lambda item: faults.append(item.url) if item.url.startswith("http") else None)
    found.goto(report.as_uri())
    yield found
    found.close()
    assert faults == []


def methods(page):
    return page.locator("table.sortable").first.locator("tbody th").evaluate_all("all => all.map(x => x.dataset.value)")


def test_a_click_sorts_and_a_second_one_turns_round(page):
    head = page.locator("table.sortable").first.locator("thead th")
    head.nth(2).locator("button").click()
    assert methods(page) == ["ground_truth", "autoencoder", "random", "floor", stored_suites.EVIL]
    assert head.nth(2).get_attribute("aria-sort") == "ascending"  # of an error, small is good
    head.nth(2).locator("button").click()
    assert methods(page) == ["floor", "random", "autoencoder", "ground_truth", stored_suites.EVIL]
    head.nth(0).locator("button").click()
    assert methods(page) == ["autoencoder", "floor", "ground_truth", stored_suites.EVIL, "random"]
    assert page.locator("th[aria-sort]").first.text_content() == "method"


def opened(page):
    page.locator("table.sortable").first.get_by_role("link", name="autoencoder").click()
    canvas = page.locator("details.method[open] canvas")
    canvas.scroll_into_view_if_needed()
    page.wait_for_timeout(200)
    return canvas


def seek(page, canvas):
    """Move the pointer over the plot until it meets a point."""
    box = canvas.bounding_box()
    for step in range(200):
        x, y = 0.2 + 0.6 * (step % 20) / 20, 0.2 + 0.6 * (step // 20) / 10
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        if page.locator("#tip").is_visible():
            return
    pytest.fail("no point was met")


@pytest.mark.parametrize("kind", ["2-D", "3-D"])
def test_a_point_shows_its_frame(page, kind):
    canvas = opened(page)
    page.locator("details.method[open]").get_by_role("button", name=kind).click()
    seek(page, canvas)
    tip = page.locator("#tip")
    assert "agent_x" in tip.text_content()
    picture = tip.locator(".frame")
    assert picture.bounding_box()["width"] == 128
    assert "data:image/jpeg" in picture.evaluate("frame => getComputedStyle(frame).backgroundImage")


def test_keys_step_through_the_points(page):
    opened(page).focus()
    page.keyboard.press("ArrowRight")
    first = page.locator("#tip").text_content()
    page.keyboard.press("ArrowRight")
    assert page.locator("#tip").text_content() != first


def test_plots_of_an_environment_are_coloured_alike(page):
    opened(page)
    page.locator("details.method[open] select").select_option(label="target_y")
    chosen = page.locator(".plot select").evaluate_all("all => all.map(x => x.selectedOptions[0].text)")
    assert chosen == ["target_y"] * 3


def test_a_drag_turns_the_solid_plot(page):
    canvas = opened(page)
    page.locator("details.method[open]").get_by_role("button", name="3-D").click()
    before = canvas.evaluate("canvas => canvas.toDataURL()")
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 160, box["y"] + 120)
    page.mouse.up()
    assert canvas.evaluate("canvas => canvas.toDataURL()") != before


def test_nothing_makes_the_page_scroll_sideways(page):
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
