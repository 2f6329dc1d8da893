"""DCI: how much learners that predict a factor rely on each latent dimension."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from srl_bench.errors import DataError
from srl_bench.metrics import common
from srl_bench.metrics.disentanglement import dci_from_importance, explained
from srl_bench.metrics.memory import remembered
from srl_bench.metrics.readout import Task, by_episode, of_sums, positive_mean, scores_of
from srl_bench.metrics.resampling import EpisodeSums
from srl_bench.registry import metric

Learner = Literal["boosting", "exact_boosting", "forest", "lasso"]


class ImportanceFit(NamedTuple):
    """Importance (d_active, K_varying) with columns of sum 1, and test R^2 per varying factor."""

    importance: NDArray
    r2: NDArray


def importance(
    states: NDArray,
    factors: NDArray,
    *,
    split: NDArray,
    kinds: Sequence[str] | None = None,
    seed: int = 0,
    learner: Learner = "boosting",
) -> ImportanceFit:
    """Fit a learner from the latents to each factor, and share out what it owes to each dimension.

    That is the gain of the splits on it for "boosting" (100 histogram-boosted trees of depth 3) and for
    "exact_boosting", which does not bin and takes thirty times as long, impurity for "forest" (100 trees, leaves
    of 5), and |coefficient| for "lasso" (penalty by cross-validation).
    """
    task = _task(states, factors, split, kinds, seed)
    shares, errors = _fitted(learner, *task)
    varying = common.varying_factors(np.asarray(factors, dtype=np.float64))
    return ImportanceFit(shares[:, varying], scores_of(errors[None], task).r2[varying])


def _task(states: NDArray, factors: NDArray, split: NDArray, kinds: Sequence[str] | None, seed: int) -> Task:
    states, factors = common.check_inputs(states, factors)
    split = common.check_split(split, len(states))
    x = common.standardise(states[:, common.active_dims(states)])
    return Task(x, *common.standardised_blocks(factors, kinds), split, seed)


@remembered
def _fitted(
    learner: Learner, x: NDArray, y: NDArray, owners: NDArray, split: NDArray, seed: int
) -> tuple[NDArray, NDArray]:
    """Return importance (d_active, K) with columns of sum 1, or 0 of a constant factor, and (n_test, K) errors."""
    if learner not in LEARNERS:
        raise DataError(f"learner {learner!r} is unknown; use {', '.join(map(repr, LEARNERS))}.")
    train, test = split == 0, split == 2
    n_factors = int(owners[-1]) + 1
    shares, errors = np.zeros((x.shape[1], n_factors)), np.zeros((int(test.sum()), n_factors))
    for column, k in enumerate(owners):
        target = y[:, column]
        if not target.any() or x.shape[1] == 0:
            errors[:, k] += target[test] ** 2
            continue
        relied, prediction = LEARNERS[learner](x[train], target[train], x[test], seed)
        shares[:, k] += target[train].var() * relied / max(relied.sum(), 1e-300)
        errors[:, k] += (target[test] - prediction) ** 2
    return shares / np.maximum(shares.sum(axis=0), 1e-300), errors


def _sums(
    states: NDArray,
    factors: NDArray,
    *,
    episode_ids: NDArray,
    split: NDArray,
    kinds: Sequence[str] | None = None,
    seed: int = 0,
) -> EpisodeSums:
    """Return how I is summed over test episodes; the trees, and with them D and C, stay as they were fitted."""
    task = _task(states, factors, split, kinds, seed)
    errors = _fitted("boosting", *task)[1]
    table = by_episode(errors[None], task, episode_ids)
    return EpisodeSums(table, lambda totals: {"I": positive_mean(of_sums(totals, task).r2)})


def _boosting(x: NDArray, y: NDArray, x_test: NDArray, seed: int) -> tuple[NDArray, NDArray]:
    from sklearn.ensemble import HistGradientBoostingRegressor

    trees = HistGradientBoostingRegressor(
        max_iter=100, max_depth=3, min_samples_leaf=20, early_stopping=False, random_state=seed
    ).fit(x, y)
    return gain_importance(trees, x.shape[1]), trees.predict(x_test)


def gain_importance(trees: object, n_features: int) -> NDArray:
    """Return (n_features,) total loss reduction by the splits on each feature of a fitted HistGB model."""
    nodes = np.concatenate([tree.nodes for stage in trees._predictors for tree in stage])  # type: ignore[attr-defined]
    inner = nodes[nodes["is_leaf"] == 0]
    return np.bincount(inner["feature_idx"], inner["gain"], minlength=n_features)


def _exact_boosting(x: NDArray, y: NDArray, x_test: NDArray, seed: int) -> tuple[NDArray, NDArray]:
    from sklearn.ensemble import GradientBoostingRegressor

    trees = GradientBoostingRegressor(random_state=seed).fit(x, y)
    return trees.feature_importances_, trees.predict(x_test)


def _forest(x: NDArray, y: NDArray, x_test: NDArray, seed: int) -> tuple[NDArray, NDArray]:
    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(100, min_samples_leaf=5, random_state=seed).fit(x, y)
    return forest.feature_importances_, forest.predict(x_test)


def _lasso(x: NDArray, y: NDArray, x_test: NDArray, seed: int) -> tuple[NDArray, NDArray]:
    from sklearn.linear_model import LassoCV

    line = LassoCV(alphas=np.logspace(-4, 0, 9), cv=5).fit(x, y)
    return np.abs(line.coef_), line.predict(x_test)


LEARNERS: dict[str, Callable[[NDArray, NDArray, NDArray, int], tuple[NDArray, NDArray]]] = {
    "boosting": _boosting,
    "exact_boosting": _exact_boosting,
    "forest": _forest,
    "lasso": _lasso,
}


def classifier_importance(
    states: NDArray, factors: NDArray, *, split: NDArray, kinds: Sequence[str] | None = None, seed: int = 0
) -> ImportanceFit:
    """Return what disentanglement_lib computes: boosted classifiers of 20 bins, test accuracy in place of R^2.

    For comparison with published values only: 300 times slower, and insensitive because bins have no order.
    """
    from sklearn.ensemble import GradientBoostingClassifier

    states, factors = common.check_inputs(states, factors)
    split = common.check_split(split, len(states))
    x, labels = states[:, common.active_dims(states)], common.factor_labels(factors, kinds, "width")
    found, accuracy = np.zeros((x.shape[1], labels.shape[1])), np.zeros(labels.shape[1])
    for k, label in enumerate(labels.T):
        trees = GradientBoostingClassifier(random_state=seed).fit(x[split == 0], label[split == 0])
        found[:, k] = trees.feature_importances_
        accuracy[k] = (trees.predict(x[split == 2]) == label[split == 2]).mean()
    return ImportanceFit(found, accuracy)


@metric("dci", better="higher", range=(0.0, 1.0), needs=("split", "kinds", "seed"), shifts=1, resample=_sums)
def dci(
    states: NDArray,
    factors: NDArray,
    *,
    split: NDArray,
    kinds: Sequence[str] | None = None,
    seed: int = 0,
    learner: Learner = "boosting",
) -> dict[str, float]:
    """Disentanglement, completeness, informativeness (Eastwood & Williams 2018), with boosted trees.

    R_jk is the share of the loss reduction that regression trees predicting factor k owe to dimension j. D is
    high if each dimension matters for one factor, C if each factor needs one dimension, I is the mean of
    max(0, test R^2). If I < 0.1 the importances mean nothing, and D and C are NaN. Values of other learners
    are not comparable. Only I has an interval: D and C depend on training episodes alone, and trees are not fitted
    again.

    Args:
        states: (N, d) latents.
        factors: (N, K) ground truth; constant factors are left out.
        split: (N,) 0 train, 1 validation, 2 test, by whole episodes.
        kinds: K entries of "continuous", "angular" or "categorical".
        seed: seed of the trees.
        learner: "boosting", "exact_boosting", "forest" or "lasso"; see `importance`.
    """
    shares, r2 = importance(states, factors, split=split, kinds=kinds, seed=seed, learner=learner)
    informativeness = common.nan_mean(np.maximum(r2, 0.0))
    disentanglement, completeness = dci_from_importance(shares)
    if not informativeness >= 0.1:
        warnings.warn("DCI D and C are undefined: the latents inform the learner too little (I < 0.1)", stacklevel=2)
        return {"D": float("nan"), "C": float("nan"), "I": informativeness}
    return explained("dci", {"D": disentanglement, "C": completeness, "I": informativeness}, shares)
