"""Probes, their ladder and low-data curves: scikit-learn, hand-made curves, and learners that must differ."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import balanced_accuracy_score, r2_score, roc_auc_score
from sklearn.neighbors import KNeighborsRegressor

from srl_bench.errors import DataError
from srl_bench.metrics import (
    binary_auroc,
    category_accuracy,
    eps_sample_complexity,
    explicitness_level,
    gbt_r2,
    knn_probe_r2,
    linear_gap,
    lowdata_auc,
    mlp_r2,
    probe_mse,
    ridge_r2,
)
from srl_bench.metrics.common import standardise
from srl_bench.metrics.low_data import low_data_curve
from srl_bench.metrics.probes import probe_scores


def data(seed: int = 0, n_rows: int = 600) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    factors = random.normal(size=(n_rows, 3))
    states = np.tanh(factors @ random.normal(size=(3, 5))) + 0.1 * random.normal(size=(n_rows, 5))
    return states, factors, np.repeat([0, 1, 2], n_rows // 3)


def test_neighbours_and_trees_are_those_of_scikit_learn():
    states, factors, split = data()
    x, y = standardise(states, split == 0), standardise(factors)
    train, test = split == 0, split == 2
    peers = {
        "knn": KNeighborsRegressor(10).fit(x[train], y[train]).predict(x[test]),
        "gbt": np.stack(
            [
                HistGradientBoostingRegressor(max_iter=200, early_stopping=False, random_state=0)
                .fit(x[train], column[train])
                .predict(x[test])
                for column in y.T
            ],
            axis=1,
        ),
    }
    for probe, prediction in peers.items():
        found = probe_scores(probe, states, factors, split=split)
        np.testing.assert_allclose(found.r2, r2_score(y[test], prediction, multioutput="raw_values"), atol=1e-9)
        np.testing.assert_allclose(found.mse, ((y[test] - prediction) ** 2).mean(axis=0), atol=1e-9)


def test_blocks_of_angles_and_classes_are_judged_as_a_whole():
    random = np.random.default_rng(0)
    angle, label = random.uniform(-np.pi, np.pi, 900), random.integers(0, 4, 900)
    states = np.column_stack([np.cos(angle), np.sin(angle), np.eye(4)[label]]) + 0.2 * random.normal(size=(900, 6))
    factors, split = np.column_stack([angle, label]), np.repeat([0, 1, 2], 300)
    kinds = ["angular", "categorical"]
    columns = [np.column_stack([np.sin(angle), np.cos(angle)]), np.eye(4)[label]]
    x = standardise(states, split == 0)
    for probe, expected in (("ridge", ridge_r2), ("knn", knn_probe_r2)):
        r2 = expected(states, factors, split=split, kinds=kinds)
        for name, block in zip(("factor_0", "factor_1"), columns, strict=True):
            learner = Ridge(alpha=1) if probe == "ridge" else KNeighborsRegressor(10)
            prediction = learner.fit(x[split == 0], block[split == 0]).predict(x[split == 2])
            pooled = (
                1
                - ((prediction - block[split == 2]) ** 2).sum()
                / ((block[split == 2] - block[split == 2].mean(axis=0)) ** 2).sum()
            )
            assert r2[name] == pytest.approx(pooled, abs=2e-3 if probe == "ridge" else 1e-9)


def test_errors_in_the_unit_of_the_factor():
    states, factors, split = data()
    factors = factors * [1, 100, 0.01]
    std, raw = (probe_mse(states, factors, split=split, units=units) for units in ("std", "raw"))
    for k in range(3):
        assert raw[f"factor_{k}"] == pytest.approx(std[f"factor_{k}"] * factors[:, k].var())
        test_spread = (factors[split == 2, k] / factors[:, k].std()).var()
        r2 = ridge_r2(states, factors, split=split)[f"factor_{k}"]
        assert std[f"factor_{k}"] == pytest.approx((1 - r2) * test_spread)
    with pytest.raises(DataError, match="units 'cm' is unknown"):
        probe_mse(states, factors, split=split, units="cm")


def test_headline_is_the_mean_of_task_factors_above_zero():
    states, factors, split = data()
    factors = np.column_stack([factors, np.random.default_rng(9).normal(size=600), np.full(600, 0.1)])
    roles = ["task", "distractor", "task", "task", "task"]
    for metric in (ridge_r2, knn_probe_r2, gbt_r2, mlp_r2):
        scores = metric(states, factors, split=split, roles=roles)
        assert np.isnan(scores["factor_4"])
        total = scores["factor_0"] + scores["factor_2"] + max(0, scores["factor_3"])
        assert scores["mean"] == pytest.approx(total / 3)
    assert scores["factor_3"] < 0


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10_000))
def test_scale_shift_order_and_dead_dimensions_do_not_matter(seed):
    states, factors, split = data(seed, 300)
    random = np.random.default_rng(seed)
    moved = np.hstack([states * random.uniform(0.1, 50, 5) - 3, np.full((300, 1), 2.0)])[:, random.permutation(6)]
    exact = {
        "knn": lambda z: knn_probe_r2(z, factors, split=split)["mean"],
        "low data": lambda z: lowdata_auc(z, factors, split=split)["mean"],
    }
    for name, metric in exact.items():
        assert metric(moved) == pytest.approx(metric(states), abs=1e-6), name
    assert gbt_r2(moved, factors, split=split)["mean"] == pytest.approx(
        gbt_r2(states, factors, split=split)["mean"], abs=0.02
    )


def test_trees_forgive_warps_and_neighbours_noise_dimensions_not():
    states, factors, split = data(0, 3000)
    warped = gbt_r2(np.sinh(2 * states), factors, split=split)["mean"]
    assert warped == pytest.approx(gbt_r2(states, factors, split=split)["mean"], abs=0.02)
    noisy = np.hstack([states, np.random.default_rng(1).normal(size=(3000, 8))])
    near = knn_probe_r2(states, factors, split=split)["mean"]
    assert knn_probe_r2(noisy, factors, split=split)["mean"] < near - 0.1


def test_classes_are_told_apart_as_by_scikit_learn():
    random = np.random.default_rng(3)
    label, binary = random.choice([2, 5, 7], 900, p=[0.7, 0.2, 0.1]), random.integers(0, 2, 900)
    states = np.column_stack([label, binary, np.zeros(900)]) + random.normal(size=(900, 3))
    factors, split = np.column_stack([label, binary, random.normal(size=900)]), np.repeat([0, 1, 2], 300)
    about = {"kinds": ["categorical", "categorical", "continuous"], "names": ["colour", "open", "x"]}
    x = standardise(states, split == 0)
    accuracy = category_accuracy(states, factors, split=split, **about)
    assert set(accuracy) == {"mean", "colour", "open"}
    for k, name in enumerate(("colour", "open")):
        model = LogisticRegression(max_iter=1000).fit(x[split == 0], factors[split == 0, k])
        expected = balanced_accuracy_score(factors[split == 2, k], model.predict(x[split == 2]))
        assert accuracy[name] == pytest.approx(expected, abs=0.01)
    assert accuracy["mean"] == pytest.approx((accuracy["colour"] + accuracy["open"]) / 2)
    area = binary_auroc(states, factors, split=split, **about)
    guess = model.predict_proba(x[split == 2])[:, 1]
    assert area == pytest.approx(dict.fromkeys(("mean", "open"), roc_auc_score(binary[split == 2], guess)), abs=1e-4)
    chance = category_accuracy(np.ones((900, 2)), factors, split=split, **about)
    assert chance == pytest.approx({"mean": 5 / 12, "colour": 1 / 3, "open": 1 / 2})


def test_classes_that_are_missing():
    random = np.random.default_rng(0)
    states, split = random.normal(size=(300, 2)), np.repeat([0, 1, 2], 100)
    late = (split == 2).astype(float)[:, None]
    with pytest.warns(UserWarning, match=r"category_accuracy.factor_0 is undefined: the train or the test rows hold"):
        assert np.isnan(category_accuracy(states, late, split=split, kinds=["categorical"])["mean"])
    with pytest.warns(UserWarning, match="no task factor is of that kind"):
        assert np.isnan(category_accuracy(states, states, split=split)["mean"])


def test_few_frames_and_few_episodes():
    states, factors, split = data(0, 3000)
    episodes = np.arange(3000) // 20
    sizes, curve = low_data_curve(states, factors, split=split)
    assert sizes.tolist() == [25, 50, 100, 250, 500, 1000]
    assert (np.diff(curve) > -0.02).all()
    full = ridge_r2(states, factors, split=split)["mean"]
    assert curve[-1] == pytest.approx(full)
    scores = lowdata_auc(states, factors, split=split)
    weights = np.diff(np.log10(sizes))
    area = (weights * (curve[1:] + curve[:-1]) / 2).sum() / weights.sum()
    assert scores == pytest.approx({"mean": area} | {f"n{n}": r2 for n, r2 in zip(sizes, curve, strict=True)})
    about = {"split": split, "episode_ids": episodes, "mode": "episodes"}
    sizes, curve = low_data_curve(states, factors, **about)
    assert sizes.tolist() == [1, 2, 5, 10, 20, 50]
    assert curve[-1] == pytest.approx(full)
    assert curve[0] < curve[-1]
    assert lowdata_auc(states, factors, sizes=[50], **about)["mean"] == pytest.approx(full)
    with pytest.raises(DataError, match="must lie between 1 and the 50 train episodes"):
        low_data_curve(states, factors, sizes=[60], **about)
    with pytest.raises(DataError, match="with episode_ids"):
        low_data_curve(states, factors, split=split, mode="episodes")


def test_sample_complexity():
    _, factors, split = data(0, 3000)
    assert eps_sample_complexity(factors, factors, split=split) == 25
    products = np.column_stack([factors[:, 0] * factors[:, 1], np.abs(factors[:, 2])])
    assert eps_sample_complexity(factors, products, split=split) == np.inf
    noise = np.random.default_rng(5).normal(size=(3000, 2))
    with pytest.warns(UserWarning, match="trees learn nothing"):
        assert np.isnan(eps_sample_complexity(noise, factors, split=split))


def test_each_rung_of_the_ladder():
    random = np.random.default_rng(0)
    states, split = random.uniform(-1, 1, (3000, 2)), np.repeat([0, 1, 2], 1000)
    factors = np.column_stack(
        [states @ [1, 2], states[:, 0] * states[:, 1], np.sin(9 * states[:, 0]) * np.sin(9 * states[:, 1])]
    )
    about = {"split": split, "names": ["linear", "product", "waves"]}
    level = explicitness_level(states, factors, **about)
    assert (level["linear"], level["product"]) == (1, 2)
    assert level["waves"] >= 3
    gap = linear_gap(states, factors, **about)
    assert gap["linear"] == pytest.approx(0, abs=1e-6)
    assert min(gap["product"], gap["waves"]) > 0.8
    assert level["mean"] == pytest.approx(np.mean([level[name] for name in about["names"]]))
    with pytest.warns(UserWarning, match="no learner reads noise"):
        noise = explicitness_level(states, random.normal(size=(3000, 1)), split=split, names=["noise"])
    assert np.isnan(noise["noise"])


def test_unknown_probe():
    states, factors, split = data()
    with pytest.raises(DataError, match="probe 'svm' is unknown; use one of ridge, knn, gbt, mlp"):
        probe_mse(states, factors, split=split, probe="svm")
