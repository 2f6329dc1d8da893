"""Nearest neighbours against scikit-learn and plain loops, ties, and bad requests."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from srl_bench.errors import DataError
from srl_bench.metrics import knn_mse, knn_mse_norm, knn_skill
from srl_bench.metrics.common import standardised_blocks
from srl_bench.metrics.neighbour_error import neighbour_error, random_level
from srl_bench.metrics.neighbourhood import levels
from srl_bench.metrics.search import nearest


def by_hand(points: np.ndarray, k: int, episodes: np.ndarray) -> np.ndarray:
    distance = np.sqrt(((points[:, None] - points) ** 2).sum(axis=2))
    distance[episodes[:, None] == episodes] = np.inf
    return np.argsort(distance, axis=1)[:, :k]


def test_same_neighbours_as_scikit_learn():
    points = np.random.default_rng(0).normal(size=(3000, 12)).astype(np.float32)
    found, distance = nearest(points, 5)
    expected = NearestNeighbors(n_neighbors=5, algorithm="brute").fit(points.astype(np.float64)).kneighbors()
    np.testing.assert_array_equal(found, expected[1])
    np.testing.assert_allclose(distance, expected[0], rtol=1e-9)


@pytest.mark.parametrize("lengths", [[10] * 200, [1, 2, 3, 5, 400, 900, 90, 60] * 2, [1200, 1300]])
@pytest.mark.parametrize("offset", [0, 1e4])
def test_other_episodes_only(lengths, offset):
    random = np.random.default_rng(1)
    episodes = random.permutation(np.repeat(random.permutation(len(lengths)) * 7 - 3, lengths))
    points = random.normal(size=(len(episodes), 4)) + offset
    found, _ = nearest(points, 6, episodes)
    np.testing.assert_array_equal(found, by_hand(points, 6, episodes))


def test_subset_of_queries():
    random = np.random.default_rng(2)
    points, episodes = random.normal(size=(2000, 3)), np.arange(2000) // 50
    queries = random.choice(2000, 90, replace=False)
    np.testing.assert_array_equal(nearest(points, 4, episodes, queries)[0], by_hand(points, 4, episodes)[queries])


def test_every_partner_can_be_asked_for():
    points, episodes = np.random.default_rng(0).normal(size=(12, 2)), np.repeat([0, 1, 2], 4)
    np.testing.assert_array_equal(nearest(points, 8, episodes)[0], by_hand(points, 8, episodes))


def test_random_level_is_the_mean_over_partners():
    random = np.random.default_rng(3)
    targets, episodes = random.normal(size=(60, 3)) + 5, random.integers(0, 5, 60)
    squares = ((targets[:, None] - targets) ** 2).sum(axis=2)
    allowed = episodes[:, None] != episodes
    np.testing.assert_allclose(random_level(targets, episodes), (squares * allowed).sum(1) / allowed.sum(1))
    np.testing.assert_allclose(random_level(targets), squares.sum(axis=1) / 59)


@pytest.mark.parametrize("gap", [0, 2, 30])
def test_only_rows_near_in_time_are_excluded(gap):
    """Two episodes in random order, one of which lacks a stretch of steps."""
    random = np.random.default_rng(8)
    episodes, steps = np.repeat([3, 1], [60, 40]), np.concatenate([np.arange(60), np.arange(10), np.arange(25, 55)])
    order = random.permutation(100)
    episodes, steps, points = episodes[order], steps[order], random.normal(size=(100, 2))
    targets = random.normal(size=(100, 2))
    far = (episodes[:, None] != episodes) | (np.abs(steps[:, None] - steps) > gap)
    error, chance = [], []
    for i in range(100):
        rows = np.flatnonzero(far[i])
        squares = ((targets[rows] - targets[i]) ** 2).sum(axis=1)
        error.append(squares[np.argsort(((points[rows] - points[i]) ** 2).sum(axis=1))[:5]].mean())
        chance.append(squares.mean())
    time = {"steps": steps, "gap": gap}
    np.testing.assert_allclose(neighbour_error(points, targets, 5, episodes, **time), error)
    np.testing.assert_allclose(random_level(targets, episodes, **time), chance)
    found = knn_mse(points, targets, episode_ids=episodes, steps=steps, exclude_steps=gap, latent="raw")
    scale = standardised_blocks(targets)[0]
    assert found == pytest.approx(neighbour_error(points, scale, 5, episodes, **time).mean())
    if gap == 0:
        assert found == knn_mse(points, targets, latent="raw")
    assert found != knn_mse(points, targets, latent="raw", episode_ids=episodes)


def test_chance_without_rows_near_in_time_for_constant_latents():
    targets, time = np.random.default_rng(9).normal(size=(60, 2)), {"steps": np.arange(60) % 30, "exclude_steps": 4}
    ids = np.arange(60) // 30
    assert knn_mse_norm(np.ones((60, 2)), targets, episode_ids=ids, **time) == pytest.approx(1)
    with pytest.raises(DataError, match="needs episode_ids and steps"):
        knn_mse(targets, targets, exclude_steps=3)
    with pytest.raises(DataError, match="60 rows are within 30 steps"):
        knn_mse(targets, targets, episode_ids=np.zeros(60), steps=np.arange(60) // 2, exclude_steps=30)


def expected_error(points: np.ndarray, targets: np.ndarray, k: int, allowed: np.ndarray) -> np.ndarray:
    """Average over all orders of equally distant rows, with plain loops."""
    errors = []
    for i in range(len(points)):
        rows = np.flatnonzero(allowed[i])
        distance = np.abs(points[rows] - points[i]).sum(axis=1)
        error = ((targets[rows] - targets[i]) ** 2).sum(axis=1)
        kth = np.sort(distance)[k - 1]
        closer, tied = distance < kth - 1e-9, np.abs(distance - kth) < 1e-9
        errors.append((error[closer].sum() + (k - closer.sum()) * error[tied].mean()) / k)
    return np.array(errors)


@pytest.mark.parametrize("one_hot", [False, True])
def test_ties_of_a_codebook_average_out(one_hot):
    random = np.random.default_rng(4)
    codes, targets, episodes = random.integers(0, 9, 120), random.normal(size=(120, 2)), np.arange(120) // 7
    points = np.eye(9)[codes] if one_hot else codes[:, None].astype(float)
    for ids, allowed in ((episodes, episodes[:, None] != episodes), (None, ~np.eye(120, dtype=bool))):
        error = neighbour_error(points, targets, 5, ids)
        np.testing.assert_allclose(error, expected_error(points, targets, 5, allowed))
        some = neighbour_error(points, targets, 5, ids, queries=np.array([100, 3, 50]))
        np.testing.assert_allclose(some, error[[100, 3, 50]])


def test_few_ties_break_at_random_without_bias():
    random = np.random.default_rng(5)
    points = np.repeat(random.normal(size=(50, 2)), 2, axis=0)  # exactly half are distinct
    targets = random.normal(size=(100, 1))
    exact = expected_error(points, targets, 2, ~np.eye(100, dtype=bool)).mean()
    draws = [neighbour_error(points, targets, 2, seed=seed).mean() for seed in range(200)]
    assert np.mean(draws) == pytest.approx(exact, abs=4 * np.std(draws) / np.sqrt(200))
    assert np.std(draws) > 0


def test_subsampled_queries_estimate_the_whole():
    random = np.random.default_rng(6)
    states = random.normal(size=(3000, 3))
    factors = states + 0.1 * random.normal(size=(3000, 3))
    assert knn_mse(states, factors, n_queries=1500) == pytest.approx(knn_mse(states, factors), rel=0.05)
    assert knn_mse(states, factors, n_queries=10**6) == knn_mse(states, factors)


def test_only_task_factors_count():
    random = np.random.default_rng(7)
    states, noise = random.normal(size=(500, 2)), random.normal(size=(500, 1))
    roles = ["task", "task", "distractor"]
    assert knn_mse(states, np.hstack([states, noise]), roles=roles) == knn_mse(states, states)
    with pytest.raises(DataError, match="role 'task'"):
        knn_mse(states, states, roles=["nuisance", "nuisance"])


def test_angles_have_no_seam():
    angle = np.linspace(-np.pi, np.pi, 400, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    found = levels(circle, angle[:, None], kinds=["angular"], k=2)
    step = 2 - 2 * np.cos(2 * np.pi / 400)
    assert found.latent == pytest.approx(step)
    assert knn_skill(circle, angle[:, None], kinds=["angular"], k=2) == pytest.approx(1)


def test_too_many_neighbours():
    points = np.arange(10.0)[:, None]
    for k, episodes in ((10, None), (0, None), (5, [0] * 6 + [1] * 4)):
        with pytest.raises(DataError, match="neighbours are impossible"):
            knn_mse(points, points, k=k, episode_ids=None if episodes is None else np.array(episodes))
    with pytest.raises(DataError, match="episode_ids has 3 entries"):
        knn_mse(points, points, episode_ids=np.arange(3))


def test_skill_without_neighbours_is_undefined():
    factors = np.repeat([[0.0], [1.0]], 20, axis=0)
    with pytest.warns(UserWarning, match="undefined"):
        assert np.isnan(knn_skill(factors, factors, episode_ids=np.repeat([0, 1], 20)))
