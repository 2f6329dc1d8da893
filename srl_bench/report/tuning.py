"""Figures of a search: how its trials went, and which options matter."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from srl_bench.report.figures import save_figure


def write_search(folder: Path) -> list[str]:
    """Write history.png and importance.png of a search, and their PDFs; return what a reader should know of them.

    Args:
        folder: what `srl_bench.tune.tune` wrote.
    """
    about = json.loads((folder / "search.json").read_text())
    trials = pd.read_csv(folder / "trials.csv")
    save_figure(history(trials, about["objective"], about["direction"]), "history", folder)
    if (folder / "importance.csv").exists():
        shares = pd.read_csv(folder / "importance.csv", index_col="option")["importance"]
        count = int((trials["state"] == "complete").sum())
        save_figure(importance(shares, about["objective"], count), "importance", folder)
        return []
    for form in ("png", "pdf"):
        (folder / f"importance.{form}").unlink(missing_ok=True)
    return ["the importance of options needs at least two complete trials of different value."]


def history(trials: pd.DataFrame, objective: str, direction: str) -> Figure:
    """Draw the value of every complete trial, the best one so far, and where others were given up."""
    figure, axis = plt.subplots(figsize=(5.0, 3.2))
    complete = trials[trials["state"] == "complete"].sort_values("trial")
    best = complete["value"].cummax() if direction == "maximize" else complete["value"].cummin()
    axis.plot(complete["trial"], complete["value"], "o", color="#2a78b5", markersize=4, label="trial")
    axis.step(complete["trial"], best, where="post", color="0.3", linewidth=1.2, label="best so far")
    for state in ("pruned", "diverged"):
        ended = trials.loc[trials["state"] == state, "trial"]
        if len(ended):
            marker = {"pruned": "|", "diverged": "x"}[state]
            axis.plot(
                ended, [0.02] * len(ended), marker, transform=axis.get_xaxis_transform(), color="crimson", label=state
            )
    axis.set(xlabel="trial", ylabel=objective)
    axis.legend(fontsize=7)
    return figure


def importance(shares: pd.Series, objective: str, trials: int) -> Figure:
    """Draw the share of each option in the differences between trials."""
    shares = shares.sort_values()
    figure, axis = plt.subplots(figsize=(5.0, 0.8 + 0.3 * len(shares)))
    axis.barh(shares.index, shares, color="#2a78b5")
    axis.set(xlim=(0, 1), xlabel=f"importance for {objective} (PED-ANOVA, {trials} trials)")
    return figure
