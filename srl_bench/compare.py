"""Is one better than the other? The table behind `srl-bench compare`.

A and B are two runs of a suite with the same methods, or two methods of one run. They are paired by environment and
seed, so that both sides share data, split, first weights and batches. An agent counts with its last evaluation, as in
the table of a suite. Intervals and p values are Student's over the pairs: they are about other seeds on the same data.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from srl_bench.errors import ConfigError, DataError, UnknownNameError
from srl_bench.registry import METRICS
from srl_bench.results import summary
from srl_bench.statistics import MIN_SEEDS, Estimate, holm, paired_difference, probability_of_improvement

GROUP = ["environment", "metric", "a", "b"]
SIDES = ("A", "B")
TRACKS = ("score", "rl")
LEVEL = 0.05


class Pair(NamedTuple):
    """Two methods to compare, one of A and one of B."""

    a: str
    b: str


def choose_pairs(
    a: pd.DataFrame,
    b: pd.DataFrame,
    *,
    method: tuple[str, str] | None = None,
    baseline: str | None = None,
    new_with_all: bool = False,
) -> tuple[list[Pair], list[str]]:
    """Return the pairs of methods to compare, by default every method that both runs have with itself.

    Args:
        a: results of a run.
        b: results of another one, or the same.
        method: one of A and one of B, to compare these alone.
        baseline: one of B, to compare every one of A with; within a run, not with itself.
        new_with_all: whether to compare a method that only A has with every one of B.

    Returns:
        The pairs, and notes on methods that are in none of them, unless pairs were asked for.

    Raises:
        UnknownNameError: a run does not have a method that was named.
        ConfigError: there is nothing to compare.
    """
    ours, theirs = (list(map(str, of["method"].unique())) for of in (a, b))
    for name, known in ((method[0], ours), (method[1], theirs)) if method else ((baseline, theirs),):
        if name is not None and name not in known:
            raise UnknownNameError("method of the run", name, known)
    if method is not None:
        pairs = [Pair(*method)]
    elif baseline is not None:
        pairs = [Pair(name, baseline) for name in ours]
    else:
        pairs = [Pair(name, name) for name in ours if name in theirs]
        pairs += [Pair(name, other) for name in ours if new_with_all and name not in theirs for other in theirs]
    if a is b:
        pairs = [pair for pair in pairs if pair.a != pair.b]
    named = method[1] if method else baseline
    if not pairs and named:
        raise ConfigError(f"{named!r} can only be compared with another method of the run, or with itself in another.")
    if not pairs:
        raise ConfigError(
            f"no method is in both runs: A has {', '.join(ours)}; B has {', '.join(theirs)}. Name one of each by "
            "--method, or one of B by --baseline."
        )
    compared = {name for pair in pairs for name in pair}
    return pairs, [] if named else _only(ours, theirs, compared)


def _only(ours: Iterable[str], theirs: Iterable[str], compared: Iterable[str]) -> list[str]:
    """Return a note for each side that has something which is not compared."""
    lone = [[name for name in names if name not in compared] for names in (ours, theirs)]
    return [
        f"only in {side}, not compared: {', '.join(map(str, names))}"
        for side, names in zip(SIDES, lone, strict=True)
        if names
    ]


def choose_metrics(a: pd.DataFrame, b: pd.DataFrame, wanted: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """Return the metrics to compare, by default those of the runs' tables, and notes on those that only one run has.

    Raises:
        UnknownNameError: a metric that is wanted is not in both runs.
        DataError: the runs have no metric in common.
    """
    known = [set(of.loc[of["track"].isin(TRACKS), "metric"]) for of in (a, b)]
    both = known[0] & known[1]
    for name in wanted:
        if name not in both:
            raise UnknownNameError("metric of the runs", name, both)
    if wanted:
        return list(dict.fromkeys(wanted)), []
    ours, theirs = (list(map(str, summary(of, str(of["environment"].iloc[0])).columns)) for of in (a, b))
    chosen = [name for name in dict.fromkeys([*ours, *theirs]) if name in both]
    if not chosen:
        raise DataError(f"no metric is in both runs: A has {', '.join(ours)}, B has {', '.join(theirs)}.")
    return chosen, _only(ours, theirs, chosen)


def directions(metrics: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Return "higher", "lower" or "neither" for each metric, and a note on those that nothing is known of."""
    found, unknown = {"return": "higher"}, []
    for name in metrics:
        family = name.split(".")[0]
        if family in METRICS:
            found[name] = METRICS[family].better
        elif name != "return":
            found[name] = "neither"
            unknown.append(name)
    hint = "not known whether higher or lower is better; give the metric's file by --plugin"
    return found, [f"{', '.join(unknown)}: {hint}"] if unknown else []


