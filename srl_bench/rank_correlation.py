"""Rank correlation between what metrics say of encoders and what agents reach on them.

Encoders are compared within an environment only: pooled over environments, a metric that merely tells easy tasks
from hard ones would look predictive. Seeds of one configuration are no independent encoders, so they are drawn and
permuted together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from srl_bench.statistics import MIN_SEEDS

CHUNK = 500
Kind = Literal["spearman", "kendall"]


@dataclass(frozen=True)
class Encoders:
    """The encoders of one environment.

    Attributes:
        environment: its name.
        names: M names of metrics.
        metrics: (C, M) values, signed so that higher is better, NaN where undefined.
        returns: (C, S) final returns of agents, a column per seed of the agent.
        configurations: (C,) which of them differ in nothing but their seed.
        families: (C,) which of them learned from the same kinds of data, where that is known.
    """

    environment: str
    names: tuple[str, ...]
    metrics: NDArray
    returns: NDArray
    configurations: NDArray
    families: NDArray | None = None

    @property
    def outcome(self) -> NDArray:
        """(C,) the interquartile mean over agents."""
        return stats.trim_mean(self.returns, 0.25, axis=1)


def rank_correlation(weights: NDArray, x: NDArray, y: NDArray, kind: Kind) -> NDArray:
    """Return (R, M) Spearman's rho or Kendall's tau-b of weighted samples.

    A rank is half a sum of signs of differences, so both are sums over pairs of encoders.

    Args:
        weights: (R, C) how often each encoder was drawn.
        x: (C, M) metrics; encoders with NaN are left out.
        y: (R, C) outcomes.
        kind: "spearman" or "kendall".
    """
    signs_y = np.sign(y[:, :, None] - y[:, None])  # (R, C, C)
    found = []
    for column in x.T:
        w = weights * ~np.isnan(column)
        signs_x = np.nan_to_num(_signs(column[:, None], column))
        if kind == "spearman":
            rank_x, rank_y = w @ signs_x.T, _times(signs_y, w)
            products = [(w * a * b).sum(axis=1) for a, b in ((rank_x, rank_y), (rank_x, rank_x), (rank_y, rank_y))]
        else:
            pairs = ((signs_x * signs_y), signs_x**2, signs_y**2)
            products = [(_times(pair, w) * w).sum(axis=1) for pair in pairs]
        both, squared_x, squared_y = products
        with np.errstate(invalid="ignore"):
            found.append(both / np.sqrt(squared_x * squared_y))
    return np.stack(found, axis=1)


def _signs(a: NDArray, b: NDArray) -> NDArray:
    """Return the sign of a - b, 0 also for two infinite values, NaN for undefined ones."""
    with np.errstate(invalid="ignore"):
        return np.where(a == b, 0.0, np.sign(a - b))


def _times(matrices: NDArray, vectors: NDArray) -> NDArray:
    """Return (R, C) products of one or R matrices (..., C, C) with R vectors (R, C)."""
    return (matrices @ vectors[:, :, None])[:, :, 0]


def correlations(group: Encoders, kind: Kind = "spearman") -> NDArray:
    """Return (M,) the rank correlation of each metric with the outcome in one environment."""
    ones = np.ones((1, len(group.metrics)))
    return rank_correlation(ones, group.metrics, group.outcome[None], kind)[0]


def combine(rho: NDArray) -> NDArray:
    """Return tanh(mean atanh rho) over the first axis, that of environments (Fisher's z)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.tanh(np.arctanh(np.clip(rho, -1, 1)).mean(axis=0))


def fisher_interval(rho: NDArray, n: NDArray | int) -> tuple[NDArray, NDArray]:
    """Return the 95 % interval of Spearman's rho over n encoders (Bonett & Wright 2000), NaN for n < 4."""
    n = np.asarray(n, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        half = stats.norm.ppf(0.975) * np.sqrt((1 + rho**2 / 2) / np.where(n > 3, n - 3, np.nan))
        return np.tanh(np.arctanh(rho) - half), np.tanh(np.arctanh(rho) + half)


def bootstrap(groups: Sequence[Encoders], kind: Kind, replicates: int, seed: int) -> NDArray:
    """Return (replicates, M) combined correlations: environments (if five or more), configurations, agents redrawn."""
    random = np.random.default_rng(seed)
    draws = np.stack([_bootstrap_one(group, kind, replicates, random) for group in groups])
    if len(groups) >= MIN_SEEDS:
        drawn = random.integers(len(groups), size=draws.shape[:2])
        # an environment that is drawn twice gets another draw of its encoders each time
        draws = draws[drawn, random.integers(replicates, size=drawn.shape)]
    # few encoders come into perfect order by chance, which must not outweigh all other environments
    n = min(len(group.metrics) for group in groups)
    limit = 1 - 6 / (n**3 - n)
    return combine(np.clip(draws, -limit, limit))


def _bootstrap_one(group: Encoders, kind: Kind, replicates: int, random: np.random.Generator) -> NDArray:
    _, member = np.unique(group.configurations, return_inverse=True)
    n_configurations, (n_encoders, n_agents) = member.max() + 1, group.returns.shape
    found = []
    for start in range(0, replicates, CHUNK):
        size = min(CHUNK, replicates - start)
        times = random.multinomial(n_configurations, np.full(n_configurations, 1 / n_configurations), size)
        agents = random.integers(n_agents, size=(size, n_encoders, n_agents))
        outcome = stats.trim_mean(group.returns[np.arange(n_encoders)[:, None], agents], 0.25, axis=2)
        found.append(rank_correlation(times[:, member].astype(float), group.metrics, outcome, kind))
    return np.concatenate(found)


def family_wise_p(groups: Sequence[Encoders], permutations: int, seed: int) -> NDArray:
    """Return (M,) p values of the combined Spearman correlations, corrected for the number of metrics.

    The outcomes of configurations are permuted as blocks within each environment, and each metric is compared
    with the largest correlation of all metrics.
    """
    random = np.random.default_rng(seed)
    observed = np.abs(combine(np.stack([correlations(group) for group in groups])))
    draws = []
    for group in groups:
        order = np.stack([_permuted_blocks(group.configurations, random) for _ in range(permutations)])
        ones = np.ones((CHUNK, len(group.metrics)))
        chunks = [group.outcome[order[start : start + CHUNK]] for start in range(0, permutations, CHUNK)]
        draws.append(np.concatenate([rank_correlation(ones[: len(y)], group.metrics, y, "spearman") for y in chunks]))
    largest = np.nanmax(np.abs(combine(np.stack(draws))), axis=1)
    p = (1 + (largest[:, None] >= observed - 1e-12).sum(axis=0)) / (1 + permutations)
    return np.where(np.isnan(observed), np.nan, p)


def _permuted_blocks(labels: NDArray, random: np.random.Generator) -> NDArray:
    """Return an order of rows in which configurations with equally many seeds have swapped places."""
    order = np.arange(len(labels))
    names, counts = np.unique(labels, return_counts=True)
    for count in np.unique(counts):
        rows = np.stack([np.flatnonzero(labels == name) for name in names[counts == count]])
        order[rows] = random.permutation(rows)
    return order


def top_regret(group: Encoders) -> NDArray:
    """Return (M,) what choosing the encoder with the best metric costs: 0 nothing, 1 as much as a random choice."""
    outcome = group.outcome
    chosen = outcome[np.nan_to_num(group.metrics, nan=-np.inf).argmax(axis=0)]
    return (outcome.max() - chosen) / (outcome.max() - outcome.mean())


def pairwise_accuracy(groups: Sequence[Encoders]) -> NDArray:
    """Return (M,) the share of pairs of encoders that a metric orders as the outcome does, its ties one half."""
    return _accuracy([(group.metrics, group.outcome, group.outcome) for group in groups])


def clear_accuracy(groups: Sequence[Encoders]) -> NDArray:
    """Return (M,) the same for configurations, over the pairs whose 95 % intervals of the mean return do not overlap.

    The intervals are Student's over the agents of all seeds of a configuration. NaN without such a pair, or where a
    configuration has fewer than five agents.
    """
    means = []
    for group in groups:
        parts = [group.configurations == name for name in np.unique(group.configurations)]
        returns = [group.returns[rows].ravel() for rows in parts]
        if min(map(len, returns)) < MIN_SEEDS:
            return np.full(len(groups[0].names), np.nan)
        middle = np.array([values.mean() for values in returns])
        half = np.array([stats.sem(values) * stats.t.ppf(0.975, len(values) - 1) for values in returns])
        means.append((np.stack([group.metrics[rows].mean(axis=0) for rows in parts]), middle - half, middle + half))
    return _accuracy(means)


def _accuracy(samples: Sequence[tuple[NDArray, NDArray, NDArray]]) -> NDArray:
    """Return (M,) the share of pairs that metrics (C, M) order as outcomes known to lie from low to high (C,)."""
    right, total = np.zeros((2, samples[0][0].shape[1]))
    for metrics, low, high in samples:
        i, j = np.triu_indices(len(metrics), 1)
        gap = ((low[i] > high[j]).astype(float) - (high[i] < low[j]))[:, None]
        agreement = _signs(metrics[i], metrics[j]) * gap
        counted = (gap != 0) & ~np.isnan(agreement)
        right += np.where(counted, (agreement + 1) / 2, 0).sum(axis=0)
        total += counted.sum(axis=0)
    with np.errstate(invalid="ignore"):
        return right / total


def within_and_between(group: Encoders) -> tuple[NDArray, NDArray]:
    """Return (M,) Spearman's rho among seeds of a configuration, and (M,) that of the means of configurations.

    The first is the mean over configurations of at least three seeds, NaN without any.
    """
    parts = [np.flatnonzero(group.configurations == name) for name in np.unique(group.configurations)]
    x = np.stack([group.metrics[rows].mean(axis=0) for rows in parts])
    y = np.array([group.outcome[rows].mean() for rows in parts])
    between = rank_correlation(np.ones((1, len(y))), x, y[None], "spearman")[0]
    seeds = [rows for rows in parts if len(rows) >= 3]
    found = [
        rank_correlation(np.ones((1, len(rows))), group.metrics[rows], group.outcome[None, rows], "spearman")[0]
        for rows in seeds
    ]
    return (np.mean(found, axis=0) if found else np.full(len(group.names), np.nan)), between


def partial_correlations(group: Encoders, control: NDArray) -> NDArray:
    """Return (M,) Spearman's rho of each metric with the outcome at equal `control` (C,), such as a dimension.

    (r_xy - r_xc r_yc) / sqrt((1 - r_xc^2) (1 - r_yc^2)), over encoders with a value; NaN where the control does not
    vary, or orders them exactly as the metric or the outcome does.
    """
    found = []
    for column in group.metrics.T:
        rows = ~(np.isnan(column) | np.isnan(control))
        columns = np.stack([column[rows], control[rows]], axis=1)
        ones, outcome = np.ones((1, rows.sum())), group.outcome[rows]
        if not rows.any():
            found.append(np.nan)
            continue
        xy, cy = rank_correlation(ones, columns, outcome[None], "spearman")[0]
        xc = rank_correlation(ones, columns[:, :1], control[None, rows], "spearman")[0, 0]
        left = (1 - xc**2) * (1 - cy**2)
        found.append((xy - xc * cy) / np.sqrt(left) if left > 1e-9 else np.nan)
    return np.array(found)


def within_families(group: Encoders) -> NDArray:
    """Return (M,) Spearman's rho of each metric with the outcome at equal families: that of ranks less family means.

    NaN where families are unknown, or where nothing varies within them.
    """
    if group.families is None:
        return np.full(len(group.names), np.nan)
    found = []
    for column in group.metrics.T:
        rows = np.flatnonzero(~np.isnan(column))
        ranks = stats.rankdata([column[rows], group.outcome[rows]], axis=1)
        for name in np.unique(group.families[rows]):
            members = group.families[rows] == name
            ranks[:, members] -= ranks[:, members].mean(axis=1, keepdims=True)
        left = np.sqrt((ranks**2).sum(axis=1).prod())
        found.append(ranks[0] @ ranks[1] / left if left > 1e-9 else np.nan)
    return np.array(found)


def without_one(groups: Sequence[Encoders], part: Literal["configurations", "families"] = "configurations") -> NDArray:
    """Return (2, M) the lowest and highest combined Spearman's rho if any one part is left out everywhere.

    A metric that owes its correlation to a few encoders, such as the true state, shows here. NaN if an environment
    has three parts or fewer.
    """
    of_groups = [getattr(group, part) for group in groups]
    if any(labels is None or len(np.unique(labels)) <= 3 for labels in of_groups):
        return np.full((2, len(groups[0].names)), np.nan)
    found = []
    for label in sorted({str(label) for labels in of_groups for label in labels}):
        kept = [labels.astype(str) != label for labels in of_groups]
        rest = [
            replace(group, metrics=group.metrics[k], returns=group.returns[k], configurations=group.configurations[k])
            for group, k in zip(groups, kept, strict=True)
        ]
        found.append(combine(np.stack([correlations(group) for group in rest])))
    return np.stack([np.min(found, axis=0), np.max(found, axis=0)])


def noise_ceiling(groups: Sequence[Encoders]) -> tuple[float, float]:
    """Return the split-half reliability of outcomes over agents, and its Spearman-Brown prediction 2r / (1 + r).

    It is the mean over environments of Spearman's rho between mean returns of one half of the agents and the
    other, over all halves. A perfect metric correlates with such outcomes by the root of their reliability. Where
    every encoder has a single agent, the agents of a configuration are its seeds. NaN where there are no two.
    """
    found = []
    for group in groups:
        returns = group.returns if group.returns.shape[1] > 1 else _by_configuration(group)
        n_agents = returns.shape[1]
        for half in combinations(range(n_agents), n_agents // 2) if n_agents > 1 else ():
            rest = np.setdiff1d(np.arange(n_agents), half)
            one, other = returns[:, list(half)].mean(axis=1), returns[:, rest].mean(axis=1)
            found.append(stats.spearmanr(one, other).statistic)
    r = float(np.mean(found)) if found else float("nan")
    return r, 2 * r / (1 + r)


def _by_configuration(group: Encoders) -> NDArray:
    """Return (configurations, seeds) returns, as many seeds as all configurations have."""
    names, counts = np.unique(group.configurations, return_counts=True)
    return np.stack([group.returns[group.configurations == name, 0][: counts.min()] for name in names])
