"""Figures of a suite: metric bars, learning curves, and the states of test frames coloured by a factor."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

from srl_bench.curves import curves_of, interquartile_curve
from srl_bench.encoder import encode_rows, load_encoder
from srl_bench.files import suite_cells
from srl_bench.registry import METRICS
from srl_bench.results import HEADLINE, intervals, summary
from srl_bench.rollouts import open_rollouts
from srl_bench.statistics import MIN_SEEDS

LineStyle = str | tuple[int, tuple[int, ...]]
# Of references, and of all others.
BROKEN: tuple[LineStyle, ...] = ("--", ":", (0, (6, 2, 1, 2, 1, 2)), (0, (1, 3)))
WHOLE: tuple[LineStyle, ...] = ("-", "-.", (0, (9, 1)), (0, (5, 1, 1, 1)))
REFERENCES = ("ground_truth", "supervised", "random", "pca", "raw_pixels")
ARROWS = {"higher": " ↑", "lower": " ↓", "neither": ""}
SCATTER_ROWS, SCATTER_METHODS = 2_000, 12


def write_figures(run: Path, results: pd.DataFrame, folder: Path) -> list[Path]:
    """Write all figures of a suite as PNG and PDF; return the PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    sns.set_theme(style="whitegrid", context="paper")
    written = []
    for environment in results["environment"].unique():
        name = environment.split("/")[-1]
        chosen = results[results["environment"] == environment]
        figures: dict[str, Figure] = {}
        if chosen.loc[chosen["track"] == "score", "metric"].isin(HEADLINE).any():
            figures |= {f"metrics_{name}": metric_bars(chosen), f"states_{name}": state_scatter(run, chosen)}
        if (chosen["track"] == "rl").any():
            figures[f"learning_{name}"] = learning_curves(chosen)
        written += [save_figure(figure, stem, folder) for stem, figure in figures.items()]
    return written


def save_figure(figure: Figure, stem: str, folder: Path) -> Path:
    """Write a figure as PNG and PDF, and close it; return the PNG file."""
    for form in ("png", "pdf"):
        # two runs of one suite may draw at the same time
        temporary = folder / f".{stem}.{os.getpid()}.{form}"
        figure.savefig(temporary, format=form, dpi=150, bbox_inches="tight")
        temporary.replace(folder / f"{stem}.{form}")
    plt.close(figure)
    return folder / f"{stem}.png"


def metric_bars(results: pd.DataFrame) -> Figure:
    """Draw one panel per headline metric: bars are means over seeds, dots are seeds, ticks mark each floor."""
    environment = str(results["environment"].iloc[0])
    names = [name for name in HEADLINE if name != "return" and name in set(results["metric"])]
    scores = results[results["metric"].isin(names)]
    order = [str(name) for name in summary(results, environment).index if name in set(scores["method"])]
    known = intervals(scores)
    palette = {method: _colour(method) for method in order}
    n_columns = (len(names) + 1) // 2
    figure, axes = plt.subplots(2, n_columns, figsize=(2.1 * n_columns, 2 + 0.32 * len(order)), sharey=True)
    for axis, metric in zip(axes.flat, names, strict=False):
        of_metric = scores[scores["metric"] == metric]
        sns.barplot(
            of_metric, y="method", x="value", order=order, hue="method", palette=palette, errorbar=None, ax=axis
        )
        sns.stripplot(of_metric, y="method", x="value", order=order, color="0.15", size=3, ax=axis)
        for position, method in enumerate(order):
            row = known[(known["metric"] == metric) & (known["method"] == method)]
            axis.plot(row[["low", "high"]].T, [position, position], color="0.15", linewidth=1.2)
            floor = of_metric.loc[of_metric["method"] == method, "floor"].mean()
            axis.plot([floor, floor], [position - 0.4, position + 0.4], color="crimson", linewidth=1)
        axis.set(title=f"{HEADLINE[metric]}{ARROWS[METRICS[metric.split('.')[0]].better]}", xlabel="", ylabel="")
        axis.set_xlim(left=min(0.0, float(of_metric["value"].min())))
    for axis in axes.flat[len(names) :]:
        axis.set_axis_off()
    figure.suptitle(f"{environment}: held-out episodes. Red: floor. {_seeds_note(results)}")
    figure.tight_layout()
    return figure


