import json

import numpy as np
import pandas as pd
import pytest
import worlds

import srl_bench as srl
from srl_bench.errors import DataError, UnknownNameError
from srl_bench.metrics import gtc, mig
from srl_bench.registry import METRICS, Metric
from srl_bench.results import save_scores
from srl_bench.score import score, score_records

CHEAP = ("ridge_r2", "gtc", "mig", "sap", "knn_mse", "knn_mse_norm", "knn_skill")


@pytest.fixture(scope="module")
def truth(mobile):
    return srl.pretrain("ground_truth", mobile)


@pytest.fixture(scope="module")
def features(mobile):
    return srl.pretrain("random", mobile, latent_dim=6, seed=0)


def test_the_ground_truth_scores_its_ceiling(truth, mobile):
    records = score_records(truth, mobile, metrics=CHEAP)
    for name in ("ridge_r2", "gtc", "sap", "knn_skill", "knn_mse", "ridge_r2.target_y", "gtc.robot_x"):
        assert records[name]["value"] == pytest.approx(records[name]["ceiling"], abs=1e-6), name
    # Standardising in float32 moves a few values over the edge of a bin.
    assert records["mig"]["value"] == pytest.approx(records["mig"]["ceiling"], abs=0.02)
    assert records["ridge_r2"]["value"] == pytest.approx(1.0, abs=1e-6)
    assert records["knn_skill"]["normalised"] == pytest.approx(1.0, abs=1e-6)


def test_a_series_of_all_metrics_in_their_stated_ranges(features, mobile):
    series = score(features, mobile)
    assert isinstance(series, pd.Series)
    offered = {name for name in METRICS if not {"shifted_states", "other_states"} & set(METRICS[name].needs)}
    assert {name.split(".")[0] for name in series.index} == {name for name in offered if METRICS[name].core}
    assert {"dci.D", "mlp_r2.robot_x", "gtc.target_x", "inverse.gain", "forward.state_r2_5"} <= set(series.index)
    undefined = {"dci.D", "dci.C", "reward.auroc", "reward.average_precision"}  # no test row has a positive reward
    assert set(series.index[series.isna()]) == undefined
    for name, value in series.dropna().items():
        low, high = METRICS[name.split(".")[0]].range
        assert low <= value <= high, name


def test_intervals_hold_the_value_and_need_an_option(features, mobile):
    asked = ["gtc", "ridge_r2", "knn_skill", "trustworthiness", "dci", "rsa", "lipschitz", "lowdata_auc", "forward"]
    records = score_records(features, mobile, metrics=asked)
    families = {"dci": "dci.I", "lipschitz": "lipschitz.q95", "forward": "forward.skill_5"}
    for name in (families.get(name, name) for name in asked):
        assert records[name]["low"] <= records[name]["value"] <= records[name]["high"], name
    assert records["gtc"]["high"] - records["gtc"]["low"] > 0.01
    assert records["ridge_r2"]["noise"] <= records["ridge_r2"]["value"]
    assert np.isnan(records["dci.D"]["low"])
    assert records["gtc"]["high"] <= 1
    without = score_records(features, mobile, metrics=["gtc"], intervals=False)["gtc"]
    assert np.isnan(without["low"])
    assert without["value"] == records["gtc"]["value"]


def test_metrics_without_a_split_see_test_rows_only_and_floors_are_shifts(features, mobile):
    """Oracles: the metrics called by hand on the test rows."""
    records = score_records(features, mobile, metrics=["gtc", "mig"])
    rows = mobile.split == 2
    states, factors = features.encode(mobile.observations[rows]).astype(np.float64), mobile.factors[rows]
    assert records["mig"]["value"] == pytest.approx(mig(states, factors))
    shifted = [np.roll(states, round(len(states) * j / 10), axis=0) for j in range(1, 10)]
    assert records["gtc"]["floor"] == pytest.approx(np.mean([gtc(s, factors)["mean"] for s in shifted]))
    record = records["mig"]
    expected = (record["value"] - record["floor"]) / (record["ceiling"] - record["floor"])
    assert record["normalised"] == pytest.approx(expected)
    assert record["n_rows"] == rows.sum()


def test_large_data_are_thinned_evenly(truth, mobile):
    records = score_records(truth, mobile, metrics=["ridge_r2", "gtc"], max_rows=500)
    assert records["ridge_r2"]["n_rows"] == records["gtc"]["n_rows"] == pytest.approx(500 * 0.25, abs=5)


