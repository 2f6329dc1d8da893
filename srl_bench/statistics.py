"""Statistics of agents' scores: aggregates with bootstrap intervals, sample efficiency, comparisons.

Scores are tables (runs, environments) of normalised final returns, one run per seed. Recommendations follow
Agarwal et al. 2021 (arXiv 2108.13264): interquartile means, stratified bootstrap, no claims from few runs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from math import comb
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from srl_bench.errors import DataError

MIN_SEEDS = 5
CHUNK = 2_000
Statistic = Callable[[NDArray], NDArray]


class Estimate(NamedTuple):
    """A value, or an array of them, and its 95 % interval, NaN where there are fewer than `MIN_SEEDS` runs."""

    value: Any
    low: Any
    high: Any


def normalise(returns: NDArray, random: float, reference: float) -> NDArray:
    """Return (returns - random) / (reference - random), not clipped: 0 as a random agent, 1 as the reference one.

    Raises:
        DataError: the reference agent is not better than the random one.
    """
    if not reference > random:
        raise DataError(f"the reference agent's return {reference} is not above the random agent's {random}.")
    return (np.asarray(returns) - random) / (reference - random)


def final_scores(curves: NDArray, last: int = 3) -> NDArray:
    """Return the mean of the last evaluations of learning curves (..., evaluations)."""
    return curves[..., -last:].mean(axis=-1)


def iqm(scores: NDArray) -> NDArray:
    """Return the interquartile mean of (..., runs, environments): a quarter of all scores is cut at each end."""
    flat = scores.reshape(*scores.shape[:-2], -1)
    return stats.trim_mean(flat, 0.25, axis=-1)


def mean(scores: NDArray) -> NDArray:
    """Return the mean of (..., runs, environments)."""
    return scores.mean(axis=(-2, -1))


def median(scores: NDArray) -> NDArray:
    """Return the median over environments of the mean over runs, of (..., runs, environments)."""
    return np.median(scores.mean(axis=-2), axis=-1)


def optimality_gap(scores: NDArray, gamma: float = 1.0) -> NDArray:
    """Return how far (..., runs, environments) fall short of `gamma` on average; lower is better."""
    return gamma - np.minimum(scores, gamma).mean(axis=(-2, -1))


AGGREGATES: dict[str, Statistic] = {"median": median, "iqm": iqm, "mean": mean, "optimality_gap": optimality_gap}


def check_scores(scores: NDArray) -> NDArray[np.float64]:
    """Return scores (runs, environments) as float64.

    Raises:
        DataError: it is no such table, or a run is missing; a crashed run is to be scored as a random agent.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or scores.size == 0:
        raise DataError(f"scores must be a filled table (runs, environments), not an array of shape {scores.shape}.")
    missing = int((~np.isfinite(scores)).sum())
    if missing:
        raise DataError(
            f"{missing} of {scores.size} runs have no score; count them as random agents or leave none out."
        )
    return scores


def bootstrap(
    scores: NDArray, statistic: Statistic, *, replicates: int = 2_000, seed: int = 0, tasks: bool = False
) -> NDArray:
    """Return a statistic (replicates, ...) of scores whose runs are drawn again, in each environment on its own.

    Args:
        scores: (runs, environments).
        statistic: function of (..., runs, environments).
        replicates: 2,000 for drafts, 20,000 for final tables.
        seed: seed of the draws.
        tasks: whether environments are drawn again, too.
    """
    scores = check_scores(scores)
    n_runs, n_environments = scores.shape
    random = np.random.default_rng(seed)
    found = []
    for start in range(0, replicates, CHUNK):
        size = (min(CHUNK, replicates - start), n_runs, n_environments)
        environments = np.arange(n_environments)[None, None]
        if tasks:
            environments = random.integers(n_environments, size=(size[0], 1, n_environments))
        found.append(statistic(scores[random.integers(n_runs, size=size), environments]))
    return np.concatenate(found)


def interval(value: Any, draws: NDArray, n_runs: int) -> Estimate:
    """Return a value, or several, with the 95 % percentile interval of bootstrap draws (replicates, ...)."""
    if n_runs < MIN_SEEDS:
        warnings.warn(f"no interval: {n_runs} runs are fewer than {MIN_SEEDS}; show them as points", stacklevel=3)
        return Estimate(value, value * np.nan, value * np.nan)
    return Estimate(value, *np.quantile(draws, [0.025, 0.975], axis=0))


