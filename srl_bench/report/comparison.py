"""The table and the figures of `srl-bench compare`: differences of two runs or two methods, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from srl_bench.compare import LEVEL
from srl_bench.report.figures import ARROWS, save_figure
from srl_bench.report.terminal import print_table
from srl_bench.results import HEADLINE
from srl_bench.statistics import MIN_SEEDS

COLOURS = {"better": "#2a78b5", "worse": "#c8552b", "": "0.45"}
WIDTH = 30
EXPLANATION = (
    "Means and differences are over the seeds that both sides have; an agent counts with its last evaluation. ↑, ↓: "
    "higher, lower is better. Brackets: 95 % intervals; those of differences are Student's over pairs of equal seeds. "
    "P: probability that a run of A is better than one of B. p: paired t test, after Holm's correction for all "
    f"comparisons of the metric; A is better or worse where p < {LEVEL}."
)


def short_names(table: pd.DataFrame) -> dict[str, str]:
    """Return how each method is called in a label: long expressions are cut, and numbered so that they stay apart."""
    names = dict.fromkeys([*table["a"], *table["b"]])
    long = [name for name in names if len(name) > WIDTH]
    return {name: f"{name[: WIDTH - 6]}… [{long.index(name) + 1}]" if name in long else name for name in names}


def labels(table: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Return how each pair of methods is called: one that is compared with itself by its name alone."""
    names = short_names(table)
    pairs = dict.fromkeys(zip(table["a"], table["b"], strict=True))
    return {(a, b): names[a] if a == b else f"{names[a]} − {names[b]}" for a, b in pairs}


def explanation(table: pd.DataFrame) -> list[str]:
    """Return what a reader of the tables should know."""
    cut = {short: name for name, short in short_names(table).items() if short != name}
    return [EXPLANATION, *(f"{short[short.rindex('[') :]} is {name}" for short, name in cut.items())]


def formatted(table: pd.DataFrame, environment: str) -> pd.DataFrame:
    """Return the rows of `differences` of an environment as text: one digit for returns, three for all else."""
    names = labels(table)
    chosen = table[table["environment"] == environment].to_dict("records")
    return pd.DataFrame(_texts(row, names[row["a"], row["b"]]) for row in chosen)


def _texts(row: dict, label: str) -> dict[str, str]:
    digits = 1 if row["metric"] == "return" else 3

    def number(value: float, form: str) -> str:
        return format(value, form) if np.isfinite(value) else "–"

    def bracket(name: str, form: str) -> str:
        low, high = row[f"{name}low"], row[f"{name}high"]
        return f" [{low:{form}}, {high:{form}}]" if np.isfinite(low) else ""

    chance = row["probability"] if row["seeds"] >= MIN_SEEDS else np.nan
    return {
        "metric": HEADLINE.get(row["metric"], row["metric"]) + ARROWS[row["better"]],
        "comparison": label,
        "A": number(row["mean_a"], f".{digits}f"),
        "B": number(row["mean_b"], f".{digits}f"),
        "A − B": number(row["difference"], f"+.{digits}f") + bracket("", f"+.{digits}f"),
        "P": number(chance, ".2f") + bracket("probability_", ".2f"),
        "p": "<0.001" if row["p_holm"] < 0.001 else number(row["p_holm"], ".3f"),
        "seeds": str(row["seeds"]),
        "A is": row["verdict"],
    }


def print_comparison(table: pd.DataFrame, title: str) -> None:
    """Print the comparisons of each environment, a block per metric."""
    for environment in table["environment"].unique():
        text = formatted(table, environment)
        shown = Table(title=f"{environment}: {title}")
        for column in text.columns:
            left = column in ("metric", "comparison", "A is")
            shown.add_column(str(column), justify="left" if left else "right", no_wrap=column != "comparison")
        several = text["comparison"].nunique() > 1
        for place, row in enumerate(text.itertuples(index=False)):
            last = several and text["metric"].iloc[place] != text["metric"].iloc[min(place + 1, len(text) - 1)]
            shown.add_row(*map(str, row), end_section=last)
        print_table(shown)
    print(*explanation(table), sep="\n")


