"""Neighbourhood metrics: are states that look alike in latent space alike in the world?

KNN-MSE asks for each row i how far, in ground truth, its k nearest latent neighbours are. Rows of the same
episode are no neighbours by default: time alone makes them alike, with any encoder that is smooth in time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from srl_bench.errors import DataError
from srl_bench.metrics import common
from srl_bench.metrics.neighbour_error import neighbour_error, random_level
from srl_bench.metrics.resampling import EpisodeSums, sums_by_episode
from srl_bench.metrics.search import episode_labels
from srl_bench.registry import metric

Latent = Literal["raw", "zstd"]
N_QUERIES = 10_000  # more cost time and hardly change a mean


NEEDS = ("episode_ids", "kinds", "roles", "seed")


class Levels(NamedTuple):
    """Squared neighbour distances in factor space by latents, by the true state, and by chance: (Q,), or a mean."""

    latent: Any
    oracle: Any
    chance: Any


def levels_by_query(
    states: NDArray,
    factors: NDArray,
    *,
    episode_ids: NDArray | None = None,
    k: int = 5,
    exclude_same_episode: bool = True,
    steps: NDArray | None = None,
    exclude_steps: int | None = None,
    latent: Latent = "zstd",
    factor_scale: Literal["raw", "std"] = "std",
    kinds: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    n_queries: int | None = N_QUERIES,
    seed: int = 0,
    with_oracle: bool = True,
) -> tuple[NDArray, Levels]:
    """Return rows (Q,) and, for each of them, the three levels that the metrics here are made of; see `knn_mse`."""
    states, factors = common.check_inputs(states, factors)
    if latent not in ("raw", "zstd") or factor_scale not in ("raw", "std"):
        raise DataError(f"latent {latent!r} or factor_scale {factor_scale!r} is unknown; use 'raw', 'zstd' or 'std'.")
    if exclude_steps is not None and (episode_ids is None or steps is None or exclude_steps < 0):
        raise DataError(
            "exclude_steps must be 0 or more, and needs episode_ids and steps to tell what is near in time."
        )
    truth = common.task_columns(factors, kinds, roles)
    targets = truth if factor_scale == "std" else common.task_columns(factors, kinds, roles, standardised=False)

    n_rows = len(states)
    in_episode = exclude_same_episode or exclude_steps is not None
    episodes = episode_labels(n_rows, episode_ids if in_episode else None)
    steps = None if exclude_steps is None else steps
    queries = np.arange(n_rows)
    if n_queries is not None and n_queries < n_rows:
        queries = np.sort(np.random.default_rng(seed).choice(n_rows, n_queries, replace=False))
    points = states[:, common.active_dims(states)]
    if latent == "zstd":
        points = common.standardise(points)
    oracle = np.full(len(queries), np.nan)
    if with_oracle:
        oracle = neighbour_error(truth, targets, k, episodes, queries, seed, steps, exclude_steps)
    return queries, Levels(
        latent=neighbour_error(points, targets, k, episodes, queries, seed, steps, exclude_steps),
        oracle=oracle,
        chance=random_level(targets, episodes, steps, exclude_steps)[queries],
    )


def levels(states: NDArray, factors: NDArray, **options: Any) -> Levels:
    """Return the means of `levels_by_query`."""
    return Levels(*(float(level.mean()) for level in levels_by_query(states, factors, **options)[1]))


def _error(found: Levels) -> Any:
    return found.latent


def _share(found: Levels) -> Any:
    return found.latent / found.chance


def _skill(found: Levels) -> Any:
    return (found.chance - found.latent) / (found.chance - found.oracle)


def _sums(score: Callable[[Levels], NDArray]) -> Callable[..., EpisodeSums]:
    def sums(states: NDArray, factors: NDArray, *, episode_ids: NDArray, **options: Any) -> EpisodeSums:
        rows, found = levels_by_query(states, factors, episode_ids=episode_ids, with_oracle=score is _skill, **options)
        table = sums_by_episode(np.stack(found, axis=1), np.asarray(episode_ids)[rows])
        return EpisodeSums(table, lambda total: {"mean": score(Levels(*(total[:, 1:] / total[:, :1]).T))})

    return sums


@metric("knn_mse", better="lower", range=(0.0, np.inf), needs=NEEDS, resample=_sums(_error))
def knn_mse(
    states: NDArray,
    factors: NDArray,
    *,
    episode_ids: NDArray | None = None,
    k: int = 5,
    exclude_same_episode: bool = True,
    steps: NDArray | None = None,
    exclude_steps: int | None = None,
    latent: Latent = "zstd",
    factor_scale: Literal["raw", "std"] = "std",
    kinds: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    n_queries: int | None = N_QUERIES,
    seed: int = 0,
) -> float:
    """KNN-MSE (Lesort et al. 2017, arXiv 1709.05185): true distance of the k nearest latent neighbours.

    mean_i 1/k sum_{j in KNN(i)} |y_i - y_j|^2 over task factors y; 0 is perfect. The paper's own setting is
    `latent="raw", factor_scale="raw", exclude_same_episode=False`.

    Args:
        states: (N, d) latents.
        factors: (N, K) ground truth.
        episode_ids: (N,) integers in any order; without them only the row itself is excluded.
        k: number of neighbours.
        exclude_same_episode: whether neighbours must come from other episodes.
        steps: (N,) step within the episode, needed for `exclude_steps`.
        exclude_steps: exclude, of the same episode, only rows at most so many steps away (in its place).
        latent: "zstd" gives each dimension unit variance, "raw" leaves it as it is.
        factor_scale: "std" gives each factor unit variance, "raw" keeps its unit.
        kinds: K entries of "continuous", "angular" or "categorical".
        roles: K entries of "task", "distractor" or "nuisance"; only task factors count.
        n_queries: number of rows, drawn at random, whose neighbours are looked for among all; None for all of them.
        seed: seed of the queries and of the order of ties.
    """
    return levels(
        states,
        factors,
        episode_ids=episode_ids,
        k=k,
        exclude_same_episode=exclude_same_episode,
        steps=steps,
        exclude_steps=exclude_steps,
        latent=latent,
        factor_scale=factor_scale,
        kinds=kinds,
        roles=roles,
        n_queries=n_queries,
        seed=seed,
        with_oracle=False,
    ).latent


@metric("knn_mse_norm", better="lower", range=(0.0, np.inf), needs=NEEDS, resample=_sums(_share))
def knn_mse_norm(
    states: NDArray,
    factors: NDArray,
    *,
    episode_ids: NDArray | None = None,
    k: int = 5,
    exclude_same_episode: bool = True,
    steps: NDArray | None = None,
    exclude_steps: int | None = None,
    latent: Latent = "zstd",
    kinds: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    n_queries: int | None = N_QUERIES,
    seed: int = 0,
) -> float:
    """KNN-MSE as a share of its exact value for random neighbours: 0 perfect, 1 random, above 1 aliasing.

    Comparable between environments, because unit and number of factors cancel. Arguments as in `knn_mse`.
    """
    found = levels(
        states,
        factors,
        episode_ids=episode_ids,
        k=k,
        exclude_same_episode=exclude_same_episode,
        steps=steps,
        exclude_steps=exclude_steps,
        latent=latent,
        kinds=kinds,
        roles=roles,
        n_queries=n_queries,
        seed=seed,
        with_oracle=False,
    )
    if not found.chance > 0:
        return common.undefined("knn_mse_norm", "no task factor varies")
    return _share(found)


@metric("knn_skill", better="higher", range=(-np.inf, np.inf), needs=NEEDS, resample=_sums(_skill))
def knn_skill(
    states: NDArray,
    factors: NDArray,
    *,
    episode_ids: NDArray | None = None,
    k: int = 5,
    exclude_same_episode: bool = True,
    steps: NDArray | None = None,
    exclude_steps: int | None = None,
    latent: Latent = "zstd",
    kinds: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    n_queries: int | None = N_QUERIES,
    seed: int = 0,
) -> float:
    """KNN-MSE on the scale where random neighbours score 0 and neighbours in the true state score 1.

    (chance - latent) / (chance - oracle), which also removes the density of the data; slightly above 1 is
    possible. NaN, with a warning, if even the true state finds no neighbours. Arguments as in `knn_mse`.
    """
    found = levels(
        states,
        factors,
        episode_ids=episode_ids,
        k=k,
        exclude_same_episode=exclude_same_episode,
        steps=steps,
        exclude_steps=exclude_steps,
        latent=latent,
        kinds=kinds,
        roles=roles,
        n_queries=n_queries,
        seed=seed,
    )
    if found.chance - found.oracle <= 0.05 * found.chance:
        return common.undefined("knn_skill", "neighbours in the true state are no nearer than chance")
    return _skill(found)
