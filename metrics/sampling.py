"""Scores that sample rows sharing the value of one factor: beta-VAE and FactorVAE.

What shares a value is given by labels (N, K): equal entries of column k mark rows with the same value of factor
k, -1 rows that are not to be used for it. Labels come from bins of logged data, or from `paired_interventions`,
where a simulator gives every factor but one a new value.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from srl_bench.metrics import common
from srl_bench.metrics.attributes import fit_logistic
from srl_bench.metrics.batches import Pool, draw_batches, draw_pairs, make_pool
from srl_bench.metrics.common import Binning
from srl_bench.metrics.resampling import EpisodeSums
from srl_bench.metrics.search import episode_labels, rows_by_episode
from srl_bench.registry import metric

BATCH = 64
CHUNK = 512


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
    return majority_accuracy(*(_votes(x, pools, n_votes, batch, random) for n_votes in (train_votes, test_votes)))


def _votes(x: NDArray, pools: Sequence[Pool], n_votes: int, batch: int, random: np.random.Generator) -> NDArray:
    """Return (d, K) how many batches of each factor each dimension of x (N, d) varies least in."""
    factor = random.integers(len(pools), size=n_votes)
    votes = np.zeros((x.shape[1], len(pools)))
    for k, pool in enumerate(pools):
        rows = draw_batches(pool, int((factor == k).sum()), batch, random)
        steadiest = [x[part].var(axis=1).argmin(axis=1) for part in _chunks(rows)]
        votes[:, k] = np.bincount(np.concatenate(steadiest), minlength=x.shape[1]) if steadiest else 0
    return votes


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
    accuracy = _beta_judge(x, pools, random, train_points, batch)
    return accuracy(pools, random, test_points)


def _points(
    x: NDArray, pools: Sequence[Pool], n_points: int, batch: int, random: np.random.Generator
) -> tuple[NDArray, NDArray]:
    """Return (n, d) mean distances of pairs of rows of x (N, d), and (n,) which factor these share."""
    factor = random.integers(len(pools), size=n_points)
    points = np.empty((n_points, x.shape[1]))
    for k, pool in enumerate(pools):
        pairs = draw_pairs(pool, (int((factor == k).sum()), batch), random)
        parts = zip(*map(_chunks, pairs), strict=True)
        means = [np.abs(x[one] - x[other]).mean(axis=1) for one, other in parts]
        points[factor == k] = np.concatenate(means) if means else points[:0]
    return points, factor


Judge = Callable[[Sequence[Pool], np.random.Generator, int], float]


def _factor_judge(
    x: NDArray, pools: Sequence[Pool], random: np.random.Generator, n_votes: int = 10_000, batch: int = BATCH
) -> Judge:
    """Return the accuracy, on so many new votes from some pools, of a majority table of votes from all."""
    table = _votes(x, pools, n_votes, batch, random)
    return lambda drawn, random, n: majority_accuracy(table, _votes(x, drawn, n, batch, random))


def _beta_judge(
    x: NDArray, pools: Sequence[Pool], random: np.random.Generator, n_points: int = 10_000, batch: int = BATCH
) -> Judge:
    """Return the accuracy, on so many new points from some pools, of a classifier that is fitted to points from all."""
    points, answers = _points(x, pools, n_points, batch, random)
    # features of small spread would be lost to the penalty
    scale = points.std(axis=0)
    scale[scale == 0] = 1
    classifier = fit_logistic(points / scale, answers)

    def accuracy(drawn: Sequence[Pool], random: np.random.Generator, n: int) -> float:
        points, answers = _points(x, drawn, n, batch, random)
        return float(classifier.score(points / scale, answers))

    return accuracy


def _sums(judge: Callable[..., Judge], needed: int, n_judged: int) -> Callable[..., EpisodeSums]:
    """Return how a score is found for drawn episodes: its table or classifier stays, its batches are drawn anew.

    The interval thus holds the chance of `n_judged` batches, too.
    """

    def sums(
        states: NDArray, factors: NDArray, *, episode_ids: NDArray, kinds: Sequence[str] | None = None, seed: int = 0
    ) -> EpisodeSums:
        states, factors = common.check_inputs(states, factors)
        labels = common.factor_labels(factors, kinds, "quantile", 10)
        random = np.random.default_rng(seed)
        x, pools = _prepare(states, labels, episode_ids, needed)
        groups = rows_by_episode(episode_labels(len(states), episode_ids))
        accuracy = judge(x, pools, random) if x.shape[1] and len(pools) > 1 else None

        def drawn_pools(times: NDArray) -> list[Pool | None]:
            chosen = np.repeat(np.arange(len(groups)), times.astype(np.int64))
            rows = np.concatenate([groups[episode] for episode in chosen])
            ids = np.repeat(np.arange(len(chosen)), [len(groups[episode]) for episode in chosen])
            found = [make_pool(column[rows], ids, needed) for column in labels.T]
            return [None if pool is None else pool._replace(rows=rows[pool.rows]) for pool in found]

        def score(times: NDArray) -> float:
            found = [pool for pool in drawn_pools(times) if pool is not None]
            if accuracy is None or len(found) != len(pools):
                return float("nan")
            return accuracy(found, random, n_judged)

        return EpisodeSums(np.eye(len(groups)), lambda times: {"mean": np.array([score(draw) for draw in times])})

    return sums


@metric(
    "factor_vae",
    better="higher",
    range=(0.0, 1.0),
    needs=("kinds", "episode_ids", "seed"),
    shifts=1,
    resample=_sums(_factor_judge, BATCH, 1_000),
)
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


@metric(
    "beta_vae",
    better="higher",
    range=(0.0, 1.0),
    needs=("kinds", "episode_ids", "seed"),
    shifts=1,
    core=False,
    resample=_sums(_beta_judge, 2, 500),
)
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
