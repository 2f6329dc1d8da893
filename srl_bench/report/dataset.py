"""What is in a data set, to be read and to be looked at."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from rich.bar import Bar
from rich.console import Console
from rich.table import Table

from srl_bench.report.terminal import print_table
from srl_bench.rollouts import Rollouts

SHEET_ROWS, SHEET_COLUMNS = 8, 10
SHOWN_SIZE = 96
MOVIE_EPISODES, MOVIE_MILLISECONDS = 6, 80
BINS = 30
TEXT_BINS, TEXT_WIDTH = 10, 20


def print_summary(rollouts: Rollouts) -> None:
    """Print counts, sizes, rewards, endings, histograms of returns and actions, and how the factors are covered."""
    size = " x ".join(map(str, rollouts.observations.shape[1:]))
    counts = ", ".join(f"{len(part)} {name}" for name, part in rollouts.info["split"].items())
    lengths = np.diff(rollouts.episodes) - 1
    bytes_on_disk = sum(file.stat().st_size for file in rollouts.path.glob("*.npy"))
    print(f"{rollouts.environment} {rollouts.environment_kwargs or ''}")
    print(f"{len(rollouts):,} observations of {size}, {bytes_on_disk / 1e6:,.1f} MB")
    print(f"{rollouts.n_episodes} episodes ({counts}) of {lengths.min()} to {lengths.max()} steps")
    print(f"{rollouts.terminated.sum()} ended in a terminal state, {rollouts.truncated.sum()} were cut")
    for kind in ("views", "domains"):
        if len(rollouts.info.get(kind, ())) > 1:
            print(f"{kind}: {', '.join(rollouts.info[kind])}")
    print(f"sha256 of the data {rollouts.data_hash[:16]}")
    print(f"rewards {_counts(rollouts.rewards[_step_rows(rollouts)])}")
    returns = _returns(rollouts)
    print(f"returns {returns.min():.3g} to {returns.max():.3g}, mean {returns.mean():.3g}; episodes by return:")
    print_table(returns_table(rollouts))
    print(f"steps by {'action' if rollouts.n_actions else 'each number of the action, scaled to -1 to 1'}:")
    print_table(actions_table(rollouts))
    table = Table("factor", "unit", "scope", "role", "kind", "min", "max", "distinct", "of range")
    for factor, column, share in zip(rollouts.factor_table, rollouts.factors.T, rollouts.coverage(), strict=True):
        values, numbers = np.unique(column, return_counts=True)
        distinct = str(len(values))
        if factor.kind == "categorical":
            distinct = " ".join(f"{value:.0f}:{n / len(column):.0%}" for value, n in zip(values, numbers, strict=True))
        table.add_row(
            factor.name, factor.unit, factor.scope, factor.role, factor.kind,
            f"{column.min():.3g}", f"{column.max():.3g}", distinct, f"{share:.0%}",
        )  # fmt: skip
    print_table(table)


def returns_table(rollouts: Rollouts) -> Table:
    """Return how many episodes have which return, in ten equal bins unless fewer values occur."""
    returns = _returns(rollouts)
    values, counts = np.unique(returns[np.isfinite(returns)], return_counts=True)
    names = [f"{value:g}" for value in values]
    if len(values) > TEXT_BINS:
        counts, edges = np.histogram(returns, TEXT_BINS, (values[0], values[-1]))
        names = _bin_names(edges)
    return _text_histogram(names, [counts])


def actions_table(rollouts: Rollouts) -> Table:
    """Return how many steps took each discrete action, or had each number of a continuous one in each of ten bins."""
    actions = rollouts.actions[_step_rows(rollouts)]
    if rollouts.n_actions:
        counts = np.bincount(actions, minlength=rollouts.n_actions)
        return _text_histogram(list(map(str, range(len(counts)))), [counts])
    edges = np.linspace(-1, 1, TEXT_BINS + 1)
    # what was rounded may lie a little outside
    columns = [np.histogram(column, edges)[0] for column in actions.clip(-1, 1).T]
    return _text_histogram(_bin_names(edges), columns)


def write_preview(rollouts: Rollouts, folder: Path) -> list[Path]:
    """Write a contact sheet, a film of some episodes and histograms; return their files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / name for name in ("contact_sheet.png", "episodes.gif", "histograms.png")]
    Image.fromarray(contact_sheet(rollouts)).save(files[0])
    film = [Image.fromarray(frame) for frame in episode_frames(rollouts)]
    film[0].save(files[1], save_all=True, append_images=film[1:], duration=MOVIE_MILLISECONDS, loop=0)
    histograms(rollouts).savefig(files[2], dpi=100, bbox_inches="tight")
    return files


