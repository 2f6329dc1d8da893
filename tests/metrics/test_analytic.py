"""Cases whose score follows from the definition: a line of ten points and full factorial grids."""

import numpy as np
import pytest

from srl_bench.metrics import dci, gtc, knn_mse, knn_mse_norm, knn_skill, mig, mlp_r2, ridge_r2, sap
from srl_bench.metrics.attributes import sap_from_scores
from srl_bench.metrics.common import standardised_blocks
from srl_bench.metrics.disentanglement import (
    dci_from_importance,
    dci_mi,
    mig_from_information,
    mig_sup,
    mig_sup_from_information,
    modularity,
    modularity_from_information,
)
from srl_bench.metrics.neighbour_error import random_level
from srl_bench.metrics.neighbourhood import levels
from srl_bench.metrics.probes import ridge_path

LINE = np.arange(10.0)[:, None]


def grid(levels_per_factor: int, n_factors: int) -> np.ndarray:
    axes = [np.arange(levels_per_factor)] * n_factors
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, n_factors).astype(float)


def rotated(degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    return grid(10, 2) @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


GRID = grid(10, 2)
SUM_AND_DIFFERENCE = np.stack([GRID[:, 0] + GRID[:, 1], GRID[:, 0] - GRID[:, 1]], axis=1)
EQUIVALENT_GRIDS = [
    (GRID, GRID),
    (GRID[:, ::-1], GRID),
    (GRID * [-1, 1], GRID),
    (GRID * [7, 0.01] + 3, GRID),
    (np.hstack([GRID, np.full((100, 1), 5.0)]), GRID),
    (grid(8, 3), grid(8, 3)),
]


@pytest.mark.parametrize(
    ("latents", "k", "episodes", "error", "ratio"),
    [
        (LINE, 2, None, 1.3, 0.07090909),
        (-7 * LINE + 3, 2, None, 1.3, 0.07090909),
        (LINE, 2, np.arange(10) % 2, 1.8, 0.10588235),
        (LINE, 2, np.arange(10) >= 5, 14.5, 0.5),
        (LINE % 5, 1, None, 25.0, 1.363636),
    ],
)
def test_neighbours_on_a_line(latents, k, episodes, error, ratio):
    assert knn_mse(latents, LINE, k=k, episode_ids=episodes, factor_scale="raw") == pytest.approx(error)
    assert knn_mse_norm(latents, LINE, k=k, episode_ids=episodes) == pytest.approx(ratio, abs=1e-6)


@pytest.mark.parametrize(
    ("episodes", "level"), [(None, 18.3333333), (np.arange(10) % 2, 17.0), (np.arange(10) >= 5, 29.0)]
)
def test_random_level_on_a_line(episodes, level):
    assert random_level(LINE, episodes).mean() == pytest.approx(level)


def test_constant_latents_are_random_neighbours():
    latents = np.full((10, 3), 0.1)
    assert knn_mse(latents, LINE, k=2, factor_scale="raw") == pytest.approx(18.3333333)
    assert knn_mse_norm(latents, LINE, k=2) == 1
    assert knn_skill(latents, LINE, k=2) == 0


def test_rotated_truth_is_the_oracle():
    random = np.random.default_rng(0)
    factors = random.normal(size=(400, 4)) * [1, 10, 0.1, 3]
    rotation = np.linalg.qr(random.normal(size=(4, 4)))[0]
    latents = standardised_blocks(factors)[0] @ rotation
    episodes = np.arange(400) // 20
    found = levels(latents, factors, episode_ids=episodes, latent="raw")
    assert found.latent == pytest.approx(found.oracle, abs=1e-9)
    assert knn_skill(latents, factors, episode_ids=episodes, latent="raw") == pytest.approx(1, abs=1e-9)


def test_random_level_of_standardised_factors_counts_factors():
    factors = np.random.default_rng(0).normal(size=(300, 4)) * [1, 10, 0.1, 3]
    targets, _ = standardised_blocks(factors)
    assert random_level(targets).mean() == pytest.approx(2 * 4 * 300 / 299)


@pytest.mark.parametrize(("latents", "factors"), EQUIVALENT_GRIDS)
def test_axis_aligned_grid_is_perfect(latents, factors):
    assert set(np.round(list(gtc(latents, factors).values()), 12)) == {1}
    assert mig(latents, factors) == pytest.approx(1)
    assert mig(latents, factors, binning="width") == pytest.approx(1)
    assert mig_sup(latents, factors) == pytest.approx(1)
    assert modularity(latents, factors) == pytest.approx(1)
    assert sap(latents, factors) == pytest.approx(1)
    assert dci_mi(latents, factors) == pytest.approx({"D": 1, "C": 1}, abs=1e-8)


@pytest.mark.parametrize(("degrees", "score"), [(45, 0.70710678), (30, 0.8660254)])
def test_correlation_of_a_rotated_grid(degrees, score):
    assert gtc(rotated(degrees), GRID) == pytest.approx({"mean": score, "factor_0": score, "factor_1": score})


def test_diagonal_grid_is_entangled():
    assert mig(SUM_AND_DIFFERENCE, GRID) == pytest.approx(0, abs=1e-12)
    assert mig_sup(SUM_AND_DIFFERENCE, GRID) == pytest.approx(0, abs=1e-12)
    assert modularity(SUM_AND_DIFFERENCE, GRID) == pytest.approx(0, abs=1e-12)
    assert sap(SUM_AND_DIFFERENCE, GRID) == pytest.approx(0, abs=1e-12)
    assert dci_mi(SUM_AND_DIFFERENCE, GRID) == pytest.approx({"D": 0, "C": 0}, abs=1e-9)


def split_grid(latents: np.ndarray, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Repeat every row in train, validation and test."""
    return np.tile(latents, (30, 1)), np.tile(factors, (30, 1)), np.repeat([0, 1, 2], 10 * len(latents))


@pytest.mark.parametrize(("latents", "score", "tolerance"), [(GRID, 1, 0.01), (SUM_AND_DIFFERENCE, 0, 0.02)])
def test_trees_on_a_grid(latents, score, tolerance):
    states, factors, split = split_grid(latents, GRID)
    scores = dci(states, factors, split=split)
    assert scores["D"] == pytest.approx(score, abs=tolerance)
    assert scores["C"] == pytest.approx(score, abs=tolerance)
    assert scores["I"] > 0.9


def test_independent_factor_tells_nothing():
    cube = grid(8, 3)
    latents, factors = cube[:, 2:], cube[:, :2]
    assert gtc(latents, factors)["mean"] < 1e-12
    assert mig(latents, factors) < 1e-12
    assert abs(knn_skill(latents, factors)) < 0.03


def test_constant_factor_is_left_out():
    factors = np.hstack([GRID, np.full((100, 1), 0.1)])
    scores = gtc(GRID, factors, names=["x", "y", "mass"])
    assert scores["mean"] == pytest.approx(1)
    assert np.isnan(scores["mass"])
    assert mig(GRID, factors) == pytest.approx(1)
    assert sap(GRID, factors) == pytest.approx(1)


def test_constant_latents():
    latents = np.full((100, 2), 0.3)
    assert gtc(latents, GRID) == {"mean": 0, "factor_0": 0, "factor_1": 0}
    assert mig(latents, GRID) == mig_sup(latents, GRID) == modularity(latents, GRID) == sap(latents, GRID) == 0
    assert np.isnan(list(dci_mi(latents, GRID).values())).all()
    states, factors, split = split_grid(latents, GRID)
    scores = dci(states, factors, split=split)
    assert np.isnan([scores["D"], scores["C"]]).all()
    assert scores["I"] == 0
    for probe in (ridge_r2, mlp_r2):
        assert probe(states, factors, split=split) == {"mean": 0, "factor_0": 0, "factor_1": 0}


def test_duplicated_dimensions():
    latents = np.hstack([GRID, GRID])
    assert gtc(latents, GRID)["mean"] == pytest.approx(1)
    assert mig(latents, GRID) == pytest.approx(0, abs=1e-12)
    assert mig_sup(latents, GRID) == pytest.approx(1)
    assert modularity(latents, GRID) == pytest.approx(1)
    assert sap(latents, GRID) == pytest.approx(0, abs=1e-12)
    assert dci_mi(latents, GRID) == pytest.approx({"D": 1, "C": 0.5}, abs=1e-8)


def test_one_dimension_holds_both_factors():
    latents = GRID @ [[10.0], [1.0]]
    assert mig(latents, GRID, bins=100) == pytest.approx(1)
    assert mig_sup(latents, GRID, bins=100) == pytest.approx(0, abs=1e-12)
    assert modularity(latents, GRID, bins=100) == pytest.approx(0, abs=1e-12)
    assert dci_mi(latents, GRID, bins=100)["D"] == pytest.approx(0, abs=1e-9)
    assert gtc(latents, GRID) == pytest.approx({"mean": 0.5472705, "factor_0": 0.995037, "factor_1": 0.099504}, 1e-5)


def test_two_copies_of_one_factor():
    latents = GRID[:, [0, 0]]
    assert mig(latents, GRID) == pytest.approx(0, abs=1e-12)
    assert mig_sup(latents, GRID) == pytest.approx(1)
    assert modularity(latents, GRID) == pytest.approx(1)
    assert dci_mi(latents, GRID) == pytest.approx({"D": 1, "C": 0}, abs=1e-8)


def test_a_single_dimension():
    latents = GRID[:, :1]
    assert mig(latents, GRID) == pytest.approx(0.5)
    assert gtc(latents, GRID) == pytest.approx({"mean": 0.5, "factor_0": 1, "factor_1": 0}, abs=1e-12)
    assert np.isnan(dci_mi(latents, GRID)["C"])
    assert np.isnan(sap(latents, GRID))


def test_functions_of_small_matrices():
    information = np.array([[1, 0.2], [0.5, 0.8]])
    assert mig_from_information(information, np.ones(2)) == pytest.approx(0.55)
    assert mig_sup_from_information(information, np.ones(2)) == pytest.approx(0.55)
    assert modularity_from_information(np.array([[1, 0.5], [0, 2]])) == pytest.approx(0.875)
    assert sap_from_scores(np.array([[0.9, 0.1], [0.3, 0.6]])) == pytest.approx(0.55)
    assert dci_from_importance(np.array([[3.0, 1], [0, 4]])) == pytest.approx((0.594361, 0.548795), abs=1e-6)


def test_uninformative_trees_are_gated():
    random = np.random.default_rng(0)
    split = np.repeat([0, 1, 2], [300, 100, 200])
    scores = dci(random.normal(size=(600, 3)), random.normal(size=(600, 2)), split=split)
    assert scores["I"] < 0.1
    assert np.isnan([scores["D"], scores["C"]]).all()


def test_ridge_shrinks_orthonormal_inputs_as_computed_by_hand():
    random = np.random.default_rng(0)
    x = random.normal(size=(1000, 3))
    x = np.linalg.qr(x - x.mean(axis=0))[0] * np.sqrt(1000)  # x'x = N I
    y = x @ random.normal(size=(3, 2))
    residual = y - x @ ridge_path(x, y, np.array([1000.0]))[0]
    assert 1 - (residual**2).sum() / (y**2).sum() == pytest.approx(0.75)


@pytest.mark.parametrize("degrees", [0, 30])
def test_linear_codes_are_read_off_linearly(degrees):
    states, factors, split = split_grid(rotated(degrees), GRID)
    assert min(ridge_r2(states, factors, split=split).values()) > 0.999999
    assert min(mlp_r2(states, factors, split=split).values()) > 0.999
