"""What a probe is given and how it is judged: R^2 and squared error on test rows, of sums over episodes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from srl_bench.metrics import common
from srl_bench.metrics.resampling import sums_by_episode


class ProbeScores(NamedTuple):
    """Test R^2 (K,), NaN for a constant factor, and test squared error (K,) as a share of its variance."""

    r2: NDArray
    mse: NDArray


class Task(NamedTuple):
    """What a probe is given: latents (N, d), factor columns (N, C), their factors (C,), split (N,), seed."""

    x: NDArray
    y: NDArray
    owners: NDArray
    split: NDArray
    seed: int


def make_task(states: NDArray, factors: NDArray, split: NDArray, kinds: Sequence[str] | None, seed: int = 0) -> Task:
    """Check and standardise the data of a probe; constant dimensions are dropped."""
    states, factors = common.check_inputs(states, factors)
    split = common.check_split(split, len(states))
    train = split == 0
    x = common.standardise(states[:, common.active_dims(states[train])], train)
    y, owners = common.standardised_blocks(factors, kinds)
    return Task(x, y, owners, split, seed)


def evaluate(predict: Callable[[Task], NDArray], task: Task) -> ProbeScores:
    """Score `predict`, which maps a `Task` to (S, n_test, C) predictions of S independent fits.

    A collapsed representation is given R^2 = 0 without a fit.
    """
    return scores_of(squared_errors(predict, task), task)


def squared_errors(predict: Callable[[Task], NDArray], task: Task) -> NDArray:
    """Return (S, n_test, K) squared errors of `predict`; see `evaluate`."""
    target = task.y[task.split == 2]
    if task.x.shape[1]:
        predictions = predict(task)
    else:
        predictions = np.broadcast_to(task.y[task.split == 0].mean(axis=0), (1, *target.shape))
    return (predictions - target) ** 2 @ _membership(task)


def _membership(task: Task) -> NDArray:
    """Return (C, K) which column belongs to which factor."""
    return np.eye(int(task.owners[-1]) + 1)[task.owners]


def scores_of(errors: NDArray, task: Task) -> ProbeScores:
    """Return the scores (K,) of squared errors (S, n_test, K)."""
    r2, mse = of_sums(summands(errors, task).sum(axis=0)[None], task)
    return ProbeScores(r2[0], mse[0])


def summands(errors: NDArray, task: Task) -> NDArray:
    """Return (n_test, 1 + K + C + S K) what scores are made of: ones, |y|^2 per factor, y, errors of fits."""
    y = task.y[task.split == 2]
    y = y - y.mean(axis=0)
    return np.hstack([np.ones((len(y), 1)), y**2 @ _membership(task), y, *errors])


def of_sums(sums: NDArray, task: Task) -> ProbeScores:
    """Return (R, K) scores of sums (R, 1 + K + C + S K) of `summands`."""
    member = _membership(task)
    n_columns, n_factors = member.shape
    n_rows, squares, y, errors = np.split(sums, np.cumsum([1, n_factors, n_columns]), axis=1)
    error = errors.reshape(len(sums), -1, n_factors).mean(axis=1)
    error[:, ~(task.y.any(axis=0) @ member).astype(bool)] = np.nan  # constant factors
    total = squares - y**2 @ member / n_rows
    r2 = 1 - error / np.where(total >= 1e-12, total, np.nan)
    return ProbeScores(r2 if task.x.shape[1] else 0 * r2, error / n_rows)


def positive_mean(r2: NDArray, wanted: NDArray | None = None) -> NDArray:
    """Return (R,) the mean of max(0, R^2) over the `wanted` factors of (R, K) scores; NaN counts for nothing."""
    r2 = r2 if wanted is None else r2[:, wanted]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of nothing
        return np.nanmean(np.maximum(r2, 0.0), axis=1)


def by_episode(errors: NDArray, task: Task, episode_ids: NDArray) -> NDArray:
    """Return (E, M) sums of the `summands` of squared errors (S, n_test, K) per test episode."""
    return sums_by_episode(summands(errors, task)[:, 1:], np.asarray(episode_ids)[task.split == 2])


def probe(
    predict: Callable[[Task], NDArray],
    states: NDArray,
    factors: NDArray,
    *,
    split: NDArray,
    kinds: Sequence[str] | None = None,
    seed: int = 0,
) -> ProbeScores:
    """Score a probe of one's own; see `evaluate`."""
    return evaluate(predict, make_task(states, factors, split, kinds, seed))