def test_metrics_that_need_steps_get_whole_episodes(truth, mobile, monkeypatch):
    """Oracle: every test episode that is there is there from its first step to its last."""
    seen = {}

    def spy(states, factors, **needs):
        seen.update(needs, states=states, factors=factors)
        return 0.0

    item = Metric("spy", spy, "higher", (0.0, 1.0), ("episode_ids", "steps"), core=False)
    monkeypatch.setitem(METRICS._entries, "spy", (item, "tests.spy"))
    record = score_records(truth, mobile, metrics=["spy"], max_rows=1000)["spy"]
    episodes, counts = np.unique(seen["episode_ids"], return_counts=True)
    lengths = np.diff(mobile.episodes)
    assert len(episodes) == 4  # of 5 test episodes
    np.testing.assert_array_equal(counts, lengths[episodes])
    assert record["n_rows"] == counts.sum()
    for episode in episodes:
        np.testing.assert_array_equal(seen["steps"][seen["episode_ids"] == episode], np.arange(lengths[episode]))
    rows = np.flatnonzero(np.isin(mobile.episode_ids, episodes))
    np.testing.assert_allclose(seen["factors"], mobile.factors[rows])
    assert score(truth, mobile, max_rows=600).index.str.startswith("spy").sum() == 0


def test_few_episodes_are_noted(truth, mobile):
    record = score_records(truth, mobile, metrics=["gtc"])["gtc"]
    assert any("only 5 test samples" in note for note in record["warnings"])


def test_constant_factors_are_nan_and_named(tmp_path):
    rollouts = srl.record(
        frames=900, max_steps=30, out=tmp_path, environment_kwargs={"image_size": 48, "random_target": False}
    )
    records = score_records(srl.pretrain("ground_truth", rollouts), rollouts, metrics=["ridge_r2", "gtc", "mig"])
    assert np.isnan(records["ridge_r2.target_x"]["value"])
    assert records["gtc"]["skipped"] == ["target_x", "target_y"]
    assert records["ridge_r2"]["value"] == pytest.approx(1.0, abs=1e-6)


def test_training_episodes_are_no_test_episodes(mobile):
    encoder = srl.pretrain("random", mobile, latent_dim=4)
    encoder.provenance["training_episodes"] = [
        *encoder.provenance["training_episodes"],
        mobile.info["split"]["test"][0],
    ]
    with pytest.raises(DataError, match="1 of the 8 episodes"):
        score(encoder, mobile)
    assert score(encoder, mobile, metrics=["gtc"], allow_overlap=True).notna().all()


def test_recordings_of_one_seed_share_episodes_whatever_their_length(tmp_path):
    """Oracle: both recordings as rows. 19 episodes of 20 steps are followed by one that is cut after 10."""
    settings = {"max_steps": 20, "workers": 1, "environment_kwargs": {"image_size": 48}}
    short = srl.record(frames=390, seed=2, out=tmp_path / "short", **settings)
    long = srl.record(frames=600, seed=2, out=tmp_path / "long", **settings)
    foreign = srl.record(frames=600, seed=3, out=tmp_path / "foreign", **settings)
    starts = [{data.factors[row].tobytes() for row in data.episodes[:-1]} for data in (short, long, foreign)]
    assert [len(starts[0] & other) for other in starts[1:]] == [20, 0]
    held_out = {*long.info["split"]["val"], *long.info["split"]["test"]}
    seen = len(held_out & set(short.info["split"]["train"]))
    assert seen > 0
    assert 19 in {*held_out, *long.info["split"]["train"]}
    encoder = srl.pretrain("ground_truth", short)
    with pytest.raises(DataError, match=f"trained on {seen} of the {len(held_out)} episodes"):
        score(encoder, long, metrics=["gtc"])
    assert score(encoder, long, metrics=["gtc"], allow_overlap=True).notna().all()
    assert score(encoder, foreign, metrics=["gtc"]).notna().all()


def test_too_few_rows_and_unknown_metrics_are_refused(truth, tmp_path):
    with pytest.raises(UnknownNameError, match="ridge_r2"):
        score(truth, None, metrics=["ridge_r3"])
    few = worlds.write(tmp_path / "few", worlds.simulate(5, 6, size=48))
    with pytest.raises(DataError, match="too few"):
        score(srl.pretrain("ground_truth", few), few)


def refuses(states, factors):
    raise DataError("these data hold no lava.")


def refuses_the_truth(states, factors):
    if states is factors:
        raise DataError("the truth is too simple.")
    return 0.5


