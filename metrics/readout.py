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


def squared_errors(predict: Callable[[Task], NDArray], task: Task) -> NDArray:
    """Return (S, n_test, K) squared errors of `predict`, of which S fits map a `Task` to (S, n_test, C) predictions.

    A collapsed representation is predicted from by the train mean, without a fit.
    """
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
    unseen = np.isnan(r2[0]) & ~np.isnan(mse[0])
    if unseen.any():
        common.undefined(f"R^2 of factors {np.flatnonzero(unseen).tolist()}", "they are constant in the test rows")
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
    return mean_over(np.maximum(r2, 0.0), wanted)


def mean_over(scores: NDArray, wanted: NDArray | None = None) -> NDArray:
    """Return (R,) the mean over the `wanted` factors of (R, K) scores; NaN counts for nothing."""
    scores = scores if wanted is None else scores[:, wanted]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of nothing
        return np.nanmean(scores, axis=1)


def by_episode(errors: NDArray, task: Task, episode_ids: NDArray) -> NDArray:
    """Return (E, M) sums of the `summands` of squared errors (S, n_test, K) per test episode."""
    return sums_by_episode(summands(errors, task)[:, 1:], np.asarray(episode_ids)[task.split == 2])


def sums_of_fits(
    fits: Sequence[NDArray], task: Task, episode_ids: NDArray
) -> tuple[NDArray, Callable[[NDArray], list[ProbeScores]]]:
    """Return what several probes are summed over, and how they are judged by totals.

    Args:
        fits: squared errors (S, n_test, K) of each of T probes.
        task: what they were given.
        episode_ids: (N,) integers.

    Returns:
        A table (E, M) of sums per test episode, and a function of R totals (R, M) that gives the T scores (R, K).
    """
    shared = summands(fits[0][:0], task).shape[1]
    edges = shared + np.cumsum([0, *(errors.shape[0] * errors.shape[2] for errors in fits)])[:-1]

    def judge(totals: NDArray) -> list[ProbeScores]:
        first, *parts = np.split(totals, edges, axis=1)
        return [of_sums(np.hstack([first, part]), task) for part in parts]

    return by_episode(np.concatenate(fits), task, episode_ids), judge