def learning_curves(results: pd.DataFrame) -> Figure:
    """Draw the interquartile mean of evaluation returns over environment steps, with the 95 % interval as a band."""
    agents = results[results["track"] == "rl"]
    curves = {str(method): curves_of(agents, str(method)) for method in agents["method"].unique()}
    estimates = {method: (steps, interquartile_curve(values)) for method, (steps, values) in curves.items()}
    order = sorted(estimates, key=lambda method: -estimates[method][1].value[-1])
    figure, axis = plt.subplots(figsize=(6.4, 4.0))
    styles = line_styles([str(method) for method in results["method"].unique()])
    for method in order:
        steps, estimate = estimates[method]
        colour, style = styles[method]
        axis.plot(steps, estimate.value, style, color=colour, label=method, linewidth=1.5)
        axis.fill_between(steps, estimate.low, estimate.high, color=colour, alpha=0.15, linewidth=0)
    axis.set(xlabel="environment steps", ylabel="return", title=f"Agents, interquartile means. {_seeds_note(agents)}")
    axis.legend(bbox_to_anchor=(1.02, 1), loc="upper left", frameon=False)
    return figure


def line_styles(methods: Sequence[str]) -> dict[str, tuple[tuple[float, float, float], LineStyle]]:
    """Return a colour that the colour-blind tell apart and a line style for each method, broken for references."""
    palette = sns.color_palette("colorblind")
    # Two of the ten are too light for a thin line on white.
    colours = [palette[index] for index in (0, 1, 2, 3, 4, 5, 7, 9)]
    places = {method: divmod(index, len(colours)) for index, method in enumerate(methods)}
    return {
        method: (colours[place], (BROKEN if method in REFERENCES else WHOLE)[turn % len(WHOLE)])
        for method, (turn, place) in places.items()
    }


def state_scatter(run: Path, results: pd.DataFrame) -> Figure:
    """Draw test states of the leading methods on their two first principal components, a row of panels per factor."""
    columns = []
    for cell in _first_cells(run, results)[:SCATTER_METHODS]:
        about = json.loads((cell / "cell.json").read_text())
        rollouts = open_rollouts(about["rollouts"])
        test = np.flatnonzero(rollouts.split == 2)
        rows = test[:: max(1, len(test) // SCATTER_ROWS)]
        encoder = load_encoder(cell / "encoder")
        states = encode_rows(encoder, rollouts, rows)
        # A state of one dimension is drawn along a line.
        points = PCA(min(2, states.shape[1])).fit_transform(states)
        points = np.hstack([points, np.zeros((len(points), 2 - points.shape[1]))])
        columns.append((about["method"], points, rollouts.factors[rows]))
    factors = [factor for factor in rollouts.factor_table if factor.role == "task"][:4]
    size = (1.5 * len(columns), 1.6 * len(factors))
    figure, axes = plt.subplots(len(factors), len(columns), figsize=size, squeeze=False)
    for column, (method, points, values) in enumerate(columns):
        axes[0, column].set_title(method, fontsize=8)
        for row, factor in enumerate(factors):
            _scatter(axes[row, column], points, values[:, rollouts.factor_table.index(factor)])
            if column == 0:
                axes[row, column].set_ylabel(factor.name)
    figure.suptitle("Test states on two principal components, coloured by factor", y=1.0)
    figure.tight_layout()
    return figure


def _scatter(axis: Axes, points: np.ndarray, values: np.ndarray) -> None:
    axis.scatter(points[:, 0], points[:, 1], c=values, s=1.5, cmap="viridis", linewidths=0, rasterized=True)
    axis.set(xticks=[], yticks=[])


def _first_cells(run: Path, results: pd.DataFrame) -> list[Path]:
    """Return the cell of each method's first seed, in the order of the summary."""
    environment, seed = results["environment"].iloc[0], results["seed"].min()
    found = {}
    for cell in suite_cells(run):
        about = json.loads((cell / "cell.json").read_text()) if (cell / "encoder").exists() else {}
        if about.get("environment") == environment and about["seed"] == seed:
            found[about["method"]] = cell
    return [found[method] for method in summary(results, environment).index if method in found]


def _colour(method: str) -> str:
    return "#9aa5b1" if method in REFERENCES else "#2a78b5"


def _seeds_note(results: pd.DataFrame) -> str:
    seeds = results["seed"].nunique()
    if seeds < MIN_SEEDS:
        return f"{seeds} seed{'s' if seeds > 1 else ''}: no intervals."
    return f"{seeds} seeds, 95 % intervals."
