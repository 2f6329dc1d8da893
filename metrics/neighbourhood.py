"""Neighbourhood metrics: are states that look alike in latent space alike in the world?

KNN-MSE asks for each row i how far, in ground truth, its k nearest latent neighbours are. Rows of the same
episode are no neighbours by default: time alone makes them alike, with any encoder that is smooth in time.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from srl_bench.errors import DataError
from srl_bench.factors import encode_factors
from srl_bench.metrics import common
from srl_bench.metrics.search import (
    QUERIES_AT_ONCE,
    check_neighbours,
    episode_labels,
    nearest,
    rows_by_episode,
)
from srl_bench.registry import metric

Latent = Literal["raw", "zstd"]


def random_level(targets: NDArray, episode_ids: NDArray | None = None) -> NDArray:
    """Return (N,) exact mean squared distance from each row to the rows of other episodes (or all others)."""
    episodes = episode_labels(len(targets), episode_ids)
    targets = targets - targets.mean(axis=0)
    squares = (targets**2).sum(axis=1)
    own_n = np.bincount(episodes)[episodes]
    own_squares = np.bincount(episodes, squares)[episodes]
    own_sum = np.stack([np.bincount(episodes, column) for column in targets.T], axis=1)[episodes]
    others = len(targets) - own_n
    others_sum = targets.sum(axis=0) - own_sum
    return squares + (squares.sum() - own_squares - 2 * (targets * others_sum).sum(axis=1)) / others


def neighbour_error(
    points: NDArray,
    targets: NDArray,
    k: int = 5,
    episode_ids: NDArray | None = None,
    queries: NDArray | None = None,
    seed: int = 0,
) -> NDArray:
    """Return (Q,) mean squared distance in `targets` (N, C) from each query to its k neighbours in `points`.

    Constant points give the random level. If fewer than half of the points are distinct (codebooks, repeated
    frames), the result is the expected value over random choices among equally near rows.
    """
    episodes = episode_labels(len(points), episode_ids)
    check_neighbours(k, episodes)
    queries = np.arange(len(points)) if queries is None else queries
    points = points[:, common.active_dims(points)]
    if points.shape[1] == 0:
        return random_level(targets, episodes)[queries]
    if 2 * len(np.unique(points[:, 0])) < len(points):
        codes, labels = np.unique(points, axis=0, return_inverse=True)
        if 2 * len(codes) < len(points):
            return _tied_error(codes, labels.ravel(), targets, k, episodes, queries)
    found, _ = nearest(points, k, episodes, queries, seed)
    error = np.empty(len(queries))
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        part = slice(start, start + QUERIES_AT_ONCE)
        error[part] = ((targets[found[part]] - targets[queries[part], None]) ** 2).sum(axis=2).mean(axis=1)
    return error


def _tied_error(
    codes: NDArray, labels: NDArray, targets: NDArray, k: int, episodes: NDArray, queries: NDArray
) -> NDArray:
    """Average over all rows at the k-th distance, for rows that share few distinct codes (U, d)."""
    from scipy.spatial.distance import cdist

    targets = targets - targets.mean(axis=0)

    def sums(rows: NDArray | slice) -> NDArray:
        """Per code: number of rows, sum of |y|^2, sums of y; (U, 2 + C)."""
        weights = [None, (targets[rows] ** 2).sum(axis=1), *targets[rows].T]
        return np.stack([np.bincount(labels[rows], weight, len(codes)) for weight in weights], axis=1)

    everything = sums(slice(None))
    by_row = len(episodes) == episodes.max() + 1
    step = max(1, 1_000_000 // len(codes))
    error = np.empty(len(queries))
    for group in [np.arange(len(queries))] if by_row else rows_by_episode(episodes[queries]):
        others = everything if by_row else everything - sums(episodes == episodes[queries[group[0]]])
        for part in (group[start : start + step] for start in range(0, len(group), step)):
            rows = queries[part]
            allowed = np.repeat(others[None, :, 0], len(rows), axis=0)  # (q, U)
            if by_row:  # a row adds nothing to its own sums of squared differences, but takes no place
                allowed[np.arange(len(rows)), labels[rows]] -= 1
            distance = cdist(codes[labels[rows]], codes)
            order = np.argsort(distance, axis=1)
            enough = (np.take_along_axis(allowed, order, axis=1).cumsum(axis=1) >= k).argmax(axis=1)
            kth = np.take_along_axis(distance, np.take_along_axis(order, enough[:, None], axis=1), axis=1)
            closer = distance < kth * (1 - 1e-9)
            tied = ~closer & (distance <= kth * (1 + 1e-9))
            places = k - (allowed * closer).sum(axis=1)
            weight = closer + tied * (places / (allowed * tied).sum(axis=1))[:, None]
            total = weight @ others  # (q, 2 + C)
            y = targets[rows]
            error[part] = ((y**2).sum(axis=1) * total[:, 0] + total[:, 1] - 2 * (y * total[:, 2:]).sum(axis=1)) / k
    return error


class Levels(NamedTuple):
    """Mean squared neighbour distances (in factor space) of the latents, of the true state, and of chance."""

    latent: float
    oracle: float
    chance: float


def levels(
    states: NDArray,
    factors: NDArray,
    *,
    episode_ids: NDArray | None = None,
    k: int = 5,
    exclude_same_episode: bool = True,
    latent: Latent = "zstd",
    factor_scale: Literal["raw", "std"] = "std",
    kinds: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    n_queries: int | None = None,
    seed: int = 0,
    with_oracle: bool = True,
) -> Levels:
    """Return the three levels that the metrics of this module are made of; arguments as in `knn_mse`."""
    states, factors = common.check_inputs(states, factors)
    if latent not in ("raw", "zstd") or factor_scale not in ("raw", "std"):
        raise DataError(f"latent {latent!r} or factor_scale {factor_scale!r} is unknown; use 'raw', 'zstd' or 'std'.")
    task = common.task_factors(factors, roles)
    if not task.any():
        raise DataError("no factor has the role 'task', so there is nothing to be near to; check the roles.")
    task_kinds = [kind for kind, wanted in zip(common.factor_kinds(factors, kinds), task, strict=True) if wanted]
    truth, _ = common.standardised_blocks(factors[:, task], task_kinds)
    targets = truth if factor_scale == "std" else encode_factors(factors[:, task], task_kinds)[0]

    n_rows = len(states)
    episodes = episode_labels(n_rows, episode_ids if exclude_same_episode else None)
    queries = np.arange(n_rows)
    if n_queries is not None and n_queries < n_rows:
        queries = np.sort(np.random.default_rng(seed).choice(n_rows, n_queries, replace=False))
    points = states[:, common.active_dims(states)]
    if latent == "zstd":
        points = common.standardise(points)
    return Levels(
        latent=_remembered_error(points, targets, k, episodes, queries, seed),
        oracle=_remembered_error(truth, targets, k, episodes, queries, seed) if with_oracle else np.nan,
        chance=float(random_level(targets, episodes)[queries].mean()),
    )


_memory: dict[bytes, float] = {}


def _remembered_error(
    points: NDArray, targets: NDArray, k: int, episodes: NDArray, queries: NDArray, seed: int
) -> float:
    """Return the mean of `neighbour_error`; the metrics of one table repeat a few long searches."""
    digest = hashlib.blake2b(repr((k, seed, points.shape)).encode())
    for array in (points, targets, episodes, queries):
        digest.update(np.ascontiguousarray(array).data)
    key = digest.digest()
    if key not in _memory:
        if len(_memory) >= 1000:
            _memory.clear()
        _memory[key] = float(neighbour_error(points, targets, k, episodes, queries, seed).mean())
    return _memory[key]


@metric("knn_mse", better="lower", range=(0.0, np.inf), needs=("episode_ids", "kinds", "roles", "seed"))
def knn_mse(
    states: NDArray,
    factors: NDArray,
    *,
    episode_ids: NDArray | None = None,
    k: int = 5,
    exclude_same_episode: bool = True,
    latent: Latent = "zstd",
    factor_scale: Literal["raw", "std"] = "std",
    kinds: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    n_queries: int | None = None,
    seed: int = 0,
) -> float:
    """KNN-MSE (Lesort et al. 2017, arXiv 1709.05185): true distance of the k nearest latent neighbours.

    mean_i 1/k sum_{j in KNN(i)} |y_i - y_j|^2 over task factors y; 0 is perfect. The paper's own setting is
    `latent="raw", factor_scale="raw", exclude_same_episode=False`.

    Args:
        states: (N, d) latents.
        factors: (N, K) ground truth.
        episode_ids: (N,) integers in any order; without them only the row itself is excluded.
        k: number of neighbours.
        exclude_same_episode: whether neighbours must come from other episodes.
        latent: "zstd" gives each dimension unit variance, "raw" leaves it as it is.
        factor_scale: "std" gives each factor unit variance, "raw" keeps its unit.
        kinds: K entries of "continuous", "angular" or "categorical".
        roles: K entries of "task", "distractor" or "nuisance"; only task factors count.
        n_queries: number of rows (5,000 or more advised) to search for among all; all by default.
        seed: seed of the queries and of the order of ties.
    """
    return levels(
        states,
        factors,
        episode_ids=episode_ids,
        k=k,
        exclude_same_episode=exclude_same_episode,
        latent=latent,
        factor_scale=factor_scale,
        kinds=kinds,
        roles=roles,
        n_queries=n_queries,
        seed=seed,
        with_oracle=False,
    ).latent


@metric("knn_mse_norm", better="lower", range=(0.0, np.inf), needs=("episode_ids", "kinds", "roles", "seed"))
def knn_mse_norm(
    states: NDArray,
    factors: NDArray,
    *,
    episode_ids: NDArray | None = None,
    k: int = 5,
    exclude_same_episode: bool = True,
    latent: Latent = "zstd",
    kinds: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    n_queries: int | None = None,
    seed: int = 0,
) -> float:
    """KNN-MSE as a share of its exact value for random neighbours: 0 perfect, 1 random, above 1 aliasing.

    Comparable between environments, because unit and number of factors cancel. Arguments as in `knn_mse`.
    """
    found = levels(
        states,
        factors,
        episode_ids=episode_ids,
        k=k,
        exclude_same_episode=exclude_same_episode,
        latent=latent,
        kinds=kinds,
        roles=roles,
        n_queries=n_queries,
        seed=seed,
        with_oracle=False,
    )
    return found.latent / found.chance if found.chance > 0 else float("nan")


@metric("knn_skill", better="higher", range=(-np.inf, np.inf), needs=("episode_ids", "kinds", "roles", "seed"))
def knn_skill(
    states: NDArray,
    factors: NDArray,
    *,
    episode_ids: NDArray | None = None,
    k: int = 5,
    exclude_same_episode: bool = True,
    latent: Latent = "zstd",
    kinds: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    n_queries: int | None = None,
    seed: int = 0,
) -> float:
    """KNN-MSE on the scale where random neighbours score 0 and neighbours in the true state score 1.

    (chance - latent) / (chance - oracle), which also removes the density of the data; slightly above 1 is
    possible. NaN, with a warning, if even the true state finds no neighbours. Arguments as in `knn_mse`.
    """
    found = levels(
        states,
        factors,
        episode_ids=episode_ids,
        k=k,
        exclude_same_episode=exclude_same_episode,
        latent=latent,
        kinds=kinds,
        roles=roles,
        n_queries=n_queries,
        seed=seed,
    )
    if found.chance - found.oracle <= 0.05 * found.chance:
        warnings.warn("knn_skill is undefined: neighbours in the true state are no nearer than chance.", stacklevel=2)
        return float("nan")
    return (found.chance - found.latent) / (found.chance - found.oracle)
