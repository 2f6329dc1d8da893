"""Rank metrics: do latent space and the world agree on who is near whom? They ignore how far.

Row i has m_i partners, by default all rows of other episodes. Equally near partners share the places among the
k nearest evenly, and rank as well as the best of them, so that a copy of the truth is perfect whatever its ties.
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
EQUAL = 1e-9  # distances that differ by this share are equal up to rounding

NEEDS = ("episode_ids", "kinds", "roles")


class Ranks(NamedTuple):
    """Trustworthiness, continuity and shared neighbours, all in [0, 1]."""

    trustworthiness: float
    continuity: float
    overlap: float


@remembered
def rank_agreement(latents: NDArray, truth: NDArray, k: int, episodes: NDArray) -> Ranks:
    """Compare k nearest partners in `latents` (n, d) and `truth` (n, C); memory grows with n, time with n^2.

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
    intruders, missing, shared = np.zeros((3, n_rows))
    for start in range(0, n_rows, ROWS_AT_ONCE):
        rows = np.arange(start, min(start + ROWS_AT_ONCE, n_rows))
        own = episodes[rows, None] == episodes
        z, x = _distances(latents, rows, own), _distances(truth, rows, own)
        sorted_z, sorted_x = np.sort(z, axis=1), np.sort(x, axis=1)
        near_z, near_x = _places(z, sorted_z, k), _places(x, sorted_x, k)
        intruders[rows] = _excess_rank(near_z, x, sorted_x, k)
        missing[rows] = _excess_rank(near_x, z, sorted_z, k)
        shared[rows] = np.minimum(near_x, near_z).sum(axis=1)
    scale = 2 / (k * (2 * partners - 3 * k + 1))
    return Ranks(
        trustworthiness=float(1 - (scale * intruders).mean()),
        continuity=float(1 - (scale * missing).mean()),
        overlap=float(shared.mean() / k),
    )


def _distances(points: NDArray, rows: NDArray, own: NDArray) -> NDArray:
    from scipy.spatial.distance import cdist

    distance = cdist(points[rows], points)
    distance[own] = np.inf
    return distance


def _places(distance: NDArray, ordered: NDArray, k: int) -> NDArray:
    """Return the share of a place among the k nearest that each partner has; rows sum to k."""
    kth = ordered[:, k - 1 : k]
    closer = distance < kth * (1 - EQUAL)
    tied = ~closer & (distance <= kth * (1 + EQUAL))
    return closer + tied * ((k - closer.sum(axis=1)) / tied.sum(axis=1))[:, None]


def _excess_rank(places: NDArray, distance: NDArray, ordered: NDArray, k: int) -> NDArray:
    """Return, per row, how far beyond k the partners that hold places rank by `distance`, in all."""
    total = np.empty(len(places))
    for i, share in enumerate(places):
        holders = np.flatnonzero(share)
        rank = np.searchsorted(ordered[i], distance[i, holders] * (1 - EQUAL)) + 1
        total[i] = share[holders] @ np.maximum(rank - k, 0)
    return total


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
) -> Ranks:
    states, factors = common.check_inputs(states, factors)
    truth = common.task_columns(factors, kinds, roles)
    if not truth.any():
        return Ranks(*[common.undefined(name, "no task factor varies")] * 3)
    latents = common.standardise(states * common.active_dims(states))
    rows = common.spread_rows(len(states), max_rows) if rows is None else np.asarray(rows)
    return rank_agreement(latents[rows], truth[rows], k, episode_labels(len(states), episode_ids)[rows])


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
        max_rows: number of rows compared; time grows with its square.
    """
    return _ranks("trustworthiness", states, factors, k, episode_ids, kinds, roles, rows, max_rows).trustworthiness


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
) -> float:
    """Continuity (Venna & Kaski 2001): are true neighbours latent neighbours?

    Trustworthiness with the roles of latents and task factors swapped; arguments as there.
    """
    return _ranks("continuity", states, factors, k, episode_ids, kinds, roles, rows, max_rows).continuity


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
) -> float:
    """Share of the k nearest latent neighbours that are among the k nearest in the task factors as well.

    In [0, 1]; chance is k over the number of partners. Arguments as in `trustworthiness`.
    """
    return _ranks("knn_overlap", states, factors, k, episode_ids, kinds, roles, rows, max_rows).overlap
