"""Ground-truth correlation: does one latent dimension follow each factor?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from srl_bench.errors import DataError
from srl_bench.factors import encode_factors
from srl_bench.metrics import common
from srl_bench.registry import metric


def correlations(a: NDArray, b: NDArray) -> NDArray:
    """Return (p, q) Pearson correlations between columns of a (N, p) and b (N, q); 0 for constant ones."""
    r = common.standardise(a).T @ common.standardise(b) / len(a)
    return np.clip(r, -1.0, 1.0)


@metric("gtc", better="higher", range=(0.0, 1.0), needs=("kinds", "names"), resample="rows")
def gtc(
    states: NDArray,
    factors: NDArray,
    *,
    kinds: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    method: Literal["pearson", "spearman"] = "pearson",
    gtc_published: bool = False,
) -> dict[str, float]:
    """Ground-truth correlation of S-RL Toolbox (Raffin et al. 2018, arXiv 1809.09369).

    GTC_k = max_j |corr(z_j, y_k)|: how well the best single dimension follows factor k. Unlike in the published
    code, only latent dimensions compete for the maximum, never other factors. Angles and classes are encoded as
    several columns, whose maxima are averaged. In [0, 1]; noise reaches about sqrt(2 ln d / N_eff), so read
    it next to its floor. `method="spearman"` correlates ranks and forgives monotone warps.

    Args:
        states: (N, d) latents.
        factors: (N, K) ground truth.
        kinds: K entries of "continuous", "angular" or "categorical".
        names: K factor names, the keys of the result.
        roles: K entries of "task", "distractor" or "nuisance"; with them, only task factors count in the mean.
        method: "pearson" or "spearman".
        gtc_published: compute what the published code does, to compare with its numbers: the maximum is over
            the other raw factors, too, so that correlated factors score high with any latents.

    Returns:
        "mean" over the factors that vary, and one value per factor, NaN for a constant one.
    """
    from scipy.stats import rankdata

    states, factors = common.check_inputs(states, factors)
    states = states[:, common.active_dims(states)]
    kinds = common.factor_kinds(factors, kinds)
    columns, owners = (factors, np.arange(factors.shape[1])) if gtc_published else encode_factors(factors, kinds)
    if method == "spearman":
        states, columns = rankdata(states, axis=0), rankdata(columns, axis=0)
    elif method != "pearson":
        raise DataError(f"correlation method {method!r} is unknown; use 'pearson' or 'spearman'.")

    best = np.abs(correlations(states, columns)).max(axis=0, initial=0.0)  # (C,)
    if gtc_published:
        between = np.abs(correlations(columns, columns))
        np.fill_diagonal(between, 0.0)
        best = np.maximum(best, between.max(axis=0))
    per_factor = np.bincount(owners, best) / np.bincount(owners)
    per_factor[~common.varying_factors(factors)] = np.nan
    mean = common.nan_mean(per_factor[common.task_factors(factors, roles)])
    return common.summarise(per_factor, common.factor_names(factors, names), mean)
