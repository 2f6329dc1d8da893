"""Is each factor predictable from one dimension (SAP), and all of its values from the latents (explicitness)?"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from srl_bench.metrics import common
from srl_bench.metrics.correlation import correlations
from srl_bench.metrics.disentanglement import top_gap
from srl_bench.metrics.memory import remembered
from srl_bench.metrics.readout import mean_over
from srl_bench.metrics.resampling import EpisodeSums
from srl_bench.metrics.search import episode_labels
from srl_bench.registry import metric


def sap_from_scores(scores: NDArray) -> float:
    """Return the mean over factors of the top-two gap of `scores` (d, K) over dimensions."""
    return common.nan_mean(top_gap(scores))


@metric("sap", better="higher", range=(0.0, 1.0), needs=("kinds",), resample="rows")
def sap(states: NDArray, factors: NDArray, *, kinds: Sequence[str] | None = None) -> float:
    """Separated attribute predictability (Kumar et al. 2018, arXiv 1711.00848), for continuous factors.

    S_jk = corr(z_j, y_k)^2 is the R^2 of a line from one dimension to one factor (mean over the columns of an
    angle or class); SAP = mean_k of the best S_jk minus the second best. In [0, 1].

    Args:
        states: (N, d) latents; a single active dimension has no second best and gives NaN.
        factors: (N, K) ground truth; constant factors are left out.
        kinds: K entries of "continuous", "angular" or "categorical".
    """
    states, factors = common.check_inputs(states, factors)
    states = states[:, common.active_dims(states)]
    if states.shape[1] == 1:
        return common.undefined("sap", "a single dimension is active")
    columns, owners = common.standardised_blocks(factors, kinds)
    squared = correlations(states, columns) ** 2  # (d, C)
    varying = np.flatnonzero(common.varying_factors(factors))
    if not len(varying):
        return common.undefined("sap", "no factor varies")
    scores = np.stack([squared[:, owners == k].mean(axis=1) for k in varying], axis=1)
    return sap_from_scores(scores)


def sap_discrete(states: NDArray, factors: NDArray, *, split: NDArray, kinds: Sequence[str] | None = None) -> float:
    """SAP as disentanglement_lib has it, with the test accuracy of linear classifiers of 20 bins as scores.

    For comparison with published values only: a perfect code of a uniform factor reaches no more than 0.1.
    """
    from sklearn.svm import LinearSVC

    states, factors = common.check_inputs(states, factors)
    split = common.check_split(split, len(states))
    train, test = split == 0, split == 2
    x = common.standardise(states[:, common.active_dims(states)])
    labels = common.factor_labels(factors, kinds, "width")
    if x.shape[1] == 1:
        return float("nan")
    scores = np.zeros((x.shape[1], labels.shape[1]))
    for j, k in np.ndindex(scores.shape):
        classifier = LinearSVC(C=0.01, class_weight="balanced", random_state=0)
        classifier.fit(x[train, j : j + 1], labels[train, k])
        scores[j, k] = classifier.score(x[test, j : j + 1], labels[test, k])
    return sap_from_scores(scores)


class ExplicitnessScores(NamedTuple):
    """Mean one-versus-rest AUC of every factor on train and on test rows, each (K,), NaN for a constant one."""

    train: NDArray
    test: NDArray


def explicitness_scores(
    states: NDArray, factors: NDArray, *, split: NDArray, kinds: Sequence[str] | None = None
) -> ExplicitnessScores:
    """Fit a multinomial logistic regression from the latents to the bins of each factor; see `explicitness`."""
    states, factors = common.check_inputs(states, factors)
    split = common.check_split(split, len(states))
    train = split == 0
    x = common.standardise(states[:, common.active_dims(states)])
    labels = common.factor_labels(factors, kinds, "width")
    scores = np.full((2, factors.shape[1]), np.nan)
    for label, k in zip(labels.T, np.flatnonzero(common.varying_factors(factors)), strict=True):
        classes = np.unique(label[train])
        chances = _chances(x, label, train)
        for part, rows in enumerate((train, split == 2)):
            scores[part, k] = one_versus_rest_auc(chances[rows], label[rows], classes)
    return ExplicitnessScores(*scores)


@remembered
def _chances(x: NDArray, labels: NDArray, train: NDArray) -> NDArray:
    classes = np.unique(labels[train])
    if not x.shape[1] or len(classes) < 2:
        return np.zeros((len(x), len(classes)))
    return log_chances(fit_logistic(x[train], labels[train]), x)


def fit_logistic(x: NDArray, labels: NDArray, *, max_iter: int = 1_000, **settings: Any) -> Any:
    """Fit a multinomial logistic regression; the scores' definitions stop after `max_iter`, converged or not."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(max_iter=max_iter, **settings).fit(x, labels)


