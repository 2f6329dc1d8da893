"""Odd but legal inputs to every metric: the same numbers, or a NaN that says why."""

import warnings
from functools import cache

import numpy as np
import pytest
from sklearn.manifold import trustworthiness as sklearn_trustworthiness
from sklearn.neural_network import MLPRegressor

from srl_bench.factors import encode_factors
from srl_bench.metrics import common, explicitness, lowdata_auc, mlp_r2, nieqa, ridge_r2, trustworthiness
from srl_bench.registry import METRICS


def recording(n_rows: int = 300, n_dims: int = 4, n_factors: int = 3) -> dict:
    random = np.random.default_rng(0)
    factors = random.normal(size=(n_rows, n_factors))
    states = factors @ random.normal(size=(n_factors, n_dims)) + 0.3 * random.normal(size=(n_rows, n_dims))
    episodes = np.arange(n_rows) // 10
    return {
        "states": states,
        "factors": factors,
        "episode_ids": episodes,
        "steps": np.arange(n_rows) % 10,
        "split": episodes % 3,
        "kinds": ["continuous"] * n_factors,
        "roles": ["task"] * n_factors,
        "names": [f"factor_{k}" for k in range(n_factors)],
        "actions": random.normal(size=(n_rows, 2)),
        "rewards": random.normal(size=n_rows),
        "seed": 0,
        "shared": True,
        "expert_actions": random.normal(size=(len(states), 2)),
        "expert_returns": random.normal(size=len(states)),
        "shifted_states": states + 0.1 * random.normal(size=states.shape),
        "other_states": [states + 0.1 * random.normal(size=states.shape) for _ in range(4)],
    }


def changed(data: dict, change) -> dict:
    """Apply a change to all latents."""
    others = [change(other) for other in data["other_states"]]
    return data | {name: change(data[name]) for name in ("states", "shifted_states")} | {"other_states": others}


def scored(name: str, data: dict) -> tuple[dict[str, float], list[str]]:
    item = METRICS[name]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = item.function(data["states"], data["factors"], **{key: data[key] for key in item.needs})
    return found if isinstance(found, dict) else {"mean": found}, [str(warning.message) for warning in caught]


@cache
def unchanged(name: str) -> dict[str, float]:
    return scored(name, recording())[0]


SAME = {
    "single precision": (lambda z: z.astype(np.float32), 0.03),
    "columns lie together": (np.asfortranarray, 1e-6),
    "every second row": (lambda z: np.repeat(z, 2, axis=0)[::2], 1e-6),
    "far from zero": (lambda z: z + 1e6, 1e-3),
    "tiny": (lambda z: z * 1e-8, 1e-4),
    "huge": (lambda z: z * 1e8, 1e-4),
}


@pytest.mark.parametrize("change", SAME)
def test_storage_offset_and_unit_do_not_matter(change):
    function, tolerance = SAME[change]
    data = recording()
    for name in METRICS:
        if METRICS[name].function.__module__.startswith("srl_bench."):
            expected, found = unchanged(name), scored(name, changed(data, function))[0]
            assert found == pytest.approx(expected, rel=tolerance, abs=tolerance, nan_ok=True), name


ODD = {
    "one dimension": lambda data: changed(data, lambda z: z[:, :1]),
    "constant": lambda data: changed(data, lambda z: np.full_like(z, 0.1)),
    "integers": lambda data: changed(data, lambda z: np.round(3 * z).astype(np.int64)),
    "truth values": lambda data: changed(data, lambda z: z > 0),
    "one factor": lambda data: (
        data | {"factors": data["factors"][:, :1], "kinds": ["continuous"], "roles": ["task"], "names": ["a"]}
    ),
    "constant factors": lambda data: data | {"factors": np.full((300, 3), 0.1)},
    "many classes": lambda data: (
        data
        | {
            "factors": np.column_stack([np.arange(300) % 40, data["factors"][:, 1:]]),
            "kinds": ["categorical", "continuous", "continuous"],
        }
    ),
    "dimension constant in training": lambda data: (
        data | {"states": np.where((data["split"] == 0)[:, None] * [True, False, False, False], 0.1, data["states"])}
    ),
    "factor constant in tests": lambda data: (
        data | {"factors": np.where((data["split"] == 2)[:, None] * [True, False, False], 0.1, data["factors"])}
    ),
}