def aggregate(scores: NDArray, *, replicates: int = 2_000, seed: int = 0, tasks: bool = False) -> dict[str, Estimate]:
    """Return median, iqm, mean and optimality_gap of scores (runs, environments), with bootstrap intervals."""
    scores = check_scores(scores)
    names = list(AGGREGATES)

    def all_of_them(resampled: NDArray) -> NDArray:
        return np.stack([AGGREGATES[name](resampled) for name in names], axis=-1)

    draws = bootstrap(scores, all_of_them, replicates=replicates, seed=seed, tasks=tasks)
    found = interval(all_of_them(scores), draws, len(scores))
    return {name: Estimate(*(float(part[i]) for part in found)) for i, name in enumerate(names)}


def difference(
    a: NDArray, b: NDArray, statistic: Statistic = iqm, *, replicates: int = 2_000, seed: int = 0
) -> Estimate:
    """Return the statistic of `a` minus that of `b`, both (runs, environments) and both drawn again."""
    a, b = check_scores(a), check_scores(b)
    draws = bootstrap(a, statistic, replicates=replicates, seed=seed)
    draws = draws - bootstrap(b, statistic, replicates=replicates, seed=seed + 1)
    return interval(float(statistic(a) - statistic(b)), draws, min(len(a), len(b)))


def performance_profile(
    scores: NDArray, tau: NDArray | None = None, *, replicates: int = 2_000, seed: int = 0
) -> Estimate:
    """Return the share of runs that score above each tau (T,), with pointwise limits; by default 121 in [0, 1.2]."""
    scores = check_scores(scores)
    levels = np.linspace(0, 1.2, 121) if tau is None else np.asarray(tau)

    def above(resampled: NDArray) -> NDArray:
        return np.stack([(resampled > level).mean(axis=(-2, -1)) for level in levels], axis=-1)

    return interval(above(scores), bootstrap(scores, above, replicates=replicates, seed=seed), len(scores))


def probability_of_improvement(a: NDArray, b: NDArray, *, replicates: int = 2_000, seed: int = 0) -> Estimate:
    """Return P(a run of A beats one of B), ties one half, mean over environments; better if `low` > 0.5.

    Args:
        a: (n, environments) scores of A.
        b: (m, environments) scores of B.
        replicates: bootstrap draws; the runs of A and of B are drawn again independently.
        seed: seed of the draws.
    """
    a, b = check_scores(a), check_scores(b)
    wins = (np.sign(a.T[:, :, None] - b.T[:, None]) + 1) / 2  # (environments, n, m)
    random = np.random.default_rng(seed)
    draws = np.zeros(replicates)
    for of_environment in wins:
        n, m = of_environment.shape
        times_a, times_b = (random.multinomial(size, np.full(size, 1 / size), replicates) for size in (n, m))
        draws += ((times_a @ of_environment) * times_b).sum(axis=1) / (n * m * len(wins))
    return interval(float(wins.mean()), draws, min(len(a), len(b)))


def area_under_curve(steps: NDArray, curves: NDArray) -> NDArray:
    """Return the mean height of curves (..., evaluations) from (0, 0) to the last of `steps` (evaluations,)."""
    start = np.zeros((*curves.shape[:-1], 1))
    area = np.trapezoid(np.concatenate([start, curves], axis=-1), np.concatenate([[0], steps]), axis=-1)
    return area / steps[-1]


def steps_to_threshold(steps: NDArray, curves: NDArray, threshold: float, window: int = 3) -> NDArray:
    """Return the first of `steps` at which the mean of the last `window` evaluations reaches a threshold.

    A threshold of 0.5 on normalised curves is half of the reference agent's return. Infinite where it is never
    reached.
    """
    ends = range(1, len(steps) + 1)
    trailing = np.stack([curves[..., max(0, end - window) : end].mean(axis=-1) for end in ends], axis=-1)
    reached = trailing >= threshold
    return np.where(reached.any(axis=-1), steps[reached.argmax(axis=-1)], np.inf)


def summarise_steps(times: NDArray, budget: float) -> dict[str, float]:
    """Return share of runs that reached a threshold, their median time (maybe infinite) and the restricted mean.

    The restricted mean is that of min(time, budget): leaving out runs that never get there would reward them.
    """
    times = np.ravel(times)
    return {
        "share": float(np.isfinite(times).mean()),
        "median": float(np.median(times)),
        "restricted_mean": float(np.minimum(times, budget).mean()),
    }


def environment_iqms(scores: NDArray) -> NDArray:
    """Return (..., environments), the interquartile mean over runs of (..., runs, environments)."""
    return stats.trim_mean(scores, 0.25, axis=-2)


def mean_ranks(scores: Sequence[NDArray]) -> NDArray:
    """Return (A,) the mean over environments of the rank of each algorithm's IQM; 1 is best, ties averaged.

    `scores` holds a table (runs, environments) per algorithm.
    """
    table = np.stack([environment_iqms(check_scores(item)) for item in scores])
    return stats.rankdata(-table, axis=0).mean(axis=1)


