"""Another look of the same states: do latents, and what can be read off them, stay what they were?

Latents of the second visual domain are paired with those of the first row by row: the same states of the
simulator, rendered with other light, textures, camera or distractors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from srl_bench.errors import DataError
from srl_bench.metrics import common
from srl_bench.metrics.memory import remembered
from srl_bench.metrics.probes import r2_sums, ridge_scores
from srl_bench.metrics.resampling import EpisodeSums, sums_by_episode
from srl_bench.registry import metric


def paired(states: NDArray, shifted_states: NDArray) -> tuple[NDArray, NDArray]:
    """Return the dimensions of both looks that are active in the first; raise `DataError` unless rows are pairs."""
    states, shifted_states = common.check_inputs(states, shifted_states)
    if states.shape != shifted_states.shape:
        raise DataError(f"latents {states.shape} and shifted latents {shifted_states.shape} must be pairs.")
    active = common.active_dims(states)
    return states[:, active], shifted_states[:, active]


@metric("paired_ratio", better="lower", range=(0.0, np.inf), needs=("shifted_states",), resample="rows")
def paired_ratio(states: NDArray, factors: NDArray | None = None, *, shifted_states: NDArray) -> float:
    """How far a new look moves a state: mean |z - z'|^2 / (2 tr Cov z).

    0 if latents do not depend on the look, 1 if it moves them as far as a random other state is. With the same
    states under other distractors, 1 - paired_ratio is how well an encoder removes them.

    Args:
        states: (N, d) latents; NaN if they are constant.
        factors: not used.
        shifted_states: (N, d) latents of the same states with another look.
    """
    z, other = paired(states, shifted_states)
    spread = z.var(axis=0, ddof=1).sum()
    if not spread > 0:
        return common.undefined("paired_ratio", "the representation is constant")
    return float(((z - other) ** 2).sum(axis=1).mean() / (2 * spread))


def _retrieval_sums(
    states: NDArray, factors: NDArray, *, episode_ids: NDArray, shifted_states: NDArray, split: NDArray
) -> EpisodeSums:
    """Return how hits are summed over test episodes; all test rows can be found, whichever episodes are drawn."""
    rows = common.check_split(split, len(states)) == 2
    hits = _hits(*(side[rows] for side in paired(states, shifted_states)))
    table = sums_by_episode(hits[:, None], np.asarray(episode_ids)[rows])
    return EpisodeSums(table, lambda totals: {"mean": totals[:, 1] / totals[:, 0]})


@remembered
def _nearest(z: NDArray, other: NDArray) -> NDArray:
    """Return (n,) which of z (n, d) is nearest to each row of `other` (n, d)."""
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors(n_neighbors=1).fit(z).kneighbors(other, return_distance=False)[:, 0]


def _hits(z: NDArray, other: NDArray) -> NDArray:
    """Return (n,) 1 where the nearest of z (n, d) to a row of `other` (n, d) is its pair; chance if d = 0."""
    if z.shape[1] == 0:
        return np.full(len(z), 1 / len(z))
    return (_nearest(z, other) == np.arange(len(z))).astype(np.float64)


@metric("retrieval", better="higher", range=(0.0, 1.0), needs=("shifted_states", "split"), resample=_retrieval_sums)
def retrieval(
    states: NDArray, factors: NDArray | None = None, *, shifted_states: NDArray, split: NDArray | None = None
) -> float:
    """Share of shifted rows whose nearest unshifted row is their own pair, on test rows.

    Strict, because the frame before looks almost the same; read it next to `paired_ratio`.

    Args:
        states: (N, d) latents.
        factors: not used.
        shifted_states: (N, d) latents of the same states with another look.
        split: (N,) 0 train, 1 validation, 2 test; all rows count without it.
    """
    z, other = paired(states, shifted_states)
    rows = slice(None) if split is None else common.check_split(split, len(z)) == 2
    return float(_hits(z[rows], other[rows]).mean())


@metric(
    "retrieval_error",
    better="lower",
    range=(0.0, np.inf),
    needs=("shifted_states", "split", "kinds", "roles"),
    core=False,
)
def retrieval_error(
    states: NDArray,
    factors: NDArray,
    *,
    shifted_states: NDArray,
    split: NDArray | None = None,
    kinds: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
) -> float:
    """Median distance in the world from a shifted row to the unshifted row that is nearest in latent space.

    In standardised task factors, on test rows. Other than `retrieval` it forgives the frame before, which is almost
    the same state. It has no interval, as a median is no sum over episodes.

    Args:
        states: (N, d) latents; NaN if they are constant.
        factors: (N, K) ground truth.
        shifted_states: (N, d) latents of the same states with another look.
        split: (N,) 0 train, 1 validation, 2 test; all rows count without it.
        kinds: K entries of "continuous", "angular" or "categorical".
        roles: K entries of "task", "distractor" or "nuisance"; only task factors count.
    """
    z, other = paired(states, shifted_states)
    rows = slice(None) if split is None else common.check_split(split, len(z)) == 2
    truth = common.task_columns(common.check_inputs(states, factors)[1], kinds, roles)[rows]
    if z.shape[1] == 0:
        return common.undefined("retrieval_error", "the representation is constant")
    return float(np.median(np.linalg.norm(truth[_nearest(z[rows], other[rows])] - truth, axis=1)))


def _distance_sums(
    states: NDArray, factors: NDArray, *, episode_ids: NDArray, shifted_states: NDArray, split: NDArray, seed: int = 0
) -> EpisodeSums:
    """Return how errors of the classifier are summed over test episodes; it stays as it was fitted."""
    errors = _mistakes(*paired(states, shifted_states), np.asarray(split), "linear", seed)
    table = sums_by_episode(errors[:, None], np.asarray(episode_ids)[np.asarray(split) == 2])
    return EpisodeSums(table, lambda totals: {"mean": _distance(totals[:, 1] / totals[:, 0])})


def _distance(error: NDArray) -> NDArray:
    return np.maximum(0.0, 2 * (1 - 2 * error))


@remembered
def _mistakes(z: NDArray, other: NDArray, split: NDArray, classifier: str, seed: int) -> NDArray:
    """Return (n_test,) how many of the two looks of a row, as a share, a classifier takes for the other."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

    if classifier == "linear":
        model = LogisticRegression(C=1.0, max_iter=1000)
    elif classifier == "boosting":
        model = HistGradientBoostingClassifier(max_iter=100, max_depth=3, early_stopping=False, random_state=seed)
    else:
        raise DataError(f"classifier {classifier!r} is unknown; use 'linear' or 'boosting'.")
    if z.shape[1] == 0:
        return np.full(int((split == 2).sum()), 0.5)
    both = np.tile(split, 2)
    x, look = common.standardise(np.vstack([z, other]), both == 0), np.repeat([0, 1], len(z))
    model.fit(x[both == 0], look[both == 0])
    wrong = model.predict(x[both == 2]) != look[both == 2]
    return wrong.reshape(2, -1).mean(axis=0)


