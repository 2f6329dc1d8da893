import html
import json
import re
import shutil
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import stored_suites
import worlds
from PIL import Image

from srl_bench import cli
from srl_bench.decoder import load_decoder
from srl_bench.encoder import encode_rows, load_encoder
from srl_bench.errors import ConfigError, DataError
from srl_bench.method import as_objective, resolve
from srl_bench.pretrain import pretrain
from srl_bench.provenance import provenance
from srl_bench.registry import METHODS
from srl_bench.report.agents import duels, final_returns
from srl_bench.report.cells import directions, first_cells
from srl_bench.report.charts import equation
from srl_bench.report.html import write_report
from srl_bench.report.sections import encoder_view, explanation, linked, open_scene, paragraphs
from srl_bench.report.sheet import COLUMNS, Sheet
from srl_bench.report.states import look, sample, states_of, traversals
from srl_bench.report.tables import comparison, is_reference, metric_groups
from srl_bench.results import load_results, write_tables
from srl_bench.status import cell_states

ENVIRONMENT = "tests/Blobs-v0"


@pytest.fixture(scope="module")
def run(tmp_path_factory, blobs):
    return stored_suites.write(tmp_path_factory.mktemp("runs") / "stored", blobs)


@pytest.fixture(scope="module")
def page(run):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["srl-bench", "report", str(run)])
        cli.main()
    return (run / "report.html").read_text()


@pytest.fixture(scope="module")
def view(run, blobs):
    chosen = sample(blobs, pool=200, shown=50)
    return chosen, look(load_encoder(run / "blobs__autoencoder__0__000000000000" / "encoder"), chosen)


def table(run, group="headline"):
    results = load_results(run)
    metrics = metric_groups(results, ENVIRONMENT)[group]
    return comparison(results, ENVIRONMENT, metrics, directions(cell_states(run)))


def entries(found):
    return {row.method: dict(zip([c.metric for c in found.columns], row.entries, strict=True)) for row in found.rows}


def test_numbers_of_the_table_are_those_of_the_csv(run, tmp_path):
    write_tables(load_results(run), tmp_path)
    stored = pd.read_csv(tmp_path / "table.csv").set_index("method")
    found = entries(table(run))
    assert set(found) == set(stored.index)
    for method, row in found.items():
        for metric, entry in row.items():
            assert entry.value == pytest.approx(stored.loc[method, metric], nan_ok=True), (method, metric)
            if np.isfinite(entry.value):
                assert float(entry.text) == pytest.approx(entry.value, abs=0.05 if metric == "return" else 5e-4)


def test_values_by_hand(run):
    found = entries(table(run))
    # last evaluation: 100 * 0.5 * 200 / 100 + mean of seeds 2 + mean of episodes 1.5
    assert found["autoencoder"]["return"].text == "103.5"
    assert found["autoencoder"]["ridge_r2"].seeds == pytest.approx([0.48, 0.49, 0.50, 0.51, 0.52])
    # t(0.975, 4) * s / sqrt(5) = 2.776445 * 0.0158114 / 2.236068
    assert found["autoencoder"]["ridge_r2"].half == pytest.approx(0.0196325, abs=1e-6)
    assert found[stored_suites.EVIL]["ridge_r2"].text == "failed"
    assert entries(table(run, "ridge_r2"))["random"]["ridge_r2.agent_x"].text == "0.200"


def test_the_best_is_no_reference_and_knows_the_better_direction(run):
    found = entries(table(run))
    best = {(method, metric) for method, row in found.items() for metric, entry in row.items() if entry.best}
    assert best == {("autoencoder", metric) for metric in ("ridge_r2", "knn_mse", "return")}
    assert [is_reference(name) for name in ("supervised(x=1)", "floor", "vae")] == [True, True, False]
    column = table(run).columns[0]
    assert column.place(column.span[0]) == 0
    assert column.place(column.span[1]) == 100


