"""Which metric predicts what agents reach? The table behind `srl-bench correlate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from srl_bench.errors import DataError, UnknownNameError
from srl_bench.method import as_objective, resolve
from srl_bench.rank_correlation import (
    Encoders,
    Kind,
    bootstrap,
    clear_accuracy,
    combine,
    correlations,
    family_wise_p,
    fisher_interval,
    noise_ceiling,
    pairwise_accuracy,
    partial_correlations,
    top_regret,
    within_and_between,
    within_families,
    without_one,
)
from srl_bench.registry import METRICS
from srl_bench.statistics import MIN_SEEDS, final_scores

MIN_ENCODERS = 10
ALL = "all"
LEARNED_FROM = {"action": "actions", "reward": "rewards", "factors": "factors"}
SIZE = "dimension.active"
KINDS: tuple[Kind, ...] = ("spearman", "kendall")


def encoders_of(results: pd.DataFrame) -> tuple[list[Encoders], list[str]]:
    """Pair the scores of every encoder in the results of a suite with the return of its agent.

    An agent counts with the mean of its last three evaluations. Values of single factors are left out.

    Returns:
        The encoders of each environment, and remarks on what the data cannot show.

    Raises:
        DataError: an environment has fewer than three configurations with scores and returns.
    """
    scores = results[results["track"] == "score"]
    names = [str(name) for name in scores["metric"].unique()]
    defined = set(scores.loc[scores["value"].notna(), "metric"])
    names = [name for name in names if "." not in name or name.split(".")[0] not in defined]
    sign = {name: -1.0 if METRICS[name.split(".")[0]].better == "lower" else 1.0 for name in names}
    keys = ["environment", "method", "seed"]
    wide = scores[scores["metric"].isin(names)].set_index([*keys, "metric"])["value"].unstack()
    trained = results[(results["track"] == "rl") & (results["step"] > 0)].sort_values("step")
    reached = trained.groupby(keys)["value"].apply(lambda curve: float(final_scores(curve.to_numpy())))
    both = wide[names].mul(pd.Series(sign)).assign(outcome=reached).dropna(subset=["outcome"])
    found = []
    for environment, table in both.groupby(level="environment"):
        methods = table.index.get_level_values("method").to_numpy()
        if len(np.unique(methods)) < 3:
            raise DataError(f"{environment} has {len(np.unique(methods))} scored encoders with agents; 3 are needed.")
        returns = table[["outcome"]].to_numpy()
        families = np.array([family(str(method)) for method in methods])
        found.append(Encoders(str(environment), tuple(names), table[names].to_numpy(), returns, methods, families))
    if not found:
        raise DataError("no encoder has both scores and an agent; run a suite whose cells train agents.")
    remarks = caveats(found)
    if len(wide) > len(both):
        remarks.append(f"{len(wide) - len(both)} scored encoders have no agent and are left out")
    return found, remarks


def family(method: str) -> str:
    """Return what an encoder learned from, by its method's objective, such as "images, actions".

    "ground truth" and "untrained" are references; the method of a plug-in that is not loaded is "unknown".
    """
    try:
        known = resolve(method)
    except UnknownNameError:
        return "unknown"
    objective = as_objective(known, state_dim=1_000_000)
    if known.observation == "state":
        return "ground truth"
    if objective is None:
        return "untrained"
    return ", ".join(["images", *(word for need, word in LEARNED_FROM.items() if need in objective.needs)])


def caveats(groups: Sequence[Encoders]) -> list[str]:
    """Return what the data are too few for."""
    remarks = []
    for group in groups:
        n_configurations = len(np.unique(group.configurations))
        if n_configurations < MIN_ENCODERS:
            lacking = ", so there are no intervals" if n_configurations < MIN_SEEDS else ""
            remarks.append(f"{group.environment}: {n_configurations} configurations of {MIN_ENCODERS} advised{lacking}")
        undefined = [name for name, column in zip(group.names, group.metrics.T, strict=True) if np.isnan(column).any()]
        if undefined:
            remarks.append(f"{group.environment}: encoders without a value are left out of {', '.join(undefined)}")
    agents = min(len(group.outcome) * group.returns.shape[1] // len(set(group.configurations)) for group in groups)
    if agents < MIN_SEEDS:
        remarks.append(f"{agents} agent(s) per configuration; with fewer than {MIN_SEEDS}, noise hides the best metric")
    reliability = noise_ceiling(groups)[1]
    if np.isfinite(reliability):
        best = f"a perfect metric would correlate with them by about {max(reliability, 0) ** 0.5:.2f}"
        remarks.append(f"returns of configurations have reliability {reliability:.2f}: {best}")
    together, single = combination(groups)
    if np.isfinite(together):
        alone = f"the best single metric of the others {single:.2f}"
        remarks.append(f"in an environment left out, ridge on all ranked metrics reaches {together:.2f}, {alone}")
    if len(groups) < MIN_SEEDS:
        remarks.append(f"{len(groups)} environment(s) are too few to draw from: intervals hold for these only")
    return remarks


def _limits(draws: NDArray) -> NDArray:
    """Return (2, M) percentiles of draws (replicates, M), without those in which nothing varied."""
    defined = [column[np.isfinite(column)] for column in draws.T]
    return np.array([np.quantile(c, [0.025, 0.975]) if len(c) else (np.nan, np.nan) for c in defined]).T


def combination(groups: Sequence[Encoders]) -> tuple[float, float]:
    """Return how well all metrics together predict the order of encoders in an environment that was left out.

    Ridge regression (penalty 1) of ranked outcomes on ranked metrics is fitted on the other environments.

    Returns:
        Its combined Spearman's rho with the outcomes, and that of the one metric that predicts best in the others; NaN
        with a single environment.
    """
    if len(groups) < 2:
        return float("nan"), float("nan")
    ranked = [_ranked(group.metrics) for group in groups]
    outcomes = [_ranked(group.outcome[:, None]) for group in groups]
    together: list[float] = []
    single: list[float] = []
    for left, group in enumerate(groups):
        rest = [i for i in range(len(groups)) if i != left]
        x, y = (np.concatenate([of[i] for i in rest]) for of in (ranked, outcomes))
        guess = ranked[left] @ np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ y)
        best = np.nan_to_num(combine(np.stack([correlations(groups[i]) for i in rest])), nan=-np.inf).argmax()
        for found, column in ((together, guess), (single, group.metrics[:, [best]])):
            found.append(correlations(replace(group, names=("one",), metrics=column))[0])
    return float(combine(np.array(together))), float(combine(np.array(single)))


def _ranked(columns: NDArray) -> NDArray:
    """Return the ranks within each column (C, M), centred and as a share of C; 0 where a value is undefined."""
    ranks = rankdata(columns, axis=0, nan_policy="omit")
    return np.nan_to_num((ranks - np.nanmean(ranks, axis=0)) / len(columns))


def left_out(groups: Sequence[Encoders]) -> dict[str, NDArray]:
    """Return the columns (M,) of the extremes of Spearman's rho when any one configuration or family is left out."""
    extremes = {"without": without_one(groups), "without_family": without_one(groups, "families")}
    return {f"{name}_{end}": rho[i] for name, rho in extremes.items() for i, end in enumerate(("low", "high"))}


