"""How much data does it take to read the factors off the latents?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from srl_bench.errors import DataError
from srl_bench.metrics import common
from srl_bench.metrics.probes import PROBES, ProbeName, probe_scores
from srl_bench.metrics.readout import (
    Task,
    make_task,
    positive_mean,
    scores_of,
    squared_errors,
    sums_of_fits,
)
from srl_bench.metrics.resampling import EpisodeSums
from srl_bench.registry import metric

FRAMES = (25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000)
EPISODES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
REPEATS = 5


def low_data_curve(
    states: NDArray,
    factors: NDArray,
    *,
    split: NDArray,
    episode_ids: NDArray | None = None,
    kinds: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    mode: Literal["frames", "episodes"] = "frames",
    probe: ProbeName = "ridge",
    sizes: Sequence[int] | None = None,
    seed: int = 0,
) -> tuple[NDArray, NDArray]:
    """Score a probe that is fitted on few train rows, or on the rows of few train episodes.

    Frames are evenly spaced over the train rows; episodes are the first of a seeded permutation, five times.
    Latents are standardised over all train rows, the penalty is chosen on all validation rows.

    Returns:
        (S,) sizes and (S,) mean over task factors of max(0, test R^2).

    Raises:
        DataError: a size is larger than the data, or episodes are asked for without `episode_ids`.
    """
    task = make_task(states, factors, split, kinds, seed)
    chosen, errors = _errors(task, episode_ids, mode, probe, sizes)
    r2 = np.array([scores_of(errors[of_size], task).r2 for of_size in np.ndindex(errors.shape[:2])])
    found = positive_mean(r2.reshape(-1, np.shape(factors)[1]), common.task_factors(np.asarray(factors), roles))
    return chosen, found.reshape(errors.shape[:2]).mean(axis=0)


def _errors(
    task: Task, episode_ids: NDArray | None, mode: str, probe: ProbeName, sizes: Sequence[int] | None
) -> tuple[NDArray, NDArray]:
    """Return (S,) sizes and (repeats, S, fits, n_test, K) squared errors of probes that are fitted on so little."""
    train = np.flatnonzero(task.split == 0)
    if mode == "frames":
        units: NDArray = train
    elif mode == "episodes" and episode_ids is not None:
        units = np.unique(np.asarray(episode_ids)[train])
    else:
        raise DataError(f"mode {mode!r} must be 'frames', or 'episodes' with episode_ids.")
    known = FRAMES if mode == "frames" else EPISODES
    chosen = np.array([size for size in known if size <= len(units)] if sizes is None else sizes, dtype=np.int64)
    if len(chosen) and (chosen.min() < 1 or chosen.max() > len(units)):
        raise DataError(f"sizes {chosen.tolist()} must lie between 1 and the {len(units)} train {mode} there are.")

    random = np.random.default_rng(task.seed)
    orders = [random.permutation(units) for _ in range(REPEATS)] if mode == "episodes" else [units]
    found = []
    for order, size in product(orders, chosen):
        if mode == "frames":
            rows = order[np.round(np.linspace(0, len(order) - 1, size)).astype(np.int64)]
        else:
            rows = train[np.isin(np.asarray(episode_ids)[train], order[:size])]
        part = np.where(task.split == 0, 3, task.split)
        part[rows] = 0
        found.append(squared_errors(PROBES[probe], task._replace(split=part)))
    shape = (len(orders), len(chosen), *(found[0].shape if found else (1, 0, 0)))
    return chosen, np.reshape(found, shape)


def _area(n: NDArray, r2: NDArray) -> NDArray:
    """Return (R,) the area under curves (R, S) over log n as a share of its range, or a single size's value."""
    log_n = np.log10(n)
    return np.trapezoid(r2, log_n, axis=1) / (log_n[-1] - log_n[0]) if len(n) > 1 else r2[:, 0]


