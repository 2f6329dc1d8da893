"""Independence of latent dimensions, and agreement between encoders: what needs no ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from srl_bench.errors import DataError
from srl_bench.metrics import common
from srl_bench.metrics.disentanglement import information_between
from srl_bench.registry import metric


def _active(states: NDArray) -> NDArray:
    states, _ = common.check_inputs(states, states)
    return common.standardise(states[:, common.active_dims(states)])


@metric("gaussian_tc", better="lower", range=(0.0, np.inf), resample="rows")
def gaussian_tc(states: NDArray, factors: NDArray | None = None) -> float:
    """Total correlation of a Gaussian with the latents' covariance C, in nats (Locatello et al. 2019).

    (sum_j ln C_jj - ln det C) / 2: 0 if dimensions are uncorrelated, infinite if one is a combination of others.

    Args:
        states: (N, d) latents; NaN if they are constant.
        factors: not used.
    """
    x = _active(states)
    if x.shape[1] == 0:
        return common.undefined("gaussian_tc", "the representation is constant")
    correlation = x.T @ x / len(x)
    eigenvalues = np.linalg.eigvalsh(correlation)
    if eigenvalues[0] <= len(correlation) * np.finfo(float).eps * eigenvalues[-1]:
        return float("inf")
    return float(max(0.0, -np.log(eigenvalues).sum() / 2))


@metric("gaussian_wasserstein", better="lower", range=(0.0, 2.0), resample="rows")
def gaussian_wasserstein(states: NDArray, factors: NDArray | None = None) -> float:
    """Wasserstein distance of a Gaussian with the latents' covariance C to that of diag(C), over tr C.

    2 (tr C - tr (D^(1/2) C D^(1/2))^(1/2)) / tr C with D = diag(C) (disentanglement_lib): 0 if uncorrelated.

    Args:
        states: (N, d) latents; NaN if they are constant.
        factors: not used.
    """
    x = _active(states)
    if x.shape[1] == 0:
        return common.undefined("gaussian_wasserstein", "the representation is constant")
    eigenvalues = np.linalg.eigvalsh(x.T @ x / len(x))  # standardised, so D = I and tr C = d
    return float(max(0.0, 2 - 2 * np.sqrt(np.maximum(eigenvalues, 0)).mean()))


@metric("pairwise_information", better="lower", range=(0.0, np.inf), resample="rows")
def pairwise_information(states: NDArray, factors: NDArray | None = None, *, bins: int = 20) -> float:
    """Mean mutual information of two latent dimensions, in nats, by counting in bins of equal width.

    Args:
        states: (N, d) latents; NaN with fewer than two dimensions.
        factors: not used.
        bins: number of bins per dimension.
    """
    x = _active(states)
    if x.shape[1] < 2:
        return common.undefined("pairwise_information", "fewer than two dimensions are active")
    codes = [common.discretise(column, binning="width", bins=bins) for column in x.T]
    information = information_between(codes, codes).information
    return float(information[~np.eye(len(codes), dtype=bool)].mean())


def udr_pair(a: NDArray, b: NDArray, *, relation: Literal["spearman", "lasso"] = "spearman") -> float:
    """Return the agreement of two encoders' latents (N, d_a) and (N, d_b) on the same rows, in [0, 1].

    R_ij = |Spearman's rho| or |coefficient of a lasso from a to b_j| of active dimensions; the score averages
    (max_i R_ij)^2 / sum_i R_ij over j with the same over i.
    """
    x, y = _active(a), _active(b)
    if x.shape[1] == 0 or y.shape[1] == 0:
        return 0.0
    if relation == "spearman":
        from scipy.stats import rankdata

        related = common.standardise(rankdata(x, axis=0)).T @ common.standardise(rankdata(y, axis=0)) / len(x)
    elif relation == "lasso":
        from sklearn.linear_model import Lasso

        related = np.stack([Lasso(alpha=0.1, max_iter=10_000).fit(x, column).coef_ for column in y.T], axis=1)
    else:
        raise DataError(f"relation {relation!r} is unknown; use 'spearman' or 'lasso'.")
    related = np.abs(related)
    return (_pointed(related) + _pointed(related.T)) / 2


def _pointed(related: NDArray) -> float:
    """Return the mean over columns of max^2 / sum; 0 for a column of zeros."""
    total = related.sum(axis=0)
    return float((related.max(axis=0) ** 2 / np.where(total > 0, total, 1)).mean())


@metric("udr", better="higher", range=(0.0, 1.0), needs=("other_states",))
def udr(
    states: NDArray,
    factors: NDArray | None = None,
    *,
    other_states: Sequence[NDArray],
    relation: Literal["spearman", "lasso"] = "spearman",
) -> float:
    """Unsupervised disentanglement ranking (Duan et al. 2020, arXiv 1905.12614).

    Encoders that disentangle agree on their dimensions up to order and sign, those that do not agree on nothing:
    the median of `udr_pair` over encoders of the same configuration and other seeds, whose number, not that of
    episodes, makes it uncertain, so it has no interval.

    Args:
        states: (N, d) latents.
        factors: not used.
        other_states: the latents of at least four other seeds on the same rows.
        relation: "spearman" or "lasso".

    Raises:
        DataError: there are fewer than four others, or their rows differ.
    """
    if len(other_states) < 4:
        raise DataError(f"udr compares at least five seeds of one configuration, not {len(other_states) + 1}.")
    if any(len(other) != len(states) for other in other_states):
        raise DataError(f"udr compares latents of the same rows; there are {len(states)}, and other numbers of them.")
    return float(np.median([udr_pair(states, other, relation=relation) for other in other_states]))
