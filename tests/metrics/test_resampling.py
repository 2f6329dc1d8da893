"""Intervals over episodes. Oracles: the metrics themselves, data without variation, and simulated coverage."""

import itertools

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from srl_bench.metrics import bounds, common, gtc
from srl_bench.metrics.attributes import fit_logistic, log_chances
from srl_bench.metrics.resampling import limits, resampled_scores, sums_by_episode
from srl_bench.metrics.smooth import stretch
from srl_bench.registry import METRICS

KINDS = ["continuous", "angular", "categorical"]
NAMES = ["x", "heading", "colour"]


def recording(seed: int, n_episodes: int = 20, length: int = 15) -> dict:
    random = np.random.default_rng(seed)
    n_rows = n_episodes * length
    episodes = np.repeat(np.arange(n_episodes), length)
    factors = np.column_stack(
        [random.normal(size=n_rows), random.uniform(-np.pi, np.pi, n_rows), random.integers(0, 3, n_rows)]
    )
    seen = np.column_stack([factors[:, 0], np.cos(factors[:, 1]), np.sin(factors[:, 1]), factors[:, 2]])
    return {
        "states": seen @ random.normal(size=(4, 5)) + 0.3 * random.normal(size=(n_rows, 5)),
        "factors": factors,
        "episode_ids": episodes,
        "steps": np.tile(np.arange(length), n_episodes),
        "split": common.split_episodes(episodes),
        "actions": random.normal(size=(n_rows, 2)),
        "rewards": random.normal(size=n_rows),
        "expert_actions": random.normal(size=(n_rows, 2)),
        "expert_returns": random.normal(size=n_rows),
        "kinds": KINDS,
        "names": NAMES,
        "roles": ["task", "task", "distractor"],
        "shifted_states": (seen + 0.2 * random.normal(size=seen.shape)) @ random.normal(size=(4, 5)),
        "seed": 0,
        "shared": True,
    }


def drawn(name: str, data: dict, **options) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    item = METRICS[name]
    needs = {key: data[key] for key in item.needs}
    value = item.function(data["states"], data["factors"], **needs)
    found = resampled_scores(item, data["states"], data["factors"], needs, episode_ids=data["episode_ids"], **options)
    return (value if isinstance(value, dict) else {"mean": value}), found


SUMMED = [name for name in METRICS if callable(METRICS[name].resample)]
# what is fitted once has no interval, nor has what no episode is long enough for
FIXED = {
    "dci": {"D", "C"},
    "dci_es": {"S"},
    "nieqa": {"global"},
    "nieqa_skill": {"global"},
    "forward": {"skill_25", "state_r2_25"},
}
DRAWN = ("factor_vae", "beta_vae")


@pytest.mark.parametrize("name", SUMMED)
def test_sums_over_all_episodes_give_the_score(name):
    data = recording(0)
    item = METRICS[name]
    needs = {key: data[key] for key in item.needs} | {"episode_ids": data["episode_ids"]}
    table, finish = item.resample(data["states"], data["factors"], **needs)
    value, _ = drawn(name, data, draws=1)
    found = finish(table.sum(axis=0)[None])
    assert set(found) == set(value) - FIXED.get(name, set())
    for key, scores in found.items():
        assert scores[0] == pytest.approx(value[key], abs=0.1 if name in DRAWN else 1e-9), key


EVEN = ("gtc", "mig", "sap", "linear_cka", "smoothness", "ridge_r2", "knn_mse", "inverse", "dci", "forward", "irs")


@pytest.mark.parametrize("name", [*EVEN, "lowdata_auc", "pairwise_information"])
def test_equal_episodes_leave_nothing_uncertain(name):
    data = recording(1)
    for key in ("states", "factors", "actions"):
        data[key] = np.tile(data[key][:15], (20, 1))
    value, scores = drawn(name, data, draws=5)
    for key, draws in scores.items():
        np.testing.assert_allclose(draws, value[key], atol=1e-9)


