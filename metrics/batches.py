"""Batches and pairs of rows that share a value of one factor, as the beta-VAE and FactorVAE scores draw them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Pool(NamedTuple):
    """The rows with usable values of one factor, sorted by value and, within a value, by unit.

    A unit is what a batch may hold once: an episode, or a row where a value occurs in too few episodes.
    """

    rows: NDArray  # (n,)
    unit_start: NDArray  # (U,) into rows
    unit_size: NDArray  # (U,)
    value_start: NDArray  # (V,) into units
    value_size: NDArray  # (V,)


def make_pool(labels: NDArray, episode_ids: NDArray | None, needed: int) -> Pool | None:
    """Group rows by label and episode; None if no label has two rows.

    A label that fewer than `needed` episodes hit is drawn from by row.
    """
    kept = np.flatnonzero(labels >= 0)
    episodes = np.zeros(len(labels), dtype=np.int64) if episode_ids is None else np.asarray(episode_ids)
    rows = kept[np.lexsort((kept, episodes[kept], labels[kept]))]
    first_of_value = np.flatnonzero(np.diff(labels[rows], prepend=-1))
    sizes = np.diff(first_of_value, append=len(rows))
    breaks = np.zeros(len(rows), dtype=bool)
    usable = []
    for start, size in zip(first_of_value, sizes, strict=True):
        if size < 2:
            continue
        new = np.diff(episodes[rows[start : start + size]], prepend=np.nan) != 0
        by_row = episode_ids is None or new.sum() < needed
        breaks[start : start + size] = True if by_row else new
        usable.append((start, size))
    if not usable:
        return None
    unit_start = np.flatnonzero(breaks)
    # a unit ends where the next one starts, or where its value ends
    ends = np.repeat([start + size for start, size in usable], [breaks[s : s + n].sum() for s, n in usable])
    unit_size = np.minimum(np.append(unit_start[1:], len(rows)), ends) - unit_start
    value_start = np.searchsorted(unit_start, [start for start, _ in usable])
    value_size = np.diff(np.append(value_start, len(unit_start)))
    return Pool(rows, unit_start, unit_size, value_start, value_size)


def _rows_of(pool: Pool, units: NDArray, random: np.random.Generator) -> NDArray:
    """Draw a row of each unit."""
    return pool.rows[pool.unit_start[units] + random.integers(pool.unit_size[units])]


def draw_batches(pool: Pool, n_batches: int, size: int, random: np.random.Generator) -> NDArray:
    """Return rows (n_batches, size): each batch shares a value, all values being equally likely.

    Units are drawn without replacement where a value has enough of them.
    """
    values = random.integers(len(pool.value_start), size=n_batches)
    units = np.empty((n_batches, size), dtype=np.int64)
    for value, count in zip(*np.unique(values, return_counts=True), strict=True):
        start, n = pool.value_start[value], pool.value_size[value]
        if n < size:
            drawn = random.integers(n, size=(count, size))
        else:  # slices of permutations
            per_permutation = n // size
            orders = [random.permutation(n)[: per_permutation * size] for _ in range(-(-count // per_permutation))]
            drawn = np.concatenate(orders).reshape(-1, size)[:count]
        units[values == value] = start + drawn
    return _rows_of(pool, units, random)


def draw_pairs(pool: Pool, shape: tuple[int, int], random: np.random.Generator) -> tuple[NDArray, NDArray]:
    """Return two arrays of rows of a shape: the rows of a pair share a value and are of different units."""
    value = random.integers(len(pool.value_start), size=shape)
    start, size = pool.value_start[value], pool.value_size[value]
    first = random.integers(size)
    second = (first + 1 + random.integers(np.maximum(size - 1, 1))) % size
    return _rows_of(pool, start + first, random), _rows_of(pool, start + second, random)
