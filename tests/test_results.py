import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from srl_bench.config import load_suite
from srl_bench.errors import ConfigError, DataError
from srl_bench.notes import notes
from srl_bench.report.figures import BROKEN, WHOLE, line_styles, write_figures
from srl_bench.report.terminal import rich_table
from srl_bench.results import (
    formatted,
    intervals,
    load_results,
    over_seeds,
    per_factor,
    render,
    save_scores,
    summary,
    write_tables,
)


def long(rows):
    columns = ["method", "seed", "track", "metric", "step", "value", "floor"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(environment="srl_bench/World-v0", ceiling=1.0)


@pytest.fixture
def results():
    rows = []
    for seed, value in enumerate([0.80, 0.82, 0.84, 0.86, 0.88]):
        rows += [
            ("good_one", seed, "score", "ridge_r2", 0, value, 0.1),
            ("good_one", seed, "score", "ridge_r2.robot_x", 0, value + 0.1, 0.1),
            ("good_one", seed, "rl", "return", 0, 1.0, np.nan),
            ("good_one", seed, "rl", "return", 100, 10.0 + seed, np.nan),
        ]
    rows += [("bad", 0, "score", "ridge_r2", 0, 0.2, 0.3), ("bad", 0, "score", "dci.D", 0, np.nan, np.nan)]
    return long(rows)


def test_summary_is_the_mean_over_seeds_of_the_last_step_sorted(results):
    table = summary(results, "srl_bench/World-v0")
    assert list(table.index) == ["good_one", "bad", "floor"]
    assert table.loc["good_one", "ridge_r2"] == pytest.approx(0.84)
    assert table.loc["good_one", "return"] == pytest.approx(12.0)
    assert np.isnan(table.loc["bad", "return"])
    assert table.loc["floor", "ridge_r2"] == pytest.approx((5 * 0.1 + 0.3) / 6)


def test_noise_has_a_row_where_it_was_scored(results):
    table = summary(results.assign(noise=0.05), "srl_bench/World-v0")
    assert list(table.index) == ["good_one", "bad", "floor", "noise"]
    assert table.loc["noise", "ridge_r2"] == pytest.approx(0.05)


def test_interval_is_students_and_absent_below_five_seeds(results):
    known = intervals(results).set_index(["method", "metric", "step"])
    row = known.loc[("good_one", "ridge_r2", 0)]
    # 0.84 ± t(0.975, 4) * s / sqrt(5) = 0.84 ± 2.776445 * 0.0316228 / 2.236068
    assert row["high"] - row["mean"] == pytest.approx(0.0392650, abs=1e-6)
    assert np.isnan(known.loc[("bad", "ridge_r2", 0)]["low"])


def test_forms(results, tmp_path):
    text = formatted(results, "srl_bench/World-v0").set_index("method")
    assert text.loc["good_one", "ridge R²"] == "0.840 ± 0.039"
    assert text.loc["bad", "ridge R²"] == "0.200"
    assert text.loc["bad", "return"] == "–"
    assert "| good_one" in render(results, "srl_bench/World-v0", "md")
    latex = render(results, "srl_bench/World-v0", "tex")
    assert r"\toprule" in latex
    assert r"good\_one & 0.840 $\pm$ 0.039" in latex
    with pytest.raises(ConfigError, match="md, tex or csv"):
        render(results, "srl_bench/World-v0", "html")
    write_tables(results, tmp_path)
    assert pd.read_csv(tmp_path / "table.csv").set_index("method").loc["bad", "ridge_r2"] == 0.2
    assert len(pd.read_csv(tmp_path / "results.csv")) == len(results)


def test_per_factor(results):
    table = per_factor(results, "srl_bench/World-v0", "ridge_r2")
    assert table.loc["good_one", "robot_x"] == pytest.approx(0.94)
    with pytest.raises(ConfigError, match="per factor"):
        per_factor(results, "srl_bench/World-v0", "mig")


def test_scores_survive_the_round_trip_with_nan_and_infinity(tmp_path):
    cell = tmp_path / "cell"
    cell.mkdir()
    (tmp_path / "suite.json").write_text(json.dumps({"cells": ["cell", "unstarted"]}))
    (cell / "cell.json").write_text(json.dumps({"environment": "e", "method": "m", "seed": 0}))
    record = {
        "value": 0.5,
        "ceiling": float("inf"),
        "floor": float("nan"),
        "range": [0.0, float("inf")],
        "warnings": ["too few episodes"],
        "skipped": ["target_x"],
    }
    save_scores({"mig": record}, cell)
    row = load_results(tmp_path).iloc[0]
    assert row["value"] == 0.5
    assert row["ceiling"] == np.inf
    assert np.isnan(row["floor"])
    assert notes(tmp_path)[1:] == ["m: mig leaves out constant factors: target_x", "m: too few episodes"]


def cell(run, name, method, *, error=False, scored=False, trained=False):
    folder = run / name
    (folder / "rl").mkdir(parents=True)
    (folder / "cell.json").write_text(json.dumps({"environment": "e", "method": method, "seed": 0}))
    if error:
        (folder / "error.txt").write_text("Traceback\nValueError: by design\n")
    if scored:
        record = {"value": 0.5, "ceiling": 1.0, "floor": 0.1, "warnings": [], "skipped": []}
        values = {"ridge_r2": 0.5, "ridge_r2.robot_x": 0.5, "mig": float("nan")}
        save_scores({metric: record | {"value": value} for metric, value in values.items()}, folder)
    if trained:
        (folder / "rl" / "evaluations.csv").write_text("step,return\n10,3.0\n")
    return name


def test_failed_cells_have_a_row(tmp_path):
    cells = [
        cell(tmp_path, "a", "works", scored=True, trained=True),
        cell(tmp_path, "b", "untrained", scored=True, error=True),
        cell(tmp_path, "c", "never", error=True),
        cell(tmp_path, "d", "raw_pixels", error=True),
        cell(tmp_path, "e", "once", scored=True, trained=True),
        cell(tmp_path, "f", "once", error=True),
        cell(tmp_path, "g", "running"),
    ]
    (tmp_path / "suite.json").write_text(json.dumps({"cells": cells}))
    results = load_results(tmp_path)
    text = formatted(results, "e").set_index("method")
    assert text.columns.tolist() == ["ridge R²", "MIG", "return"]
    assert text.loc["works"].tolist() == ["0.500", "–", "3.0"]
    assert text.loc["untrained"].tolist() == ["0.500", "–", "failed"]
    assert text.loc["never"].tolist() == ["failed", "failed", "failed"]
    assert text.loc["raw_pixels"].tolist() == ["–", "–", "failed"]
    assert text.loc["once"].tolist() == ["0.500", "–", "3.0"]
    assert text.loc["floor"].tolist() == ["0.100", "0.100", "–"]
    assert "running" not in text.index
    assert "never & failed & failed & failed" in render(results, "e", "tex")
    assert rich_table(results, "e").row_count == 6
    write_tables(results, tmp_path / "out", notes(tmp_path))
    assert "| never      | failed     | failed |" in (tmp_path / "out" / "table.md").read_text()
    assert pd.read_csv(tmp_path / "out" / "table.csv").set_index("method").loc["never", "ridge_r2":].isna().all()
    stored = pd.read_csv(tmp_path / "out" / "results.csv")
    assert stored.loc[stored["method"] == "never", ["track", "metric"]].values.tolist() == [
        ["failed", "score"],
        ["failed", "rl"],
    ]


def test_the_table_of_an_unfinished_suite_says_so(tmp_path):
    cells = [
        cell(tmp_path, "a", "works", scored=True),
        cell(tmp_path, "b", "fails", error=True),
        cell(tmp_path, "c", "runs", scored=True),
        cell(tmp_path, "d", "runs"),
    ]
    (tmp_path / "a" / "done").touch()
    (tmp_path / "suite.json").write_text(json.dumps({"cells": [*cells, "never_started"]}))
    assert notes(tmp_path)[0] == "3 of 5 cells are not finished: means are over the seeds that are"
    (tmp_path / "suite.json").write_text(json.dumps({"cells": cells[:3]}))
    assert notes(tmp_path)[0] == "1 of 3 cells is not finished: means are over the seeds that are"
    (tmp_path / "c" / "done").touch()
    assert notes(tmp_path) == ["fails: failed: ValueError: by design"]


def test_a_table_says_over_which_seeds_its_means_are(results, tmp_path):
    environment = "srl_bench/World-v0"
    assert over_seeds(results, environment) == "means over 5 seeds: 0, 1, 2, 3, 4; bad over 1 seed: 0"
    assert over_seeds(results[results["seed"] == 3], environment) == "means over 1 seed: 3"
    elsewhere = results[results["seed"] < 2].assign(environment="Elsewhere")
    write_tables(pd.concat([results, elsewhere]), tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert "means over 2 seeds: 0, 1; bad over 1 seed: 0" in text
    assert over_seeds(results, environment) in text
    assert "0, 1, 2, 3, 4" in str(rich_table(results, environment).title)


def test_an_environment_whose_cells_all_failed_has_a_table(tmp_path):
    cells = [cell(tmp_path, "a", "works", scored=True, trained=True), cell(tmp_path, "b", "works", error=True)]
    about = json.loads((tmp_path / "b" / "cell.json").read_text())
    (tmp_path / "b" / "cell.json").write_text(json.dumps(about | {"environment": "Broken"}))
    (tmp_path / "suite.json").write_text(json.dumps({"cells": cells[::-1]}))
    results = load_results(tmp_path)
    write_tables(results, tmp_path / "out", notes(tmp_path))
    text = (tmp_path / "out" / "table.md").read_text()
    assert "no cell is finished" in text
    assert formatted(results, "Broken").set_index("method").loc["works"].tolist() == ["failed"] * 3
    assert "Broken" not in (tmp_path / "out" / "factors.md").read_text()
    assert "Broken" not in (tmp_path / "out" / "agents.md").read_text()
    assert rich_table(results, "Broken").row_count
    write_figures(tmp_path, results[results["environment"] == "Broken"], tmp_path / "figures")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_damaged_index_is_named(text, tmp_path):
    (tmp_path / "suite.json").write_text(text)
    with pytest.raises(DataError, match=r"suite\.json is damaged; run the suite again"):
        load_results(tmp_path)


def test_a_figure_that_is_cut_short_leaves_the_old_one(results, tmp_path, monkeypatch):
    agents = results[results["track"] == "rl"]
    (picture,) = write_figures(tmp_path, agents, tmp_path)
    before = picture.read_bytes()

    def torn(self, path, **_):
        path.write_bytes(b"half a picture")
        raise KeyboardInterrupt

    monkeypatch.setattr(Figure, "savefig", torn)
    with pytest.raises(KeyboardInterrupt):
        write_figures(tmp_path, agents, tmp_path)
    assert picture.read_bytes() == before


def test_failed_cells_alone_are_no_results(tmp_path):
    (tmp_path / "suite.json").write_text(json.dumps({"cells": [cell(tmp_path, "a", "never", error=True)]}))
    with pytest.raises(DataError, match="no finished cell"):
        load_results(tmp_path)


def test_folders_without_results(tmp_path):
    with pytest.raises(DataError, match=r"suite\.json"):
        load_results(tmp_path)
    (tmp_path / "suite.json").write_text('{"cells": []}')
    with pytest.raises(DataError, match="no finished cell"):
        load_results(tmp_path)


def test_the_best_method_comes_first_whatever_its_direction():
    rows = [(method, 0, "score", "knn_mse", 0, value, 1.0) for method, value in (("far", 0.9), ("near", 0.1))]
    assert list(summary(long(rows), "srl_bench/World-v0").index) == ["near", "far", "floor"]


def test_undefined_values_and_metrics_of_plug_ins_are_shown():
    rows = [
        ("works", 0, "score", "mig", 0, 0.5, 0.1),
        ("works", 0, "score", "my_metric", 0, 3.0, 0.0),
        ("collapsed", 0, "score", "mig", 0, np.nan, np.nan),
    ]
    text = formatted(long(rows), "srl_bench/World-v0").set_index("method")
    assert text.loc["collapsed", "MIG"] == "–"
    assert text.loc["works", "my_metric"] == "3.000"


def test_no_two_lines_look_the_same():
    methods = load_suite("full").methods
    styles = line_styles(methods)
    assert len(methods) > 20
    assert len(set(styles.values())) == len(methods)
    assert {styles[method][1] for method in ("raw_pixels", "ground_truth")} <= set(BROKEN)
    assert {styles[method][1] for method in ("vae", "inverse")} <= set(WHOLE)
