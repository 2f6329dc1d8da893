"""Exact nearest neighbours that may not come from the query's own episode."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from srl_bench.errors import DataError

QUERIES_AT_ONCE = 4096
GROUP_QUERIES, GROUP_ROWS = 800, 3200


def nearest(
    points: NDArray,
    k: int,
    episode_ids: NDArray | None = None,
    queries: NDArray | None = None,
    seed: int = 0,
) -> tuple[NDArray, NDArray]:
    """Find the exact k nearest rows of other episodes by Euclidean distance; ties break at random.

    Args:
        points: (N, d) finite values.
        k: number of neighbours.
        episode_ids: (N,) integers; without them only the row itself is excluded.
        queries: (Q,) indices of the rows to search for; all by default.
        seed: seed of the order in which equally distant rows are preferred.

    Returns:
        (Q, k) row indices and (Q, k) distances, nearest first.
    """
    n_rows = len(points)
    episodes = episode_labels(n_rows, episode_ids)
    queries = np.arange(n_rows) if queries is None else np.asarray(queries)
    check_neighbours(k, episodes)
    order = np.random.default_rng(seed).permutation(n_rows)
    pool = points[order].astype(np.float64, copy=False)
    pool -= pool.mean(axis=0)
    position = np.argsort(order)[queries]  # of each query in the pool
    owner = episodes[order]  # of each pool row

    found = np.empty((len(queries), k), dtype=np.int64)
    distance = np.empty((len(queries), k))
    if n_rows == episodes.max() + 1:
        for start in range(0, len(queries), QUERIES_AT_ONCE):
            part = slice(start, start + QUERIES_AT_ONCE)
            candidates, far = search(pool[position[part]], pool, k + 1)
            far[candidates == position[part, None]] = np.inf
            found[part], distance[part] = _best(candidates, far, k)
    else:
        for group, members in _groups(episodes[queries], np.bincount(episodes)):
            inside = np.isin(owner, group)
            outer, inner = np.flatnonzero(~inside), np.flatnonzero(inside)
            z = pool[position[members]]
            candidates, far = search(z, pool[outer], min(k, len(outer)))
            candidates = outer[candidates]
            if len(group) > 1:
                squares = squared_distances(z, pool[inner])
                np.copyto(squares, np.inf, where=episodes[queries[members], None] == owner[inner])
                near, squares = _smallest(squares, min(k, len(inner)))
                candidates = np.hstack([candidates, inner[near]])
                far = np.hstack([far, np.sqrt(np.maximum(squares, 0))])
            found[members], distance[members] = _best(candidates, far, k)
    return order[found], distance


def nearest_in_time_apart(
    points: NDArray,
    k: int,
    episodes: NDArray,
    steps: NDArray,
    gap: int,
    queries: NDArray,
    seed: int = 0,
) -> tuple[NDArray, NDArray]:
    """Find the exact k nearest rows that are of another episode, or more than `gap` steps away in the same one.

    Args:
        points: (N, d) finite values.
        k: number of neighbours.
        episodes: (N,) integers.
        steps: (N,) step within the episode.
        gap: largest distance in steps of a row that is no neighbour; 0 excludes the row itself.
        queries: (Q,) indices of the rows to search for.
        seed: seed of the order in which equally distant rows are preferred.

    Returns:
        (Q, k) row indices and (Q, k) distances, nearest first.
    """
    _, first, last = time_windows(episodes, steps, gap)
    excluded = int((last - first).max())
    if not 1 <= k <= len(points) - excluded:
        raise DataError(
            f"k = {k} neighbours are impossible: k must be at least 1, and {excluded} of {len(points)} rows are within "
            f"{gap} steps of one of them. Lower k or exclude fewer steps."
        )
    indices, distances = np.empty((len(queries), k), dtype=np.int64), np.empty((len(queries), k))
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        part = slice(start, start + QUERIES_AT_ONCE)
        rows = queries[part, None]
        found, distance = nearest(points, min(k + excluded - 1, len(points) - 1), None, queries[part], seed)
        close = (episodes[found] == episodes[rows]) & (np.abs(steps[found] - steps[rows]) <= gap)
        indices[part], distances[part] = _best(found, np.where(close, np.inf, distance), k)
    return indices, distances


def time_windows(episodes: NDArray, steps: NDArray, gap: int) -> tuple[NDArray, NDArray, NDArray]:
    """Return the order of rows by episode and step, and for each row the range first:last of those at most
    `gap` steps away in its episode, as places in that order."""
    order = np.lexsort((steps, episodes))
    time = np.asarray(steps, dtype=np.int64) - np.min(steps)
    time = time + episode_labels(len(episodes), episodes) * (int(time.max()) + 2 * gap + 1)
    first = np.searchsorted(time[order], time - gap, side="left")
    last = np.searchsorted(time[order], time + gap, side="right")
    return order, first, last


def _groups(episodes: NDArray, sizes: NDArray) -> Iterator[tuple[NDArray, NDArray]]:
    """Yield batches of whole episodes with the positions of their queries; `sizes` are rows per episode."""
    batch: list[int] = []
    members: list[NDArray] = []
    for positions in rows_by_episode(episodes):
        episode = episodes[positions[0]]
        n_queries, n_rows = sum(map(len, members)) + len(positions), sizes[batch].sum() + sizes[episode]
        if batch and (n_queries > GROUP_QUERIES or n_rows > GROUP_ROWS):
            yield np.array(batch), np.concatenate(members)
            batch, members = [], []
        batch.append(episode)
        members.append(positions)
    yield np.array(batch), np.concatenate(members)


def rows_by_episode(episodes: NDArray) -> list[NDArray]:
    """Return the row indices of each episode, in ascending order of the episode's number."""
    _, starts = np.unique(np.sort(episodes), return_index=True)
    return np.split(np.argsort(episodes, kind="stable"), starts[1:])


