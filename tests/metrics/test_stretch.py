"""Stretch, smoothness, dimension: analytic cases and independent computations."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import ortho_group

from srl_bench.metrics import dimension, lipschitz, smoothness, twonn
from srl_bench.metrics.common import standardised_blocks

random = np.random.default_rng


def mixed(seed: int, n_rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    factors = random(seed).normal(size=(n_rows, 3))
    noise = 0.3 * random(seed + 1).normal(size=(n_rows, 4))
    return factors @ random(seed + 2).normal(size=(3, 4)) + noise, factors


def test_stretch_by_hand():
    states, factors = mixed(6, 80)
    z, x = (side - side.mean(axis=0) for side in (states, standardised_blocks(factors)[0]))
    z, x = (side / np.sqrt((side**2).sum() / 80) for side in (z, x))

    def largest(source: np.ndarray, image: np.ndarray) -> np.ndarray:
        a, b = cdist(source, source), cdist(image, image)
        near = np.argsort(a + np.diag(np.full(80, np.inf)), axis=1)[:, :10]
        return np.array([(b[i, near[i]] / a[i, near[i]]).max() for i in range(80)])

    forth, back = np.quantile(largest(x, z), [0.5, 0.95]), np.quantile(largest(z, x), [0.5, 0.95])
    names = ("q50", "q95", "inverse_q50", "inverse_q95", "bi")
    expected = dict(zip(names, [*forth, *back, forth[1] * back[1]], strict=True))
    assert lipschitz(states, factors) == pytest.approx(expected)
    similar = lipschitz(3 * x @ ortho_group.rvs(3, random_state=0), factors)
    assert similar == pytest.approx(dict.fromkeys(names, 1))


def test_stretch_at_coincident_rows():
    """Equal states tell nothing about the codes' scale; different states with one code are aliased."""
    factors = random(0).normal(size=(100, 2))
    twice = np.vstack([factors, factors])
    spread = np.vstack([factors, factors + 0.1])
    seen = lipschitz(spread, twice)
    assert np.isfinite(seen["q95"])
    assert lipschitz(twice, twice)["bi"] == pytest.approx(1.0, abs=0.1)
    # Every code holds two states.
    assert np.isposinf(lipschitz(twice, spread)["inverse_q50"])
    assert np.isposinf(lipschitz(twice, spread)["bi"])


LINE = np.arange(10.0)[:, None]


@pytest.mark.parametrize(("states", "tvr"), [(LINE % 2, 1.8), (LINE, 0.0545455)])
def test_variation_of_one_episode(states, tvr):
    found = smoothness(states, LINE, episode_ids=np.zeros(10), steps=np.arange(10))
    assert found["tvr"] == pytest.approx(tvr, abs=1e-6)
    assert found["ratio"] == pytest.approx(tvr / 0.0545455, rel=1e-5)


def test_variation_of_random_processes():
    noise, z = random(0).normal(size=(100_000, 1)), np.zeros((100_000, 1))
    for t in range(1, 100_000):
        z[t] = 0.9 * z[t - 1] + noise[t]
    time = {"episode_ids": np.zeros(100_000), "steps": np.arange(100_000)}
    assert smoothness(z, z, **time)["tvr"] == pytest.approx(0.1, abs=0.005)
    assert smoothness(noise, z, **time)["tvr"] == pytest.approx(1, abs=0.01)
    assert smoothness(noise, z, **time)["jitter"] == pytest.approx(1, abs=0.01)


def test_variation_stays_within_episodes_and_skips_missing_steps():
    z = np.array([[0.0], [1], [9], [10], [3]])
    found = smoothness(z, z, episode_ids=np.array([1, 1, 0, 0, 0]), steps=np.array([0, 1, 5, 6, 8]))
    assert found["tvr"] == pytest.approx(1 / (2 * z.var(ddof=1)))
    assert np.isnan(found["jitter"])


@pytest.mark.parametrize(("variances", "ratio", "rank"), [((4, 1), 1.4705882, 1.6493849), ((1, 1, 1), 3, 3)])
def test_dimension_of_known_covariances(variances, ratio, rank):
    corners = np.stack(np.meshgrid(*[[-1.0, 1.0]] * len(variances)), -1).reshape(-1, len(variances))
    found = dimension(corners * np.sqrt(variances), corners)
    assert found["participation"] == pytest.approx(ratio)
    assert found["erank_cov"] == pytest.approx(rank)
    assert found["participation_corr"] == pytest.approx(len(variances))
    repeated = dimension(np.tile(corners * np.sqrt(variances), (1, 4)), corners)
    assert repeated["participation_corr"] == pytest.approx(len(variances))
    assert repeated["erank_corr"] == pytest.approx(len(variances))
    assert repeated["active"] == 4 * len(variances)


def test_directions_that_hold_the_variance():
    corners = np.stack(np.meshgrid(*[[-1.0, 1.0]] * 3), -1).reshape(-1, 3)
    found = dimension(corners * np.sqrt([95, 4, 1]), corners)
    assert (found["n95"], found["n99"]) == (1, 2)


@pytest.mark.parametrize("intrinsic", [1, 2, 4])
def test_intrinsic_dimension_of_a_plane(intrinsic):
    flat = random(0).uniform(size=(3000, intrinsic))
    states = np.hstack([flat, flat**2])
    assert twonn(states, flat) == pytest.approx(intrinsic, rel=0.1)
    copies = np.vstack([states, states[:50]])  # they have a neighbour at distance 0
    assert twonn(copies, np.vstack([flat, flat[:50]])) == pytest.approx(intrinsic, rel=0.1)
