"""Rank metrics: do latent space and the world agree on who is near whom? They ignore how far.

Row i has m_i partners, by default all rows of other episodes. Equally near partners rank in one random order, the
same in both spaces, so that a copy of the truth is perfect whatever its ties, and constant latents are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from srl_bench.errors import DataError
from srl_bench.metrics import common
from srl_bench.metrics.memory import remembered
from srl_bench.metrics.search import episode_labels
from srl_bench.registry import metric

ROWS_AT_ONCE = 256
RESOLUTION = 1e-9  # distances of standardised points that differ by less are equal up to rounding
FARTHEST = 1e12
NEEDS = ("episode_ids", "kinds", "roles", "seed")


class Ranks(NamedTuple):
    """Trustworthiness, continuity and shared neighbours, all in [0, 1]."""

    trustworthiness: float
    continuity: float
    overlap: float


@remembered
def rank_agreement(latents: NDArray, truth: NDArray, k: int, episodes: NDArray, seed: int = 0) -> Ranks:
    """Compare k nearest partners in `latents` (n, d) and `truth` (n, C); time grows with n^2, memory with n.

    Raises:
        DataError: k is not between 1 and half of the partners of each row.
    """
    n_rows = len(latents)
    partners = n_rows - np.bincount(episodes)[episodes]
    if not 1 <= k < partners.min() / 2:
        raise DataError(
            f"k = {k} neighbours are impossible: k must be at least 1 and less than half of the {partners.min()} "
            "rows of other episodes. Lower k or record more episodes."
        )
    priority = np.random.default_rng(seed).permutation(n_rows)
    intruders, missing, shared = np.zeros((3, n_rows))
    for start in range(0, n_rows, ROWS_AT_ONCE):
        rows = np.arange(start, min(start + ROWS_AT_ONCE, n_rows))
        own = episodes[rows, None] == episodes
        order_z, order_x = (_order(points, rows, own, priority) for points in (latents, truth))
        rank_z, rank_x = (_inverse(order) for order in (order_z, order_x))  # 0 is the nearest
        excess_x = np.take_along_axis(rank_x, order_z[:, :k], axis=1) + 1 - k
        excess_z = np.take_along_axis(rank_z, order_x[:, :k], axis=1) + 1 - k
        intruders[rows] = np.maximum(excess_x, 0).sum(axis=1)
        missing[rows] = np.maximum(excess_z, 0).sum(axis=1)
        shared[rows] = (excess_x <= 0).sum(axis=1)
    scale = 2 / (k * (2 * partners - 3 * k + 1))
    return Ranks(
        trustworthiness=float(1 - (scale * intruders).mean()),
        continuity=float(1 - (scale * missing).mean()),
        overlap=float(shared.mean() / k),
    )


def _order(points: NDArray, rows: NDArray, own: NDArray, priority: NDArray) -> NDArray:
    """Return (q, n) row indices by distance from each of `rows`, those of its own episode last."""
    from scipy.spatial.distance import cdist

    n = len(points)
    tie = priority[(np.arange(n) - rows[:, None]) % n]  # another order for each row
    # One integer per partner holds distance and priority: a plain sort is ten times as fast as a stable argsort.
    keys = np.rint(np.minimum(cdist(points[rows], points) / RESOLUTION, FARTHEST)).astype(np.int64) * n + tie
    keys[own] += (int(FARTHEST) + 1) * n
    keys.sort(axis=1)
    return (np.argsort(priority)[keys % n] + rows[:, None]) % n


def _inverse(order: NDArray) -> NDArray:
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(order.shape[1])[None], axis=1)
    return rank


def _ranks(
    name: str,
    states: NDArray,
    factors: NDArray,
    k: int,
    episode_ids: NDArray | None,
    kinds: Sequence[str] | None,
    roles: Sequence[str] | None,
    rows: NDArray | None,
    max_rows: int,
    seed: int,
) -> Ranks:
    states, factors = common.check_inputs(states, factors)
    truth = common.task_columns(factors, kinds, roles)
    if not truth.any():
        return Ranks(*[common.undefined(name, "no task factor varies")] * 3)
    latents = common.standardise(states * common.active_dims(states))
    rows = common.spread_rows(len(states), max_rows) if rows is None else np.asarray(rows)
    return rank_agreement(latents[rows], truth[rows], k, episode_labels(len(states), episode_ids)[rows], seed)


@metric("trustworthiness", better="higher", range=(0.0, 1.0), needs=NEEDS, shifts=3)
def trustworthiness(
    states: NDArray,
    factors: NDArray,
    *,
    k: int = 10,
    episode_ids: NDArray | None = None,
    kinds: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    rows: NDArray | None = None,
    max_rows: int = 2000,
    seed: int = 0,
) -> float:
    """Trustworthiness (Venna & Kaski 2001): are latent neighbours true neighbours?

    T = 1 - mean_i 2 / (k (2 m_i - 3 k + 1)) sum_{j in KNN_Z(i)} max(0, rank_X(i, j) - k), with neighbours KNN_Z
    in standardised latents, ranks in standardised task factors. 1 is perfect, noise and constant latents score
    about 0.5. Without episodes it is that of scikit-learn.

    Args:
        states: (N, d) latents.
        factors: (N, K) ground truth.
        k: number of neighbours, less than half of the partners of each row.
        episode_ids: (N,) integers; rows of one episode are no partners. Without them only the row itself is not.
        kinds: K entries of "continuous", "angular" or "categorical".
        roles: K entries of "task", "distractor" or "nuisance"; only task factors count.
        rows: indices of the rows to compare with each other; by default `max_rows` evenly spaced ones.
        max_rows: number of rows compared, at most a million; time grows with its square.
        seed: seed of the order of ties.
    """
    return _ranks(
        "trustworthiness", states, factors, k, episode_ids, kinds, roles, rows, max_rows, seed
    ).trustworthiness


@metric("continuity", better="higher", range=(0.0, 1.0), needs=NEEDS, shifts=3)
def continuity(
    states: NDArray,
    factors: NDArray,
    *,
    k: int = 10,
    episode_ids: NDArray | None = None,
    kinds: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    rows: NDArray | None = None,
    max_rows: int = 2000,
    seed: int = 0,
) -> float:
    """Continuity (Venna & Kaski 2001): are true neighbours latent neighbours?

    Trustworthiness with the roles of latents and task factors swapped; arguments as there.
    """
    return _ranks("continuity", states, factors, k, episode_ids, kinds, roles, rows, max_rows, seed).continuity


@metric("knn_overlap", better="higher", range=(0.0, 1.0), needs=NEEDS, shifts=3)
def knn_overlap(
    states: NDArray,
    factors: NDArray,
    *,
    k: int = 10,
    episode_ids: NDArray | None = None,
    kinds: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    rows: NDArray | None = None,
    max_rows: int = 2000,
    seed: int = 0,
) -> float:
    """Share of the k nearest latent neighbours that are among the k nearest in the task factors as well.

    In [0, 1]; chance is k over the number of partners. Arguments as in `trustworthiness`.
    """
    return _ranks("knn_overlap", states, factors, k, episode_ids, kinds, roles, rows, max_rows, seed).overlap