def search(queries: NDArray, pool: NDArray, k: int) -> tuple[NDArray, NDArray]:
    """Return (Q, k) indices of the k nearest rows of `pool` (N, d) to each of `queries` (Q, d), and distances."""
    if k == 0:
        return np.empty((len(queries), 0), dtype=np.int64), np.empty((len(queries), 0))
    from sklearn import config_context
    from sklearn.neighbors import NearestNeighbors

    # what is checked here takes a tenth of the time of a small search
    with config_context(assume_finite=True, skip_parameter_validation=True):
        distance, index = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(pool).kneighbors(queries)
    return index, distance


def _best(candidates: NDArray, distance: NDArray, k: int) -> tuple[NDArray, NDArray]:
    order = np.argsort(distance, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(candidates, order, axis=1), np.take_along_axis(distance, order, axis=1)


def squared_distances(a: NDArray, b: NDArray) -> NDArray:
    """Return |a|^2 - 2 a.b + |b|^2 as one matrix product."""
    left = np.column_stack([a, (a**2).sum(axis=1), np.ones(len(a))])
    return left @ np.column_stack([-2 * b, np.ones(len(b)), (b**2).sum(axis=1)]).T


def _smallest(values: NDArray, k: int) -> tuple[NDArray, NDArray]:
    """Return columns and values of the k smallest entries per row; destroys `values`, faster than a sort."""
    rows = np.arange(len(values))
    columns = np.empty((len(values), k), dtype=np.int64)
    smallest = np.empty((len(values), k))
    for place in range(k):
        columns[:, place] = values.argmin(axis=1)
        smallest[:, place] = values[rows, columns[:, place]]
        values[rows, columns[:, place]] = np.inf
    return columns, smallest


def episode_labels(n_rows: int, episode_ids: NDArray | None) -> NDArray:
    """Return (N,) episode numbers 0, 1, ...; without ids every row is an episode of its own."""
    if episode_ids is None:
        return np.arange(n_rows)
    if len(episode_ids) != n_rows:
        raise DataError(f"episode_ids has {len(episode_ids)} entries but there are {n_rows} rows.")
    return np.unique(episode_ids, return_inverse=True)[1]


def check_neighbours(k: int, episodes: NDArray) -> None:
    """Raise `DataError` if k < 1 or an episode leaves fewer than k rows outside itself."""
    available = len(episodes) - int(np.bincount(episodes).max())
    if not 1 <= k <= available:
        raise DataError(
            f"k = {k} neighbours are impossible: k must be at least 1, and the longest episode leaves only "
            f"{available} rows of other episodes. Lower k or record more episodes."
        )
