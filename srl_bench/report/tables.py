"""Comparison tables of a report: what stands in every cell, which value is best, and where its seeds lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from srl_bench.report.figures import REFERENCES
from srl_bench.results import FAILED, HEADLINE, intervals, summary

TRACKS = ("score", "rl")
REFERENCE_ROWS = ("floor", "noise")


@dataclass(frozen=True)
class Entry:
    """A value of a method.

    Attributes:
        text: the mean over seeds, or "failed", or "–" where it is not defined.
        value: the mean in full; NaN if there is none.
        half: half the 95 % interval; NaN below five seeds.
        half_text: the same as text, "" below five seeds.
        seeds: the value of every seed.
        best: whether no other method that is no reference has a better mean.
    """

    text: str
    value: float
    half: float
    half_text: str
    seeds: tuple[float, ...]
    best: bool = False


@dataclass(frozen=True)
class Column:
    """A metric: its name, how a table calls it, which direction is better, and the span (low, high) of its values."""

    metric: str
    label: str
    better: str
    span: tuple[float, float]

    def place(self, value: float) -> float:
        """Return where a value lies in the span, in percent."""
        low, high = self.span
        return 50.0 if high == low else 100 * (value - low) / (high - low)


@dataclass(frozen=True)
class Row:
    """A method and its values; references are there to compare with: ceilings, floors, untrained or fixed ones."""

    method: str
    reference: bool
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Comparison:
    """A table of methods by metrics on one environment."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


def is_reference(method: str) -> bool:
    """Return whether a method, with or without options, is one that others are compared with."""
    return method.split("(")[0].strip() in (*REFERENCES, *REFERENCE_ROWS)


def metric_groups(results: pd.DataFrame, environment: str) -> dict[str, list[str]]:
    """Return the metrics of a suite by table: "headline", "more", and one of values per factor for some metrics."""
    of_environment = results[(results["environment"] == environment) & results["track"].isin(TRACKS)]
    known = [str(name) for name in of_environment["metric"].unique()]
    headline = [str(name) for name in summary(results, environment).columns if name in known]
    per_factor = {name: [item for item in known if item.startswith(f"{name}.")] for name in known}
    inner = {item for items in per_factor.values() for item in items}
    groups = {"headline": headline, "more": [name for name in known if name not in headline and name not in inner]}
    return {title: names for title, names in (groups | per_factor).items() if names}


def comparison(
    results: pd.DataFrame, environment: str, metrics: Sequence[str], better: Mapping[str, str]
) -> Comparison:
    """Compare all methods on one environment.

    An agent counts with its last evaluation. Methods stand in the order of `summary`, the last rows being "floor",
    the score of states paired with the wrong moments, and "noise", that of random numbers, where these are known.

    Args:
        results: of `load_results`.
        environment: its id.
        metrics: columns.
        better: the better direction of each metric.
    """
    of_environment = results[results["environment"] == environment]
    ended = of_environment[of_environment["track"].isin(TRACKS) & of_environment["metric"].isin(metrics)]
    last = ended.loc[ended.groupby(["method", "seed", "metric"])["step"].idxmax()].assign(step=0)
    failed = set(of_environment.loc[of_environment["track"] == FAILED, ["method", "metric"]].itertuples(index=False))
    order = [str(name) for name in summary(results, environment).index if name not in REFERENCE_ROWS]
    values = {key: group["value"].dropna().to_numpy(float) for key, group in last.groupby(["method", "metric"])}
    known = intervals(last).set_index(["method", "metric"])
    halves = (known["high"] - known["mean"]).to_dict()

    def entry(method: str, metric: str) -> Entry:
        track = "rl" if metric == "return" else "score"
        lacking = (method, track) in failed and (method, metric) not in values
        found = values.get((method, metric), np.array([]))
        return _entry(metric, found, float(halves.get((method, metric), np.nan)), "failed" if lacking else "–")

    rows = [Row(method, is_reference(method), tuple(entry(method, metric) for metric in metrics)) for method in order]
    for name in REFERENCE_ROWS:
        means = last.groupby("metric")[name].mean().reindex(list(metrics)) if name in last else pd.Series(dtype=float)
        if means.notna().any():
            found = [_entry(str(metric), np.array([value]), np.nan, "–") for metric, value in means.items()]
            rows.append(Row(name, True, tuple(found)))
    columns = tuple(
        Column(metric, HEADLINE.get(metric, metric), better.get(metric, "neither"), _span(rows, place))
        for place, metric in enumerate(metrics)
    )
    return Comparison(columns, tuple(_with_best(rows, columns)))


def _entry(metric: str, values: NDArray, half: float, absent: str) -> Entry:
    values = values[np.isfinite(values)]
    if not len(values):
        return Entry(absent, np.nan, np.nan, "", ())
    mean = float(values.mean())
    digits = 1 if metric == "return" or abs(mean) >= 1000 else 3
    half_text = f"{half:.{digits}f}" if np.isfinite(half) else ""
    return Entry(f"{mean:.{digits}f}", mean, half, half_text, tuple(values.tolist()))


def _span(rows: Sequence[Row], place: int) -> tuple[float, float]:
    entries = [row.entries[place] for row in rows]
    ends = [value for entry in entries for value in entry.seeds]
    ends += [entry.value + sign * entry.half for entry in entries for sign in (-1, 1) if np.isfinite(entry.half)]
    return (min(ends), max(ends)) if ends else (0.0, 0.0)


def _with_best(rows: Sequence[Row], columns: Sequence[Column]) -> list[Row]:
    best: list[float] = []
    for place, column in enumerate(columns):
        ours = [row.entries[place].value for row in rows if not row.reference]
        ours = [value for value in ours if np.isfinite(value)]
        extreme = {"higher": max, "lower": min}.get(column.better)
        best.append(extreme(ours) if extreme and ours else np.nan)
    return [
        row
        if row.reference
        else replace(row, entries=tuple(replace(e, best=e.value == b) for e, b in zip(row.entries, best, strict=True)))
        for row in rows
    ]