def rank_distribution(scores: Sequence[NDArray], *, replicates: int = 2_000, seed: int = 0) -> NDArray:
    """Return (A, A) the share of bootstrap draws and environments in which algorithm a has rank r + 1."""
    draws = np.stack(
        [bootstrap(item, environment_iqms, replicates=replicates, seed=seed + a) for a, item in enumerate(scores)]
    )
    low, high = (stats.rankdata(-draws, method=method, axis=0) for method in ("min", "max"))
    ranks = range(1, len(scores) + 1)
    # those that tie share the ranks they take up
    shares = [((low <= rank) & (rank <= high)) / (high - low + 1) for rank in ranks]
    return np.stack([share.mean(axis=(1, 2)) for share in shares], axis=1)


def friedman(scores: Sequence[NDArray]) -> tuple[float, float, float]:
    """Test whether algorithms differ over environments, on IQMs.

    Returns:
        Friedman's statistic, its p value, and Nemenyi's critical difference of mean ranks (Demsar 2006) at 5 %.
    """
    table = np.stack([environment_iqms(check_scores(item)) for item in scores])
    k, n = table.shape
    critical = stats.studentized_range.ppf(0.95, k, np.inf) / np.sqrt(2) * np.sqrt(k * (k + 1) / (6 * n))
    return (*map(float, stats.friedmanchisquare(*table)), float(critical))  # type: ignore[return-value]


def welch(a: NDArray, b: NDArray) -> NDArray:
    """Return (environments,) two-sided p values of Welch's t test between scores (runs, environments)."""
    return stats.ttest_ind(check_scores(a), check_scores(b), axis=0, equal_var=False).pvalue


def paired_difference(a: NDArray, b: NDArray) -> tuple[Estimate, float]:
    """Return the mean of a - b over pairs (n,), its interval and its two-sided p value, both of Student's t.

    Below `MIN_SEEDS` pairs there is only the mean. What does not vary has an interval without width; p is 1 if the
    difference is always 0.
    """
    differences = np.asarray(a, dtype=np.float64) - b
    n = len(differences)
    value = float(differences.mean()) if n else np.nan
    if n < MIN_SEEDS:
        return Estimate(value, np.nan, np.nan), np.nan
    error = float(differences.std(ddof=1) / np.sqrt(n))
    half = error * float(stats.t.ppf(0.975, n - 1))
    p = 2 * float(stats.t.sf(abs(value) / error, n - 1)) if error > 0 else float(value == 0)
    return Estimate(value, value - half, value + half), p


def permutation_test(a: NDArray, b: NDArray, *, draws: int = 9_999, seed: int = 0) -> float:
    """Return the two-sided p value of the difference of mean returns (n,) and (m,), exact for few runs."""
    _warn_of_power(2 / comb(len(a) + len(b), len(a)))

    def gap(x: NDArray, y: NDArray, axis: int) -> NDArray:
        return x.mean(axis=axis) - y.mean(axis=axis)

    test = stats.permutation_test((a, b), gap, vectorized=True, n_resamples=draws, random_state=seed)
    return float(test.pvalue)


def paired_comparison(values: NDArray, baseline: int = 0) -> tuple[NDArray, NDArray]:
    """Compare algorithms with a baseline by Wilcoxon's signed rank test over pairs.

    Args:
        values: (A, pairs), such as IQMs per environment, or scores of encoders that share data and seed. The
            seed of an agent alone does not make a pair.
        baseline: row of the baseline.

    Returns:
        (A - 1,) two-sided p values in the order of the other rows, and the same after Holm's correction.
    """
    values = np.asarray(values, dtype=np.float64)
    _warn_of_power(2.0 ** (1 - values.shape[1]))
    others = np.delete(values, baseline, axis=0)
    p = np.array([stats.wilcoxon(values[baseline], other).pvalue for other in others])
    return p, holm(p)


def _warn_of_power(smallest: float) -> None:
    if smallest >= 0.05:
        warnings.warn(f"too few runs: the smallest possible p value is {smallest:.3g}", stacklevel=3)


def holm(p: NDArray) -> NDArray:
    """Return p values (n,) corrected for a planned family of comparisons (Holm 1979)."""
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p)
    corrected = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(corrected, 1)[np.argsort(order)]


def benjamini_hochberg(p: NDArray) -> NDArray:
    """Return p values of any shape, corrected to control the false discovery rate of a screen of all pairs."""
    p = np.asarray(p, dtype=np.float64)
    return stats.false_discovery_control(p, axis=None).reshape(p.shape)
