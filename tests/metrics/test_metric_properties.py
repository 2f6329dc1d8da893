"""Shared machinery, invariances of all metrics, bad input, and the names that the package exports."""

import inspect
import pkgutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import srl_bench.metrics as room
from srl_bench.errors import DataError
from srl_bench.metrics import bounds, common, dci, gtc, knn_mse, knn_mse_norm, knn_skill, mig, mlp_r2, ridge_r2, sap
from srl_bench.metrics.disentanglement import dci_mi, mig_sup, modularity, mutual_information
from srl_bench.registry import METRICS

CHEAP = {
    "knn_mse": knn_mse,
    "knn_skill": knn_skill,
    "gtc": lambda z, y: gtc(z, y)["mean"],
    "mig": mig,
    "mig_sup": mig_sup,
    "modularity": modularity,
    "sap": sap,
    "dci_mi": lambda z, y: dci_mi(z, y)["D"],
    "ridge_r2": lambda z, y: ridge_r2(z, y, split=np.arange(len(z)) * 3 // len(z))["mean"],
}


def data(seed: int, n_rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    factors = random.normal(size=(n_rows, 3))
    return factors @ random.normal(size=(3, 4)) + 0.3 * random.normal(size=(n_rows, 4)), factors


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000))
def test_scale_shift_order_and_dead_dimensions_do_not_matter(seed):
    random = np.random.default_rng(seed)
    states, factors = data(seed)
    moved = states * random.uniform(0.1, 50, 4) + random.normal(size=4)
    moved = np.hstack([moved, np.full((300, 1), 7.0)])[:, random.permutation(5)]
    for name, score in CHEAP.items():
        assert score(moved, factors) == pytest.approx(score(states, factors), abs=1e-6), name


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000))
def test_row_order_does_not_matter(seed):
    states, factors = data(seed)
    order = np.random.default_rng(seed).permutation(300)
    for name, score in CHEAP.items():
        if name != "ridge_r2":
            assert score(states[order], factors[order]) == pytest.approx(score(states, factors), abs=1e-9), name


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000))
def test_sign_and_monotone_warps(seed):
    states, factors = data(seed)
    flipped = states * [-1, 1, -1, 1]
    for name in ("gtc", "sap", "knn_mse", "knn_skill"):
        assert CHEAP[name](flipped, factors) == pytest.approx(CHEAP[name](states, factors), abs=1e-9), name
    assert mig(flipped, factors) == pytest.approx(mig(states, factors), abs=0.01)
    warped = np.sinh(states)
    for k in ("mean", "factor_0"):
        spearman = gtc(warped, factors, method="spearman")[k]
        assert spearman == pytest.approx(gtc(states, factors, method="spearman")[k])
    assert mig(warped, factors) == pytest.approx(mig(states, factors), abs=1e-9)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000))
def test_rotation_keeps_raw_neighbours_and_breaks_disentanglement(seed):
    random = np.random.default_rng(seed)
    factors = random.normal(size=(300, 3))
    rotation = np.linalg.qr(random.normal(size=(3, 3)))[0]
    turned = knn_mse(factors @ rotation, factors, latent="raw")
    assert turned == pytest.approx(knn_mse(factors, factors, latent="raw"), rel=1e-9)
    assert mig(factors @ rotation, factors) < mig(factors, factors)


def test_duplicates_and_noise_dimensions():
    states, factors = data(0, 3000)
    doubled = np.hstack([states, states])
    for name in ("gtc", "mig_sup", "modularity", "dci_mi", "knn_skill"):
        assert CHEAP[name](doubled, factors) == pytest.approx(CHEAP[name](states, factors)), name
    assert mig(doubled, factors) == sap(doubled, factors) == 0
    noisy = np.hstack([factors, np.random.default_rng(1).normal(size=(3000, 3))])
    for name in ("gtc", "mig", "sap"):
        assert CHEAP[name](noisy, factors) == pytest.approx(CHEAP[name](factors, factors), abs=0.03), name
    assert knn_skill(noisy, factors) < knn_skill(factors, factors) - 0.05


def test_time_correlated_noise_needs_episode_exclusion():
    random = np.random.default_rng(0)
    episodes = np.arange(3000) // 100
    factors, states = np.zeros((2, 3000, 3))
    for t in range(1, 3000):
        factors[t] = 0.98 * factors[t - 1] + random.normal(size=3)
        states[t] = 0.9 * states[t - 1] + random.normal(size=3)
    leak = knn_skill(states, factors, exclude_same_episode=False)
    assert leak > 0.1
    assert abs(knn_skill(states, factors, episode_ids=episodes)) < 0.05
    assert dci(states, factors, split=common.split_episodes(episodes))["I"] < 0.1


