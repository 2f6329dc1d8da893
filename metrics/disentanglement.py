"""Disentanglement: does each factor live in its own latent dimension?

The first half scores small matrices (dimensions x factors), as the papers do; the second half estimates these
matrices from data. Constant (dead) dimensions are dropped before anything else.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from srl_bench.metrics import common
from srl_bench.metrics.common import Binning
from srl_bench.metrics.correlation import correlations
from srl_bench.registry import metric


def top_gap(scores: NDArray) -> NDArray:
    """Return (K,) the largest minus second largest entry (0 if none) of each column of `scores` (d, K)."""
    padded = np.sort(np.vstack([np.zeros((2, scores.shape[1])), scores]), axis=0)
    return padded[-1] - padded[-2]


def mig_from_information(information: NDArray, entropies: NDArray) -> float:
    """Return the mean over factors of the top-two gap of I (d, K) over dimensions, in units of H (K,)."""
    return common.nan_mean(top_gap(information) / _positive(entropies))


def mig_sup_from_information(information: NDArray, entropies: NDArray) -> float:
    """Return the mean over dimensions of the top-two gap of I / H over factors; 0 without dimensions."""
    gaps = top_gap((information / _positive(entropies)).T)
    return common.nan_mean(gaps) if len(gaps) else 0.0


def modularity_from_information(information: NDArray) -> float:
    """Return the mean over dimensions of 1 - (squared I off the best factor) / ((K - 1) I_best^2)."""
    n_dims, n_factors = information.shape
    if n_dims == 0:
        return 0.0
    squared = information**2
    best = squared.max(axis=1)
    spread = (squared.sum(axis=1) - best) / _positive(best * (n_factors - 1))
    return float(np.where(best > 0, 1 - spread, 0.0).mean())


def dci_from_importance(importance: NDArray) -> tuple[float, float]:
    """Return disentanglement D and completeness C of an importance matrix R (d, K) >= 0.

    D = sum_j rho_j (1 - H_K(R_j.)), C = sum_k kappa_k (1 - H_d(R_.k)), with normalised rows and columns,
    entropy to base K and d, and weights proportional to row and column sums. NaN where the base would be 1,
    or R is 0.
    """
    return _concentration(importance), _concentration(importance.T)


def _concentration(matrix: NDArray) -> float:
    from scipy.stats import entropy

    n_rows, n_columns = matrix.shape
    if n_rows == 0 or n_columns < 2 or matrix.sum() <= 0:
        return float("nan")
    pointed = 1 - entropy(matrix + 1e-11, base=n_columns, axis=1)
    return float(pointed @ matrix.sum(axis=1) / matrix.sum())


def _positive(values: NDArray) -> NDArray:
    return np.where(values > 0, values, np.nan)


class Information(NamedTuple):
    """Mutual information (d_active, K_varying) and factor entropies (K_varying,), both in nats."""

    information: NDArray
    entropies: NDArray


def mutual_information(
    states: NDArray,
    factors: NDArray,
    *,
    kinds: Sequence[str] | None = None,
    binning: Binning = "quantile",
    bins: int = 20,
    code_kinds: Sequence[str] | None = None,
) -> Information:
    """Estimate I(z_j; y_k) by counting, on discretised active dimensions and varying factors.

    `code_kinds` gives the kinds of the latents where these are factors themselves (see `common.ceiling`).
    The estimate for independent variables is about (B - 1)^2 / (2 N_eff) above 0.
    """
    states, factors = common.check_inputs(states, factors)
    kinds = common.factor_kinds(factors, kinds)
    code_kinds = common.factor_kinds(states, code_kinds)
    codes = [
        common.discretise(states[:, j], code_kinds[j], binning, bins)
        for j in np.flatnonzero(common.active_dims(states))
    ]
    classes = [
        common.discretise(factors[:, k], kinds[k], binning, bins)
        for k in np.flatnonzero(common.varying_factors(factors))
    ]
    code_entropies = np.array([_entropy(code) for code in codes])
    entropies = np.array([_entropy(label) for label in classes])
    joint = np.array([[_entropy(code * (label.max() + 1) + label) for label in classes] for code in codes])
    shape = (len(codes), len(classes))
    information = code_entropies[:, None] + entropies - joint.reshape(shape)
    return Information(np.maximum(information, 0.0), entropies)


def _entropy(labels: NDArray) -> float:
    counts = np.bincount(labels)
    p = counts[counts > 0] / len(labels)
    return float(-(p * np.log(p)).sum())


@metric("mig", better="higher", range=(0.0, 1.0), needs=("kinds",))
def mig(
    states: NDArray,
    factors: NDArray,
    *,
    kinds: Sequence[str] | None = None,
    binning: Binning = "quantile",
    bins: int = 20,
    code_kinds: Sequence[str] | None = None,
) -> float:
    """Mutual information gap (Chen et al. 2018, arXiv 1802.04942).

    MIG = mean_k (I_(1)k - I_(2)k) / H(y_k): information about factor k in the best dimension minus that in
    the second best, as a share of the factor's entropy. In [0, 1]; a copy of the best dimension makes it 0,
    and it does not notice one dimension that holds several factors. Quantile bins are the default because one
    outlier destroys bins of equal width, which the literature uses.

    Args:
        states: (N, d) latents.
        factors: (N, K) ground truth; constant factors are left out.
        kinds: K entries of "continuous", "angular" or "categorical".
        binning: "quantile" or "width".
        bins: number of bins of a continuous column.
        code_kinds: d kinds of the latents, for scoring the ground truth itself.
    """
    return mig_from_information(
        *mutual_information(states, factors, kinds=kinds, binning=binning, bins=bins, code_kinds=code_kinds)
    )


def mig_sup(
    states: NDArray,
    factors: NDArray,
    *,
    kinds: Sequence[str] | None = None,
    binning: Binning = "quantile",
    bins: int = 20,
    code_kinds: Sequence[str] | None = None,
) -> float:
    """MIG-sup (Li et al. 2020), MIG's complement: the gap over factors per dimension, 0 where factors mix."""
    return mig_sup_from_information(
        *mutual_information(states, factors, kinds=kinds, binning=binning, bins=bins, code_kinds=code_kinds)
    )


