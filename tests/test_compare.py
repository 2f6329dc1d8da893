"""Oracles: values by hand, and symmetries that every comparison has."""

import json
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
import stored_suites

from srl_bench import cli
from srl_bench.compare import Pair, caveats, choose_metrics, choose_pairs, differences, directions, pair_up
from srl_bench.errors import ConfigError, DataError, UnknownNameError
from srl_bench.files import write_json
from srl_bench.notes import notes
from srl_bench.provenance import code_version
from srl_bench.report.comparison import explanation, forest, formatted, labels
from srl_bench.results import COLUMNS, write_tables
from srl_bench.runs import Run, _conditions, disagreements, find_run, open_run, origins

WORLD = "tests/Blobs-v0"
BETTER = {"ridge_r2": "higher", "knn_mse": "lower", "twonn": "neither", "return": "higher"}


def results(*rows):
    """Return results of rows (method, metric, values of seeds 0, 1, ...)."""
    columns = ["environment", "method", "seed", "track", "metric", "step", "value"]
    filled = [
        (WORLD, method, seed, "rl" if metric == "return" else "score", metric, 0, value)
        for method, metric, values in rows
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(filled, columns=columns).reindex(columns=COLUMNS)


def compared(a, b, *pairs, metrics=("ridge_r2",)):
    return differences(pair_up(a, b, [Pair(*pair) for pair in pairs], metrics)[0], BETTER)


ONES = results(("x", "ridge_r2", [1.0, 2, 3, 4, 5]), ("x", "knn_mse", [1.0, 2, 3, 4, 5]))
ZEROS = results(("x", "ridge_r2", [0.0, 0, 0, 0, 0]), ("x", "knn_mse", [0.0, 0, 0, 0, 0]))


def test_a_known_difference():
    """1 to 5 against 0: see the test of `paired_difference`; two comparisons of a metric double the p value (Holm)."""
    row = compared(ONES, ZEROS, ("x", "x")).iloc[0]
    assert row[["environment", "metric", "a", "b", "better"]].tolist() == [WORLD, "ridge_r2", "x", "x", "higher"]
    assert row[["seeds", "mean_a", "mean_b", "difference"]].tolist() == [5, 3, 0, 3]
    assert row[["low", "high"]].tolist() == pytest.approx([3 - 1.963243, 3 + 1.963243], abs=1e-6)
    assert row[["probability", "probability_low", "probability_high"]].tolist() == [1, 1, 1]
    assert row["p"] == row["p_holm"] == pytest.approx(0.0132356, abs=1e-6)
    assert row["verdict"] == "better"
    two = compared(
        results(("x", "ridge_r2", [1.0, 2, 3, 4, 5]), ("y", "ridge_r2", [1.0, 2, 3, 4, 5])),
        ZEROS,
        ("x", "x"),
        ("y", "x"),
    )
    assert two["p_holm"].tolist() == pytest.approx([2 * 0.0132356] * 2, abs=1e-6)


def test_correction_is_within_a_metric():
    table = compared(ONES, ZEROS, ("x", "x"), metrics=("ridge_r2", "knn_mse"))
    assert (table["p"] == table["p_holm"]).all()


def test_lower_may_be_better_and_some_metrics_have_no_direction():
    row = compared(ONES, ZEROS, ("x", "x"), metrics=("knn_mse",)).iloc[0]
    assert row["difference"] == 3
    assert (row["probability"], row["verdict"]) == (0, "worse")
    plain = results(("x", "twonn", range(5))), results(("x", "twonn", range(9, 4, -1)))
    row = compared(*plain, ("x", "x"), metrics=("twonn",)).iloc[0]
    assert row["difference"] == -5
    assert np.isnan(row["probability"])
    assert row["verdict"] == ""


def test_the_other_way_round_the_signs_change():
    random = np.random.default_rng(0)
    a, b = (results(("x", "ridge_r2", random.normal(size=8)), ("x", "knn_mse", random.normal(size=8))) for _ in "ab")
    forth, back = (compared(*both, ("x", "x"), metrics=("ridge_r2", "knn_mse")) for both in ((a, b), (b, a)))
    for one, other in (("difference", "difference"), ("low", "high"), ("high", "low")):
        np.testing.assert_allclose(forth[one], -back[other])
    np.testing.assert_allclose(forth["probability"], 1 - back["probability"])
    np.testing.assert_allclose(forth["p"], back["p"])
    np.testing.assert_array_equal(forth["mean_a"], back["mean_b"])


def test_equal_runs_differ_by_nothing():
    shifted = ONES.assign(value=ONES["value"] * (1 + 1e-14))
    for other in (ONES, shifted):
        row = compared(ONES, other, ("x", "x")).iloc[0]
        assert row[["difference", "low", "high", "probability", "p"]].tolist() == [0, 0, 0, 0.5, 1]
        assert row["verdict"] == ""


def test_pairs_are_of_equal_seeds_in_any_order():
    """Each seed differs by 1, whatever it is worth; and rows may come in any order."""
    a = results(("x", "ridge_r2", [11.0, 1, 51, 31, 21]))
    b = results(("x", "ridge_r2", [10.0, 0, 50, 30, 20]))
    for other in (b, b.iloc[::-1], b.sample(frac=1, random_state=0)):
        assert compared(a, other, ("x", "x"))[["low", "high"]].to_numpy().tolist() == [[1, 1]]
    swapped = b.assign(seed=[1, 0, 2, 3, 4])
    assert compared(a, swapped, ("x", "x"))["high"].item() > 5


def test_an_agent_counts_with_its_last_evaluation():
    early = results(("x", "return", [100.0] * 5)).assign(step=10)
    late = results(("x", "return", [3.0] * 5)).assign(step=20)
    row = compared(pd.concat([late, early]), early, ("x", "x"), metrics=("return",)).iloc[0]
    assert row[["mean_a", "mean_b"]].tolist() == [3, 100]


def test_few_seeds_are_points():
    table = compared(results(("x", "ridge_r2", [1.0, 3])), results(("x", "ridge_r2", [0.0, 1, 5])), ("x", "x"))
    row = table.iloc[0]
    assert row[["seeds", "difference", "probability"]].tolist() == [2, 1.5, 0.875]
    assert row[["low", "high", "probability_low", "p", "p_holm"]].isna().all()
    assert row["verdict"] == ""
    assert "1 of 1 comparisons have 2 seed(s) in common, fewer than 5" in caveats(table)[0]
    text = formatted(table, WORLD).iloc[0]
    assert text[["A", "B", "A − B", "P", "p", "seeds"]].tolist() == ["2.000", "0.500", "+1.500", "–", "–", "2"]


def test_what_lacks_its_other_half_is_named():
    a = results(("x", "ridge_r2", [1, 2, np.nan]), ("x", "knn_mse", [1, 2, 3]), ("y", "ridge_r2", [1]))
    b = results(("x", "ridge_r2", [1, 2, 3, 4]), ("x", "knn_mse", [1, 2, 3, 4]), ("y", "knn_mse", [1]))
    elsewhere = b.iloc[:1].assign(environment="Elsewhere")
    metrics = ("ridge_r2", "knn_mse")
    paired, notes = pair_up(a, pd.concat([b, elsewhere]), [Pair("x", "x"), Pair("y", "y"), Pair("z", "z")], metrics)
    assert notes == [
        "only in B, not compared: Elsewhere",
        f"{WORLD}: B has no ridge_r2 to compare with seed 0 of y",
        f"{WORLD}: A has no ridge_r2 to compare with seed 2, 3 of x",
        f"{WORLD}: A has no knn_mse to compare with seed 3 of x",
        f"{WORLD}: A has no knn_mse to compare with seed 0 of y",
        f"{WORLD}: there is no value of z in A, nor of z in B",
    ]
    table = differences(paired, BETTER)
    assert table[["metric", "a", "seeds"]].to_numpy().tolist() == [
        ["ridge_r2", "x", 2],
        ["ridge_r2", "y", 0],
        ["knn_mse", "x", 3],
        ["knn_mse", "y", 0],
    ]
    _, notes = pair_up(a[a["seed"] == 0], b.iloc[1:2], [Pair("x", "x"), Pair("y", "x")], metrics)
    assert f"{WORLD}: y of A has nothing to compare with seed 1 of x" not in notes
    assert f"{WORLD}: A has no ridge_r2 to compare with seed 1 of x" in notes


def test_which_methods_are_paired():
    a = results(("old", "ridge_r2", [1]), ("mine", "ridge_r2", [1]))
    b = results(("old", "ridge_r2", [1]), ("other", "ridge_r2", [1]))
    assert choose_pairs(a, b) == (
        [("old", "old")],
        ["only in A, not compared: mine", "only in B, not compared: other"],
    )
    assert choose_pairs(a, b, new_with_all=True) == ([("old", "old"), ("mine", "old"), ("mine", "other")], [])
    assert choose_pairs(a, b, method=("mine", "other")) == ([("mine", "other")], [])
    assert choose_pairs(a, b, baseline="old") == ([("old", "old"), ("mine", "old")], [])
    assert choose_pairs(a, a, baseline="old") == ([("mine", "old")], [])
    with pytest.raises(ConfigError, match="A has mine; B has other"):
        choose_pairs(a[a["method"] == "mine"], b[b["method"] == "other"])
    with pytest.raises(ConfigError, match="'old' can only be compared with another"):
        choose_pairs(a, a, method=("old", "old"))
    with pytest.raises(UnknownNameError, match="Did you mean other"):
        choose_pairs(a, b, method=("mine", "othr"))
    with pytest.raises(UnknownNameError, match="Did you mean old"):
        choose_pairs(a, b, baseline="olt")


def test_which_metrics_are_compared():
    a = results(("x", "ridge_r2", [1]), ("x", "ridge_r2.agent_x", [1]), ("x", "gtc", [1]), ("x", "return", [1]))
    b = results(("x", "ridge_r2", [1]), ("x", "ridge_r2.agent_x", [1]), ("x", "mig", [1]), ("x", "return", [1]))
    assert choose_metrics(a, b) == (
        ["ridge_r2", "return"],
        ["only in A, not compared: gtc", "only in B, not compared: mig"],
    )
    assert choose_metrics(a, b, ("ridge_r2.agent_x",)) == (["ridge_r2.agent_x"], [])
    with pytest.raises(UnknownNameError, match=r"Did you mean ridge_r2"):
        choose_metrics(a, b, ("ridge",))
    with pytest.raises(DataError, match="A has gtc, B has mig"):
        choose_metrics(a[a["metric"] == "gtc"], b[b["metric"] == "mig"])


def test_directions_are_those_of_the_metrics():
    found, notes = directions(["return", "knn_mse", "dci.D", "twonn", "my_metric"])
    assert found == {
        "return": "higher",
        "knn_mse": "lower",
        "dci.D": "higher",
        "twonn": "neither",
        "my_metric": "neither",
    }
    assert len(notes) == 1
    assert notes[0].startswith("my_metric: ")


def test_nothing_in_common_is_an_error():
    elsewhere = ONES.assign(environment="Elsewhere")
    with pytest.raises(DataError, match=f"A has {WORLD}, B has Elsewhere"):
        pair_up(ONES, elsewhere, [Pair("x", "x")], ["ridge_r2"])
    with pytest.raises(DataError, match="no value of twonn"):
        pair_up(ONES, ONES, [Pair("x", "x")], ["twonn"])
    with pytest.raises(DataError, match=f"several values of {WORLD}, x, 0, ridge_r2"):
        pair_up(pd.concat([ONES, ONES]), ONES, [Pair("x", "x")], ["ridge_r2"])


def test_long_expressions_are_cut_and_numbered():
    long = "Slowness(margin=0.2) + 0.5*inverse + "
    table = pd.DataFrame({"a": [long + "vae", long + "pca", "vae"], "b": ["vae", "vae", "vae"]})
    assert list(labels(table).values()) == [f"{long[:24]}… [1] − vae", f"{long[:24]}… [2] − vae", "vae"]
    assert explanation(table)[1:] == [f"[1] is {long}vae", f"[2] is {long}pca"]


def test_the_figure_turns_the_axis_of_what_should_be_low():
    paired, _ = pair_up(ONES, ZEROS, [Pair("x", "x")], ["ridge_r2", "knn_mse"])
    higher, lower = forest(differences(paired, BETTER), paired, {("x", "x"): "x"}, "A: a, B: b").axes
    assert [line.get_color() for line in higher.lines[1:3]] != [line.get_color() for line in lower.lines[1:3]]
    assert higher.get_xlim()[0] < higher.get_xlim()[1]
    assert lower.get_xlim()[0] > lower.get_xlim()[1]
    np.testing.assert_allclose(higher.lines[0].get_xdata(), [1, 2, 3, 4, 5])
    np.testing.assert_allclose(higher.lines[1].get_xdata(), [3 - 1.963243, 3 + 1.963243], atol=1e-6)


@pytest.fixture(scope="module")
def stored(tmp_path_factory, blobs):
    return stored_suites.write(tmp_path_factory.mktemp("compared") / "stored", blobs)


@pytest.fixture
def run(monkeypatch, capsys):
    """Run `srl-bench compare`; return what it printed, or its error."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["srl-bench", "compare", *map(str, words)])
        try:
            cli.main()
        except SystemExit as end:
            return str(end)
        return capsys.readouterr().out

    return call


def rewrite(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def publish(stored, out):
    write_tables(open_run(stored).results, out)
    write_json(out / "provenance.json", origins(stored))
    return out


def test_two_methods_of_a_run(run, stored, tmp_path):
    out = run(stored, "--method", "autoencoder", "random", "--out", tmp_path)
    assert "warning" not in out
    table = pd.read_csv(tmp_path / "compare.csv").set_index("metric")
    assert table["difference"].to_dict() == pytest.approx({"ridge_r2": 0.3, "knn_mse": -0.3, "return": 60})
    assert set(table["verdict"]) == {"better"}
    text = " ".join((tmp_path / "compare.md").read_text().split())
    assert "| ridge R² ↑ | autoencoder − random | 0.500 | 0.200 | +0.300 [+0.300, +0.300] | 1.00 [1.00, 1.00] |" in text
    assert {path.suffix for path in (tmp_path / "figures").glob("compare_Blobs-v0.*")} == {".png", ".pdf"}


def test_a_run_and_what_was_published_of_it(run, stored, tmp_path, monkeypatch):
    """The same numbers, so no difference; the name is found in ./results as it is in the checkout's."""
    monkeypatch.chdir(tmp_path)
    publish(stored, tmp_path / "results" / "before")
    out = run(stored, "--against", "before", "--metric", "ridge_r2", "--out", "x")
    assert "warning" not in out
    table = pd.read_csv("x/compare.csv")
    assert table["a"].tolist() == table["b"].tolist() == ["autoencoder", "random", "ground_truth"]
    assert table[["difference", "low", "high", "p"]].drop_duplicates().to_numpy().tolist() == [[0, 0, 0, 1]]
    assert (table["probability"] == 0.5).all()
    assert f"{WORLD}: there is no value of {stored_suites.EVIL}" in out


def test_a_new_method_against_a_published_suite(run, stored, tmp_path):
    old = publish(stored, tmp_path / "old")
    mine = publish(stored, tmp_path / "mine")
    kept = pd.read_csv(mine / "results.csv").query("method == 'autoencoder'").assign(method="Mine + 2*inverse")
    kept.to_csv(mine / "results.csv", index=False)
    run(mine, "--against", old, "--metric", "return", "--out", tmp_path / "x")
    table = pd.read_csv(tmp_path / "x" / "compare.csv").set_index("b")
    reached = {"autoencoder": 0, "random": 60, "ground_truth": -100}
    assert table["difference"].dropna().to_dict() == pytest.approx(reached)
    assert "no method is in both runs" in run(mine, old)


def test_what_else_differs_is_said(run, stored, tmp_path):
    other = shutil.copytree(stored, tmp_path / "other")
    for cell in other.glob("*/cell.json"):
        rewrite(cell, data_hash="0123456789abcdef", code_version="abc")
    assert "warning: A and B also differ in code:" in run(stored, other, "--out", tmp_path)
    text = (tmp_path / "compare.md").read_text()
    assert f"* data of {WORLD}, hash: " in text
    assert "abc in B" in text


def test_older_runs_that_do_not_name_frame_stack_had_single_frames():
    trained = ({"steps": 1, "frame_stack": 2}, {"steps": 1})
    new, old = (
        Run("x", ONES, _conditions({"suite": {"train": train}, "data_hashes": {WORLD: "1"}})) for train in trained
    )
    assert disagreements(new, old) == ["pretraining, frame_stack: 2 in A, 1 in B"]


def test_conditions_that_differ():
    known = {"code": "1", f"data of {WORLD}, hash": "1", "version of torch": "2"}
    a = Run("a", ONES, known | {"pretraining, steps": 10, "agent, steps": 5})
    b = Run("b", ONES, known | {"pretraining, steps": 20})
    assert disagreements(a, b) == ["pretraining, steps: 10 in A, 20 in B"]
    (line,) = disagreements(a, Run("b", ONES, {}))
    assert "nothing is known" in line
    assert disagreements(b, b) == []


def test_data_whose_hash_is_not_known_may_differ():
    """As where the one was published by a version that did not write hashes down."""
    known, unknown = (
        Run("x", ONES, _conditions({"suite": {"environments": [{"environment": WORLD, "frames": 9}]}, **more}))
        for more in ({"data_hashes": {WORLD: "1"}}, {})
    )
    assert disagreements(known, unknown) == [f"data of {WORLD}, perhaps: data hash not known in B"]
    assert disagreements(unknown, known) == [f"data of {WORLD}, perhaps: data hash not known in A"]
    other = Run("x", ONES.assign(environment="Elsewhere"), unknown.conditions)
    assert disagreements(known, other) == []


def test_origins_are_those_of_the_cells_not_of_the_last_command(stored, tmp_path):
    run = shutil.copytree(stored, tmp_path / "run")
    rewrite(run / "suite.json", versions={"torch": "9"}, machine="another", code_version="another")
    first, second, *_ = sorted(run.glob("*/cell.json"))
    versions = json.loads(first.read_text())["versions"]
    gpu = {"cpu": "Fast", "cores": 8, "memory_gib": 64, "device": "cuda", "gpu": "H100"}
    rewrite(
        first,
        versions=versions | {"torch": "1.0"},
        machines={"pretrain": gpu, "rl": gpu | {"device": "cpu", "gpu": None}},
    )
    found = origins(run)
    assert found["code_version"] == code_version()
    assert found["versions"]["torch"] == f"1.0, {versions['torch']}"
    assert found["versions"]["numpy"] == versions["numpy"]
    assert found["machines"] == sorted(["Fast, 8 cores, 64 GiB", json.loads(second.read_text())["machine"]])
    assert found["devices"] == {"pretrain": ["cuda (H100)"], "rl": ["cpu"]}
    assert found["data_hashes"] == {WORLD: json.loads(first.read_text())["data_hash"]}
    assert found["suite"]["name"] == "stored"
    told = " ".join(notes(run))
    assert f"not all cells have the same version of torch: 1.0 in 1; {versions['torch']} in 15" in told
    assert "not all cells have the same machine: Fast, 8 cores, 64 GiB in 1; " in told
    assert "version of numpy" not in told
    assert not [note for note in notes(stored) if "not all cells" in note]


def test_published_suites_of_the_checkout_are_found_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = open_run(find_run("quick"))
    assert found.conditions["pretraining, steps"] == 1500
    assert found.conditions["data of srl_bench/MobileRobot-v0, frames"] == 20_000
    assert not {"pretraining, seed", "agent, seed"} & set(found.conditions)
    with pytest.raises(UnknownNameError, match="Did you mean quick"):
        find_run("quik")


def test_errors_are_sentences(run, stored, tmp_path):
    assert "give another run, --against, --method or --baseline" in run(stored)
    assert "not both" in run(stored, stored, "--against", "quick")
    assert "not both" in run(stored, "--method", "random", "autoencoder", "--baseline", "random")
    assert f"{tmp_path} holds no results" in run(tmp_path, stored)
    assert f"A has {WORLD}, B has srl_bench/MobileRobot-v0" in run(stored, "--against", "quick", "--metric", "ridge_r2")
    assert "Did you mean random" in run(stored, "--baseline", "randm")
    assert "Did you mean ridge_r2" in run(stored, "--baseline", "random", "--metric", "ridge_r")
    (tmp_path / "results.csv").write_text("environment,method\n")
    assert "lacks seed, track" in run(tmp_path, stored)
    publish(stored, tmp_path)
    (tmp_path / "provenance.json").write_text("{")
    assert "provenance.json is not valid JSON" in run(tmp_path, stored)
