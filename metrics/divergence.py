"""Another look, without pairs: how far is the distribution of latents from that of the first look?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from srl_bench.metrics import common
from srl_bench.metrics.resampling import EpisodeSums
from srl_bench.metrics.search import episode_labels
from srl_bench.metrics.shift import paired
from srl_bench.registry import metric

MAX_ROWS = 1000


def _standardised(states: NDArray, shifted_states: NDArray) -> tuple[NDArray, NDArray]:
    """Return active dimensions of both looks, with the mean and deviation of the first."""
    z, other = paired(states, shifted_states)
    both = common.standardise(np.vstack([z, other]), slice(len(z)))
    return both[: len(z)], both[len(z) :]


@metric("frechet_distance", better="lower", range=(0.0, np.inf), needs=("shifted_states",), core=False, resample="rows")
def frechet_distance(states: NDArray, factors: NDArray | None = None, *, shifted_states: NDArray) -> float:
    """Frechet distance of the Gaussians with the moments of both looks (Dowson & Landau 1982), per dimension.

    (|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2))) / d of latents that are standardised by the first look: 0 for equal
    moments, 1 for an offset of one deviation in every dimension.

    Args:
        states: (N, d) latents; NaN if they are constant.
        factors: not used.
        shifted_states: (N, d) latents of the same states with another look.
    """
    z, other = _standardised(states, shifted_states)
    if z.shape[1] == 0:
        return common.undefined("frechet_distance", "the representation is constant")
    means, (a, b) = (side.mean(axis=0) for side in (z, other)), (np.atleast_2d(np.cov(side.T)) for side in (z, other))
    offset = np.subtract(*means)
    eigenvalues, vectors = np.linalg.eigh(a)
    root = vectors * np.sqrt(np.maximum(eigenvalues, 0.0)) @ vectors.T
    overlap = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ b @ root), 0.0)).sum()
    return float(max(0.0, offset @ offset + np.trace(a) + np.trace(b) - 2 * overlap) / z.shape[1])


def _kernels(states: NDArray, shifted_states: NDArray) -> tuple[NDArray, NDArray]:
    """Return rows (n,) and the kernel matrices (3, n, n) within the first look, within the second, and between."""
    from scipy.spatial.distance import cdist

    rows = common.spread_rows(len(states), MAX_ROWS)
    z, other = (side[rows] for side in _standardised(states, shifted_states))
    squares = np.stack([cdist(a, b, "sqeuclidean") for a, b in ((z, z), (other, other), (z, other))])
    apart = squares[:, ~np.eye(len(rows), dtype=bool)]
    return rows, np.exp(-squares / (2 * max(float(np.median(apart)), 1e-12)))


def _sums(states: NDArray, factors: NDArray, *, episode_ids: NDArray, shifted_states: NDArray) -> EpisodeSums:
    """Return how kernels are summed over pairs of drawn episodes; the bandwidth stays."""
    rows, kernels = _kernels(states, shifted_states)
    labels = episode_labels(len(rows), np.asarray(episode_ids)[rows])
    member = np.eye(labels.max() + 1)[labels]  # (n, E)
    one, other, between = member.T @ kernels @ member

    def finish(times: NDArray) -> dict[str, NDArray]:
        total = (times @ (one + other - 2 * between) * times).sum(axis=1)
        return {"mean": total / (times @ member.sum(axis=0)) ** 2}

    return EpisodeSums(np.eye(len(member.T)), finish)


@metric("mmd", better="lower", range=(0.0, 2.0), needs=("shifted_states",), core=False, resample=_sums)
def mmd(states: NDArray, factors: NDArray | None = None, *, shifted_states: NDArray) -> float:
    """Squared maximum mean discrepancy between both looks (Gretton et al. 2012), with a Gaussian kernel.

    mean k(z, z) + mean k(z', z') - 2 mean k(z, z') over all pairs of at most 1,000 rows; the bandwidth is the median
    distance of all rows, standardised by the first look. 0 for equal latents; two samples of one distribution differ
    by about 1 / n.

    Args:
        states: (N, d) latents; NaN if they are constant.
        factors: not used.
        shifted_states: (N, d) latents of the same states with another look.
    """
    if not paired(states, shifted_states)[0].shape[1]:
        return common.undefined("mmd", "the representation is constant")
    one, other, between = _kernels(states, shifted_states)[1].mean(axis=(1, 2))
    return float(max(0.0, one + other - 2 * between))