def test_neighbours_are_the_nearest_of_other_episodes(run, blobs, view):
    chosen, found = view
    encoder = load_encoder(run / "blobs__autoencoder__0__000000000000" / "encoder")
    states = encode_rows(encoder, blobs, chosen.pool).astype(float)
    for query, rows, distances in zip(chosen.pool[chosen.queries], found.neighbours, found.distances, strict=True):
        episode = blobs.episode_ids[query]
        assert episode not in blobs.episode_ids[rows]
        others = np.flatnonzero(blobs.episode_ids[chosen.pool] != episode)
        gaps = np.linalg.norm(states[others] - states[chosen.pool == query], axis=1)
        np.testing.assert_allclose(distances, np.sort(gaps)[:6], rtol=1e-4, atol=1e-5)
    assert (blobs.split[found.neighbours] == 2).all()
    assert len(set(blobs.episode_ids[chosen.pool[chosen.queries]])) == 5


def test_points_are_principal_components(run, blobs, view):
    chosen, found = view
    encoder = load_encoder(run / "blobs__autoencoder__0__000000000000" / "encoder")
    states = encode_rows(encoder, blobs, chosen.pool).astype(float)
    values, vectors = np.linalg.eigh(np.cov(states.T))
    projected = ((states - states.mean(0)) @ vectors[:, ::-1])[chosen.shown]
    assert np.abs(found.points).max() == 1000
    for ours, reference in zip(found.points.T, projected.T, strict=True):
        assert abs(np.corrcoef(ours, reference)[0, 1]) > 0.999
    np.testing.assert_allclose(found.shares, values[::-1] / values.sum(), rtol=1e-6)


def test_a_walk_goes_along_its_component(run, blobs, view):
    chosen, found = view
    place = {row: index for index, row in enumerate(chosen.pool.tolist())}
    encoder = load_encoder(run / "blobs__autoencoder__0__000000000000" / "encoder")
    states = encode_rows(encoder, blobs, chosen.pool).astype(float)
    centred = states - states.mean(0)
    direction = np.linalg.svd(centred)[2][0]
    along = centred[[place[row] for row in found.walks[0].tolist()]] @ direction
    assert np.abs(np.diff(np.sign(np.diff(along)))).max() == 0


def test_traversals_change_one_dimension_of_a_state(run, view):
    decoder, states = load_decoder(run / "blobs__autoencoder__0__000000000000" / "decoder"), view[1].states
    start = states[3]
    found = traversals(decoder, states, start)
    assert sorted(found) == [0, 1, 2]
    changes = [pictures.astype(float).var(axis=0).mean() for pictures in found.values()]
    assert changes == sorted(changes, reverse=True)
    for dimension, pictures in found.items():
        stops = np.tile(start, (7, 1))
        stops[:, dimension] = np.linspace(*np.quantile(states[:, dimension], [0.02, 0.98]), 7)
        np.testing.assert_array_equal(pictures, decoder.decode(stops))


def test_pictures_of_another_size_fit_on_the_sheet(blobs):
    sheet = Sheet(blobs)
    sheet.add(0)
    assert sheet.add_picture(np.full((16, 16, 1), 200, np.uint8)) == (1, 0)
    pixels = sheet._pixels(64)
    np.testing.assert_array_equal(pixels[:48, :48], blobs.observations[0])
    assert (pixels[:48, 48:96] == 200).all()


def test_constant_states_are_told(run, blobs):
    encoder = load_encoder(run / "blobs__random__0__000000000000" / "encoder")
    encoder.network.head.weight.zero_()
    found = look(encoder, sample(blobs, pool=100, shown=20))
    assert found.is_constant
    assert not found.points.any()


def test_a_state_of_one_dimension_has_flat_points(blobs):
    encoder = pretrain("random", blobs, latent_dim=1)
    found = look(encoder, sample(blobs, pool=60, shown=20))
    assert found.points[:, 0].any()
    assert not found.points[:, 1:].any()
    assert found.walks.shape == (1, 7)


def test_a_recurrent_encoder_reads_whole_episodes(blobs):
    encoder = pretrain("dvbf(horizon=3)", blobs, latent_dim=2, steps=2, validate_every=2, batch_size=4)
    rows = sample(blobs, pool=40).pool
    np.testing.assert_allclose(states_of(encoder, blobs, rows), encode_rows(encoder, blobs, rows), rtol=1e-4, atol=1e-5)


def test_two_test_episodes_are_needed(tmp_path):
    small = worlds.write(tmp_path / "small", worlds.simulate(3, 5, size=8))
    with pytest.raises(DataError, match="1 test episode"):
        sample(small)


