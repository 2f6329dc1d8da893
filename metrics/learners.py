"""The simple learners by which metrics ask what can be predicted: ridge regression, trees, networks, classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from srl_bench.errors import DataError
from srl_bench.metrics.memory import remembered
from srl_bench.metrics.network import fit_networks

Learner = Literal["ridge", "gbt", "mlp"]
Model = Callable[[NDArray], NDArray]


def ridge_path(x: NDArray, y: NDArray, alphas: NDArray) -> NDArray:
    """Return (A, d, C) minimisers of |y - x w|^2 + alpha |w|^2 for centred x (n, d) and y (n, C).

    One eigendecomposition x'x = V diag(l) V' gives them all: w = V diag(1 / (l + alpha)) V' x'y.
    """
    eigenvalues, vectors = np.linalg.eigh(x.T @ x)
    shrunk = (vectors.T @ (x.T @ y)) / (np.maximum(eigenvalues, 0.0)[:, None] + np.reshape(alphas, (-1, 1, 1)))
    return vectors @ shrunk


def fit(learner: Learner, x: NDArray, y: NDArray, seed: int = 0) -> Model:
    """Fit y (n, C) from x (n, p) and return the predictor (m, p) -> (m, C).

    Inputs are standardised, except columns that hardly vary. "ridge" has the penalty 1, "gbt" is a model of
    boosted trees per column, "mlp" the mean of three networks.
    """
    centre, deviation = x.mean(axis=0), x.std(axis=0)
    deviation = np.where(deviation > 1e-12, deviation, 1.0)
    scaled = (x - centre) / deviation
    offset = y.mean(axis=0)
    if learner == "ridge":
        weights = _ridge(scaled, y - offset)
        return lambda rows: (rows - centre) / deviation @ weights + offset
    if learner == "gbt":
        trees = [boosted_trees(scaled, column, seed) for column in y.T]
        return lambda rows: np.stack([tree((rows - centre) / deviation) for tree in trees], axis=1)
    if learner == "mlp":
        spread = np.where(y.std(axis=0) > 0, y.std(axis=0), 1.0)
        networks = fit_networks(scaled, (y - offset) / spread, seed)
        return lambda rows: networks((rows - centre) / deviation).mean(axis=0) * spread + offset
    raise DataError(f"learner {learner!r} is unknown; use 'ridge', 'gbt' or 'mlp'.")


@remembered
def _ridge(x: NDArray, y: NDArray) -> NDArray:
    return ridge_path(x, y, np.ones(1))[0]


def boosted_trees(x: NDArray, y: NDArray, seed: int = 0) -> Model:
    """Fit y (n,) with 200 boosted trees of 31 leaves (histogram gradient boosting)."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    trees = HistGradientBoostingRegressor(
        max_iter=200, learning_rate=0.1, max_leaf_nodes=31, min_samples_leaf=20, early_stopping=False, random_state=seed
    )
    return trees.fit(x, y).predict


def class_log_probabilities(x: NDArray, labels: NDArray, x_test: NDArray) -> tuple[NDArray, NDArray]:
    """Fit multinomial logistic regression (C = 1) on standardised inputs.

    Returns:
        (B,) classes in ascending order and (n_test, B) log-probabilities.
    """
    from scipy.special import log_softmax

    deviation = np.where(x.std(axis=0) > 1e-12, x.std(axis=0), 1.0)
    classes, weights, bias = _logistic((x - x.mean(axis=0)) / deviation, labels)
    return classes, log_softmax((x_test - x.mean(axis=0)) / deviation @ weights + bias, axis=1)


@remembered
def _logistic(x: NDArray, labels: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Return (B,) classes, (d, B) weights and (B,) biases."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1.0, max_iter=1000).fit(x, labels)
    weights, bias = model.coef_.T, model.intercept_
    if len(model.classes_) == 2:  # one margin, that of the second class over the first
        weights, bias = np.hstack([0 * weights, weights]), np.append(0.0, bias)
    return model.classes_, weights, bias


def balanced_accuracy(labels: NDArray, guesses: NDArray) -> float:
    """Return the mean recall of the classes that occur in `labels`."""
    return float(np.mean([(guesses == label)[labels == label].mean() for label in np.unique(labels)]))


def information_gain(train_labels: NDArray, labels: NDArray, log_p: NDArray) -> float:
    """Return the share of the cross-entropy of `labels` under the training frequencies that a model removes.

    1 all, 0 none, below 0 for a model that misleads. Rows of classes that were not seen in training are left out.

    Args:
        train_labels: (n,) labels that the model was fitted on.
        labels: (m,) labels to explain.
        log_p: (m, B) log-probabilities of the classes of `train_labels`, in ascending order.
    """
    classes, counts = np.unique(train_labels, return_counts=True)
    seen = np.isin(labels, classes)
    place = np.searchsorted(classes, labels[seen])
    return float(1 + log_p[seen, place].mean() / -np.log(counts / counts.sum())[place].mean())