def correlation_table(
    groups: Sequence[Encoders], *, replicates: int = 5_000, permutations: int = 10_000, seed: int = 0
) -> pd.DataFrame:
    """Correlate every metric with the outcome, in each environment and over all of them.

    Returns:
        A row per environment and metric, and rows of the environment "all", sorted by spearman: the interval is a
        Fisher interval in an environment, a bootstrap interval over all. p is corrected for the number of metrics,
        best the probability that no other metric predicts better, regret the cost of choosing by the metric,
        accuracy the share of pairs of encoders put in the right order, and clear_accuracy that of the pairs of
        configurations whose intervals of the return do not overlap. within is Spearman's rho among seeds of a
        configuration, which tells whether the metric finds the good seed, between that of configurations' means.
        partial is Spearman's rho at equal numbers of active dimensions, where these were scored, and partial_family
        that at equal families (see `family`); without_low and without_high are the extremes of rho when any one
        configuration is left out, without_family_low and without_family_high when any one family is.
    """
    rows = []
    for group in groups:
        rho, tau = correlations(group), correlations(group, "kendall")
        counts = (~np.isnan(group.metrics)).sum(axis=0)
        low, high = fisher_interval(rho, counts)
        columns = {"spearman": rho, "low": low, "high": high, "kendall": tau, "regret": top_regret(group)}
        within, between = within_and_between(group)
        if SIZE in group.names:
            columns["partial"] = partial_correlations(group, group.metrics[:, group.names.index(SIZE)])
        columns["partial_family"] = within_families(group)
        columns |= left_out([group])
        columns |= {"accuracy": pairwise_accuracy([group]), "clear_accuracy": clear_accuracy([group])}
        columns |= {"encoders": counts, "within": within, "between": between}
        rows.append(pd.DataFrame({"environment": group.environment, "metric": group.names, **columns}))
    per_environment = pd.concat(rows)

    names = groups[0].names
    mean_of = per_environment.groupby("metric").mean(numeric_only=True).reindex(names)
    draws = {kind: bootstrap(groups, kind, replicates, seed) for kind in KINDS}
    enough = min(len(np.unique(group.configurations)) for group in groups) >= MIN_SEEDS
    limits = {kind: _limits(of_kind if enough else of_kind * np.nan) for kind, of_kind in draws.items()}
    best = np.nan_to_num(draws["spearman"], nan=-np.inf).argmax(axis=1)
    over_all = {
        "spearman": combine(np.stack([correlations(group) for group in groups])),
        "low": limits["spearman"][0],
        "high": limits["spearman"][1],
        "kendall": combine(np.stack([correlations(group, "kendall") for group in groups])),
        "kendall_low": limits["kendall"][0],
        "kendall_high": limits["kendall"][1],
        "p": family_wise_p(groups, permutations, seed),
        "best": np.bincount(best, minlength=len(names)) / replicates,
        "regret": mean_of["regret"].to_numpy(),
        "accuracy": pairwise_accuracy(groups),
        "clear_accuracy": clear_accuracy(groups),
        "encoders": per_environment.groupby("metric")["encoders"].sum().reindex(names).to_numpy(),
        "within": mean_of["within"].to_numpy(),
        "between": mean_of["between"].to_numpy(),
    }
    if "partial" in mean_of:
        over_all["partial"] = mean_of["partial"].to_numpy()
    over_all["partial_family"] = mean_of["partial_family"].to_numpy()
    over_all |= left_out(groups)
    summary = pd.DataFrame({"environment": ALL, "metric": names, **over_all})
    return pd.concat([summary.sort_values("spearman", ascending=False), per_environment], ignore_index=True)
