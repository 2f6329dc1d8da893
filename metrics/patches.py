"""NIEQA-style embedding quality: can patches of latent space be laid onto the world?

The local term follows Zhang, Ren & Zhang (2012, arXiv 1108.1636); their global term, on geodesic distances, is
replaced by a fit to landmarks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from srl_bench.metrics import common
from srl_bench.metrics.memory import remembered
from srl_bench.metrics.resampling import EpisodeSums, sums_by_episode
from srl_bench.metrics.search import episode_labels, nearest
from srl_bench.registry import metric

N_PATCHES, N_LANDMARKS = 100, 200


def nasim(truth: NDArray, latents: NDArray, max_iterations: int = 500, tolerance: float = 1e-10) -> NDArray:
    """Return (B,) misfit in [0, 1] of B patches, fitted by rotation and a scale per latent axis.

    min over orthogonal P and diagonal D of |X - Z D P|_F^2 / |X|_F^2, both centred and padded to m columns,
    by alternating between P = U V' from the singular value decomposition of (Z D)'X and least squares for D.

    Args:
        truth: (B, n, C) points X.
        latents: (B, n, d) points Z; a constant patch fits nothing (1).
        max_iterations: number of alternations at most.
        tolerance: smallest decrease of the misfit that is worth another one.
    """
    m = max(truth.shape[2], latents.shape[2])
    x, z = (
        np.pad(points - points.mean(axis=1, keepdims=True), ((0, 0), (0, 0), (0, m - points.shape[2])))
        for points in (truth, latents)
    )
    cross = np.swapaxes(z, 1, 2) @ x  # (B, m, m): all that a fit needs
    lengths = (z**2).sum(axis=1)  # (B, m)
    lengths[lengths <= 1e-12 * lengths.max(axis=1, keepdims=True)] = np.inf
    total = (x**2).sum(axis=(1, 2))
    if not total.all():
        raise ValueError("a patch of the ground truth is constant, so no misfit is defined")
    scale = np.sqrt(total[:, None] / m) / np.sqrt(lengths)
    misfit = np.ones(len(x))
    active = np.arange(len(x))
    for _ in range(max_iterations):
        u, _, vt = np.linalg.svd(scale[active, :, None] * cross[active])
        rotated = ((u @ vt) * cross[active]).sum(axis=2)  # <Z_j, (X P')_j>
        scale[active] = rotated / lengths[active]
        # The best D leaves |X|^2 - sum_j <Z_j, (X P')_j>^2 / |Z_j|^2.
        improved = 1 - (rotated * scale[active]).sum(axis=1) / total[active]
        going = misfit[active] - improved >= tolerance
        misfit[active] = np.minimum(improved, misfit[active])
        active = active[going]
        if not len(active):
            break
    return np.clip(misfit, 0.0, 1.0)


@remembered
def misfits(latents: NDArray, truth: NDArray, k: int, episodes: NDArray) -> tuple[NDArray, NDArray]:
    """Return (100,) misfits of patches of k + 1 rows, and (1,) misfit of 200 landmarks.

    NaN where `truth` is constant, or if k = 0, which stands for patches that other episodes have too few rows for.
    """
    centres = common.spread_rows(len(truth), N_PATCHES)
    if k == 0:
        return np.full(len(centres), np.nan), np.full(1, np.nan)
    neighbours, _ = nearest(truth, k, episodes, centres)
    landmarks = common.spread_rows(len(truth), N_LANDMARKS)[None]
    return _fitted(latents, truth, np.column_stack([centres, neighbours])), _fitted(latents, truth, landmarks)


def _fitted(latents: NDArray, truth: NDArray, rows: NDArray) -> NDArray:
    found = np.full(len(rows), np.nan)
    varying = np.ptp(truth[rows], axis=1).any(axis=1)
    if varying.any():
        found[varying] = nasim(truth[rows[varying]], latents[rows[varying]])
    return found


def _prepared(
    states: NDArray,
    factors: NDArray,
    k: int | None,
    episode_ids: NDArray | None,
    kinds: Sequence[str] | None,
    roles: Sequence[str] | None,
) -> tuple[NDArray, NDArray, int, NDArray]:
    states, factors = common.check_inputs(states, factors)
    truth = common.task_columns(factors, kinds, roles)
    latents = common.standardise(states[:, common.active_dims(states)])
    episodes = episode_labels(len(states), episode_ids)
    if k is None:
        k = max(30, 4 * max(latents.shape[1], truth.shape[1]))
        if k > len(states) - np.bincount(episodes).max():
            k = 0
    return latents, truth, k, episodes


def _sums(skill: bool) -> Callable[..., EpisodeSums]:
    """Return how misfits of patches are summed over the episodes of their centres; that of landmarks has no sum."""

    def sums(
        states: NDArray,
        factors: NDArray,
        *,
        episode_ids: NDArray,
        kinds: Sequence[str] | None = None,
        roles: Sequence[str] | None = None,
    ) -> EpisodeSums:
        latents, truth, k, episodes = _prepared(states, factors, None, episode_ids, kinds, roles)
        rolled = np.roll(latents, len(latents) // 2, axis=0)
        own = misfits(latents, truth, k, episodes)[0]
        other = misfits(rolled, truth, k, episodes)[0] if skill else np.ones_like(own)
        defined = ~np.isnan(own)
        centres = common.spread_rows(len(latents), N_PATCHES)[defined]
        table = sums_by_episode(np.stack([own, other], axis=1)[defined], np.asarray(episode_ids)[centres])

        def finish(totals: NDArray) -> dict[str, NDArray]:
            share = totals[:, 1] / totals[:, 2]
            return {"local": 1 - share if skill else share}

        return EpisodeSums(table, finish)

    return sums


@metric(
    "nieqa",
    better="lower",
    range=(0.0, 1.0),
    needs=("episode_ids", "kinds", "roles"),
    shifts=1,
    core=False,
    resample=_sums(skill=False),
)
def nieqa(
    states: NDArray,
    factors: NDArray,
    *,
    k: int | None = None,
    episode_ids: NDArray | None = None,
    kinds: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
) -> dict[str, float]:
    """Embedding quality after Zhang et al. (2012): 0 perfect, up to 1.

    "local" is the mean misfit (see `nasim`) of 100 patches, each a row with its k nearest rows of other episodes
    in standardised task factors; "global" is the misfit of 200 evenly spaced rows. Small patches fit noise as
    well: read it next to its floor, or use `nieqa_skill`. NaN, with a warning, if the task factors do not vary
    within a patch. Only "local" has an interval, as the landmarks are fitted once, all together.

    Args:
        states: (N, d) latents.
        factors: (N, K) ground truth.
        k: neighbours per patch; by default 30, or 4 for each dimension or factor column if that is more.
        episode_ids: (N,) integers; without them only the row itself is no neighbour.
        kinds: K entries of "continuous", "angular" or "categorical".
        roles: K entries of "task", "distractor" or "nuisance"; only task factors count.
    """
    found = misfits(*_prepared(states, factors, k, episode_ids, kinds, roles))
    return _named("nieqa", *map(common.nan_mean, found))


@metric(
    "nieqa_skill",
    better="higher",
    range=(-np.inf, 1.0),
    needs=("episode_ids", "kinds", "roles"),
    shifts=1,
    core=False,
    resample=_sums(skill=True),
)
def nieqa_skill(
    states: NDArray,
    factors: NDArray,
    *,
    k: int | None = None,
    episode_ids: NDArray | None = None,
    kinds: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
) -> dict[str, float]:
    """Embedding quality relative to latents rolled by half of the rows: 1 perfect, 0 as good as any others.

    1 - misfit / misfit of the rolled latents, "local" and "global". Arguments as in `nieqa`.
    """
    latents, truth, k, episodes = _prepared(states, factors, k, episode_ids, kinds, roles)
    rolled = np.roll(latents, len(latents) // 2, axis=0)
    pairs = zip(misfits(latents, truth, k, episodes), misfits(rolled, truth, k, episodes), strict=True)
    return _named("nieqa_skill", *(1 - common.nan_mean(own) / common.nan_mean(other) for own, other in pairs))


def _named(name: str, local: float, global_: float) -> dict[str, float]:
    if np.isnan([local, global_]).any():
        common.undefined(name, "patches are larger than the data, or the task factors do not vary within any patch")
    return {"local": local, "global": global_}
