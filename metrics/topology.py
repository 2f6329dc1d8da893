"""Rank metrics: do latent space and the world agree on who is near whom? They ignore how far.

Row i has m_i partners, by default all rows of other episodes. Equally near partners rank in one random order, the
same in both spaces, so that a copy of the truth is perfect whatever its ties, and constant latents are not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from srl_bench.errors import DataError
from srl_bench.metrics import common
from srl_bench.metrics.memory import remembered
from srl_bench.metrics.resampling import EpisodeSums, sums_by_episode
from srl_bench.metrics.search import episode_labels, squared_distances
from srl_bench.registry import metric

ROWS_AT_ONCE = 256
RESOLUTION = 1e-11  # squared distances of standardised points that differ by less are equal up to rounding
NEEDS = ("episode_ids", "kinds", "roles", "seed")


class Ranks(NamedTuple):
    """Trustworthiness, continuity and shared neighbours of each row (n,); their means are in [0, 1]."""

    trustworthiness: NDArray
    continuity: NDArray
    overlap: NDArray


def check_partners(k: int, episodes: NDArray) -> NDArray:
    """Return (n,) how many rows are of other episodes; raise `DataError` unless k is below half of that."""
    partners = len(episodes) - np.bincount(episodes)[episodes]
    if not 1 <= k < partners.min() / 2:
        raise DataError(
            f"k = {k} neighbours are impossible: k must be at least 1 and less than half of the {partners.min()} "
            "rows of other episodes. Lower k or record more episodes."
        )
    return partners


@remembered
def rank_agreement(latents: NDArray, truth: NDArray, k: int, episodes: NDArray, seed: int = 0) -> Ranks:
    """Compare k nearest partners in `latents` (n, d) and `truth` (n, C); time grows with n^2, memory with n.

    Raises:
        DataError: k is not between 1 and half of the partners of each row.
    """
    n_rows = len(latents)
    partners = check_partners(k, episodes)
    priority = np.random.default_rng(seed).permutation(n_rows)
    at_place = np.argsort(priority)
    turned = np.lib.stride_tricks.sliding_window_view(np.tile(priority, 2), n_rows)
    intruders, missing, shared = np.zeros((3, n_rows))
    for start in range(0, n_rows, ROWS_AT_ONCE):
        rows = np.arange(start, min(start + ROWS_AT_ONCE, n_rows))
        own = episodes[rows, None] == episodes
        tie = turned[n_rows - rows]  # another order for each row
        in_z, in_x = (_keys(points, rows, own, tie) for points in (latents, truth))
        excess = []
        for here, there in ((in_z, in_x), (in_x, in_z)):
            nearest = np.partition(here, k - 1, axis=1)[:, :k]
            columns = (at_place[nearest % n_rows] + rows[:, None]) % n_rows
            limits = np.take_along_axis(there, columns, axis=1)
            nearer = ((there <= limit[:, None]).view(np.uint8) for limit in limits.T)
            excess.append(np.stack([part.sum(axis=1, dtype=np.uint32) for part in nearer]).astype(np.int64) - k)
        intruders[rows], missing[rows] = (np.maximum(beyond, 0).sum(axis=0) for beyond in excess)
        shared[rows] = (excess[0] <= 0).sum(axis=0)
    scale = 2 / (k * (2 * partners - 3 * k + 1))
    return Ranks(1 - scale * intruders, 1 - scale * missing, shared / k)


def _keys(points: NDArray, rows: NDArray, own: NDArray, tie: NDArray) -> NDArray:
    """Return (q, n) integers that order partners of each of `rows` by distance and then by `tie`, its own rows last."""
    squares = (points**2).sum(axis=1)
    n = len(points)
    resolution = max(RESOLUTION, 4 * squares.max() * n / 4e18)  # so that integers suffice
    keys = squared_distances(points[rows], points)
    keys *= 1 / resolution
    keys = np.rint(keys, out=keys).astype(np.int64)
    keys *= n
    keys += tie
    np.copyto(keys, np.iinfo(np.int64).max, where=own)
    return keys


def _mean_rank(
    name: str, points: tuple[NDArray, NDArray, NDArray], k: int, episode_ids: NDArray | None, n_rows: int, seed: int
) -> float:
    rows, latents, truth = points
    episodes = episode_labels(n_rows, episode_ids)[rows]
    if not truth.any():
        return common.undefined(name, "no task factor varies")
    if episode_ids is None and name != "overlap" and latents.any():
        from sklearn.manifold import trustworthiness as scikit_learn

        check_partners(k, episodes)
        pair = (truth, latents) if name == "trustworthiness" else (latents, truth)
        return float(scikit_learn(*pair, n_neighbors=k))
    return float(getattr(rank_agreement(latents, truth, k, episodes, seed), name).mean())


def _sums(name: str) -> Callable[..., EpisodeSums]:
    def sums(
        states: NDArray,
        factors: NDArray,
        *,
        episode_ids: NDArray,
        kinds: Sequence[str] | None = None,
        roles: Sequence[str] | None = None,
        seed: int = 0,
        k: int = 10,
        max_rows: int = 2000,
    ) -> EpisodeSums:
        rows, latents, truth = common.compared_rows(states, factors, kinds, roles, None, max_rows)
        episodes = episode_labels(len(states), episode_ids)[rows]
        of_rows = getattr(rank_agreement(latents, truth, k, episodes, seed), name)
        table = sums_by_episode(of_rows[:, None], episodes)
        return EpisodeSums(table, lambda total: {"mean": total[:, 1] / total[:, 0]})

    return sums


@metric("trustworthiness", better="higher", range=(0.0, 1.0), needs=NEEDS, shifts=3, resample=_sums("trustworthiness"))
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
    about 0.5. Without episodes it is computed by scikit-learn, which breaks ties by the order of rows.

    Args:
        states: (N, d) latents.
        factors: (N, K) ground truth.
        k: number of neighbours, less than half of the partners of each row.
        episode_ids: (N,) integers; rows of one episode are no partners. Without them only the row itself is not.
        kinds: K entries of "continuous", "angular" or "categorical".
        roles: K entries of "task", "distractor" or "nuisance"; only task factors count.
        rows: indices of the rows to compare with each other; by default `max_rows` evenly spaced ones.
        max_rows: number of rows compared; time grows with its square.
        seed: seed of the order of ties.
    """
    points = common.compared_rows(states, factors, kinds, roles, rows, max_rows)
    return _mean_rank("trustworthiness", points, k, episode_ids, len(states), seed)


@metric("continuity", better="higher", range=(0.0, 1.0), needs=NEEDS, shifts=3, resample=_sums("continuity"))
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
    points = common.compared_rows(states, factors, kinds, roles, rows, max_rows)
    return _mean_rank("continuity", points, k, episode_ids, len(states), seed)


@metric("knn_overlap", better="higher", range=(0.0, 1.0), needs=NEEDS, shifts=3, resample=_sums("overlap"))
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
    points = common.compared_rows(states, factors, kinds, roles, rows, max_rows)
    return _mean_rank("overlap", points, k, episode_ids, len(states), seed)
