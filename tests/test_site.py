"""The pages of the documentation that are made from objects say what the objects say, and the site builds strictly."""

import ast
import dataclasses
import inspect
import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from srl_bench.config import TrainConfig
from srl_bench.environments import environment_class, environment_ids, make_environment
from srl_bench.method import as_objective, resolve
from srl_bench.registry import METHODS, METRICS

ROOT = Path(__file__).parent.parent
ENVIRONMENTS = [name for name in environment_ids() if name.startswith("srl_bench/")]
METHOD_NAMES = [name for name in METHODS if METHODS[name].__module__.startswith("srl_bench.")]
METRIC_NAMES = [name for name in METRICS if METRICS[name].function.__module__.startswith("srl_bench.")]


@pytest.fixture(scope="module")
def site():
    sys.path.insert(0, str(ROOT / "docs"))
    import generate

    sys.path.remove(str(ROOT / "docs"))
    return generate.pages()


def short(environment):
    return environment.removeprefix("srl_bench/").removesuffix("-v0")


def rows(page, title):
    """Return the cells of the first table below a title, or another line that begins so."""
    below = re.split(rf"^(?:## )?{re.escape(title)}.*\n", page, maxsplit=1, flags=re.MULTILINE)[1]
    lines = re.search(r"(?:^\|.*\n?)+", below, re.MULTILINE)[0].splitlines()
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def test_every_registered_name_has_a_page_and_a_row_in_the_index(site):
    kinds = {"methods": METHOD_NAMES, "metrics": METRIC_NAMES, "environments": list(map(short, ENVIRONMENTS))}
    for kind, names in kinds.items():
        index = site[f"reference/{kind}/index.md"]
        assert re.findall(r"^\| .*?\[`(\w+)`\]\(\1\.md\)", index, re.MULTILINE) == names
        made = {path.split("/")[-1] for path in site if path.startswith(f"reference/{kind}/") and path.endswith(".md")}
        assert made == {"index.md", *(f"{name}.md" for name in names)}
    assert {"vae", "ridge_r2", "KukaButton"} <= {name for names in kinds.values() for name in names}  # by hand