def write_comparison(
    table: pd.DataFrame, paired: pd.DataFrame, title: str, warnings: Sequence[str], notes: Sequence[str], folder: Path
) -> None:
    """Write compare.csv, compare.md and a figure per environment.

    Args:
        table: of `differences`.
        paired: of `pair_up`.
        title: what A and B are.
        warnings: in what else A and B differ.
        notes: what is not compared, or not sure.
        folder: where to write.
    """
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "compare.csv", index=False)
    parts = [f"# {title}", "\n\n".join(explanation(table))]
    if warnings:
        parts.append(
            "\n".join(["**A and B differ in more than what is compared:**", "", *(f"* {w}" for w in warnings)])
        )
    for environment in table["environment"].unique():
        text = formatted(table, environment)
        parts.append(f"### {environment}\n\n{text.to_markdown(index=False, disable_numparse=True)}")
    if notes:
        parts.append("\n".join(f"* {note}" for note in notes))
    (folder / "compare.md").write_text("\n\n".join(parts) + "\n")
    sns.set_theme(style="whitegrid", context="paper", rc={"text.parse_math": False})
    for environment in table["environment"].unique():
        rows, pairs = (of[of["environment"] == environment] for of in (table, paired))
        save_figure(
            forest(rows, pairs, labels(table), title), f"compare_{environment.split('/')[-1]}", folder / "figures"
        )


def forest(table: pd.DataFrame, paired: pd.DataFrame, names: Mapping[tuple[str, str], str], title: str) -> Figure:
    """Draw the differences of one environment, a panel per metric in which A is better on the right of 0.

    Args:
        table: rows of `differences`.
        paired: rows of `pair_up`; small dots are the differences of single seeds.
        names: labels of the pairs of methods.
        title: what A and B are.
    """
    metrics = list(table["metric"].unique())
    places = {pair: place for place, pair in enumerate(dict.fromkeys(zip(table["a"], table["b"], strict=True)))}
    n_columns = min(4, len(metrics))
    n_rows = -(-len(metrics) // n_columns)
    longest = max(len(names[pair]) for pair in places)
    size = (0.3 + 0.08 * longest + 2.2 * n_columns, n_rows * (0.8 + 0.24 * len(places)) + 0.4)
    figure, axes = plt.subplots(n_rows, n_columns, figsize=size, squeeze=False, sharey=True)
    for axis, metric in zip(axes.flat, metrics, strict=False):
        _panel(axis, table[table["metric"] == metric], paired[paired["metric"] == metric], places)
    for axis in axes.flat[len(metrics) :]:
        axis.set_axis_off()
    axes[0, 0].set_yticks(range(len(places)), [names[pair] for pair in places])
    axes[0, 0].set_ylim(len(places) - 0.5, -0.5)
    figure.suptitle(f"{table['environment'].iloc[0]}: {title}\nOn the right of 0 A is better (↑, ↓). {_legend(table)}")
    figure.tight_layout()
    return figure


def _panel(axis: Axes, table: pd.DataFrame, paired: pd.DataFrame, places: Mapping[tuple[str, str], int]) -> None:
    seeds = paired["value_a"] - paired["value_b"]
    below = [places[pair] + 0.25 for pair in zip(paired["a"], paired["b"], strict=True)]
    axis.plot(seeds, below, "o", color="0.65", markersize=2)
    for row in table.to_dict("records"):
        place, colour = places[row["a"], row["b"]], COLOURS[row["verdict"]]
        axis.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=1.8)
        axis.plot(row["difference"], place, "o", color=colour, markersize=5)
    axis.axvline(0, color="0.3", linewidth=0.8)
    metric, better = table["metric"].iloc[0], table["better"].iloc[0]
    axis.set_title(HEADLINE.get(metric, metric) + ARROWS[better])
    axis.margins(x=0.1)
    axis.locator_params(axis="x", nbins=4)
    if better == "lower":
        axis.invert_xaxis()


def _legend(table: pd.DataFrame) -> str:
    if (table["seeds"] < MIN_SEEDS).all():
        return f"Fewer than {MIN_SEEDS} seeds: points, no intervals."
    return f"Bars: 95 % intervals; small dots: seeds; colours: p < {LEVEL} (Holm)."