def _sums(
    states: NDArray,
    factors: NDArray,
    *,
    episode_ids: NDArray,
    split: NDArray,
    kinds: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    seed: int = 0,
) -> EpisodeSums:
    """Return how the curve of frames is summed over test episodes; the probes stay as they were fitted."""
    task = make_task(states, factors, split, kinds, seed)
    wanted = common.task_factors(np.asarray(factors), roles)
    sizes, errors = _errors(task, None, "frames", "ridge", None)
    fits = errors[0, :, 0]  # (S, n_test, K)
    table, judge = sums_of_fits(list(fits[:, None]), task, episode_ids)

    def finish(totals: NDArray) -> dict[str, NDArray]:
        r2 = np.stack([positive_mean(scores.r2, wanted) for scores in judge(totals)], axis=1)
        return {"mean": _area(sizes, r2), **{f"n{size}": values for size, values in zip(sizes, r2.T, strict=True)}}

    return EpisodeSums(table, finish)


@metric(
    "lowdata_auc",
    better="higher",
    range=(0.0, 1.0),
    needs=("split", "episode_ids", "kinds", "roles", "seed"),
    shifts=1,
    resample=_sums,
)
def lowdata_auc(
    states: NDArray,
    factors: NDArray,
    *,
    split: NDArray,
    episode_ids: NDArray | None = None,
    kinds: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    mode: Literal["frames", "episodes"] = "frames",
    probe: ProbeName = "ridge",
    sizes: Sequence[int] | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Decodability from few labels (after Whitney et al. 2020, arXiv 2009.07368).

    Args:
        states: (N, d) latents.
        factors: (N, K) ground truth.
        split: (N,) 0 train, 1 validation, 2 test, by whole episodes.
        episode_ids: (N,) integers, for the mode "episodes".
        kinds: K entries of "continuous", "angular" or "categorical".
        roles: K entries of "task", "distractor" or "nuisance"; only task factors count.
        mode: whether to count "frames" or "episodes" of the train split.
        probe: "ridge", "knn", "gbt" or "mlp".
        sizes: numbers of frames or episodes; by default 25, 50, 100, 250, ... or 1, 2, 5, 10, ...
        seed: seed of the episodes and of the probe.

    Returns:
        "mean", the area under the curve of `low_data_curve` over log n as a share of its range, and the value
        "n<size>" at each size. The area of a single size is its value.
    """
    n, r2 = low_data_curve(
        states,
        factors,
        split=split,
        episode_ids=episode_ids,
        kinds=kinds,
        roles=roles,
        mode=mode,
        probe=probe,
        sizes=sizes,
        seed=seed,
    )
    if not len(n):
        return {"mean": common.undefined("lowdata_auc", f"there are fewer than {FRAMES[0]} train frames")}
    return common.summarise(r2, [f"n{size}" for size in n], float(_area(n, r2[None])[0]))


@metric(
    "eps_sample_complexity",
    better="lower",
    range=(1.0, np.inf),
    needs=("split", "kinds", "roles", "seed"),
    shifts=1,
    core=False,
)
def eps_sample_complexity(
    states: NDArray,
    factors: NDArray,
    *,
    split: NDArray,
    kinds: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    share: float = 0.9,
    seed: int = 0,
) -> float:
    """Smallest number of train frames on which ridge regression reaches 90 % of what trees reach on all of them.

    Infinite if it never does; NaN, with a warning, if the trees learn nothing. Arguments as in `lowdata_auc`. It has
    no interval, because it jumps from one size to the next, or to infinity.
    """
    sizes, r2 = low_data_curve(states, factors, split=split, kinds=kinds, roles=roles, seed=seed)
    trees = probe_scores("gbt", states, factors, split=split, kinds=kinds, seed=seed).r2
    goal = common.nan_mean(np.maximum(trees[common.task_factors(np.asarray(factors), roles)], 0.0))
    if not goal > 0:
        return common.undefined("eps_sample_complexity", "trees learn nothing from all train rows")
    if not len(sizes):
        return common.undefined("eps_sample_complexity", f"there are fewer than {FRAMES[0]} train frames")
    reached = sizes[r2 >= share * goal]
    return float(reached.min()) if len(reached) else float("inf")