def test_no_section_is_empty_and_all_rows_of_a_table_are_as_long_as_its_titles(site):
    for path, page in site.items():
        if isinstance(page, str):
            assert not re.search(r"^#[^\n]*\n\s*(?=^#|\Z)", page, re.MULTILINE), path
            for block in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
                assert len({len(re.split(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1, (path, block)


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_the_page_of_a_method(name, site):
    page, method = site[f"reference/methods/{name}.md"], resolve(name)
    documented = sys.modules[type(method).__module__].__doc__
    for block in re.findall(r"(?:^    .*\n)+", documented, re.MULTILINE):
        for part in re.split(r"\\quad *\n|\n *\\quad", inspect.cleandoc(block)):
            assert part.strip() in page
    for source in re.findall(r"\d{4}\.\d{5}", documented):
        assert f"https://arxiv.org/abs/{source}" in page
    objective = as_objective(method, method.state_dim(TrainConfig().latent_dim, 4))
    if objective is not None:
        assert objective.latex() in page
        assert [row[0] for row in rows(page, "Objective")] == [f"`{term}`".replace("|", "\\|") for term in objective]
        assert f"{TrainConfig().steps} steps of 64 transitions" in page
        assert f"step size of {method.learning_rate:g}" in page
    if options := dataclasses.fields(method):
        search = type(method).search
        assert rows(page, "Options") == [
            [f"`{it.name}`", f"`{it.default!r}`", f"`{search[it.name]}`" if it.name in search else "–"]
            for it in options
        ]


def test_a_method_by_hand(site):
    page = site["reference/methods/splits.md"]
    assert rows(page, "Options")[3] == ["`inverse_weight`", "`2.0`", "`(0.5, 10.0)`"]
    assert "[arXiv 1901.08651](https://arxiv.org/abs/1901.08651)" in page
    assert ["Needs", "action, next\\_obs, obs, reward; 2 consecutive frames at a time"] in rows(
        page, "Data, state and budget"
    )
    assert "is not trained by gradient descent" in site["reference/methods/pca.md"]
    assert r"\(\beta\,|D_\mathrm{KL} - C\,t|\), t the share" in site["reference/methods/beta_vae.md"]


def test_the_scores_of_a_method_are_those_of_the_published_tables(site):
    table = (ROOT / "results" / "quick" / "table.md").read_text()
    published = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line[:1] == "|"]
    lines = {cells[0]: cells for cells in published}
    shown = [list(column) for column in zip(*rows(site["reference/methods/vae.md"], "Suite `quick`"), strict=True)]
    assert shown == [lines[name][1:] for name in ("method", "vae", "ground_truth", "random", "floor")]


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_the_page_of_a_metric(name, site):
    page, metric = site[f"reference/metrics/{name}.md"], METRICS[name]
    facts = dict(re.findall(r"^\| (\w+) \| (.*) \|$", page, re.MULTILINE))
    assert facts["better"] == metric.better
    low, high = facts["range"].strip("()[]").replace("−", "-").replace("∞", "inf").split(", ")
    assert (float(low), float(high)) == metric.range
    assert facts["needs"] == ", ".join(f"`{need}`" for need in ("states", "factors", *metric.needs))
    assert (facts["interval"] == "none") == (metric.resample is None)
    if "## Arguments" in page:
        for argument, default, _ in rows(page, "Arguments"):
            parameter = inspect.signature(metric.function).parameters[argument.strip("`")]
            assert default == ("–" if parameter.default is parameter.empty else f"`{parameter.default!r}`")


def test_what_metrics_make_of_odd_data(site):
    """By hand: constant states have no correlation with anything and all of random neighbours' error."""
    for name, case, value in (
        ("gtc", "constant states", "0"),
        ("knn_mse_norm", "constant states", "1"),
        ("mig", "constant factors", "undefined (mig is undefined: no factor varies)"),
        ("sap", "one-dimensional states", "undefined (sap is undefined: a single dimension is active)"),
        ("reward", "constant rewards", "r2 undefined"),
    ):
        assert dict(rows(site[f"reference/metrics/{name}.md"], "On odd data"))[case].startswith(value), name
    assert "constant rewards" not in site["reference/metrics/gtc.md"]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_page_of_an_environment(environment, site):
    name, cls = short(environment), environment_class(environment)
    page = site[f"reference/environments/{name}.md"]
    env = make_environment(environment, {"image_size": 224})
    observation, _ = env.reset(seed=0)
    table = rows(page, "Factors")
    assert [row[0] for row in table] == [f"`{factor.name}`" for factor in env.unwrapped.factors]
    for row, factor in zip(table, env.unwrapped.factors, strict=True):
        bounds = [float(bound) for bound in row[2].strip("[]").replace("−", "-").split(", ")]
        assert bounds == pytest.approx([factor.low, factor.high], rel=1e-5)
        assert row[3:] == [factor.kind, factor.scope, factor.role, factor.observable, "yes" * factor.proprioceptive]
    drawn = np.asarray(Image.open(io.BytesIO(site[f"reference/environments/{name}-{next(iter(cls.cameras))}.png"])))
    assert np.array_equal(drawn, observation)
    shown = re.findall(r"!\[\w+\]\((\S+\.png)\)", page)
    assert len(shown) == len(cls.cameras) + 2
    assert len({site[f"reference/environments/{file}"] for file in shown}) == len(shown)  # all differ
    env.close()


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_options_of_an_environment_are_accepted_with_the_default_that_its_page_has(environment, site):
    page, cls = site[f"reference/environments/{short(environment)}.md"], environment_class(environment)
    told = {option.strip("`"): default.strip("`") for option, default, _ in rows(page, "Options")}
    own = [it for it in inspect.signature(cls).parameters.values() if it.kind is it.KEYWORD_ONLY]
    assert {it.name: repr(it.default) for it in own}.items() <= told.items()
    assert told["image_size"] == "64"
    make_environment(environment, {option: ast.literal_eval(value) for option, value in told.items()}).close()
    assert f"`{cls.recording_policy}`" in dict(rows(page, "Actions and recording"))["recording policy"]


def test_the_site_builds_strictly(site, tmp_path, monkeypatch):
    pytest.importorskip("mkdocs", reason="no mkdocs (pip install 'srl-bench[docs]')")
    if not (ROOT / "docs" / "vendor").exists():
        pytest.skip("no docs/vendor (make docs/vendor)")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site"), strict=True)
    monkeypatch.setattr(config.hooks["docs/generate.py"], "pages", lambda: site)  # they are made once
    build(config)
    page = (tmp_path / "site" / "reference" / "methods" / "vae.html").read_text()
    assert '<div class="arithmatex">' in page
    assert not re.search(r'(?:src|<link[^>]*href)="https?:', page)  # nothing is loaded from elsewhere
    assert (tmp_path / "site" / "vendor" / "katex" / "katex.min.js").exists()
    for file in (tmp_path / "site").rglob("*.html"):
        assert "```" not in file.read_text(), file  # a block that was not understood
