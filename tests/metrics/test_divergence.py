"""Oracles: known Gaussians, scipy's matrix root, and kernels of scikit-learn."""

import numpy as np
import pytest
from scipy.linalg import sqrtm
from sklearn.metrics.pairwise import euclidean_distances, rbf_kernel

from srl_bench.errors import DataError
from srl_bench.metrics import frechet_distance, mmd
from srl_bench.metrics.common import standardise
from srl_bench.registry import METRICS

random = np.random.default_rng(0)
STATES = random.normal(size=(400, 3)) @ random.normal(size=(3, 3)) + 5


def test_the_same_look_has_no_distance_and_pairing_does_not_matter():
    shuffled = random.permutation(STATES)
    assert frechet_distance(STATES, shifted_states=shuffled) == pytest.approx(0, abs=1e-9)
    assert mmd(STATES, shifted_states=shuffled) == pytest.approx(0, abs=1e-12)


def test_distances_of_known_gaussians():
    """An offset of a deviation counts 1, twice the deviation (2 - 1)^2."""
    deviation = STATES.std(axis=0)
    assert frechet_distance(STATES, shifted_states=STATES + deviation) == pytest.approx(1)
    single = STATES[:, :1]
    assert frechet_distance(single, shifted_states=2 * single - single.mean()) == pytest.approx(400 / 399)


def test_distance_is_that_of_the_matrix_root():
    other = STATES @ random.normal(size=(3, 3)) + 1
    z = standardise(np.vstack([STATES, other]), slice(400))
    a, b = np.cov(z[:400].T), np.cov(z[400:].T)
    apart = z[:400].mean(axis=0) - z[400:].mean(axis=0)
    expected = (apart @ apart + np.trace(a + b - 2 * sqrtm(a @ b).real)) / 3
    assert frechet_distance(STATES, shifted_states=other) == pytest.approx(expected)


def test_discrepancy_is_that_of_scikit_learns_kernels():
    other = np.tanh(STATES) + 0.1
    z = standardise(np.vstack([STATES, other]), slice(400))
    z, other_z = z[:400], z[400:]
    pairs = ((z, z), (other_z, other_z), (z, other_z))
    median = np.median([euclidean_distances(a, b)[~np.eye(400, dtype=bool)] for a, b in pairs])
    one, two, between = (rbf_kernel(a, b, gamma=1 / (2 * median**2)).mean() for a, b in pairs)
    assert mmd(STATES, shifted_states=other) == pytest.approx(one + two - 2 * between, rel=1e-6)


def test_discrepancy_of_drawn_episodes():
    """Oracle: the metric of the drawn rows with the bandwidth of all, here of episodes that are drawn once each."""
    episodes, other = np.arange(400) // 20, STATES + 1
    scores = METRICS["mmd"].resample(STATES, STATES, episode_ids=episodes, shifted_states=other)
    assert scores.finish(np.ones((1, 20)))["mean"][0] == pytest.approx(mmd(STATES, shifted_states=other))
    drawn = scores.finish(np.random.default_rng(0).multinomial(20, np.full(20, 1 / 20), 50))["mean"]
    assert drawn.std() > 0


def test_constant_latents_and_bad_input():
    flat = np.full((400, 3), 0.3)
    for metric in (frechet_distance, mmd):
        with pytest.warns(UserWarning, match=r"undefined: the representation is constant"):
            assert np.isnan(metric(flat, shifted_states=STATES))
        with pytest.raises(DataError, match="must be pairs"):
            metric(STATES, shifted_states=STATES[:, :2])
