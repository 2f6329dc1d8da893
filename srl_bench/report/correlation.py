"""The table and the figures of `srl-bench correlate`: which metric predicts what agents reach."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from rich.table import Table

from srl_bench.correlate import ALL, family
from srl_bench.rank_correlation import Encoders, noise_ceiling
from srl_bench.registry import METRICS
from srl_bench.report.figures import save_figure
from srl_bench.report.terminal import print_table

SHOWN = 8


def print_correlations(table: pd.DataFrame) -> None:
    """Print the rows over all environments, the most predictive metric first."""
    columns = (
        "metric",
        "Spearman",
        "95 %",
        "Kendall",
        "95 %",
        "one left out",
        "p",
        "best",
        "regret",
        "pairs",
        "encoders",
    )
    shown = Table(*columns, title="rank correlation of metrics with returns, signed so that higher predicts better")
    for row in table[table["environment"] == ALL].to_dict("records"):
        intervals = [f"[{row[f'{kind}low']:.2f}, {row[f'{kind}high']:.2f}]" for kind in ("", "kendall_")]
        without = f"[{row['without_low']:.2f}, {row['without_high']:.2f}]"
        numbers = [f"{row[key]:.3f}" for key in ("p", "best", "regret", "accuracy")]
        spearman, kendall = f"{row['spearman']:.2f}", f"{row['kendall']:.2f}"
        shown.add_row(
            row["metric"], spearman, intervals[0], kendall, intervals[1], without, *numbers, f"{row['encoders']:.0f}"
        )
    print_table(shown)


def write_correlation_figures(groups: Sequence[Encoders], table: pd.DataFrame, folder: Path) -> list[Path]:
    """Write the intervals of all metrics, and the encoders behind the leading ones; return the PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    sns.set_theme(style="whitegrid", context="paper")
    figures = {
        "correlation": correlation_intervals(table, noise_ceiling(groups)[1]),
        "correlation_encoders": encoder_scatter(groups, table),
    }
    return [save_figure(figure, stem, folder) for stem, figure in figures.items()]


def correlation_intervals(table: pd.DataFrame, reliability: float = float("nan")) -> Figure:
    """Draw Spearman's rho of every metric: the bar is its 95 % interval, small dots are single environments.

    The red line is what a perfect metric would reach with returns of that `reliability`.
    """
    over_all = table[(table["environment"] == ALL) & table["spearman"].notna()]
    single = table[(table["environment"] != ALL) & table["metric"].isin(over_all["metric"])]
    figure, axis = plt.subplots(figsize=(5.0, 0.8 + 0.28 * len(over_all)))
    positions = np.arange(len(over_all))
    axis.hlines(positions, over_all["low"], over_all["high"], color="#2a78b5", linewidth=2)
    sns.stripplot(
        single, y="metric", x="spearman", order=list(over_all["metric"]), color="0.45", size=3, jitter=False, ax=axis
    )
    axis.plot(over_all["spearman"], positions, "o", color="#2a78b5", markersize=6)
    axis.axvline(0, color="0.3", linewidth=0.8)
    if reliability > 0:
        axis.axvline(reliability**0.5, color="crimson", linewidth=1, label="noise ceiling")
        axis.legend(loc="lower left", fontsize="small")
    count = single["environment"].nunique()
    axis.set(xlim=(-1.05, 1.05), ylabel="", xlabel="Spearman's rho with the return (signed: higher predicts better)")
    axis.set_title(f"{count} environment{'s' if count > 1 else ''}, 95 % bootstrap intervals over encoders")
    return figure


def encoder_scatter(groups: Sequence[Encoders], table: pd.DataFrame) -> Figure:
    """Draw the return over each of the leading metrics: a dot per encoder, a colour per family, a marker per world."""
    leading = list(table.loc[(table["environment"] == ALL) & table["spearman"].notna(), "metric"])[:SHOWN]
    n_rows = -(-len(leading) // 4)
    figure, axes = plt.subplots(n_rows, 4, figsize=(9.0, 2.3 * n_rows), squeeze=False, sharey=True)
    families = {str(method): family(str(method)) for group in groups for method in np.unique(group.configurations)}
    names = sorted(set(families.values()))
    colours = dict(zip(names, sns.color_palette("colorblind", len(names)), strict=True))
    markers = dict(zip((group.environment for group in groups), cycle("os^Dv<>P*X"), strict=False))
    for axis, name in zip(axes.flat, leading, strict=False):
        sign = -1 if METRICS[name.split(".")[0]].better == "lower" else 1
        for group in groups:
            values = sign * group.metrics[:, group.names.index(name)]
            shown = [colours[families[str(method)]] for method in group.configurations]
            axis.scatter(values, group.outcome, s=12, c=shown, marker=markers[group.environment])
        axis.set(xlabel=f"{name} {'↓' if sign < 0 else '↑'}")
    for axis in axes.flat[len(leading) :]:
        axis.set_axis_off()
    for row in axes:
        row[0].set_ylabel("return")
    worlds = markers if len(groups) > 1 else {}
    handles = [Line2D([], [], linestyle="", marker="o", color=colours[name], label=name) for name in names]
    handles += [Line2D([], [], linestyle="", marker=worlds[name], color="0.4", label=name) for name in worlds]
    figure.legend(handles=handles, loc="upper center", ncols=4, bbox_to_anchor=(0.5, 0.0), title="learned from")
    figure.tight_layout()
    return figure
