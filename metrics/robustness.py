"""IRS: does a dimension stay put while everything but its own factor changes?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from srl_bench.errors import DataError
from srl_bench.metrics import common
from srl_bench.registry import metric


@metric("irs", better="higher", range=(0.0, 1.0), needs=("kinds",), resample="rows")
def irs(
    states: NDArray,
    factors: NDArray,
    *,
    kinds: Sequence[str] | None = None,
    quantile: float = 0.99,
    latent: Literal["zstd", "raw"] = "zstd",
    bins: int = 20,
) -> float:
    """Interventional robustness score (Suter et al. 2019, arXiv 1811.00007), on logged data.

    While factor k has value v, dimension j deviates from its mean by at most dev_jk(v), a quantile over rows.
    IRS_jk = 1 - mean_v dev_jk(v) / maxdev_j, and the score is the mean over j of max_k IRS_jk, weighted by the
    largest deviation maxdev_j. In [0, 1]; noise reaches 0.4, a rotation by 45 degrees 0.5.

    Args:
        states: (N, d) latents; NaN if they are constant.
        factors: (N, K) ground truth; constant factors are left out.
        kinds: K entries of "continuous", "angular" or "categorical".
        quantile: 0.99, or 1 as in the paper.
        latent: "zstd" standardises dimensions; "raw" lets large ones weigh more, as in the paper.
        bins: number of values of a continuous factor, of equal width.
    """
    if latent not in ("zstd", "raw"):
        raise DataError(f"latent {latent!r} is unknown; use 'zstd' or 'raw'.")
    states, factors = common.check_inputs(states, factors)
    states = states[:, common.active_dims(states)]
    states = common.standardise(states) if latent == "zstd" else states
    labels = common.factor_labels(factors, kinds, "width", bins)
    if states.shape[1] == 0 or labels.shape[1] == 0:
        return common.undefined("irs", "the representation or every factor is constant")
    largest = np.abs(states - states.mean(axis=0)).max(axis=0)
    deviation = np.stack([_deviation(states, label, quantile) for label in labels.T])  # (K, d)
    best = (1 - deviation / largest).max(axis=0)
    return float(best @ largest / largest.sum())


def _deviation(states: NDArray, labels: NDArray, quantile: float) -> NDArray:
    """Return (d,) the quantile of the deviation from the mean among rows of a label, averaged over labels."""
    order = np.argsort(labels, kind="stable")
    groups = np.split(states.T[:, order], np.flatnonzero(np.diff(labels[order])) + 1, axis=1)  # (d, n) each
    return np.mean([_quantile(np.abs(rows - rows.mean(axis=1, keepdims=True)), quantile) for rows in groups], axis=0)


def _quantile(values: NDArray, share: float) -> NDArray:
    """Return what `np.quantile(values, share, axis=1)` does, several times as fast for short rows."""
    position = share * (values.shape[1] - 1)
    low, high = int(np.floor(position)), int(np.ceil(position))
    ordered = np.partition(values, (low, high), axis=1)
    return ordered[:, low] + (position - low) * (ordered[:, high] - ordered[:, low])
