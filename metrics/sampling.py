"""Scores that sample rows sharing the value of one factor: beta-VAE and FactorVAE.

What shares a value is given by labels (N, K): equal entries of column k mark rows with the same value of factor
k, -1 rows that are not to be used for it. Labels come from bins of logged data, or from `paired_interventions`,
where a simulator gives every factor but one a new value.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from srl_bench.metrics import common
from srl_bench.metrics.attributes import fit_logistic
from srl_bench.metrics.common import Binning
from srl_bench.registry import metric

BATCH = 64
CHUNK = 512


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


def _prepare(states: NDArray, labels: NDArray, episode_ids: NDArray | None, needed: int) -> tuple[NDArray, list[Pool]]:
    """Return standardised active states and a pool per factor that has one."""
    x = common.standardise(states[:, common.active_dims(states)])
    pools = [make_pool(column, episode_ids, needed) for column in labels.T]
    found = [pool for pool in pools if pool is not None]
    if episode_ids is not None and any((pool.unit_size == 1).all() for pool in found):
        warnings.warn(
            "values of a factor occur in too few episodes: rows of one episode are drawn together", stacklevel=3
        )
    return x, found


def factor_vae_from_labels(
    states: NDArray,
    labels: NDArray,
    *,
    episode_ids: NDArray | None = None,
    seed: int = 0,
    train_votes: int = 10_000,
    test_votes: int = 5_000,
    batch: int = BATCH,
) -> float:
    """Return the FactorVAE score of states (N, d) under labels (N, K); see `factor_vae` and the module."""
    x, pools = _prepare(states, labels, episode_ids, batch)
    if not pools:
        return common.undefined("factor_vae", "no factor has a value that two rows share")
    if x.shape[1] == 0:
        return 1 / len(pools)
    random = np.random.default_rng(seed)
    tables = []
    for n_votes in (train_votes, test_votes):
        factor = random.integers(len(pools), size=n_votes)
        votes = np.zeros((x.shape[1], len(pools)))
        for k, pool in enumerate(pools):
            rows = draw_batches(pool, int((factor == k).sum()), batch, random)
            steadiest = [x[part].var(axis=1).argmin(axis=1) for part in _chunks(rows)]
            votes[:, k] = np.bincount(np.concatenate(steadiest), minlength=x.shape[1]) if steadiest else 0
        tables.append(votes)
    return majority_accuracy(*tables)


def _chunks(rows: NDArray) -> list[NDArray]:
    return [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]


def majority_accuracy(train: NDArray, test: NDArray) -> float:
    """Return the share of test votes (d, K) for the factor that most train votes (d, K) of a dimension were for."""
    return float(test[np.arange(len(test)), train.argmax(axis=1)].sum() / test.sum())


def beta_vae_from_labels(
    states: NDArray,
    labels: NDArray,
    *,
    episode_ids: NDArray | None = None,
    seed: int = 0,
    train_points: int = 10_000,
    test_points: int = 5_000,
    batch: int = BATCH,
) -> float:
    """Return the beta-VAE score of states (N, d) under labels (N, K); see `beta_vae` and the module."""
    x, pools = _prepare(states, labels, episode_ids, 2)
    if not pools:
        return common.undefined("beta_vae", "no factor has a value that two rows share")
    if x.shape[1] == 0 or len(pools) == 1:
        return 1 / len(pools)
    random = np.random.default_rng(seed)
    points, answers = [], []
    for n_points in (train_points, test_points):
        factor = random.integers(len(pools), size=n_points)
        features = np.empty((n_points, x.shape[1]))
        for k, pool in enumerate(pools):
            pairs = draw_pairs(pool, (int((factor == k).sum()), batch), random)
            parts = zip(*map(_chunks, pairs), strict=True)
            means = [np.abs(x[one] - x[other]).mean(axis=1) for one, other in parts]
            features[factor == k] = np.concatenate(means) if means else features[:0]
        points.append(features)
        answers.append(factor)
    # features of small spread would be lost to the penalty
    scale = points[0].std(axis=0)
    scale[scale == 0] = 1
    classifier = fit_logistic(points[0] / scale, answers[0])
    return float(classifier.score(points[1] / scale, answers[1]))


@metric("factor_vae", better="higher", range=(0.0, 1.0), needs=("kinds", "episode_ids", "seed"), shifts=1)
def factor_vae(
    states: NDArray,
    factors: NDArray,
    *,
    kinds: Sequence[str] | None = None,
    episode_ids: NDArray | None = None,
    seed: int = 0,
    binning: Binning = "quantile",
    bins: int = 10,
    train_votes: int = 10_000,
    test_votes: int = 5_000,
) -> float:
    """FactorVAE score (Kim & Mnih 2018, arXiv 1802.05983).

    In a batch of 64 rows that share a factor, the dimension of least variance votes for that factor. The score is
    the accuracy of a majority table of 10,000 votes on 5,000 others. Chance is 1 / K. On logged data rows share a
    bin of the factor, and factors depend on each other, so read it next to its ceiling.

    Args:
        states: (N, d) latents.
        factors: (N, K) ground truth; constant factors are left out.
        kinds: K entries of "continuous", "angular" or "categorical".
        episode_ids: (N,) a batch then holds a row per episode, where 64 episodes share a value.
        seed: seed of the draws.
        binning: "quantile" or "width".
        bins: number of values of a continuous factor.
        train_votes: votes behind the table.
        test_votes: votes that judge it.
    """
    states, factors = common.check_inputs(states, factors)
    labels = common.factor_labels(factors, kinds, binning, bins)
    return factor_vae_from_labels(
        states, labels, episode_ids=episode_ids, seed=seed, train_votes=train_votes, test_votes=test_votes
    )


@metric("beta_vae", better="higher", range=(0.0, 1.0), needs=("kinds", "episode_ids", "seed"), shifts=1, core=False)
def beta_vae(
    states: NDArray,
    factors: NDArray,
    *,
    kinds: Sequence[str] | None = None,
    episode_ids: NDArray | None = None,
    seed: int = 0,
    binning: Binning = "quantile",
    bins: int = 10,
    train_points: int = 10_000,
    test_points: int = 5_000,
) -> float:
    """Beta-VAE score (Higgins et al. 2017): can a linear classifier tell which factor pairs of rows share?

    A point is the mean of |z - z'| over 64 pairs sharing factor k; the score is the accuracy of a logistic
    regression of k, fitted to 10,000 points, on 5,000 others. Chance is 1 / K; mixtures often reach 1.

    Args:
        states: (N, d) latents.
        factors: (N, K) ground truth; constant factors are left out.
        kinds: K entries of "continuous", "angular" or "categorical".
        episode_ids: (N,) the rows of a pair are then from different episodes, where two share a value.
        seed: seed of the draws.
        binning: "quantile" or "width".
        bins: number of values of a continuous factor.
        train_points: points to fit the classifier to.
        test_points: points that judge it.
    """
    states, factors = common.check_inputs(states, factors)
    labels = common.factor_labels(factors, kinds, binning, bins)
    return beta_vae_from_labels(
        states, labels, episode_ids=episode_ids, seed=seed, train_points=train_points, test_points=test_points
    )
