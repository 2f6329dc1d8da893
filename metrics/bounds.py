"""What to read a score against: the ground truth itself, wrong moments, and noise, on the same rows."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srl_bench.metrics.common import nan_mean

Score = float | dict[str, float]


def ceiling(
    metric_function: Callable[..., Score], factors: NDArray, kinds: Sequence[str] | None = None, **needs: Any
) -> Score:
    """Score the ground truth itself: what a perfect encoder reaches on these rows.

    The codes are the raw factor columns, whatever the look or the seed; a metric that takes `code_kinds` bins them
    as it bins factors.
    """
    accepted = inspect.signature(metric_function).parameters
    if "shifted_states" in needs:
        needs["shifted_states"] = factors
    if "other_states" in needs:
        needs["other_states"] = [factors] * len(needs["other_states"])
    for keyword in ("kinds", "code_kinds"):
        if keyword in accepted:
            needs[keyword] = kinds
    return metric_function(factors, factors, **needs)


def noise(metric_function: Callable[..., Score], states: NDArray, factors: NDArray, **needs: Any) -> Score:
    """Score independent normal draws in place of states (N, d): what codes without information or memory reach."""
    random = np.random.default_rng(0)
    if "shifted_states" in needs:
        needs["shifted_states"] = random.normal(size=np.shape(states))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return metric_function(random.normal(size=np.shape(states)), factors, **needs)


def floor(
    metric_function: Callable[..., Score], states: NDArray, factors: NDArray, shifts: int = 9, **needs: Any
) -> Score:
    """Score states paired with the wrong moments: what an uninformative encoder reaches on these rows.

    Rows of `states` are shifted circularly by j / (shifts + 1) of the data, j = 1 ... shifts, against all
    else, which keeps their autocorrelation; the scores are averaged, NaN left out. Rows have to be sorted by
    episode and step.
    """
    offsets = [round(len(states) * j / (shifts + 1)) for j in range(1, shifts + 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = [metric_function(np.roll(states, offset, axis=0), factors, **needs) for offset in offsets]
    if isinstance(scores[0], dict):
        return {key: nan_mean(np.array([score[key] for score in scores])) for key in scores[0]}  # type: ignore[index]
    return nan_mean(np.array(scores))
