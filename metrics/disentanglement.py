"""Disentanglement: does each factor live in its own latent dimension?

The first half scores small matrices (dimensions x factors), as the papers do; the second half estimates these
matrices from data. Constant (dead) dimensions are dropped before anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from srl_bench.metrics import common
from srl_bench.metrics.common import Binning
from srl_bench.metrics.memory import remembered
from srl_bench.registry import metric


def top_gap(scores: NDArray) -> NDArray:
    """Return (K,) the largest minus second largest entry (0 if none) of each column of `scores` (d, K)."""
    padded = np.sort(np.vstack([np.zeros((2, scores.shape[1])), scores]), axis=0)
    return padded[-1] - padded[-2]


def mig_from_information(information: NDArray, entropies: NDArray) -> float:
    """Return the mean over factors of the top-two gap of I (d, K) over dimensions, in units of H (K,)."""
    if not len(entropies):
        return common.undefined("mig", "no factor varies")
    return common.nan_mean(top_gap(information) / _positive(entropies))


def mig_sup_from_information(information: NDArray, entropies: NDArray) -> float:
    """Return the mean over dimensions of the top-two gap of I / H over factors; 0 without dimensions."""
    if not len(entropies):
        return common.undefined("mig_sup", "no factor varies")
    gaps = top_gap((information / _positive(entropies)).T)
    return common.nan_mean(gaps) if len(gaps) else 0.0


def modularity_from_information(information: NDArray) -> float:
    """Return the mean over dimensions of 1 - (squared I off the best factor) / ((K - 1) I_best^2)."""
    n_dims, n_factors = information.shape
    if n_factors < 2:
        return common.undefined("modularity", "fewer than two factors vary")
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

    `code_kinds` gives the kinds of the latents where these are factors themselves (see `bounds.ceiling`).
    The estimate for independent variables is about (B - 1)^2 / (2 N_eff) above 0.
    """
    states, factors = common.check_inputs(states, factors)
    code_kinds = common.factor_kinds(states, code_kinds)
    return _counted(states, factors, common.factor_kinds(factors, kinds), binning, bins, code_kinds)


@remembered
def _counted(
    states: NDArray, factors: NDArray, kinds: list[str], binning: Binning, bins: int, code_kinds: list[str]
) -> Information:
    # columns are what is worked on, so they should lie together in memory
    states, factors = map(np.asfortranarray, (states, factors))
    active = np.flatnonzero(common.active_dims(states))
    codes = [common.discretise(states[:, j], code_kinds[j], binning, bins) for j in active]
    return information_between(codes, list(common.factor_labels(factors, kinds, binning, bins).T))


def information_between(codes: Sequence[NDArray], labels: Sequence[NDArray]) -> Information:
    """Count the mutual information between all of the (N,) labels `codes` and all of `labels`."""
    code_entropies = np.array([_entropy(code) for code in codes])
    entropies = np.array([_entropy(label) for label in labels])
    size = max((label.max() + 1 for label in labels), default=1)
    pairs = np.empty(len(codes[0]) if len(codes) else 0, dtype=np.int64)
    joint = np.empty((len(codes), len(labels)))
    for j, code in enumerate(codes):
        wide = code * size
        for k, label in enumerate(labels):
            joint[j, k] = _entropy(np.add(wide, label, out=pairs))
    information = code_entropies[:, None] + entropies - joint
    return Information(np.maximum(information, 0.0), entropies)


def _entropy(labels: NDArray) -> float:
    counts = np.bincount(labels)
    p = counts[counts > 0] / len(labels)
    return float(-(p * np.log(p)).sum())


@metric("mig", better="higher", range=(0.0, 1.0), needs=("kinds",), resample="rows")
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


@metric("mig_sup", better="higher", range=(0.0, 1.0), needs=("kinds",), resample="rows")
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


@metric("modularity", better="higher", range=(0.0, 1.0), needs=("kinds",), resample="rows")
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


@metric("dci_mi", better="higher", range=(0.0, 1.0), needs=("kinds",), resample="rows")
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
    return explained("dci_mi", dict(zip("DC", dci_from_importance(information), strict=True)), information)


def explained(name: str, scores: dict[str, float], importance: NDArray) -> dict[str, float]:
    """Return `scores`, and warn why D or C of an importance matrix (d, K) is NaN."""
    n_dims, n_factors = importance.shape
    for key, size, what in (("D", n_factors, "factors vary"), ("C", n_dims, "dimensions are active")):
        if np.isnan(scores[key]):
            reason = f"fewer than two {what}" if size < 2 else "the latents hold no information"
            common.undefined(f"{name}.{key}", reason)
    return scores
