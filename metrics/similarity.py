"""Global geometry: do distances and inner products in latent space follow those in the world?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from srl_bench.metrics import common
from srl_bench.metrics.resampling import EpisodeSums
from srl_bench.metrics.search import episode_labels
from srl_bench.registry import metric

MAX_ROWS = 1000


def _rsa_sums(
    states: NDArray,
    factors: NDArray,
    *,
    episode_ids: NDArray,
    kinds: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
) -> EpisodeSums:
    """Return how the correlation of ranks is summed over pairs of drawn episodes.

    The ranks stay those of all pairs, and rows of an episode that is drawn twice are not paired with their copies.
    """
    from scipy.spatial.distance import squareform
    from scipy.stats import rankdata

    rows, latents, truth = common.compared_rows(states, factors, kinds, roles, None, MAX_ROWS)
    a, b = (squareform(rankdata(pairs) - (len(pairs) + 1) / 2) for pairs in _distances(latents, truth))
    labels = episode_labels(len(rows), np.asarray(episode_ids)[rows])
    member = np.eye(labels.max() + 1)[labels]  # (n, E)
    one = 1 - np.eye(len(rows))
    blocks = np.stack([member.T @ pairs @ member for pairs in (one, a, b, a * b, a * a, b * b)])  # (6, E, E)
    within = np.diagonal(blocks, axis1=1, axis2=2)
    between = blocks - within[:, :, None] * np.eye(len(member.T))

    def finish(times: NDArray) -> dict[str, NDArray]:
        n, x, y, xy, xx, yy = (
            (times @ part * times).sum(axis=1) + times @ own for part, own in zip(between, within, strict=True)
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            return {"mean": (n * xy - x * y) / np.sqrt((n * xx - x**2) * (n * yy - y**2))}

    return EpisodeSums(np.eye(len(member.T)), finish)


def _distances(latents: NDArray, truth: NDArray) -> tuple[NDArray, NDArray]:
    from scipy.spatial.distance import pdist

    return pdist(latents), pdist(truth)


@metric("rsa", better="higher", range=(-1.0, 1.0), needs=("kinds", "roles"), shifts=1, resample=_rsa_sums)
def rsa(
    states: NDArray,
    factors: NDArray,
    *,
    kinds: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    rows: NDArray | None = None,
    max_rows: int = MAX_ROWS,
) -> float:
    """Representational similarity (Kriegeskorte et al. 2008): rank correlation of all pairwise distances.

    Spearman's rho between |z_i - z_j| of standardised latents and |x_i - x_j| of standardised task factors.
    NaN, with a warning, if either side is constant.

    Args:
        states: (N, d) latents.
        factors: (N, K) ground truth.
        kinds: K entries of "continuous", "angular" or "categorical".
        roles: K entries of "task", "distractor" or "nuisance"; only task factors count.
        rows: indices of the rows to compare with each other; by default `max_rows` evenly spaced ones.
        max_rows: number of rows compared; time and memory grow with its square.
    """
    from scipy.stats import rankdata

    _, latents, truth = common.compared_rows(states, factors, kinds, roles, rows, max_rows)
    for side, points in (("the representation", latents), ("the ground truth", truth)):
        if not points.size or not np.ptp(points, axis=0).any():
            return common.undefined("rsa", f"{side} is constant")
    return float(np.corrcoef(*map(rankdata, _distances(latents, truth)))[0, 1])


@metric("linear_cka", better="higher", range=(0.0, 1.0), needs=("kinds", "roles"), resample="rows")
def linear_cka(
    states: NDArray, factors: NDArray, *, kinds: Sequence[str] | None = None, roles: Sequence[str] | None = None
) -> float:
    """Linear centred kernel alignment (Kornblith et al. 2019, arXiv 1905.00414) with the task factors.

    |X'Z|_F^2 / (|Z'Z|_F |X'X|_F) of centred latents Z and standardised task factors X, in [0, 1]. Rotation and
    isotropic scale do not matter, the scale of single dimensions does. NaN, with a warning, if either side is
    constant. Arguments as in `rsa`.
    """
    states, factors = common.check_inputs(states, factors)
    z = states[:, common.active_dims(states)]
    z = z - z.mean(axis=0)
    x = common.task_columns(factors, kinds, roles)
    for side, points in (("the representation", z), ("the ground truth", x)):
        if not points.any():
            return common.undefined("linear_cka", f"{side} is constant")
    z = z / np.abs(z).max()
    return float(((x.T @ z) ** 2).sum() / (np.linalg.norm(z.T @ z) * np.linalg.norm(x.T @ x)))
