"""JEMMIG and DCIMIG: information gaps that also punish dimensions which hold more than one factor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from srl_bench.metrics import common
from srl_bench.metrics.common import Binning
from srl_bench.metrics.disentanglement import information_between, top_gap
from srl_bench.registry import metric


def jemmig_from_information(information: NDArray, entropies: NDArray, code_entropies: NDArray, largest: float) -> float:
    """Return the mean over factors of 1 - (H(z, y_k) - gap_k) / (H(y_k) + `largest`), z the best dimension.

    Args:
        information: (d, K) I(z_j; y_k).
        entropies: (K,) H(y_k).
        code_entropies: (d,) H(z_j).
        largest: the entropy that a dimension can have, ln of the number of its bins.
    """
    best = information.argmax(axis=0)
    joint = code_entropies[best] + entropies - information.max(axis=0)
    return common.nan_mean(1 - (joint - top_gap(information)) / (entropies + largest))


def dcimig_from_information(information: NDArray, entropies: NDArray) -> float:
    """Return sum_k max_j gap_j [k is the best factor of j] / sum_k H(y_k), gap_j the top-two gap over factors."""
    gaps = top_gap(information.T)
    own = np.where(information.argmax(axis=1)[:, None] == np.arange(len(entropies)), gaps[:, None], 0.0)
    return float(own.max(axis=0, initial=0.0).sum() / entropies.sum())


def _codes(
    states: NDArray, kinds: Sequence[str] | None, binning: Binning, bins: int
) -> tuple[list[NDArray], NDArray, float]:
    """Return the binned active dimensions, their entropies, and the entropy that one can have."""
    kinds = common.factor_kinds(states, kinds)
    active = np.flatnonzero(common.active_dims(states))
    codes = [common.discretise(states[:, j], kinds[j], binning, bins) for j in active]
    most = max([bins, *(int(code.max()) + 1 for code in codes)])
    return codes, information_between([], codes).entropies, float(np.log(most))


@metric("jemmig", better="higher", range=(0.0, 1.0), needs=("kinds",), core=False, resample="rows")
def jemmig(
    states: NDArray,
    factors: NDArray,
    *,
    kinds: Sequence[str] | None = None,
    binning: Binning = "quantile",
    bins: int = 20,
    code_kinds: Sequence[str] | None = None,
) -> float:
    """Joint entropy minus mutual information gap (Do & Tran 2020, arXiv 1908.09961), normalised.

    Mean over factors of 1 - (H(z_j, y_k) - I_jk + I_j'k) / (H(y_k) + ln B), with j and j' the best and second best
    dimensions and B the number of bins. Unlike MIG it falls when a dimension holds more than the factor. In [0, 1], 0
    for constant latents; noise reaches some tenths. Arguments as in `mig`.
    """
    states, factors = common.check_inputs(states, factors)
    labels = list(common.factor_labels(factors, kinds, binning, bins).T)
    if not labels:
        return common.undefined("jemmig", "no factor varies")
    codes, code_entropies, largest = _codes(states, code_kinds, binning, bins)
    if not codes:
        return 0.0
    return jemmig_from_information(*information_between(codes, labels), code_entropies, largest)


@metric("dcimig", better="higher", range=(0.0, 1.0), needs=("kinds",), core=False, resample="rows")
def dcimig(
    states: NDArray,
    factors: NDArray,
    *,
    kinds: Sequence[str] | None = None,
    binning: Binning = "quantile",
    bins: int = 20,
    code_kinds: Sequence[str] | None = None,
) -> float:
    """DCIMIG (Sepliarskaia et al. 2019, arXiv 1910.05587): how much each factor has in a dimension of its own.

    A dimension offers its best factor the information by which that leads over the second best; a factor takes the
    best offer, and the score is the share of the factors' entropies that is taken. Copies of a dimension do not
    matter. In [0, 1], 0 for constant latents. Arguments as in `mig`.
    """
    states, factors = common.check_inputs(states, factors)
    labels = list(common.factor_labels(factors, kinds, binning, bins).T)
    if not labels:
        return common.undefined("dcimig", "no factor varies")
    return dcimig_from_information(*information_between(_codes(states, code_kinds, binning, bins)[0], labels))