@pytest.mark.parametrize("odd", ODD)
def test_scores_stay_in_range_and_undefined_ones_say_why(odd):
    data = ODD[odd](recording())
    constant = ~common.varying_factors(np.asarray(data["factors"], dtype=float))
    for name in METRICS:
        if not METRICS[name].function.__module__.startswith("srl_bench."):
            continue
        scores, said = scored(name, data)
        low, high = METRICS[name].range
        for key, score in scores.items():
            assert np.isnan(score) or low - 1e-9 <= score <= high + 1e-9, (name, key)
            # the report lists constant factors for all metrics
            if np.isnan(score) and not constant.any():
                assert any("undefined" in message for message in said), (name, key)


def test_what_is_too_small_is_undefined():
    data = recording()
    few = {key: data[key][:50] for key in ("states", "factors", "split")}
    with pytest.warns(UserWarning, match="fewer than 25 train frames"):
        assert np.isnan(lowdata_auc(few.pop("states"), few.pop("factors"), **few)["mean"])
    with pytest.warns(UserWarning, match="larger than the data"):
        found = nieqa(np.random.default_rng(0).normal(size=(300, 80)), data["factors"], episode_ids=data["episode_ids"])
    assert np.isnan(found["local"])
    told = {"split": data["split"], "kinds": ["categorical"], "names": ["a"]}
    with pytest.warns(UserWarning, match=r"explicitness\.a"):
        explicitness(data["states"], np.arange(300)[:, None] // 10 * 1.0, **told)


def test_a_column_that_is_constant_where_it_is_measured_becomes_zero():
    """0.1 has no exact mean in floating point, so its deviation is 1e-17, by which nothing may be divided."""
    values = np.full((30, 1), 0.1)
    values[20:] = np.arange(10)[:, None]
    np.testing.assert_array_equal(common.standardise(values, np.arange(30) < 20), 0)


def test_networks_are_those_of_scikit_learn():
    data = recording()
    train, test = data["split"] == 0, data["split"] == 2
    factors = np.column_stack([data["factors"][:, 0], np.arctan2(*data["factors"][:, :2].T), np.arange(300) % 3])
    kinds = ["continuous", "angular", "categorical"]
    found = mlp_r2(data["states"], factors, split=data["split"], kinds=kinds)
    x = common.standardise(data["states"], train)
    for k, kind in enumerate(kinds):
        y = encode_factors(factors[:, [k]], [kind])[0]
        y = (y - y.mean(axis=0)) / np.sqrt(y.var(axis=0).sum())
        expected = []
        for seed in range(3):
            network = MLPRegressor(
                hidden_layer_sizes=(64, 64), batch_size=100, max_iter=150, n_iter_no_change=150, random_state=seed
            )
            fitted = network.fit(x[train], y[train].squeeze())
            expected.append(common.block_r2(y[test], fitted.predict(x[test]).reshape(-1, y.shape[1])))
        assert found[f"factor_{k}"] == pytest.approx(np.mean(expected), abs=0.01), kind


def test_trustworthiness_of_codebooks_is_scikit_learns_without_episodes():
    data = recording()
    codes, truth = np.round(data["states"]), common.standardise(data["factors"])
    expected = sklearn_trustworthiness(truth, common.standardise(codes), n_neighbors=5)
    assert trustworthiness(codes, data["factors"], k=5) == pytest.approx(expected, abs=1e-9)


def test_labels_of_the_split_may_be_of_any_type():
    data = recording()
    told = {"kinds": data["kinds"]}
    expected = ridge_r2(data["states"], data["factors"], split=data["split"], **told)
    assert ridge_r2(data["states"], data["factors"], split=list(map(float, data["split"])), **told) == expected