def log_chances(classifier: Any, x: NDArray) -> NDArray:
    """Return (N, C) logarithms of the probabilities that a fitted logistic regression gives to its classes."""
    from scipy.special import log_softmax

    margins = classifier.decision_function(x)
    return log_softmax(np.stack([0 * margins, margins], axis=1) if margins.ndim == 1 else margins, axis=1)


def one_versus_rest_auc(chances: NDArray, labels: NDArray, classes: NDArray) -> float:
    """Return the area under the ROC curve of `chances` (N, C), mean over `classes` (C,) that `labels` (N,) hold.

    The area is that of the rank sum test: P(chance of a member > chance of another), ties one half.
    """
    return float(_weighted_auc(chances, labels, classes, np.ones((1, len(labels))))[0])


def _weighted_auc(chances: NDArray, labels: NDArray, classes: NDArray, weights: NDArray) -> NDArray:
    """Return (R,) the same where rows count `weights` (R, N) times; NaN where no class and its rest both occur."""
    found = []
    for column, name in zip(chances.T, classes, strict=True):
        members = labels == name
        others = np.argsort(column[~members], kind="stable")
        ordered = column[~members][others]
        cumulated = np.cumsum(weights[:, ~members][:, others], axis=1)
        cumulated = np.concatenate([np.zeros((len(weights), 1)), cumulated], axis=1)
        below, up_to = (np.searchsorted(ordered, column[members], side) for side in ("left", "right"))
        above = (weights[:, members] * (cumulated[:, below] + cumulated[:, up_to])).sum(axis=1) / 2
        with np.errstate(invalid="ignore"):
            found.append(above / (weights[:, members].sum(axis=1) * cumulated[:, -1]))
    return mean_over(np.stack(found, axis=1))


def _explicitness_sums(
    states: NDArray,
    factors: NDArray,
    *,
    episode_ids: NDArray,
    split: NDArray,
    kinds: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
) -> EpisodeSums:
    """Return the areas where test episodes are drawn again; the classifiers stay as they were fitted."""
    states, factors = common.check_inputs(states, factors)
    train, test = (np.asarray(split) == part for part in (0, 2))
    x = common.standardise(states[:, common.active_dims(states)])
    labels = common.factor_labels(factors, kinds, "width")
    varying = np.flatnonzero(common.varying_factors(factors))
    episodes = episode_labels(int(test.sum()), np.asarray(episode_ids)[test])

    def finish(times: NDArray) -> dict[str, NDArray]:
        scores = np.full((len(times), factors.shape[1]), np.nan)
        for label, k in zip(labels.T, varying, strict=True):
            classes = np.unique(label[train])
            chances = _chances(x, label, train)[test]
            scores[:, k] = _weighted_auc(chances, label[test], classes, times[:, episodes].astype(float))
        return {"mean": mean_over(scores), **dict(zip(common.factor_names(factors, names), scores.T, strict=True))}

    return EpisodeSums(np.eye(episodes.max() + 1), finish)


@metric(
    "explicitness",
    better="higher",
    range=(0.0, 1.0),
    needs=("split", "kinds", "names"),
    shifts=1,
    core=False,
    resample=_explicitness_sums,
)
def explicitness(
    states: NDArray,
    factors: NDArray,
    *,
    split: NDArray,
    kinds: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
) -> dict[str, float]:
    """Explicitness (Ridgeway & Mozer 2018, arXiv 1802.05312): can a linear classifier tell the values apart?

    Factors are cut into 20 bins of equal width. The score is the area under the ROC curve of each bin against
    the rest on test rows, of a multinomial logistic regression fitted to train rows, averaged over the bins that
    occur in both. 0.5 is chance, 1 is perfect.

    Args:
        states: (N, d) latents.
        factors: (N, K) ground truth.
        split: (N,) 0 train, 1 validation, 2 test, by whole episodes.
        kinds: K entries of "continuous", "angular" or "categorical".
        names: K factor names, the keys of the result.

    Returns:
        "mean" over factors that vary, and one value per factor, NaN for a constant one.
    """
    scores = explicitness_scores(states, factors, split=split, kinds=kinds).test
    labels = common.factor_names(np.asarray(factors), names)
    varying = common.varying_factors(np.asarray(factors, dtype=np.float64))
    for label, score in zip(labels, np.where(varying, scores, 0), strict=True):
        if np.isnan(score):
            common.undefined(f"explicitness.{label}", "no class occurs both in train rows and in some test rows")
    return common.summarise(scores, labels, common.nan_mean(scores))
