"""Rows that follow each other: consecutive steps of an episode, wherever they are stored."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from srl_bench.errors import DataError


def runs(episode_ids: NDArray, steps: NDArray, length: int) -> NDArray:
    """Return (M, length) row indices of all `length` consecutive steps of an episode, which may overlap.

    Rows need not be sorted; missing steps break a run.

    Raises:
        DataError: the ids do not fit the steps, or an episode has two rows of one step.
    """
    episode_ids, steps = np.asarray(episode_ids), np.asarray(steps)
    if episode_ids.ndim != 1 or episode_ids.shape != steps.shape:
        raise DataError(f"episode_ids {episode_ids.shape} and steps {steps.shape} must be two lists of equal length.")
    order = np.lexsort((steps, episode_ids))
    episodes, times = episode_ids[order], steps[order]
    again = (np.diff(episodes) == 0) & (np.diff(times) == 0)
    if again.any():
        place = again.argmax()
        raise DataError(f"episode {episodes[place]} has two rows of step {times[place]}; each step must occur once.")
    n_starts = max(len(order) - length + 1, 0)
    first, last = np.arange(n_starts), np.arange(n_starts) + length - 1
    whole = (episodes[first] == episodes[last]) & (times[last] - times[first] == length - 1)
    return order[np.flatnonzero(whole)[:, None] + np.arange(length)]
