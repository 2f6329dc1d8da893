"""Shared machinery of the metrics: checks, standardised factors, bins, splits.

Notation: N rows, d latent dimensions, K factors, C factor columns after encoding (C >= K).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from srl_bench.errors import DataError
from srl_bench.factors import encode_factors

Binning = Literal["quantile", "width"]


def check_inputs(states: NDArray, factors: NDArray) -> tuple[NDArray, NDArray]:
    """Return states (N, d) and factors (N, K) as float64.

    Raises:
        DataError: a shape is wrong, or a value is NaN or infinite.
    """
    arrays = []
    for label, values in (("states", states), ("factors", factors)):
        array = np.asarray(values, dtype=np.float64)
        if array.ndim != 2 or array.size == 0:
            raise DataError(f"{label} must be a filled table (rows, columns), not an array of shape {array.shape}.")
        bad = ~np.isfinite(array)
        if bad.any():
            rows, dims = np.flatnonzero(bad.any(1)), np.flatnonzero(bad.any(0))
            raise DataError(
                f"{label} hold NaN or infinite values in dims {_shorten(dims)} and rows {_shorten(rows)}; "
                "remove those rows or repair what produced them."
            )
        arrays.append(array)
    if len(arrays[0]) != len(arrays[1]):
        raise DataError(f"states have {len(arrays[0])} rows but factors have {len(arrays[1])}; they must match.")
    return arrays[0], arrays[1]


def check_rows(states: NDArray, episode_ids: NDArray) -> None:
    """Raise `DataError` unless there are at least 50 rows from at least 4 episodes."""
    n_episodes = len(np.unique(episode_ids))
    if len(states) < 50 or n_episodes < 4:
        raise DataError(
            f"{len(states)} rows from {n_episodes} episodes are too few to score a representation; "
            "record at least 50 rows and 4 episodes."
        )


def _shorten(indices: NDArray) -> str:
    shown = ", ".join(str(index) for index in indices[:8])
    return f"[{shown}, ... {len(indices)} in all]" if len(indices) > 8 else f"[{shown}]"


def factor_kinds(factors: NDArray, kinds: Sequence[str] | None) -> list[str]:
    """Return one kind per factor; all are continuous unless told."""
    return _per_factor("kinds", kinds, ["continuous"] * factors.shape[1])


def factor_names(factors: NDArray, names: Sequence[str] | None) -> list[str]:
    """Return one name per factor: the given ones, or factor_0, factor_1, ..."""
    return _per_factor("names", names, [f"factor_{index}" for index in range(factors.shape[1])])


def task_factors(factors: NDArray, roles: Sequence[str] | None) -> NDArray:
    """Return a (K,) mask of the factors whose role is "task"; all are unless told."""
    return np.array(_per_factor("roles", roles, ["task"] * factors.shape[1])) == "task"


def _per_factor(label: str, given: Sequence[str] | None, default: list[str]) -> list[str]:
    values = default if given is None else [str(value) for value in given]
    if len(values) != len(default):
        raise DataError(f"{label} has {len(values)} entries but there are {len(default)} factors.")
    return values


def active_dims(states: NDArray) -> NDArray:
    """Return a (d,) mask of dimensions whose deviation exceeds a millionth of the largest one.

    The threshold is relative because a code of size 1e-9 is decodable after standardising, but useless to a
    policy network. Nothing is active in a collapsed (constant) representation.
    """
    deviation = np.where(np.ptp(states, axis=0) > 0, states.std(axis=0), 0.0)
    return deviation > 1e-6 * deviation.max(initial=0.0)


def varying_factors(factors: NDArray) -> NDArray:
    """Return a (K,) mask of the factors that are not constant."""
    return (factors.std(axis=0) > 1e-8) & (np.ptp(factors, axis=0) > 0)


def standardise(values: NDArray, rows: NDArray | slice = slice(None)) -> NDArray:
    """Return `values` (N, d) with zero mean and unit deviation over `rows`; columns constant there become zero."""
    centred = values - values[rows].mean(axis=0)
    deviation = centred[rows].std(axis=0)
    rounding = 1e-15 * np.abs(values[rows]).max(axis=0, initial=0.0)
    return centred / np.where(deviation > rounding, deviation, np.inf)


def standardised_blocks(factors: NDArray, kinds: Sequence[str] | None = None) -> tuple[NDArray, NDArray]:
    """Encode factors as columns so that each factor has zero mean and total variance 1.

    Whatever its unit or kind, a factor then adds 2 to the squared distance of two independent draws.

    Returns:
        (N, C) columns, all zero for a constant factor, and (C,) the factor that each column belongs to.
    """
    columns, owners = encode_factors(factors, factor_kinds(factors, kinds))
    columns = columns - columns.mean(axis=0)
    scale = np.sqrt(np.bincount(owners, columns.var(axis=0)))
    scale[~varying_factors(factors) | (scale == 0)] = np.inf
    return columns / scale[owners], owners


def block_variance(factors: NDArray, kinds: Sequence[str] | None = None) -> NDArray:
    """Return (K,) total variance of the encoded columns of each factor, in its unit squared."""
    columns, owners = encode_factors(factors, factor_kinds(factors, kinds))
    return np.bincount(owners, columns.var(axis=0))


def task_columns(
    factors: NDArray, kinds: Sequence[str] | None, roles: Sequence[str] | None, standardised: bool = True
) -> NDArray:
    """Return (N, C) columns of the factors with role "task", standardised or as they are encoded.

    Raises:
        DataError: no factor has that role.
    """
    task = task_factors(factors, roles)
    if not task.any():
        raise DataError("no factor has the role 'task', so there is nothing to compare with; check the roles.")
    chosen = [kind for kind, wanted in zip(factor_kinds(factors, kinds), task, strict=True) if wanted]
    return (standardised_blocks if standardised else encode_factors)(factors[:, task], chosen)[0]


def spread_rows(n_rows: int, limit: int) -> NDArray:
    """Return the indices of at most `limit` evenly spaced rows out of `n_rows`."""
    return np.unique(np.round(np.linspace(0, n_rows - 1, min(limit, n_rows))).astype(np.int64))


def undefined(name: str, reason: str) -> float:
    """Return NaN, and warn why the metric has no value."""
    warnings.warn(f"{name} is undefined: {reason}.", stacklevel=3)
    return float("nan")


def discretise(column: NDArray, kind: str = "continuous", binning: Binning = "quantile", bins: int = 20) -> NDArray:
    """Return (N,) class labels 0, 1, ... of one column.

    Categorical columns and columns of at most `bins` distinct values keep their values as classes; angles get
    equal bins on [-pi, pi); anything else gets bins of equal counts ("quantile") or equal widths ("width").
    """
    # a few rows tell that a continuous column has many values; sorting them all is what takes time
    if kind == "categorical" or len(np.unique(column[: 50 * bins])) <= bins:
        levels, labels = np.unique(column, return_inverse=True)
        if kind == "categorical" or len(levels) <= bins:
            return labels
    if kind == "angular":
        return np.floor((column + np.pi) / (2 * np.pi) * bins).astype(np.int64) % bins
    if binning == "width":
        return _count_passed(np.histogram_bin_edges(column, bins)[1:-1], column)
    if binning == "quantile":
        return _count_passed(np.unique(quantiles(column, bins))[1:-1], column)
    raise DataError(f"binning {binning!r} is unknown; use 'quantile' or 'width'.")


def quantiles(column: NDArray, parts: int) -> NDArray:
    """Return what `np.quantile(column, np.linspace(0, 1, parts + 1))` does, several times as fast.

    Values are counted in 4096 cells of equal width, and only those in the cells of a quantile are sorted.
    """
    low, spread = column.min(), np.ptp(column)
    if not 1e-300 < spread < np.inf:
        return np.quantile(column, np.linspace(0, 1, parts + 1))
    cells = ((column - low) * (4095 / spread)).astype(np.int64)
    counts = np.bincount(cells, minlength=4096)
    position = np.linspace(0, 1, parts + 1) * (len(column) - 1)
    ranks = np.stack([np.floor(position), np.ceil(position)]).astype(np.int64)
    sorted_cells = np.zeros(4096, dtype=bool)
    own = np.searchsorted(np.cumsum(counts), ranks, side="right")
    sorted_cells[own] = True
    kept = np.sort(column[sorted_cells[cells]])
    left_out = np.cumsum(np.where(sorted_cells, 0, counts))
    below, above = kept[ranks - left_out[own]]
    return below + (above - below) * (position - ranks[0])


def _count_passed(edges: NDArray, column: NDArray) -> NDArray:
    """Return (N,) how many edges each value has reached; for few edges faster than a search."""
    labels = np.zeros(len(column), dtype=np.min_scalar_type(len(edges)))
    for edge in edges:
        labels += column >= edge
    return labels.astype(np.int64)


def factor_labels(
    factors: NDArray, kinds: Sequence[str] | None = None, binning: Binning = "quantile", bins: int = 20
) -> NDArray:
    """Return (N, K_varying) class labels of the factors that vary; see `discretise`."""
    kinds = factor_kinds(factors, kinds)
    varying = np.flatnonzero(varying_factors(factors))
    labels = np.empty((len(factors), len(varying)), dtype=np.int64)
    for index, k in enumerate(varying):
        labels[:, index] = discretise(factors[:, k], kinds[k], binning, bins)
    return labels


def split_episodes(episode_ids: NDArray, seed: int = 0, strata: NDArray | None = None) -> NDArray:
    """Assign whole episodes to train (0), validation (1, 15 %) and test (2, 25 %).

    Args:
        episode_ids: (N,) integers in any order.
        seed: seed of the permutation of episodes.
        strata: (N,) labels, e.g. of the policy that collected an episode; each is split on its own.

    Returns:
        (N,) int8 array of 0, 1 and 2.
    """
    episodes, first, row_episode = np.unique(episode_ids, return_index=True, return_inverse=True)
    strata = np.zeros(len(episodes)) if strata is None else np.asarray(strata)[first]
    random = np.random.default_rng(seed)
    part = np.zeros(len(episodes), dtype=np.int8)
    for stratum in np.unique(strata):
        order = random.permutation(np.flatnonzero(strata == stratum))
        n_test, n_validation = int(np.ceil(0.25 * len(order))), int(np.ceil(0.15 * len(order)))
        part[order[:n_test]] = 2
        part[order[n_test : n_test + n_validation]] = 1
    return part[row_episode]


def check_split(split: NDArray, n_rows: int) -> NDArray:
    """Return `split` as an (N,) array of 0 (train), 1 (validation) and 2 (test).

    Raises:
        DataError: its length or a value is wrong, or train or test is empty.
    """
    split = np.asarray(split)
    if split.shape != (n_rows,) or not np.isin(split, (0, 1, 2)).all():
        raise DataError(f"split must hold {n_rows} entries, each 0 (train), 1 (validation) or 2 (test).")
    if not (split == 0).any() or not (split == 2).any():
        raise DataError("split leaves no train rows or no test rows; record more episodes.")
    return split


def block_r2(target: NDArray, prediction: NDArray) -> float:
    """Return 1 - SSE / SST pooled over the columns (n, c) of one factor; NaN if the target does not vary."""
    total = ((target - target.mean(axis=0)) ** 2).sum()
    return float(1 - ((target - prediction) ** 2).sum() / total) if total >= 1e-12 else float("nan")


def summarise(values: NDArray, names: Sequence[str], mean: float) -> dict[str, float]:
    """Return {"mean": mean, name: value, ...} as plain floats."""
    return {"mean": float(mean), **{name: float(value) for name, value in zip(names, values, strict=True)}}


def nan_mean(values: NDArray) -> float:
    """Return the mean of the entries that are not NaN; NaN if there is none."""
    values = np.asarray(values)[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")


def compared_rows(
    states: NDArray,
    factors: NDArray,
    kinds: Sequence[str] | None,
    roles: Sequence[str] | None,
    rows: NDArray | None,
    max_rows: int,
) -> tuple[NDArray, NDArray, NDArray]:
    """Return rows to compare with each other (n,), and their standardised latents (n, d) and task factors (n, C).

    Dead dimensions are 0; without `rows`, these are `max_rows` evenly spaced ones.
    """
    states, factors = check_inputs(states, factors)
    truth = task_columns(factors, kinds, roles)
    latents = standardise(states * active_dims(states))
    rows = spread_rows(len(states), max_rows) if rows is None else np.asarray(rows)
    return rows, latents[rows], truth[rows]