def modularity(
    states: NDArray,
    factors: NDArray,
    *,
    kinds: Sequence[str] | None = None,
    binning: Binning = "quantile",
    bins: int = 20,
    code_kinds: Sequence[str] | None = None,
) -> float:
    """Modularity (Ridgeway & Mozer 2018), in [0, 1]; barely discriminative: noise reaches 0.7."""
    return modularity_from_information(
        mutual_information(states, factors, kinds=kinds, binning=binning, bins=bins, code_kinds=code_kinds).information
    )


def dci_mi(
    states: NDArray,
    factors: NDArray,
    *,
    kinds: Sequence[str] | None = None,
    binning: Binning = "quantile",
    bins: int = 20,
    code_kinds: Sequence[str] | None = None,
) -> dict[str, float]:
    """D and C with mutual information as the importance (Cao et al. 2022): instant, fits no model."""
    information = mutual_information(
        states, factors, kinds=kinds, binning=binning, bins=bins, code_kinds=code_kinds
    ).information
    return dict(zip("DC", dci_from_importance(information), strict=True))


def sap_from_scores(scores: NDArray) -> float:
    """Return the mean over factors of the top-two gap of `scores` (d, K) over dimensions."""
    return common.nan_mean(top_gap(scores))


@metric("sap", better="higher", range=(0.0, 1.0), needs=("kinds",))
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
        return float("nan")
    columns, owners = common.standardised_blocks(factors, kinds)
    squared = correlations(states, columns) ** 2  # (d, C)
    varying = np.flatnonzero(common.varying_factors(factors))
    scores = np.stack([squared[:, owners == k].mean(axis=1) for k in varying], axis=1)
    return sap_from_scores(scores)


class ImportanceFit(NamedTuple):
    """Importance (d_active, K_varying) with columns of sum 1, and test R^2 per varying factor."""

    importance: NDArray
    r2: NDArray


def boosted_importance(
    states: NDArray,
    factors: NDArray,
    *,
    split: NDArray,
    kinds: Sequence[str] | None = None,
    seed: int = 0,
) -> ImportanceFit:
    """Fit boosted trees from the latents to each factor and sum the gain of the splits on each dimension."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    states, factors = common.check_inputs(states, factors)
    split = common.check_split(split, len(states))
    train, test = split == 0, split == 2
    x = states[:, common.active_dims(states)]
    y, owners = common.standardised_blocks(factors, kinds)
    varying = np.flatnonzero(common.varying_factors(factors))
    importance = np.zeros((x.shape[1], len(varying)))
    r2 = np.zeros(len(varying))
    if x.shape[1] == 0:
        return ImportanceFit(importance, r2)

    for index, k in enumerate(varying):
        target = y[:, owners == k]
        prediction = np.zeros((test.sum(), target.shape[1]))
        for c in range(target.shape[1]):
            trees = HistGradientBoostingRegressor(
                max_iter=100, max_depth=3, min_samples_leaf=20, early_stopping=False, random_state=seed
            ).fit(x[train], target[train, c])
            gains = gain_importance(trees, x.shape[1])
            importance[:, index] += target[train, c].var() * gains / max(gains.sum(), 1e-300)
            prediction[:, c] = trees.predict(x[test])
        importance[:, index] /= max(importance[:, index].sum(), 1e-300)
        r2[index] = common.block_r2(target[test], prediction)
    return ImportanceFit(importance, r2)


def gain_importance(trees: object, n_features: int) -> NDArray:
    """Return (n_features,) total loss reduction by the splits on each feature of a fitted HistGB model."""
    nodes = np.concatenate([tree.nodes for stage in trees._predictors for tree in stage])  # type: ignore[attr-defined]
    inner = nodes[nodes["is_leaf"] == 0]
    return np.bincount(inner["feature_idx"], inner["gain"], minlength=n_features)


@metric("dci", better="higher", range=(0.0, 1.0), needs=("split", "kinds", "seed"), shifts=1)
def dci(
    states: NDArray,
    factors: NDArray,
    *,
    split: NDArray,
    kinds: Sequence[str] | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Disentanglement, completeness, informativeness (Eastwood & Williams 2018), with boosted trees.

    R_jk is the share of the loss reduction that regression trees predicting factor k owe to dimension j. D is
    high if each dimension matters for one factor, C if each factor needs one dimension, I is the mean of
    max(0, test R^2). If I < 0.1 the importances mean nothing, and D and C are NaN. Values of other estimators
    are not comparable.

    Args:
        states: (N, d) latents.
        factors: (N, K) ground truth; constant factors are left out.
        split: (N,) 0 train, 1 validation, 2 test, by whole episodes.
        kinds: K entries of "continuous", "angular" or "categorical".
        seed: seed of the trees.
    """
    importance, r2 = boosted_importance(states, factors, split=split, kinds=kinds, seed=seed)
    informativeness = common.nan_mean(np.maximum(r2, 0.0))
    disentanglement, completeness = dci_from_importance(importance)
    if not informativeness >= 0.1:
        warnings.warn("DCI D and C are undefined: the latents inform trees too little (I < 0.1)", stacklevel=2)
        disentanglement = completeness = float("nan")
    return {"D": disentanglement, "C": completeness, "I": informativeness}