def test_rows_of_drawn_episodes_stay_together():
    """Oracle: the metric on the drawn rows, by hand; an episode that is drawn twice is two."""
    data = recording(2)
    draws = np.random.default_rng(7).integers(20, size=20)
    rows = np.concatenate([np.flatnonzero(data["episode_ids"] == episode) for episode in draws])
    expected = gtc(data["states"][rows], data["factors"][rows], kinds=KINDS)["mean"]
    assert drawn("gtc", data, draws=1, seed=7)[1]["mean"][0] == pytest.approx(expected)
    table = sums_by_episode(np.array([[1.0], [2], [4]]), np.array([8, 3, 8]))
    np.testing.assert_array_equal(table, [[1, 2], [2, 5]])
    table = sums_by_episode(np.array([[1.0], [4]]), np.array([8, 8]), np.array([3, 8]))
    np.testing.assert_array_equal(table, [[0, 0], [2, 5]])


def test_ranks_of_distances_are_summed_over_pairs_of_drawn_episodes():
    """Oracle: a loop over pairs of drawn episodes, those of an episode and its copy left out."""
    data = recording(4, n_episodes=6, length=8)
    told = {"kinds": KINDS, "roles": data["roles"]}
    times = np.array([2, 0, 1, 1, 1, 1])
    drawn = np.repeat(np.arange(6), times)
    z, x = common.standardise(data["states"]), common.task_columns(data["factors"], **told)
    a, b = (squareform(rankdata(pdist(points))) for points in (z, x))
    pairs = []
    for first, second in itertools.combinations_with_replacement(range(6), 2):
        one, other = (np.flatnonzero(data["episode_ids"] == drawn[place]) for place in (first, second))
        if first == second:
            pairs += [(i, j) for i in one for j in one if i < j]
        elif drawn[first] != drawn[second]:
            pairs += list(itertools.product(one, other))
    table, finish = METRICS["rsa"].resample(data["states"], data["factors"], episode_ids=data["episode_ids"], **told)
    rows, columns = np.array(pairs).T
    expected = np.corrcoef(a[rows, columns], b[rows, columns])[0, 1]
    assert finish(times[None] @ table)["mean"][0] == pytest.approx(expected)


def test_quantiles_are_those_of_the_rows_of_drawn_episodes():
    data = recording(5)
    task = {"kinds": KINDS, "roles": data["roles"]}
    table, finish = METRICS["lipschitz"].resample(
        data["states"], data["factors"], episode_ids=data["episode_ids"], **task
    )
    times = np.random.default_rng(0).multinomial(20, np.full(20, 1 / 20))
    rows = np.concatenate([np.flatnonzero(data["episode_ids"] == e) for e in np.repeat(np.arange(20), times)])
    x = common.task_columns(data["factors"], **task)
    z, x = (points / np.sqrt(points.var(axis=0).sum()) for points in (data["states"], x))
    back = stretch(z, x, 10, np.arange(300), np.arange(300), torn=np.inf)[rows]
    assert finish(times[None] @ table)["inverse_q95"][0] == pytest.approx(np.quantile(back, 0.95))


@pytest.mark.parametrize("name", DRAWN)
def test_codes_that_hold_one_factor_each_win_all_batches_of_any_episodes(name):
    data = recording(6)
    scores = METRICS[name].resample(data["factors"], data["factors"], episode_ids=data["episode_ids"], kinds=KINDS)
    drawn = np.random.default_rng(0).multinomial(20, np.full(20, 1 / 20), 5)
    assert (scores.finish(drawn)["mean"] > 0.9).all()
    constant = METRICS[name].resample(np.ones((300, 2)), data["factors"], episode_ids=data["episode_ids"])
    assert np.isnan(constant.finish(drawn)["mean"]).all()