def test_one_outlier_spares_quantile_bins():
    codes = np.random.default_rng(0).uniform(size=(2000, 2))
    states = codes.copy()
    states[0] *= 1000
    assert mig(codes, codes, binning="width") > 0.9
    assert mig(states, codes, binning="width") < 0.01
    assert mig(states, codes) == pytest.approx(mig(codes, codes), abs=0.02)


@pytest.mark.parametrize(
    ("column", "kind", "binning", "labels"),
    [
        ([0, 1, 2, 3, 4, 10], "continuous", "width", [0, 0, 0, 0, 0, 1]),
        ([0, 1, 2, 3, 4, 10], "continuous", "quantile", [0, 0, 0, 1, 1, 1]),
        ([5, 5, 9, 5], "continuous", "quantile", [0, 0, 1, 0]),
        ([7, 1, 3, 1], "categorical", "width", [2, 0, 1, 0]),
        ([-np.pi, -0.1, 0.1, 3.1, np.pi], "angular", "width", [0, 0, 1, 1, 0]),
    ],
)
def test_discretise_into_two_bins(column, kind, binning, labels):
    np.testing.assert_array_equal(common.discretise(np.array(column, float), kind, binning, 2), labels)


def test_standardised_blocks_weigh_factors_equally():
    random = np.random.default_rng(0)
    factors = np.stack(
        [random.normal(size=500) * 99, random.uniform(-3, 3, 500), random.integers(0, 4, 500), np.ones(500)],
        1,
    )
    columns, owners = common.standardised_blocks(factors, ["continuous", "angular", "categorical", "continuous"])
    np.testing.assert_array_equal(owners, [0, 1, 1, 2, 2, 2, 2, 3])
    np.testing.assert_allclose(np.bincount(owners, columns.var(axis=0)), [1, 1, 1, 0])
    np.testing.assert_allclose(columns.mean(axis=0), 0, atol=1e-12)


def test_active_dimensions_are_relative():
    y = np.random.default_rng(0).normal(size=(100, 1))
    mask = common.active_dims(np.hstack([y, 1e-9 * y, 100 * y, np.full((100, 1), 0.1)]))
    np.testing.assert_array_equal(mask, [True, False, True, False])
    assert not common.active_dims(np.full((100, 2), 0.1)).any()


def test_split_keeps_episodes_and_policies_apart():
    random = np.random.default_rng(0)
    episodes = random.permutation(np.repeat(np.arange(40) * 3, random.integers(1, 9, 40)))
    split = common.split_episodes(episodes, seed=3)
    parts = [np.unique(episodes[split == part]) for part in range(3)]
    assert [len(part) for part in parts] == [24, 6, 10]
    assert len(np.unique(np.concatenate(parts))) == 40
    np.testing.assert_array_equal(split, common.split_episodes(episodes, seed=3))
    policy = (episodes >= 60).astype(int)
    stratified = common.split_episodes(episodes, seed=3, strata=policy)
    for value in (0, 1):
        assert len(np.unique(episodes[(stratified == 2) & (policy == value)])) == 5


