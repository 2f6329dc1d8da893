"""Classes: how well does logistic regression tell the values of a categorical factor apart?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from srl_bench.metrics import common
from srl_bench.metrics.learners import balanced_accuracy, class_log_probabilities
from srl_bench.registry import metric

NEEDS = ("split", "kinds", "names", "roles")
Judge = Callable[[NDArray, NDArray, NDArray], float]  # test labels (n,), classes (B,), log-probabilities (n, B)


def _accuracy(labels: NDArray, classes: NDArray, log_p: NDArray) -> float:
    return balanced_accuracy(labels, classes[log_p.argmax(axis=1)])


def _auroc(labels: NDArray, classes: NDArray, log_p: NDArray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels == classes[1], log_p[:, 1]))


def _per_category(
    name: str,
    states: NDArray,
    factors: NDArray,
    split: NDArray,
    kinds: Sequence[str] | None,
    names: Sequence[str] | None,
    roles: Sequence[str] | None,
    judge: Judge,
) -> dict[str, float]:
    states, factors = common.check_inputs(states, factors)
    split = common.check_split(split, len(states))
    train, test = split == 0, split == 2
    z = states * common.active_dims(states[train])
    if judge is _auroc:
        chosen = [len(np.unique(column)) == 2 for column in factors.T]
    else:
        chosen = [kind == "categorical" for kind in common.factor_kinds(factors, kinds)]
    values, labels = np.full(factors.shape[1], np.nan), common.factor_names(factors, names)
    for k in np.flatnonzero(chosen):
        column = factors[:, k]
        if len(np.unique(column[train])) < 2 or len(np.unique(column[test])) < 2:
            common.undefined(f"{name}.{labels[k]}", "the train or the test rows hold a single class")
            continue
        values[k] = judge(column[test], *class_log_probabilities(z[train], column[train], z[test]))
    task = np.array(chosen) & common.task_factors(factors, roles)
    if not task.any():
        common.undefined(name, "no task factor is of that kind")
    kept = np.flatnonzero(chosen)
    return common.summarise(values[kept], [labels[k] for k in kept], common.nan_mean(values[task]))


@metric("category_accuracy", better="higher", range=(0.0, 1.0), needs=NEEDS, shifts=1, core=False, resample="test")
def category_accuracy(
    states: NDArray,
    factors: NDArray,
    *,
    split: NDArray,
    kinds: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
) -> dict[str, float]:
    """Balanced test accuracy of multinomial logistic regression (C = 1) for each categorical factor.

    Chance is one over the number of classes, which is what constant latents score. NaN, with a warning, for a
    factor of which the train or test rows hold a single class.

    Args:
        states: (N, d) latents.
        factors: (N, K) ground truth.
        split: (N,) 0 train, 1 validation (unused), 2 test, by whole episodes.
        kinds: K entries of "continuous", "angular" or "categorical".
        names: K factor names, the keys of the result.
        roles: K entries of "task", "distractor" or "nuisance".

    Returns:
        "mean" over categorical task factors, NaN, with a warning, if there are none; and the accuracy of each
        categorical factor.
    """
    return _per_category("category_accuracy", states, factors, split, kinds, names, roles, _accuracy)


@metric("binary_auroc", better="higher", range=(0.0, 1.0), needs=NEEDS, shifts=1, core=False, resample="test")
def binary_auroc(
    states: NDArray,
    factors: NDArray,
    *,
    split: NDArray,
    kinds: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
) -> dict[str, float]:
    """Area under the test ROC curve of logistic regression for each factor of two values, of any kind.

    R^2 of such a factor is bounded by the balance of its classes, this is not. Noise scores 0.5. Arguments and
    result as in `category_accuracy`.
    """
    return _per_category("binary_auroc", states, factors, split, kinds, names, roles, _auroc)
