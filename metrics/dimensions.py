"""Effective dimension: how many directions does the representation use?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from srl_bench.metrics import common
from srl_bench.metrics.search import episode_labels, nearest
from srl_bench.registry import metric


def participation_ratio(eigenvalues: NDArray) -> float:
    """Return (sum l)^2 / sum l^2: n for n equal eigenvalues, 1 if one dominates."""
    return float(eigenvalues.sum() ** 2 / (eigenvalues**2).sum())


def effective_rank(eigenvalues: NDArray) -> float:
    """Return exp(entropy of l / sum l), Roy & Vetterli (2007), who take singular values instead."""
    p = eigenvalues[eigenvalues > 0] / eigenvalues.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def dims_for_variance(eigenvalues: NDArray, share: float) -> int:
    """Return how many of the largest eigenvalues hold a share of their sum."""
    held = np.cumsum(np.sort(eigenvalues)[::-1]) / eigenvalues.sum()
    return int(np.searchsorted(held, share - 1e-12) + 1)


@metric("dimension", better="neither", range=(0.0, np.inf), shifts=1, resample="rows")
def dimension(states: NDArray, factors: NDArray) -> dict[str, float]:
    """Effective dimension of the latents, by eigenvalues of their covariance and of their correlation matrix.

    The former follows the scale of single dimensions (one that is 100 times larger makes it 1), the latter
    does not.

    Args:
        states: (N, d) latents.
        factors: (N, K) ground truth (unused).

    Returns:
        "participation" and "erank_cov" (see `participation_ratio`, `effective_rank`) of the covariance,
        "participation_corr" and "erank_corr" of the correlation matrix, "n95" and "n99" directions that hold
        95 % and 99 % of the variance, and "active", the number of dimensions that vary. NaN, with a warning, for
        constant latents, but for "active".
    """
    states, factors = common.check_inputs(states, factors)
    z = states[:, common.active_dims(states)]
    names = ("participation", "erank_cov", "n95", "n99", "participation_corr", "erank_corr")
    if not z.shape[1]:
        undefined = common.undefined("dimension", "the representation is constant")
        return {"active": 0.0} | dict.fromkeys(names, undefined)
    z = z - z.mean(axis=0)
    scaled = common.standardise(z)
    covariance, correlation = (np.maximum(np.linalg.eigvalsh(a.T @ a / len(a)), 0.0) for a in (z, scaled))
    values = (
        participation_ratio(covariance),
        effective_rank(covariance),
        dims_for_variance(covariance, 0.95),
        dims_for_variance(covariance, 0.99),
        participation_ratio(correlation),
        effective_rank(correlation),
    )
    return {"active": float(z.shape[1])} | dict(zip(names, map(float, values), strict=True))


@metric("twonn", better="neither", range=(0.0, np.inf), needs=("episode_ids",), shifts=1, core=False)
def twonn(
    states: NDArray, factors: NDArray, *, episode_ids: NDArray | None = None, rows: NDArray | None = None
) -> float:
    """Intrinsic dimension by the two nearest neighbours (Facco et al. 2017), of standardised latents.

    The slope through the origin of -log(1 - F) over log(r2 / r1), F the empirical distribution of r2 / r1,
    without its largest tenth. Only for rows that were drawn independently: rollouts are curves, of dimension 1
    to 2 whatever they move in, and other episodes alone are too far away. Rows that have a copy are left
    out; NaN, with a warning, if fewer than ten remain. It has no interval, as drawing rows again makes copies.

    Args:
        states: (N, d) latents.
        factors: (N, K) ground truth (unused).
        episode_ids: (N,) integers, to look for neighbours in other episodes only.
        rows: indices of the rows to use; all by default. Statistics for standardising are those of all.
    """
    states, factors = common.check_inputs(states, factors)
    points = common.standardise(states[:, common.active_dims(states)])
    episodes = episode_labels(len(states), episode_ids)
    if rows is not None:
        points, episodes = points[rows], episodes[rows]
    if not points.shape[1]:
        return common.undefined("twonn", "the representation is constant")
    neighbours, _ = nearest(points, 2, episodes)
    distance = np.sort(np.linalg.norm(points[neighbours] - points[:, None], axis=2), axis=1)
    distance = distance[distance[:, 0] > 0]
    if len(distance) < 10:
        return common.undefined("twonn", f"only {len(distance)} rows have no copy")
    ratio = np.sort(distance[:, 1] / distance[:, 0])
    kept = int(len(ratio) * 0.9)
    x, y = np.log(ratio[:kept]), -np.log(1 - np.arange(1, kept + 1) / len(ratio))
    if not x.any():
        return common.undefined("twonn", "the two nearest neighbours of all rows are equally far")
    return float(x @ y / (x @ x))
