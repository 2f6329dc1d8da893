"""Figures and equations as SVG that stands in a page, in the page's colours, light or dark."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from markupsafe import Markup
from matplotlib import mathtext
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from numpy.typing import NDArray

from srl_bench.statistics import performance_profile

# Stand for the page's own colours until a figure is text.
INK, LINE = "#010203", "#040506"
THEME: dict[str, Any] = {
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor", "legend.facecolor"), "none"),
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("axes.edgecolor", "grid.color"), LINE),
    "svg.fonttype": "none",
    "svg.hashsalt": "srl_bench",
    # Names of methods are text, whatever they contain.
    "text.parse_math": False,
}
# mathtext knows these symbols by other names.
SYNONYMS = {r"\lVert": r"\Vert", r"\rVert": r"\Vert", r"\tfrac": r"\frac"}


@contextmanager
def page_style() -> Iterator[None]:
    """Draw figures in the colours of the page."""
    with plt.rc_context():
        sns.set_theme(style="whitegrid", context="paper", rc=THEME)
        yield


def svg(figure: Figure, label: str) -> Markup:
    """Close a figure drawn in `page_style` and return it as SVG; `label` is what a screen reader says."""
    stream = io.StringIO()
    figure.savefig(
        stream, format="svg", bbox_inches="tight", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
    )
    plt.close(figure)
    return _inline(stream.getvalue(), label)


def equation(tex: str) -> Markup | None:
    """Return an equation as SVG, None if it has symbols that matplotlib does not know."""
    for name, known in SYNONYMS.items():
        tex = tex.replace(name, known)
    stream = io.BytesIO()
    drawn: dict[Any, Any] = {**THEME, "text.parse_math": True, "svg.fonttype": "path", "mathtext.fontset": "cm"}
    with plt.rc_context(drawn):
        try:
            mathtext.math_to_image(f"${tex}$", stream, FontProperties(size=13), format="svg", color=INK)
        except ValueError:
            return None
    return _inline(stream.getvalue().decode(), tex)


def _inline(text: str, label: str) -> Markup:
    """Strip what only a file of its own needs."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"| id="[a-z]\w*_\d+"| version="1.1"', "", text)
    text = text.replace(INK, "currentColor").replace(LINE, "var(--line)")
    return Markup(text.replace("<svg", Markup('<svg role="img" aria-label="{}"').format(label), 1))


def loss_curves(logs: Mapping[int, pd.DataFrame]) -> list[tuple[str, Markup]]:
    """Draw training and validation values of each term over gradient steps, a pair of lines per seed.

    Args:
        logs: the content of `train.csv` of each seed.

    Returns:
        Name and figure of each term.
    """
    terms = list(dict.fromkeys(term for log in logs.values() for term in log["term"]))
    found = []
    for term in terms:
        figure, axis = plt.subplots(figsize=(2.9, 1.7))
        for log in logs.values():
            of_term = log[log["term"] == term]
            axis.plot(of_term["step"], of_term["train"], color="#8a96a3", linewidth=1)
            axis.plot(of_term["step"], of_term["validation"], color="#2a78b5", linewidth=1.4)
        axis.margins(x=0.02)
        axis.locator_params(nbins=4)
        axis.set_xlabel("gradient steps")
        found.append((term, svg(figure, f"{term} over gradient steps")))
    return found


def profiles(scores: Mapping[str, NDArray], styles: Mapping[str, tuple], label: str) -> Markup:
    """Draw the share of runs that end above a return, with 95 % bands.

    Args:
        scores: final returns (runs,) of each method, at least `MIN_SEEDS` of them.
        styles: colour and line style of each method.
        label: what a screen reader says.
    """
    every = np.concatenate(list(scores.values()))
    levels = np.linspace(every.min(), every.max(), 101)
    figure, axis = plt.subplots(figsize=(6.4, 3.6))
    for method, returns in scores.items():
        colour, style = styles[method]
        share = performance_profile(returns[:, None], levels)
        axis.plot(levels, share.value, style, color=colour, label=method, linewidth=1.5)
        axis.fill_between(levels, share.low, share.high, color=colour, alpha=0.15, linewidth=0)
    axis.set(xlabel="return", ylabel="share of runs above", ylim=(-0.02, 1.02))
    axis.legend(bbox_to_anchor=(1.02, 1), loc="upper left", frameon=False)
    return svg(figure, label)
