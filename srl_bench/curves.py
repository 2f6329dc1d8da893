"""Learning curves of agents over seeds: interquartile means, areas under them, and how soon they get there."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from srl_bench.statistics import (
    MIN_SEEDS,
    Estimate,
    area_under_curve,
    bootstrap,
    environment_iqms,
    interval,
    mean,
    steps_to_threshold,
    summarise_steps,
)

REFERENCE = "ground_truth"
CLOSE = 0.05
REPLICATES = 20_000


def curves_of(results: pd.DataFrame, method: str, metric: str = "return") -> tuple[NDArray, NDArray]:
    """Return the steps (T,) of evaluations that all seeds have, and the values (seeds, T) of a method."""
    chosen = results[(results["method"] == method) & (results["metric"] == metric)]
    wide = chosen.pivot_table(index="seed", columns="step", values="value").dropna(axis="columns")
    return wide.columns.to_numpy(dtype=np.float64), wide.to_numpy(dtype=np.float64)


def interquartile_curve(curves: NDArray) -> Estimate:
    """Return the interquartile mean over runs of (runs, T) and its pointwise 95 % bootstrap limits, each (T,).

    The limits are NaN below `MIN_SEEDS` runs.
    """
    value = environment_iqms(curves)
    if len(curves) < MIN_SEEDS:
        return Estimate(value, value * np.nan, value * np.nan)
    return interval(value, bootstrap(curves, environment_iqms), len(curves))


def agents_table(results: pd.DataFrame, environment: str) -> pd.DataFrame:
    """Return one row per method whose agents were trained on an environment, the best one first.

    Columns: return and success, interquartile means over seeds of the last evaluation; area, the mean height of the
    curve of returns over the steps of training, the mean over seeds, with its 95 % bootstrap interval from five seeds
    on; steps_to_95, the mean over seeds of the steps at which the mean of
    three evaluations comes within 5 % of the last return of the agent on the ground truth, counted as the whole budget
    where it never does; reached, the share of seeds where it does; steps_per_second of training. What is not known,
    such as the last return of an absent `ground_truth`, is NaN.
    """
    chosen = results[results["environment"] == environment]
    agents = chosen[chosen["track"].isin(["rl", "agent"])]
    goal = np.nan
    if REFERENCE in set(agents["method"]):
        _, curves = curves_of(agents, REFERENCE)
        best = float(environment_iqms(curves[:, -1:])[0])
        goal = best - CLOSE * abs(best)
    rows = {}
    for method in agents["method"].unique():
        steps, curves = curves_of(agents, method)
        areas = area_under_curve(steps, curves)[:, None]
        area = Estimate(float(areas.mean()), np.nan, np.nan)
        if len(areas) >= MIN_SEEDS:
            area = interval(area.value, bootstrap(areas, mean, replicates=REPLICATES), len(areas))
        times = summarise_steps(steps_to_threshold(steps, curves, goal), steps[-1])
        known = np.isfinite(goal)
        rows[method] = {
            "return": float(environment_iqms(curves[:, -1:])[0]),
            "success": _last(agents, method, "success"),
            "area": area.value,
            "area_low": float(area.low),
            "area_high": float(area.high),
            "steps_to_95": times["restricted_mean"] if known else np.nan,
            "reached": times["share"] if known else np.nan,
            "steps_per_second": _last(agents, method, "steps_per_second"),
        }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")
    return table.sort_values("return", ascending=False) if len(table) else table


def _last(results: pd.DataFrame, method: str, metric: str) -> float:
    _, curves = curves_of(results, method, metric)
    return float(environment_iqms(curves[:, -1:])[0]) if curves.size else np.nan
