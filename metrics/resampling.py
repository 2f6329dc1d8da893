"""Uncertainty of a metric: what it would be on other episodes (cluster bootstrap).

Rows of an episode are not independent, so whole episodes are drawn again. Learners and neighbour searches are kept:
their errors, row by row, are what is drawn. Metrics that only count over rows are computed again on the drawn rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from srl_bench.metrics.search import episode_labels, rows_by_episode
from srl_bench.registry import Metric

DRAWS = 200
MIN_EPISODES = 5
Scores = dict[str, NDArray]


class EpisodeSums(NamedTuple):
    """What a metric sums over rows, per episode (E, M), and the scores (R,) that R totals (R, M) come to.

    With the unit matrix as the table, totals are how often each episode was drawn.
    """

    table: NDArray
    finish: Callable[[NDArray], Scores]


def sums_by_episode(values: NDArray, episode_ids: NDArray, episodes: NDArray | None = None) -> NDArray:
    """Return (E, M + 1) the number of rows and the sums of values (n, M), per episode.

    Episodes are those of the rows in ascending order of their ids (n,), or `episodes` (E,), in such an order.
    """
    episodes = np.unique(episode_ids) if episodes is None else episodes
    labels = np.searchsorted(episodes, episode_ids)
    columns = [np.bincount(labels, column, len(episodes)) for column in (np.ones(len(values)), *values.T)]
    return np.stack(columns, axis=1)


def resampled_scores(
    item: Metric,
    states: NDArray,
    factors: NDArray,
    needs: dict[str, Any],
    *,
    episode_ids: NDArray,
    seed: int = 0,
    draws: int = DRAWS,
) -> Scores:
    """Return, by name of the score, (R,) what a metric comes to on R draws of as many episodes.

    Args:
        item: the metric. Its `resample` is a function that gives its `EpisodeSums`; "rows" to compute it again on
            the rows of the drawn episodes; or "test" to draw test episodes only and keep all others.
        states: (N, d) latents.
        factors: (N, K) ground truth.
        needs: what the metric needs; arrays have a row per row of `states`.
        episode_ids: (N,) integers.
        seed: seed of the draws; equal seeds draw equal episodes.
        draws: number of draws.
    """
    random = np.random.default_rng(seed)
    if callable(item.resample):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the metric itself has said them
            table, finish = item.resample(states, factors, **{**needs, "episode_ids": episode_ids})
        times = random.multinomial(len(table), np.full(len(table), 1 / len(table)), draws)
        return finish(times @ table)
    labels = episode_labels(len(states), episode_ids)
    drawn = np.flatnonzero(needs["split"] == 2) if item.resample == "test" else np.arange(len(states))
    kept = np.setdiff1d(np.arange(len(states)), drawn)
    groups = [drawn[rows] for rows in rows_by_episode(labels[drawn])]
    found: dict[str, list[float]] = {}
    for _ in range(draws):
        chosen = [groups[index] for index in random.integers(len(groups), size=len(groups))]
        rows = np.concatenate([kept, *chosen])
        given = {key: value[rows] if isinstance(value, np.ndarray) else value for key, value in needs.items()}
        if "episode_ids" in given:  # an episode that is drawn twice counts as two
            places = np.repeat(np.arange(len(chosen)), [len(group) for group in chosen])
            given["episode_ids"] = np.concatenate([labels[kept], labels.max() + 1 + places])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = item.function(states[rows], factors[rows], **given)
        for name, value in (result if isinstance(result, dict) else {"mean": result}).items():
            found.setdefault(name, []).append(value)
    return {name: np.array(values) for name, values in found.items()}


def limits(value: float, scores: NDArray) -> tuple[float, float]:
    """Return the 95 % interval of a value by draws (R,): their percentiles, moved so that their mean is the value.

    Drawn episodes that repeat make information and maxima look larger than they are; moving takes that away.
    NaN where most draws are undefined.
    """
    scores = scores[np.isfinite(scores)]
    if len(scores) < DRAWS / 2 or not np.isfinite(value):
        return float("nan"), float("nan")
    low, high = np.quantile(scores, [0.025, 0.975]) - scores.mean() + value
    return float(low), float(high)