def test_a_sheet_holds_every_frame_once(blobs):
    sheet = Sheet(blobs)
    places = [sheet.add(row) for row in [*range(45), 3]]
    assert places[41] == (1, 1)
    assert places[-1] == (3, 0)
    pixels = sheet._pixels(64)
    assert pixels.shape == (2 * 48, COLUMNS * 48, 3)
    np.testing.assert_array_equal(pixels[48:96, 48:96], blobs.observations[41])
    shrunk = Image.fromarray(blobs.observations[41]).resize((32, 32), Image.Resampling.BOX)
    np.testing.assert_array_equal(sheet._pixels(32)[32:64, 32:64], np.asarray(shrunk))
    assert len(sheet.data_uri(1)) < len(sheet.data_uri(10**9))


def test_agents_are_compared_on_final_returns(run):
    returns = final_returns(load_results(run), ENVIRONMENT)
    assert list(returns) == ["ground_truth", "autoencoder", "random"]
    # mean of evaluations at 0, 100 and 200 steps, each plus seed and mean episode
    np.testing.assert_allclose(returns["autoencoder"], 50 + np.arange(5) + 1.5)
    chances = duels(returns).chances
    assert chances[0][0] is None
    assert chances[0][1].value == 1
    assert chances[1][0].value == 0


def test_cells_tell_their_state_and_time(run):
    cells = cell_states(run)
    assert [cell.state for cell in cells[-2:]] == ["failed", "waiting"]
    assert cells[0].state == "done"
    assert cells[0].seconds == {"pretrain": 3.0, "score": 4.0, "rl": 20.0}
    assert {cell.seed for cell in first_cells(cells).values()} == {0}


class Loads(HTMLParser):
    """Collects what a page loads, and the text of its elements."""

    def __init__(self):
        super().__init__()
        self.loads, self.tags, self.classes, self.ids = [], set(), [], []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.add(tag)
        self.classes += (given.get("class") or "").split()
        self.ids += [given["id"]] if "id" in given else []
        if tag != "a":
            self.loads += [given[name] for name in ("src", "href", "xlink:href", "data", "srcset") if given.get(name)]


def parsed(page):
    parser = Loads()
    parser.feed(page)
    return parser


def test_the_page_loads_nothing(page):
    found = parsed(page)
    assert all(link.startswith("#") for link in found.loads)
    assert {"link", "img", "iframe", "object", "base"} & found.tags == set()
    without_links = re.sub(r'<a href="https://arxiv\.org/abs/[\d.]+">', "", page)
    assert not re.search(r"https?://|@import|url\((?!data:image/jpeg|#)", without_links)
    assert "default-src 'none'" in page


def test_every_section_is_there(page):
    found = parsed(page)
    assert {"environment-0", "agents", "correlation", "methods", "gallery", "provenance", "failed"} <= set(found.ids)
    assert found.classes.count("plot") == 3
    # five queries and walks of three components (the ground truth has four factors), and the gallery; by the one that
    # decodes, five pairs of frame and reconstruction, and traversals of three dimensions
    assert found.classes.count("frame") == 3 * (5 * 7 + 3 * 7) + 8 + 2 * 5 + 3 * 7
    assert found.classes.count("query") == 3 * 5
    for text in ("Performance profiles", "Hinton &amp; Salakhutdinov 2006", "waiting", "agent_x"):
        assert text in page


def test_text_from_outside_is_escaped(page):
    assert "<b>loss" not in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert stored_suites.EVIL in html.unescape(page.replace("_<wbr>", "_"))


def test_few_seeds_and_no_data_are_told(tmp_path, blobs):
    run = stored_suites.write(tmp_path / "stored", blobs, seeds=2)
    for about in run.glob("*/cell.json"):
        about.write_text(about.read_text().replace(str(blobs.path), str(tmp_path / "gone")))
    assert {entry.half_text for row in table(run).rows for entry in row.entries} == {""}
    text = write_report(run, tmp_path / "report.html").read_text()
    assert f"{tmp_path / 'gone'} holds no rollouts.json" in text
    assert "frame" not in parsed(text).classes
    assert "102.0" in text  # the mean return of seeds 0 and 1
    assert "2 seeds: with fewer than 5 seeds there are points and no intervals" in text
    assert "Probability of improvement</h4>" not in text