@pytest.mark.parametrize("asked", [None, ("lava", "gtc")])
def test_a_metric_that_the_data_do_not_allow_is_nan_with_its_reason_and_the_others_go_on(
    truth, mobile, monkeypatch, tmp_path, asked
):
    """By name or by default; its bounds are not tried, and a bound that fails leaves the value."""
    kept = {name: METRICS._entries[name] for name in ("gtc", "mig")}
    extra = {"lava": refuses, "plain": refuses_the_truth}
    for name, function in extra.items():
        kept[name] = (Metric(name, function, "higher", (0.0, 1.0)), f"tests.{name}")
    monkeypatch.setattr(METRICS, "_entries", kept)
    records = score_records(truth, mobile, metrics=asked)
    assert np.isnan([records["lava"][key] for key in ("value", "low", "ceiling", "floor", "noise", "normalised")]).all()
    assert records["lava"]["error"] == "lava cannot be computed: these data hold no lava."
    assert records["lava"]["error"] in records["lava"]["warnings"]
    assert records["gtc"]["value"] == pytest.approx(1.0)
    assert records["gtc"]["error"] == ""
    if asked is None:
        assert records["plain"]["value"] == records["plain"]["floor"] == 0.5
        assert np.isnan(records["plain"]["ceiling"])
        assert "the ceiling of plain cannot be computed: the truth is too simple." in records["plain"]["warnings"]
    save_scores(records, tmp_path)
    stored = json.loads((tmp_path / "scores.json").read_text())["lava"]
    assert stored["value"] is None
    assert "no lava" in stored["error"]


def test_states_that_are_not_finite_end_the_table(truth, mobile, monkeypatch):
    broken = truth.encode(mobile.factors)
    broken[7, 1] = np.nan
    monkeypatch.setattr(truth, "encode", lambda _: broken)
    with pytest.raises(DataError, match=r"states hold NaN .* dims \[1\] and rows \[7\]"):
        score_records(truth, mobile, metrics=["gtc"])


def test_a_metric_of_a_plug_in_gets_what_it_needs(truth, mobile, monkeypatch):
    seen = {}

    def spy(states, factors, **needs):
        seen.update(needs)
        return float(len(states))

    needs = ("actions", "rewards", "steps", "names", "roles", "seed")
    item = Metric("spy", spy, "higher", (0.0, np.inf), needs)
    monkeypatch.setitem(METRICS._entries, "spy", (item, "tests.spy"))
    series = score(truth, mobile, metrics=["spy"], seed=7)
    rows = mobile.split == 2
    assert series["spy"] == rows.sum()
    np.testing.assert_array_equal(seen["actions"], mobile.actions[rows])
    np.testing.assert_array_equal(seen["steps"], mobile.steps[rows])
    assert seen["names"] == ["robot_x", "robot_y", "target_x", "target_y"]
    assert seen["seed"] == 7


def test_the_same_seed_gives_the_same_scores(features, mobile):
    first, second = (score(features, mobile, metrics=["mlp_r2", "dci", "knn_mse"], max_rows=600) for _ in range(2))
    pd.testing.assert_series_equal(first, second)


def test_metrics_of_a_second_look_need_the_same_states_with_that_look(truth, features, mobile, tmp_path):
    needing = {name for name in METRICS if "shifted_states" in METRICS[name].needs}
    assert not needing & {name.split(".")[0] for name in score(truth, mobile, metrics=None).index}
    with pytest.raises(DataError, match=r"'paired_ratio' needs shifted_states; give the same states"):
        score(truth, mobile, metrics=["paired_ratio"])
    with pytest.raises(DataError, match=r"'udr' needs other_states\.$"):
        score(truth, mobile, metrics=["udr"])

    twin = {"image_size": 48, "domain": "twin"}
    shifted = srl.record("srl_bench/MobileRobot-v0", 2_000, 0, out=tmp_path / "twin", environment_kwargs=twin)
    names = ["paired_ratio", "retrieval", "proxy_a_distance", "shifted_ridge_r2"]
    same = score_records(truth, mobile, metrics=names, shifted=shifted)
    assert same["paired_ratio"]["value"] == same["shifted_ridge_r2.drop"]["value"] == 0
    assert same["retrieval"]["value"] == pytest.approx(same["retrieval"]["ceiling"], abs=0.02)
    moved = score_records(features, mobile, metrics=names, shifted=shifted)
    assert moved["paired_ratio"]["value"] > 0.1
    assert moved["paired_ratio"]["ceiling"] == 0
    assert moved["paired_ratio"]["floor"] > moved["paired_ratio"]["value"]
    assert moved["proxy_a_distance"]["value"] > 1
    other = srl.record("srl_bench/MobileRobot-v0", 2_000, 1, out=tmp_path / "other", environment_kwargs=twin)
    with pytest.raises(DataError, match="does not hold the states"):
        score(truth, mobile, metrics=names, shifted=other)