@metric(
    "proxy_a_distance",
    better="lower",
    range=(0.0, 2.0),
    needs=("shifted_states", "split", "seed"),
    shifts=1,
    resample=_distance_sums,
)
def proxy_a_distance(
    states: NDArray,
    factors: NDArray | None = None,
    *,
    shifted_states: NDArray,
    split: NDArray,
    seed: int = 0,
    classifier: Literal["linear", "boosting"] = "linear",
) -> float:
    """Proxy A-distance (Ben-David et al. 2010): 2 (1 - 2 e), e the error of a classifier that tells the looks apart.

    0 if it cannot, 2 if it always can. Looks that can be told apart need not hurt: a constant offset gives 2.

    Args:
        states: (N, d) latents; 0 if they are constant.
        factors: not used.
        shifted_states: (N, d) latents of the same states with another look.
        split: (N,) 0 train, 1 validation, 2 test, by whole episodes.
        seed: seed of the boosted trees.
        classifier: "linear" is logistic regression (C = 1), "boosting" 100 histogram-boosted trees of depth 3.
    """
    z, other = paired(states, shifted_states)
    split = common.check_split(split, len(z))
    return float(_distance(_mistakes(z, other, split, classifier, seed).mean()))


def _ridge_sums(
    states: NDArray,
    factors: NDArray,
    *,
    episode_ids: NDArray,
    shifted_states: NDArray,
    split: NDArray,
    kinds: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
) -> EpisodeSums:
    """Return how both R^2 are summed over test episodes; the regression stays as it was fitted."""
    told: dict[str, Any] = {"split": split, "kinds": kinds, "names": names, "roles": roles, "episode_ids": episode_ids}
    both = [r2_sums("ridge")(side, factors, **told) for side in (_shown(states, shifted_states, split), states)]

    def finish(totals: NDArray) -> dict[str, NDArray]:
        shown, before = (side.finish(half) for side, half in zip(both, np.hsplit(totals, 2), strict=True))
        return {**shown, "drop": before["mean"] - shown["mean"]}

    return EpisodeSums(np.hstack([side.table for side in both]), finish)


@metric(
    "shifted_ridge_r2",
    better="higher",
    range=(-np.inf, 1.0),
    needs=("shifted_states", "split", "kinds", "names", "roles"),
    resample=_ridge_sums,
)
def shifted_ridge_r2(
    states: NDArray,
    factors: NDArray,
    *,
    shifted_states: NDArray,
    split: NDArray,
    kinds: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
) -> dict[str, float]:
    """Zero-shot decodability: ridge regression fitted to one look, R^2 on test rows of the other; see `ridge_r2`.

    Args:
        states: (N, d) latents.
        factors: (N, K) ground truth.
        shifted_states: (N, d) latents of the same states with another look.
        split: (N,) 0 train, 1 validation, 2 test, by whole episodes.
        kinds: K entries of "continuous", "angular" or "categorical".
        names: K factor names, the keys of the result.
        roles: K entries of "task", "distractor" or "nuisance".

    Returns:
        "mean" of max(0, R^2) over task factors, "drop" of that mean against the look of training, and R^2 per
        factor, NaN for a constant one.
    """
    shown = shifted_ridge_scores(states, factors, shifted_states=shifted_states, split=split, kinds=kinds)
    task = common.task_factors(factors, roles)
    plain = ridge_scores(states, factors, split=split, kinds=kinds).r2
    mean, before = (common.nan_mean(np.maximum(r2[task], 0.0)) for r2 in (shown, plain))
    found = common.summarise(shown, common.factor_names(factors, names), mean)
    return {"mean": mean, "drop": before - mean, **found}


def shifted_ridge_scores(
    states: NDArray,
    factors: NDArray,
    *,
    shifted_states: NDArray,
    split: NDArray,
    kinds: Sequence[str] | None = None,
) -> NDArray:
    """Return (K,) test R^2 per factor of `shifted_ridge_r2`."""
    return ridge_scores(_shown(states, shifted_states, split), factors, split=split, kinds=kinds).r2


def _shown(states: NDArray, shifted_states: NDArray, split: NDArray) -> NDArray:
    """Return (N, d) latents whose test rows have the other look."""
    states, shifted_states = common.check_inputs(states, shifted_states)
    return np.where((common.check_split(split, len(states)) == 2)[:, None], shifted_states, states)
