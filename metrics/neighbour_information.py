"""InfoMEC: modularity, compactness and explicitness from normalised mutual information of continuous codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from srl_bench.metrics import common
from srl_bench.metrics.attributes import fit_logistic, log_chances
from srl_bench.metrics.disentanglement import information_between
from srl_bench.registry import metric

NEIGHBOURS = 10
JITTER = 1e-10


def nearest_information(column: NDArray, labels: NDArray, k: int = NEIGHBOURS) -> float:
    """Return the mutual information (nats) of a continuous column (N,) and labels (N,) by Ross 2014, >= 0.

    psi(N) + <psi(k_i)> - <psi(N_label)> - <psi(m_i)>: k_i is k or, in a small class, its size - 1; m_i counts the
    rows nearer than the k_i-th neighbour of the same label. In one dimension neighbours are found by sorting.
    Labels of a single row are left out.
    """
    from scipy.special import digamma

    order = np.argsort(column, kind="stable")
    column, labels = column[order], labels[order]
    counts = np.bincount(labels)
    kept = counts[labels] > 1
    column, labels = column[kept], labels[kept]
    if not len(column):
        return 0.0
    radius, used = np.empty(len(column)), np.empty(len(column))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        used[rows] = neighbours = min(k, len(rows) - 1)
        radius[rows] = _kth_distance(column[rows], neighbours)
    inside = _count_nearer(column, radius)
    found = digamma(len(column)) + digamma(used).mean() - digamma(counts[labels]).mean() - digamma(inside).mean()
    return max(0.0, float(found))


def _count_nearer(values: NDArray, radius: NDArray) -> NDArray:
    """Return (n,) how many of the sorted values (n,) are nearer than `radius` to each, itself included."""
    low = np.searchsorted(values, values - radius, "right")
    high = np.searchsorted(values, values + radius, "left")
    # a sum rounds, a difference of neighbours does not
    last = len(values) - 1
    high += (values[np.minimum(high, last)] - values < radius) & (high <= last)
    high -= values[high - 1] - values >= radius
    low -= (values - values[np.maximum(low - 1, 0)] < radius) & (low > 0)
    low += values - values[low] >= radius
    return np.maximum(high - low, 1)


def _kth_distance(values: NDArray, k: int) -> NDArray:
    """Return (n,) the distance of each of the sorted values (n,) to its k-th neighbour.

    The k neighbours lie in one of k + 1 windows of k + 1 consecutive values; the nearest window counts.
    """
    padded = np.concatenate([np.full(k, -np.inf), values, np.full(k, np.inf)])
    best = np.full(len(values), np.inf)
    for below in range(k + 1):
        low = padded[k - below : k - below + len(values)]
        high = padded[2 * k - below : 2 * k - below + len(values)]
        best = np.minimum(best, np.maximum(values - low, high - values))
    return best


class NormalisedInformation(NamedTuple):
    """I / H (K_varying, d) of dimensions that are not dead, and a (d,) mask of those that InfoMEC counts."""

    nmi: NDArray
    active: NDArray


def normalised_information(
    states: NDArray,
    factors: NDArray,
    *,
    kinds: Sequence[str] | None = None,
    bins: int = 10,
    discrete: bool = False,
) -> NormalisedInformation:
    """Return I(y_k; z_j) / H(y_k) of binned factors and standardised dimensions.

    Codes are continuous, or `discrete` and counted as they are. Dimensions whose range is below a twentieth of the
    largest do not count.
    """
    states, factors = common.check_inputs(states, factors)
    labels = common.factor_labels(factors, kinds, "quantile", bins)
    codes = common.standardise(states[:, common.active_dims(states)])
    spread = np.ptp(codes, axis=0)
    active = spread > (0 if discrete else spread.max(initial=0) / 20)
    if discrete:
        levels = [np.unique(column, return_inverse=True)[1] for column in codes.T]
        counted = information_between(levels, list(labels.T))
        return NormalisedInformation((counted.information / counted.entropies).T, active)
    # ties, as of a code with few values, would leave no room between neighbours; the noise is that of scikit-learn
    noise = np.random.RandomState(0).standard_normal(size=codes.shape)
    codes = codes + JITTER * np.maximum(1, np.abs(codes).mean(axis=0)) * noise
    entropies = information_between([], list(labels.T)).entropies
    information = [[nearest_information(code, label) for code in codes.T] for label in labels.T]
    return NormalisedInformation(
        np.reshape(information, (labels.shape[1], codes.shape[1])) / entropies[:, None], active
    )


def modularity_and_compactness(nmi: NDArray) -> tuple[float, float]:
    """Return InfoM and InfoC of normalised information (K, d): how pointed its columns and its rows are.

    Mean of max / sum, from 1 / n to 1, rescaled to [0, 1]; rows or columns of zeros are left out. NaN if n = 1.
    """
    return _pointedness(nmi), _pointedness(nmi.T)


def _pointedness(nmi: NDArray) -> float:
    n = len(nmi)
    total = nmi.sum(axis=0)
    if n < 2 or not (total > 0).any():
        return float("nan")
    share = (nmi.max(axis=0)[total > 0] / total[total > 0]).mean()
    return float((share - 1 / n) / (1 - 1 / n))


def linear_explicitness(x: NDArray, labels: NDArray, fit: NDArray, judge: NDArray, penalty: float) -> float:
    """Return the share of class-balanced cross-entropy that a logistic regression from x (N, d) takes away.

    Args:
        x: (N, d) standardised codes.
        labels: (N,) classes.
        fit: (N,) mask of the rows to fit to; classes that they lack do not count.
        judge: (N,) mask of the rows to judge on.
        penalty: sklearn's C, infinite for none.
    """
    judge = judge & np.isin(labels, labels[fit])
    if not judge.any() or len(np.unique(labels[fit])) < 2:
        return float("nan")
    loss = []
    for inputs in (x, np.zeros((len(x), 1))):
        model = fit_logistic(inputs[fit], labels[fit], C=penalty, class_weight="balanced", max_iter=100)
        chances = log_chances(model, inputs[judge])
        own = np.searchsorted(model.classes_, labels[judge])
        loss.append(-chances[np.arange(len(own)), own].mean())
    return float((loss[1] - loss[0]) / loss[1])


@metric("infomec", better="higher", range=(-np.inf, 1.0), needs=("split", "kinds"), shifts=1, core=False)
def infomec(
    states: NDArray,
    factors: NDArray,
    *,
    split: NDArray | None = None,
    kinds: Sequence[str] | None = None,
    bins: int = 10,
    discrete: bool = False,
) -> dict[str, float]:
    """InfoMEC (Hsu et al. 2023, arXiv 2305.18378).

    With NMI_kj = I(y_k; z_j) / H(y_k): M averages max_k NMI / sum_k NMI over dimensions, C averages
    max_j NMI / sum_j NMI over factors, both rescaled to [0, 1]; E is the share of the cross-entropy of the factors
    that a logistic regression takes away on the rows it was fitted to, E_test on test rows (C = 1, fitted to train
    rows), which does not reward size. It has no interval, as copies of rows look like information to its neighbours.

    Args:
        states: (N, d) latents; M, C and E are NaN if they are constant, C with a single active dimension.
        factors: (N, K) ground truth; constant factors are left out.
        split: (N,) 0 train, 1 validation, 2 test, by whole episodes; E_test is left out without it.
        kinds: K entries of "continuous", "angular" or "categorical".
        bins: quantile bins of a continuous factor.
        discrete: whether codes are few distinct values, as of a codebook, which are then counted.
    """
    nmi, active = normalised_information(states, factors, kinds=kinds, bins=bins, discrete=discrete)
    states, factors = common.check_inputs(states, factors)
    labels = common.factor_labels(factors, kinds, "quantile", bins)
    x = common.standardise(states[:, common.active_dims(states)])[:, active]
    m, c = modularity_and_compactness(nmi[:, active])
    scores = {"M": m, "C": c, "E": float("nan")}
    everything = np.ones(len(x), dtype=bool)
    if active.any():
        fitted = [linear_explicitness(x, label, everything, everything, np.inf) for label in labels.T]
        scores["E"] = common.nan_mean(np.array(fitted))
    if split is not None:
        split = common.check_split(split, len(states))
        judged = [linear_explicitness(x, label, split == 0, split == 2, 1.0) for label in labels.T if active.any()]
        scores["E_test"] = common.nan_mean(np.array(judged))
    for name, score in scores.items():
        if np.isnan(score):
            size = f"{active.sum()} dimensions are active and {labels.shape[1]} factors vary"
            common.undefined(f"infomec.{name}", size)
    return scores