def test_areas_of_drawn_episodes_are_those_of_repeated_rows():
    """The classifier is kept, so the oracle is scikit-learn's area of its log chances on the repeated rows."""
    data = recording(7, n_episodes=24)
    test = data["split"] == 2
    member = np.unique(data["episode_ids"][test], return_inverse=True)[1]
    times = np.random.default_rng(1).multinomial(member.max() + 1, np.full(member.max() + 1, 1 / (member.max() + 1)))
    needs = {key: data[key] for key in ("split", "kinds", "names", "episode_ids")}
    found = METRICS["explicitness"].resample(data["states"], data["factors"], **needs).finish(times[None])
    x, label = common.standardise(data["states"]), data["factors"][:, 2].astype(int)
    rows = np.repeat(np.flatnonzero(test), times[member])
    chances = log_chances(fit_logistic(x[data["split"] == 0], label[data["split"] == 0]), x)[rows]
    areas = [roc_auc_score(label[rows] == name, chances[:, name]) for name in range(3)]
    assert found["colour"][0] == pytest.approx(np.mean(areas), abs=1e-9)


def test_limits_are_percentiles_about_the_value():
    draws = np.linspace(0, 1, 401)
    assert limits(0.7, draws) == pytest.approx((0.7 - 0.475, 0.7 + 0.475))
    assert np.isnan(limits(0.7, np.where(draws < 0.8, np.nan, draws))).all()
    assert np.isnan(limits(float("nan"), draws)).all()


def test_noise_knows_nothing():
    data = recording(3, n_episodes=60)
    told = {"split": data["split"], "kinds": KINDS, "names": NAMES, "roles": ["task"] * 3}
    scores = bounds.noise(METRICS["ridge_r2"].function, data["states"], data["factors"], **told)
    assert scores["mean"] < 0.05
    assert bounds.noise(gtc, data["states"], data["factors"], kinds=KINDS)["mean"] < 0.2


@pytest.mark.slow
def test_coverage():
    """Episodes with noise of their own; the interval of rows that are taken for independent is far too narrow."""
    names, covered = ("ridge_r2", "gtc"), np.zeros((2, 2))
    mixing = np.random.default_rng(99).normal(size=(2, 3))

    def world(seed: int, n_episodes: int, length: int = 10) -> dict:
        random = np.random.default_rng(seed)
        episodes = np.repeat(np.arange(n_episodes), length)
        factors = 0.3 * random.normal(size=(len(episodes), 2)) + random.normal(size=(n_episodes, 2))[episodes]
        noise = 0.2 * random.normal(size=(len(episodes), 3)) + 0.8 * random.normal(size=(n_episodes, 3))[episodes]
        return {"states": factors @ mixing + noise, "factors": factors, "episode_ids": episodes}

    train = world(1000, 60)
    train["split"] = np.where(train["episode_ids"] < 45, 0, 1)

    def scored(name: str, test: dict, by_row: bool = False):
        data = {**test, "kinds": ["continuous"] * 2, "roles": ["task"] * 2, "names": ["a", "b"], "seed": 0}
        if name == "ridge_r2":
            data["split"] = np.concatenate([train["split"], np.full(len(test["states"]), 2)])
            data["episode_ids"] = np.concatenate([train["episode_ids"], 1000 + test["episode_ids"]])
            for key in ("states", "factors"):
                data[key] = np.concatenate([train[key], test[key]])
            # factors are standardised over all rows, which does not change R^2
        ids = np.arange(len(data["states"])) if by_row else data["episode_ids"]
        item = METRICS[name]
        needs = {key: data[key] for key in item.needs}
        value = item.function(data["states"], data["factors"], **needs)["mean"]
        draws = resampled_scores(item, data["states"], data["factors"], needs, episode_ids=ids)["mean"]
        return value, limits(value, draws)

    truth = {name: scored(name, world(2000, 1500))[0] for name in names}
    for repeat in range(100):
        test = world(repeat, 40)
        for column, name in enumerate(names):
            for row, by_row in enumerate((False, True)):
                low, high = scored(name, test, by_row)[1]
                covered[row, column] += low <= truth[name] <= high
    assert (covered[0] >= 85).all()
    assert (covered[1] <= 75).all()
