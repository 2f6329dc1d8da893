"""How strong a learner does it take to read the factors off the latents?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from srl_bench.metrics import common
from srl_bench.metrics.memory import remembered
from srl_bench.metrics.probes import ProbeName, probe_errors, ridge
from srl_bench.metrics.readout import Task, make_task, mean_over, scores_of, squared_errors, sums_of_fits
from srl_bench.metrics.resampling import EpisodeSums
from srl_bench.registry import metric

MAX_POLYNOMIAL_DIMS = 32


def polynomial_ridge(task: Task) -> NDArray:
    """Predict by ridge regression on all products of up to two latents."""
    first, second = np.triu_indices(task.x.shape[1])
    x = np.hstack([task.x, task.x[:, first] * task.x[:, second]])
    return ridge(task._replace(x=common.standardise(x, task.split == 0)))


@remembered
def _polynomial_errors(x: NDArray, y: NDArray, owners: NDArray, split: NDArray) -> NDArray:
    return squared_errors(polynomial_ridge, Task(x, y, owners, split, 0))


def _rungs(task: Task) -> tuple[NDArray, NDArray | None, NDArray, NDArray, NDArray]:
    """Return squared errors (S, n_test, K) of ridge, ridge on products, neighbours, trees and network.

    Products are left out (None) above 32 dimensions.
    """
    names: tuple[ProbeName, ...] = ("ridge", "knn", "gbt", "shared_mlp")
    linear, neighbours, trees, network = (probe_errors(name, *task) for name in names)
    products = _polynomial_errors(*task[:4]) if task.x.shape[1] <= MAX_POLYNOMIAL_DIMS else None
    return linear, products, neighbours, trees, network


def ladder(
    states: NDArray, factors: NDArray, *, split: NDArray, kinds: Sequence[str] | None = None, seed: int = 0
) -> NDArray:
    """Return (5, K) test R^2 of ridge, ridge on products, neighbours, trees and network.

    Products are left out (-inf) above 32 dimensions.
    """
    task = make_task(states, factors, split, kinds, seed)
    linear, *stronger = _rungs(task)
    r2 = scores_of(linear, task).r2
    left_out = np.where(np.isnan(r2), np.nan, -np.inf)
    return np.stack([r2, *(left_out if errors is None else scores_of(errors, task).r2 for errors in stronger)])


def _gap_sums(
    states: NDArray,
    factors: NDArray,
    *,
    episode_ids: NDArray,
    split: NDArray,
    kinds: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    seed: int = 0,
) -> EpisodeSums:
    """Return how the errors of all rungs are summed over test episodes; the learners stay as they were fitted."""
    task = make_task(states, factors, split, kinds, seed)
    table, judge = sums_of_fits([errors for errors in _rungs(task) if errors is not None], task, episode_ids)
    wanted = common.task_factors(np.asarray(factors), roles)

    def finish(totals: NDArray) -> dict[str, NDArray]:
        r2 = np.stack([scores.r2 for scores in judge(totals)])  # (T, R, K)
        gap = r2.max(axis=0) - r2[0]
        per_factor = dict(zip(common.factor_names(np.asarray(factors), names), gap.T, strict=True))
        return {"mean": mean_over(gap, wanted), **per_factor}

    return EpisodeSums(table, finish)


@metric(
    "explicitness_level",
    better="lower",
    range=(1.0, 5.0),
    needs=("split", "kinds", "names", "roles", "seed"),
    shifts=1,
    core=False,
)
def explicitness_level(
    states: NDArray,
    factors: NDArray,
    *,
    split: NDArray,
    kinds: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """How strong a learner each factor needs: 1 linear, 2 products, 3 neighbours, 4 trees, 5 network.

    The lowest rung of the ladder whose test R^2 is at least 95 % of the best one. NaN, with a warning, for
    factors that no rung reads (R^2 < 0.1). It has no interval, because it jumps from rung to rung.

    Args:
        states: (N, d) latents.
        factors: (N, K) ground truth.
        split: (N,) 0 train, 1 validation, 2 test, by whole episodes.
        kinds: K entries of "continuous", "angular" or "categorical".
        names: K factor names, the keys of the result.
        roles: K entries of "task", "distractor" or "nuisance".
        seed: seed of trees and network.

    Returns:
        "mean" over task factors, and the level of each factor, NaN for a constant one.
    """
    r2 = ladder(states, factors, split=split, kinds=kinds, seed=seed)
    best = r2.max(axis=0)
    level = np.where(best >= 0.1, (r2 >= 0.95 * best).argmax(axis=0) + 1.0, np.nan)
    labels = common.factor_names(np.asarray(factors), names)
    unread = [label for label, value in zip(labels, best, strict=True) if value < 0.1]
    if unread:
        common.undefined("explicitness_level", f"no learner reads {', '.join(unread)} (R^2 < 0.1)")
    return common.summarise(level, labels, common.nan_mean(level[common.task_factors(np.asarray(factors), roles)]))


@metric(
    "linear_gap",
    better="lower",
    range=(0.0, np.inf),
    needs=("split", "kinds", "names", "roles", "seed"),
    shifts=1,
    core=False,
    resample=_gap_sums,
)
def linear_gap(
    states: NDArray,
    factors: NDArray,
    *,
    split: NDArray,
    kinds: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """What linear decoding misses: the best test R^2 of the ladder minus that of ridge regression.

    Arguments and result as in `explicitness_level`.
    """
    r2 = ladder(states, factors, split=split, kinds=kinds, seed=seed)
    gap = r2.max(axis=0) - r2[0]
    labels = common.factor_names(np.asarray(factors), names)
    return common.summarise(gap, labels, common.nan_mean(gap[common.task_factors(np.asarray(factors), roles)]))