def pair_up(
    a: pd.DataFrame, b: pd.DataFrame, pairs: Sequence[Pair], metrics: Sequence[str]
) -> tuple[pd.DataFrame, list[str]]:
    """Bring the values of the same environment and seed together.

    Args:
        a: results of a run, of `load_results`.
        b: results of another one, or the same.
        pairs: methods to compare.
        metrics: what to compare.

    Returns:
        Columns environment, metric, a, b (the methods), seed, value_a, value_b, NaN where a side has none; and notes
        on what lacks its other half.

    Raises:
        DataError: the runs have no environment in common, there are no values, or one is there twice.
    """
    ours, theirs = (list(of["environment"].unique()) for of in (a, b))
    common = [name for name in ours if name in theirs]
    if not common:
        raise DataError(f"no environment is in both runs: A has {', '.join(ours)}, B has {', '.join(theirs)}.")
    chosen = pd.DataFrame(list(dict.fromkeys(pairs)), columns=["a", "b"])
    left, right = (
        chosen.merge(_last(of, metrics).rename(columns={"method": side, "value": f"value_{side}"}), on=side)
        for of, side in ((a, "a"), (b, "b"))
    )
    paired = left.merge(right, on=[*GROUP, "seed"], how="outer")
    paired = paired[paired["environment"].isin(common)]
    if paired.empty:
        raise DataError(
            f"there is no value of {', '.join(metrics)} for the methods to be compared in {', '.join(common)}."
        )
    order = {"environment": common, "metric": metrics, "a": chosen["a"], "b": chosen["b"]}
    places = {name: {item: place for place, item in enumerate(dict.fromkeys(items))} for name, items in order.items()}
    by = [*GROUP, "seed"]
    paired = paired.sort_values(by, key=lambda of: of.map(places[of.name]) if of.name in places else of)
    seen = set(paired[["environment", "a", "b"]].itertuples(index=False, name=None))
    empty = [
        f"{environment}: there is no value of {a} in A, nor of {b} in B"
        for environment in common
        for a, b in pairs
        if (environment, a, b) not in seen
    ]
    return paired[[*by, "value_a", "value_b"]], [*_only(ours, theirs, common), *_lacking(paired, metrics), *empty]


def _last(results: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Return environment, method, seed, metric and value: the last one of an agent, and only those that are defined."""
    keys = ["environment", "method", "seed", "metric"]
    known = results[results["metric"].isin(metrics) & results["track"].isin(TRACKS) & results["value"].notna()]
    twice = known[known.duplicated([*keys, "step"])]
    if len(twice):
        first = ", ".join(map(str, twice.iloc[0][keys]))
        raise DataError(f"the run has several values of {first}; an environment may stand in a suite only once.")
    return known.sort_values("step").drop_duplicates(keys, keep="last")[[*keys, "value"]]


def _lacking(paired: pd.DataFrame, metrics: Sequence[str]) -> list[str]:
    """Return notes on the values of one side that have no other half, as few of them as say it all."""
    notes = []
    for side, has, lacks in (("B", "a", "b"), ("A", "b", "a")):
        lone = paired.loc[paired[f"value_{lacks}"].isna(), ["environment", lacks, has, "metric", "seed"]].astype(str)
        lone[lacks] = np.where(lone[lacks] == lone[has], side, lone[lacks] + f" of {side}")
        for column in ("seed", "metric", has):
            same = [name for name in lone if name != column]
            lone = lone.groupby(same, sort=False)[column].agg(", ".join).reset_index()
        for row in lone.to_dict("records"):
            what = "nothing" if row["metric"] == ", ".join(metrics) else f"no {row['metric']}"
            where = f"{row['environment']}: {row[lacks]}"
            notes.append(f"{where} has {what} to compare with seed {row['seed']} of {row[has]}")
    return notes


def differences(paired: pd.DataFrame, better: Mapping[str, str]) -> pd.DataFrame:
    """Compare A with B in every environment, metric and pair of methods.

    Args:
        paired: of `pair_up`.
        better: "higher", "lower" or "neither" for each metric.

    Returns:
        A row each, with the columns
        environment, metric, better, a, b (the methods), seeds (how many both have);
        mean_a, mean_b: means over these seeds;
        difference, low, high: mean_a - mean_b with its 95 % interval, in units of the metric;
        probability, probability_low, probability_high: that a run of A is better than one of B, with its 95 % interval;
        p, p_holm: of no difference, and after Holm's correction for all rows of the metric;
        verdict: whether A is "better" or "worse" at p_holm < 0.05, else "".
        Limits and p are NaN below `MIN_SEEDS` seeds; "neither" metrics have no probability and no verdict.
    """
    rows = [
        dict(zip(GROUP, key, strict=True)) | _difference(group.dropna(), better[str(key[1])])
        for key, group in paired.groupby(GROUP, sort=False)
    ]
    table = pd.DataFrame(rows)
    table.insert(2, "better", table["metric"].map(better))
    defined = table["p"].notna()
    table["p_holm"] = table[defined].groupby("metric")["p"].transform(lambda of_metric: holm(of_metric.to_numpy()))
    sign = table["better"].map({"higher": 1, "lower": -1, "neither": 0}) * np.sign(table["difference"])
    verdicts = sign.map({1: "better", -1: "worse"})
    table["verdict"] = verdicts.where(table["p_holm"] < LEVEL).fillna("")
    return table


def _difference(pairs: pd.DataFrame, better: str) -> dict[str, float]:
    a, b = pairs["value_a"].to_numpy(float), pairs["value_b"].to_numpy(float)
    # what differs by rounding is a tie
    b = np.where(np.isclose(a, b, rtol=1e-9, atol=0), a, b)
    estimate, p = paired_difference(a, b)
    chance = Estimate(np.nan, np.nan, np.nan)
    if better != "neither" and len(a):
        sign = -1 if better == "lower" else 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # few seeds: a note says so once
            chance = probability_of_improvement(sign * a[:, None], sign * b[:, None])
    return {
        "seeds": len(a),
        "mean_a": a.mean() if len(a) else np.nan,
        "mean_b": b.mean() if len(b) else np.nan,
        **dict(zip(("difference", "low", "high"), estimate, strict=True)),
        **dict(zip(("probability", "probability_low", "probability_high"), chance, strict=True)),
        "p": p,
    }


def caveats(table: pd.DataFrame) -> list[str]:
    """Return what the rows of `differences` are too few for."""
    few = table[table["seeds"].between(1, MIN_SEEDS - 1)]
    if few.empty:
        return []
    counts = ", ".join(str(count) for count in sorted(few["seeds"].unique()))
    return [
        f"{len(few)} of {len(table)} comparisons have {counts} seed(s) in common, fewer than {MIN_SEEDS}: points only, "
        "no intervals, no p values"
    ]
