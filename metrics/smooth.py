"""Geometry in time and space: how fast do latents move, and how much do they stretch the world?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from srl_bench.metrics import common
from srl_bench.metrics.memory import remembered
from srl_bench.metrics.resampling import EpisodeSums
from srl_bench.metrics.search import episode_labels, nearest
from srl_bench.metrics.transitions import runs
from srl_bench.registry import metric

COINCIDENT = 1e-9
NEIGHBOURS, MAX_ROWS = 10, 2000
NAMES = ("q50", "q95", "inverse_q50", "inverse_q95", "bi")


def temporal_variation(points: NDArray, transitions: NDArray) -> float:
    """Return mean |z_{t+1} - z_t|^2 / (2 tr Cov z) of points (N, d) over transitions (M, 2); NaN if constant.

    Half the von Neumann ratio: 0 frozen, 1 white noise, 2 at most, for alternating values.
    """
    total = points.var(axis=0, ddof=1).sum()
    moved = ((points[transitions[:, 1]] - points[transitions[:, 0]]) ** 2).sum(axis=1)
    return float(moved.mean() / (2 * total)) if total > 0 else float("nan")


@metric(
    "smoothness",
    better="neither",
    range=(0.0, np.inf),
    needs=("episode_ids", "steps", "kinds", "roles"),
    shifts=1,
    resample="rows",
)
def smoothness(
    states: NDArray,
    factors: NDArray,
    *,
    episode_ids: NDArray,
    steps: NDArray,
    kinds: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
) -> dict[str, float]:
    """Temporal variation of the latents, also relative to that of the task factors, and their jitter.

    "tvr" = mean |z_{t+1} - z_t|^2 / (2 tr Cov z): 0 frozen, 1 white noise, 1 - phi for an AR(1) process.
    "ratio" divides it by that of the standardised task factors; its target is 1, as slow latents need not know
    anything. "jitter" = mean |z_{t+2} - 2 z_{t+1} + z_t|^2 / (6 tr Cov z), 1 for white noise. Rotation and
    uniform scale do not matter. Constant latents, or rows of which no two are consecutive, give NaN and a
    warning.

    Args:
        states: (N, d) latents.
        factors: (N, K) ground truth.
        episode_ids: (N,) integers.
        steps: (N,) step within the episode.
        kinds: K entries of "continuous", "angular" or "categorical".
        roles: K entries of "task", "distractor" or "nuisance"; only task factors count.
    """
    states, factors = common.check_inputs(states, factors)
    z = states[:, common.active_dims(states)]
    truth = common.task_columns(factors, kinds, roles)
    pairs, triples = runs(episode_ids, steps, 2), runs(episode_ids, steps, 3)
    names = ("tvr", "ratio", "jitter")
    if not z.shape[1]:
        return dict.fromkeys(names, common.undefined("smoothness", "the representation is constant"))
    if not len(pairs):
        return dict.fromkeys(names, common.undefined("smoothness", "no two rows are consecutive steps of an episode"))
    found = temporal_variation(z, pairs)
    pace = temporal_variation(truth, pairs)
    if pace > 0:
        ratio = found / pace
    else:
        ratio = common.undefined("smoothness.ratio", "the task factors do not move within episodes")
    if len(triples):
        a, b, c = (z[column] for column in triples.T)
        jitter = float(((c - 2 * b + a) ** 2).sum(axis=1).mean() / (6 * z.var(axis=0, ddof=1).sum()))
    else:
        jitter = common.undefined("smoothness.jitter", "no three rows are consecutive steps of an episode")
    return dict(zip(names, (found, ratio, jitter), strict=True))


@remembered
def stretch(
    source: NDArray, image: NDArray, k: int, episodes: NDArray, queries: NDArray, torn: float = -np.inf
) -> NDArray:
    """Return, per query, the largest |image_i - image_j| / |source_i - source_j| over its k nearest j in `source`.

    `torn` is the ratio of coincident rows (1e-9) with images that do not coincide; rows that coincide in both
    have none. NaN for queries without a ratio.
    """
    neighbours, _ = nearest(source, k, episodes, queries)
    # The search finds distances by a matrix product, which leaves 1e-8 between equal rows.
    apart, moved = (np.linalg.norm(side[neighbours] - side[queries, None], axis=2) for side in (source, image))
    ratio = np.where(moved > COINCIDENT, torn, -np.inf)
    np.divide(moved, apart, out=ratio, where=apart > COINCIDENT)
    largest = ratio.max(axis=1)
    return np.where(largest >= 0, largest, np.nan)


class Stretches(NamedTuple):
    """Rows (n,), the largest ratio of each from factors to latents and back, and which side is constant."""

    rows: NDArray
    forth: NDArray
    back: NDArray
    constant: str = ""


def _stretches(
    states: NDArray,
    factors: NDArray,
    k: int,
    episode_ids: NDArray | None,
    kinds: Sequence[str] | None,
    roles: Sequence[str] | None,
    rows: NDArray | None,
    max_rows: int,
) -> Stretches:
    states, factors = common.check_inputs(states, factors)
    rows = common.spread_rows(len(states), max_rows) if rows is None else np.asarray(rows)
    z, x = states[:, common.active_dims(states)], common.task_columns(factors, kinds, roles)
    for side, points in (("the representation", z), ("the ground truth", x)):
        if not points.size or not np.ptp(points, axis=0).any():
            nothing = np.full(len(rows), np.nan)
            return Stretches(rows, nothing, nothing, side)
    z, x = (points / np.sqrt(points.var(axis=0).sum()) for points in (z, x))
    episodes = episode_labels(len(z), episode_ids)
    return Stretches(rows, stretch(x, z, k, episodes, rows), stretch(z, x, k, episodes, rows, torn=np.inf))


def _quantiles(forth: NDArray, back: NDArray) -> NDArray:
    """Return the five values of `lipschitz` of ratios (n,)."""
    sides = [side[~np.isnan(side)] for side in (forth, back)]
    values = [
        np.quantile(side, (0.5, 0.95), method="linear" if np.isfinite(side).all() else "higher")
        if len(side)
        else np.full(2, np.nan)
        for side in sides
    ]
    return np.append(np.concatenate(values), values[0][1] * values[1][1])


def _stretch_sums(
    states: NDArray,
    factors: NDArray,
    *,
    episode_ids: NDArray,
    kinds: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
) -> EpisodeSums:
    """Return how quantiles are taken over the rows of drawn episodes; their neighbours stay as they were found."""
    found = _stretches(states, factors, NEIGHBOURS, None, kinds, roles, None, MAX_ROWS)
    episodes, labels = np.unique(np.asarray(episode_ids)[found.rows], return_inverse=True)

    def finish(times: NDArray) -> dict[str, NDArray]:
        drawn = [np.repeat(np.arange(len(labels)), draw[labels].astype(np.int64)) for draw in times]
        return dict(zip(NAMES, np.stack([_quantiles(found.forth[r], found.back[r]) for r in drawn]).T, strict=True))

    return EpisodeSums(np.eye(len(episodes)), finish)


@metric("lipschitz", better="lower", range=(0.0, np.inf), needs=("kinds", "roles"), shifts=1, resample=_stretch_sums)
def lipschitz(
    states: NDArray,
    factors: NDArray,
    *,
    k: int = NEIGHBOURS,
    episode_ids: NDArray | None = None,
    kinds: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    rows: NDArray | None = None,
    max_rows: int = MAX_ROWS,
) -> dict[str, float]:
    """Local Lipschitz constants from the task factors to the latents, and back (aliasing).

    Both spaces are scaled to total variance 1. For row i, L_i = max |z_i - z_j| / |x_i - x_j| over its k nearest
    rows j in the factors; pairs of equal factors are left out. The inverse constant has neighbours in the
    latents and the ratio turned over, and is infinite where different states have one code.

    Args:
        states: (N, d) latents; their relative scale matters.
        factors: (N, K) ground truth.
        k: number of neighbours.
        episode_ids: (N,) integers, to look for neighbours in other episodes only.
        kinds: K entries of "continuous", "angular" or "categorical".
        roles: K entries of "task", "distractor" or "nuisance"; only task factors count.
        rows: indices i; by default `max_rows` evenly spaced ones. All rows may be neighbours.
        max_rows: number of rows i.

    Returns:
        Median "q50" and 95 % quantile "q95" of L_i, those of the inverse, "inverse_q50" and "inverse_q95", and
        "bi", the product of both 95 % quantiles, 1 for a similarity. NaN, with a warning, if either side is
        constant.
    """
    found = _stretches(states, factors, k, episode_ids, kinds, roles, rows, max_rows)
    values = _quantiles(found.forth, found.back)
    if np.isnan(values).any():
        reason = f"{found.constant} is constant" if found.constant else f"all {k} nearest neighbours coincide"
        common.undefined("lipschitz", reason)
    return dict(zip(NAMES, map(float, values), strict=True))