def test_ceiling_and_floor_frame_a_score():
    states, factors = data(0, 1000)
    kinds = ["continuous", "angular", "continuous"]
    assert bounds.ceiling(gtc, factors, kinds=["continuous"] * 3)["mean"] == pytest.approx(1)
    assert bounds.ceiling(mig, factors, kinds) > 0.7
    assert bounds.ceiling(knn_skill, factors, kinds, episode_ids=np.arange(1000) // 10) > 0.8
    assert bounds.floor(mig, states, factors, kinds=kinds) < mig(states, factors, kinds=kinds)
    halves = gtc(np.roll(states, 500, axis=0), factors)
    assert bounds.floor(gtc, states, factors, 1) == pytest.approx(halves)
    with_gaps = bounds.floor(gtc, states, np.hstack([factors, np.ones((1000, 1))]), 2)
    assert np.isnan(with_gaps["factor_3"])


def test_angular_ceiling_bins_codes_as_factors():
    angle = np.random.default_rng(0).uniform(-np.pi / 2, np.pi / 2, (1000, 2))
    information, entropies = mutual_information(angle, angle, kinds=["angular"] * 2, code_kinds=["angular"] * 2)
    np.testing.assert_allclose(np.diag(information), entropies)


def test_bad_input_is_named():
    states, factors = data(0)
    broken = states.copy()
    broken[17, 2] = np.nan
    for name in ("knn_mse", "gtc", "mig", "sap", "ridge_r2"):
        with pytest.raises(DataError, match=r"dims \[2\] and rows \[17\]"):
            CHEAP[name](broken, factors)
    broken[40:60] = np.inf
    with pytest.raises(ValueError, match="21 in all"):
        gtc(broken, factors)
    with pytest.raises(DataError, match="300 rows but factors have 299"):
        gtc(states, factors[:-1])
    with pytest.raises(DataError, match="filled table"):
        gtc(states[:, 0], factors)
    with pytest.raises(DataError, match="kinds has 1 entries"):
        mig(states, factors, kinds=["continuous"])
    with pytest.raises(DataError, match="binning 'log' is unknown"):
        mig(states, factors, binning="log")
    with pytest.raises(DataError, match="correlation method 'kendall'"):
        gtc(states, factors, method="kendall")
    with pytest.raises(DataError, match="no test rows"):
        ridge_r2(states, factors, split=np.zeros(300))
    with pytest.raises(DataError, match="no validation rows"):
        ridge_r2(states, factors, split=np.arange(300) % 2 * 2)
    with pytest.raises(DataError, match="split must hold 300"):
        mlp_r2(states, factors, split=np.zeros(10))


CONTEXT = {
    "episode_ids": np.arange(300) // 10,
    "steps": np.arange(300) % 10,
    "split": np.arange(300) // 10 % 3,
    "kinds": ["continuous"] * 3,
    "roles": ["task"] * 3,
    "names": ["a", "b", "c"],
    "actions": np.random.default_rng(0).normal(size=(300, 2)),
    "rewards": np.random.default_rng(1).normal(size=300),
    "seed": 0,
    "shared": True,
}


@pytest.mark.parametrize("name", [name for name in METRICS if set(METRICS[name].needs) <= set(CONTEXT)])
def test_every_metric_names_broken_values_and_lengths(name):
    item = METRICS[name]
    needs = {key: CONTEXT[key] for key in item.needs}
    states, factors = data(0)
    broken = states.copy()
    broken[17, 2] = np.nan
    with pytest.raises(DataError, match=r"states hold NaN or infinite values in dims \[2\] and rows \[17\]"):
        item.function(broken, factors, **needs)
    if inspect.signature(item.function).parameters["factors"].default is inspect.Parameter.empty:
        with pytest.raises(DataError, match="300 rows but factors have 299"):
            item.function(states, factors[:-1], **needs)
    found = item.function(states, factors, **needs)
    values = found.values() if isinstance(found, dict) else [found]
    assert all(type(value) is float for value in values)


def test_too_few_rows_or_episodes():
    common.check_rows(np.zeros((50, 2)), np.arange(50) % 4)
    for n_rows, n_episodes in ((49, 4), (50, 3)):
        with pytest.raises(DataError, match="too few"):
            common.check_rows(np.zeros((n_rows, 2)), np.arange(n_rows) % n_episodes)


def test_network_probe_is_seeded_and_leaves_global_state_alone():
    states, factors = data(0)
    split = np.arange(300) * 3 // 300
    torch.manual_seed(5)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    first = mlp_r2(states, factors, split=split, seed=1, roles=["task", "distractor", "task"])
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert first == mlp_r2(states, factors, split=split, seed=1, roles=["task", "distractor", "task"])
    assert first["factor_0"] != mlp_r2(states, factors, split=split, seed=2)["factor_0"]
    assert first["mean"] == pytest.approx((first["factor_0"] + first["factor_2"]) / 2)


def test_network_probe_reads_what_a_line_cannot():
    random = np.random.default_rng(0)
    states = random.uniform(-2, 2, (2000, 2))
    factors = np.stack([states[:, 0] * states[:, 1], np.abs(states[:, 0])], axis=1)
    split = np.arange(2000) * 3 // 2000
    assert ridge_r2(states, factors, split=split)["mean"] < 0.1
    assert mlp_r2(states, factors, split=split)["mean"] > 0.97


def test_package_exports_registered_metrics():
    assert {"knn_mse", "knn_mse_norm", "knn_skill", "gtc", "ridge_r2", "mlp_r2", "mig", "sap", "dci"} <= set(dir(room))
    assert METRICS["knn_mse_norm"].function is knn_mse_norm
    assert METRICS["mlp_r2"].shifts == METRICS["dci"].shifts == 1
    assert METRICS["knn_skill"].needs == ("episode_ids", "kinds", "roles", "seed")
    modules = {item.name for item in pkgutil.iter_modules(room.__path__)}
    assert not modules & {*METRICS}, "a module hides the metric of its name"
    with pytest.raises(AttributeError, match="knn_mee"):
        room.knn_mee  # noqa: B018
