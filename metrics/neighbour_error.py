"""Mean ground-truth distance from a row to its latent neighbours, and to any row that may be one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from srl_bench.metrics import common
from srl_bench.metrics.memory import remembered
from srl_bench.metrics.search import (
    QUERIES_AT_ONCE,
    check_neighbours,
    episode_labels,
    nearest,
    nearest_in_time_apart,
    rows_by_episode,
    time_windows,
)


def random_level(
    targets: NDArray, episode_ids: NDArray | None = None, steps: NDArray | None = None, gap: int | None = None
) -> NDArray:
    """Return (N,) exact mean squared distance from each row to all rows that may be its neighbours.

    Args:
        targets: (N, C) values.
        episode_ids: (N,) integers; without them only the row itself is no neighbour of a row.
        steps: (N,) step within the episode, needed for `gap`.
        gap: rows of the same episode are no neighbours if they are at most so many steps away; by default all.
    """
    episodes = episode_labels(len(targets), episode_ids)
    targets = targets - targets.mean(axis=0)
    squares = (targets**2).sum(axis=1)
    parts = np.column_stack([np.ones(len(targets)), squares, targets])
    if gap is None or steps is None:
        own = np.stack([np.bincount(episodes, column) for column in parts.T], axis=1)[episodes]
    else:
        order, first, last = time_windows(episodes, steps, gap)
        running = np.vstack([np.zeros(parts.shape[1]), parts[order].cumsum(axis=0)])
        own = running[last] - running[first]
    others = parts.sum(axis=0) - own  # number, sum of |y|^2, sums of y
    return squares + (others[:, 1] - 2 * (targets * others[:, 2:]).sum(axis=1)) / others[:, 0]


@remembered
def neighbour_error(
    points: NDArray,
    targets: NDArray,
    k: int = 5,
    episode_ids: NDArray | None = None,
    queries: NDArray | None = None,
    seed: int = 0,
    steps: NDArray | None = None,
    gap: int | None = None,
) -> NDArray:
    """Return (Q,) mean squared distance in `targets` (N, C) from each query to its k neighbours in `points`.

    Constant points give the random level. If fewer than half of the points are distinct (codebooks, repeated
    frames), the result is the expected value over random choices among equally near rows; with a `gap` (see
    `random_level`) one random choice. The metrics of one table repeat a few long searches.
    """
    episodes = episode_labels(len(points), episode_ids)
    in_time = gap is not None and steps is not None
    if not in_time:
        check_neighbours(k, episodes)
    queries = np.arange(len(points)) if queries is None else queries
    points = points[:, common.active_dims(points)]
    if points.shape[1] == 0:
        return random_level(targets, episodes, steps, gap)[queries]
    if not in_time and 2 * len(np.unique(points[:, 0])) < len(points):
        codes, labels = np.unique(points, axis=0, return_inverse=True)
        if 2 * len(codes) < len(points):
            return _tied_error(codes, labels.ravel(), targets, k, episodes, queries)
    if gap is not None and steps is not None:
        found, _ = nearest_in_time_apart(points, k, episodes, steps, gap, queries, seed)
    else:
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