def test_machines_and_versions_of_all_cells_are_told(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    first, *_ = sorted(copy.glob("*/cell.json"))
    about = json.loads(first.read_text())
    gpu = {"cpu": "Fast", "cores": 8, "memory_gib": 64, "device": "cuda", "gpu": "H100"}
    about |= {"versions": about["versions"] | {"torch": "1.0"}, "machines": {"pretrain": gpu}}
    first.write_text(json.dumps(about))
    text = html.unescape(write_report(copy, tmp_path / "report.html").read_text())
    assert f"<dt>Machines</dt><dd>Fast, 8 cores, 64 GiB; {provenance()['machine']}</dd>" in text
    assert "<dt>Devices</dt><dd>pretrain: cuda (H100)</dd>" in text
    assert f"torch 1.0, {provenance()['versions']['torch']}" in text
    assert "not all cells have the same version of torch" in text


def test_a_damaged_decoder_costs_its_pictures_only(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    (cell,) = (cell for cell in cell_states(copy) if "autoencoder__0" in cell.folder.name)
    scene = open_scene(0, ENVIRONMENT, [cell])
    assert encoder_view(scene, cell)["decoded"]["traversals"]
    (cell.folder / "decoder" / "model.safetensors").write_bytes(b"")
    view = encoder_view(scene, cell)
    assert "damaged" in view["decoded"]["problem"]
    assert view["strips"]
    assert "No reconstructions: " in write_report(copy, tmp_path / "report.html").read_text()


def test_another_data_set_in_the_same_place_is_noticed(run):
    cells = cell_states(run)
    cells[0].about["data_hash"] = "0" * 64
    scene = open_scene(0, ENVIRONMENT, cells)
    assert "now holds another data set" in scene.problem
    assert encoder_view(scene, cells[0]) == {"problem": scene.problem}


def test_a_method_whose_plug_in_is_missing_is_known_by_its_encoder(run):
    cell = first_cells(cell_states(run))[ENVIRONMENT, "autoencoder"]
    found = explanation("my_plug_in + autoencoder", cell, 4)
    assert "--plugin" in found["problem"]
    assert found["facts"] == {"Objective": "reconstruction"}
    assert found["equation"] is not None


def test_bad_destinations_are_refused_before_work(tmp_path):
    with pytest.raises(ConfigError, match=r"not as 'report\.pdf'"):
        write_report(tmp_path, tmp_path / "report.pdf")
    with pytest.raises(DataError, match=r"suite\.json"):
        write_report(tmp_path, tmp_path / "report.html")


def test_publishing_writes_the_report_beside_the_tables(run, blobs, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr("srl_bench.report.html.write_report", lambda run, out: written.append((run, out)))
    monkeypatch.setattr("srl_bench.report.figures.write_figures", lambda *_: [])
    monkeypatch.setattr(sys, "argv", ["srl-bench", "publish", str(run), "--out", str(tmp_path)])
    cli.main()
    assert written == [(run, tmp_path / "report.html")]
    assert "cells are not finished" not in (tmp_path / "table.md").read_text()
    assert "1 of 17 cells is not finished" in (tmp_path / "table.md").read_text()
    about = json.loads((tmp_path / "provenance.json").read_text())
    assert about["data_hashes"] == {ENVIRONMENT: blobs.data_hash}
    assert about["machines"] == [provenance()["machine"]]
    assert about["suite"]["seeds"] == list(range(stored_suites.SEEDS))


@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_equation_of_every_method_is_drawn(name):
    objective = as_objective(resolve(name), 32)
    if objective is not None:
        drawn = equation(objective.latex())
        assert drawn is not None, objective.latex()
        assert drawn.startswith("<svg")
        assert "currentColor" in drawn


def test_an_equation_with_unknown_symbols_stays_text():
    assert equation(r"\nosuchsymbol") is None
    assert paragraphs("A <method>.\n\n    \\nosuchsymbol < 1\n")[1] == ("tex", "\\nosuchsymbol &lt; 1")


def test_arxiv_numbers_become_links():
    assert linked("<i> (1312.6114)") == '&lt;i&gt; (<a href="https://arxiv.org/abs/1312.6114">1312.6114</a>)'