def contact_sheet(rollouts: Rollouts) -> NDArray[np.uint8]:
    """Return a picture of episodes spread over the set, one to a row, at moments spread over each."""
    chosen = np.linspace(0, rollouts.n_episodes - 1, min(SHEET_ROWS, rollouts.n_episodes)).astype(int)
    rows = []
    for episode in chosen:
        first, last = rollouts.episodes[episode], rollouts.episodes[episode + 1] - 1
        times = np.linspace(first, last, SHEET_COLUMNS).astype(int)
        rows.append(np.concatenate(list(_framed(_side_by_side(rollouts, times))), axis=1))
    return _enlarged(np.concatenate(rows, axis=0), rollouts)


def episode_frames(rollouts: Rollouts) -> NDArray[np.uint8]:
    """Return frames (T, H, W, 3) of the first episodes, played one after the other."""
    last = rollouts.episodes[min(MOVIE_EPISODES, rollouts.n_episodes)]
    return _enlarged(_side_by_side(rollouts, np.arange(last)), rollouts)


def histograms(rollouts: Rollouts) -> Figure:
    """Draw the distributions of returns, actions and factors."""
    actions = rollouts.actions[_step_rows(rollouts)]
    actions = actions.reshape(len(actions), -1)
    columns = {"return": _returns(rollouts)}
    columns |= {"action" if rollouts.n_actions else f"action {i + 1}": column for i, column in enumerate(actions.T)}
    columns |= {factor.name: column for factor, column in zip(rollouts.factor_table, rollouts.factors.T, strict=True)}
    rows = -(-len(columns) // 5)
    figure = Figure(figsize=(12, 1.8 * rows), layout="constrained")
    axes = figure.subplots(rows, 5, squeeze=False).ravel()
    for axis, (name, values) in zip(axes, columns.items(), strict=False):
        distinct = np.unique(values)
        if len(distinct) <= BINS:
            axis.bar(distinct, [(values == value).sum() for value in distinct], width=0.8 * _gap(distinct))
        else:
            axis.hist(values, bins=BINS)
        axis.set_title(name, fontsize=9)
        axis.set_yticks([])
        axis.tick_params(labelsize=7)
    for axis in axes[len(columns) :]:
        axis.set_visible(False)
    return figure


def _side_by_side(rollouts: Rollouts, rows: NDArray) -> NDArray[np.uint8]:
    """Return frames (T, H, views * W, 3)."""
    frames = [rollouts.observations[rows]]
    if rollouts.views is not None:
        frames += list(np.moveaxis(rollouts.views[rows], 1, 0))
    return np.concatenate(frames, axis=2)


def _enlarged(images: NDArray[np.uint8], rollouts: Rollouts) -> NDArray[np.uint8]:
    """Repeat pixels until an observation is at least `SHOWN_SIZE` high."""
    factor = -(-SHOWN_SIZE // rollouts.observations.shape[1])
    return images.repeat(factor, axis=-3).repeat(factor, axis=-2)


def _framed(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.pad(frames, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=255)


def _returns(rollouts: Rollouts) -> NDArray[np.float64]:
    return np.add.reduceat(rollouts.rewards, rollouts.episodes[:-1], dtype=np.float64)


def _bin_names(edges: NDArray) -> list[str]:
    return [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)]


def _text_histogram(names: list[str], columns: list[NDArray]) -> Table:
    """Return a table with a row for each bin, and for each column its counts (bins,) with bars."""
    table = Table("", box=None, padding=(0, 1, 0, 0), show_header=len(columns) > 1)
    # other encodings than UTF-8 have no blocks
    with_bars = not Console().options.ascii_only
    for number in range(1, len(columns) + 1):
        table.add_column(str(number), justify="right")
        if with_bars:
            table.add_column()
    for name, *row in zip(names, *columns, strict=True):
        cells: list[str | Bar] = [name]
        for count, counts in zip(row, columns, strict=True):
            cells.append(str(count))
            if with_bars:
                cells.append(Bar(counts.max(), 0, count, width=TEXT_WIDTH // len(columns)))
        table.add_row(*cells)
    return table


def _step_rows(rollouts: Rollouts) -> NDArray[np.int64]:
    """Return the rows that start a step."""
    return np.flatnonzero(np.diff(rollouts.episode_ids) == 0)


def _gap(values: NDArray) -> float:
    return float(np.diff(values).min()) if len(values) > 1 else 1.0


def _counts(values: NDArray) -> str:
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) > 12:
        return f"{values.min():.3g} to {values.max():.3g}, mean {values.mean():.3g}, {len(distinct)} distinct"
    return ", ".join(f"{value:g}: {count:,}" for value, count in zip(distinct, counts, strict=True))
