"""DCI-ES: how strong must a learner be to read the factors off (E), and how large is the code (S)?"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from srl_bench.metrics import common
from srl_bench.metrics.learners import ridge_path
from srl_bench.metrics.probes import ALPHAS, ridge_scores
from srl_bench.metrics.readout import Task, probe
from srl_bench.registry import metric

FEATURES = 2 ** np.arange(1, 10)
UNLEARNT = 0.9
BANDWIDTH_ROWS = 1_000


def explicitness_from_curve(capacities: NDArray, losses: NDArray) -> float:
    """Return E of a loss-capacity curve (Eastwood et al. 2023, arXiv 2210.00364), in [-1, 1].

    Losses (T,) are shares of the variance and count with their running minimum. E = 1 - A / Z, with A the area
    between the curve and its minimum and Z = (kappa_T - kappa_1) / 2, the area of a straight descent from 1 to 0.
    1 if the first learner is as good as the last; NaN if none comes below 0.9, where the authors' code gives 1.
    """
    losses = np.minimum.accumulate(np.asarray(losses, dtype=np.float64))
    if not losses[-1] <= UNLEARNT:
        return float("nan")
    area = np.trapezoid(losses - losses[-1], capacities)
    return float(1 - area / ((capacities[-1] - capacities[0]) / 2))


def _random_features(task: Task, n_features: int) -> NDArray:
    """Predict by ridge regression on random Fourier features (Rahimi & Recht 2007) of a Gaussian kernel.

    Its bandwidth is the median distance of train rows; each factor takes the penalty that is best on validation.
    """
    from scipy.spatial.distance import pdist

    train, validation, test = (task.split == part for part in range(3))
    random = np.random.default_rng(task.seed)
    rows = task.x[train][:: max(1, int(train.sum()) // BANDWIDTH_ROWS)]
    bandwidth = max(float(np.median(pdist(rows))), 1e-12)
    frequencies = random.normal(size=(task.x.shape[1], n_features)) / bandwidth
    features = np.cos(task.x @ frequencies + random.uniform(0, 2 * np.pi, n_features))
    features -= features[train].mean(axis=0)
    offset = task.y[train].mean(axis=0)
    weights = ridge_path(features[train], task.y[train] - offset, ALPHAS)
    error = ((features[validation] @ weights + offset - task.y[validation]) ** 2).sum(axis=1)  # (A, C)
    chosen = np.stack([error[:, task.owners == k].sum(axis=1) for k in task.owners], axis=1).argmin(axis=0)  # (C,)
    return (features[test] @ weights[chosen, :, np.arange(len(chosen))].T + offset)[None]


def loss_curves(
    states: NDArray, factors: NDArray, *, split: NDArray, kinds: Sequence[str] | None = None, seed: int = 0
) -> tuple[NDArray, NDArray]:
    """Return capacities (T,) and test losses (K, T) of a line (capacity 0) and of 2, 4 ... 512 random features."""
    linear = ridge_scores(states, factors, split=split, kinds=kinds).r2
    curves = [1 - linear]
    for n_features in FEATURES.tolist():

        def predict(task: Task, n_features: int = n_features) -> NDArray:
            return _random_features(task, n_features)

        curves.append(1 - probe(predict, states, factors, split=split, kinds=kinds, seed=seed).r2)
    return np.concatenate([[0.0], np.log2(FEATURES)]), np.stack(curves, axis=1)


@metric("dci_es", better="higher", range=(-1.0, np.inf), needs=("split", "kinds", "seed"), shifts=1, core=False)
def dci_es(
    states: NDArray, factors: NDArray, *, split: NDArray, kinds: Sequence[str] | None = None, seed: int = 0
) -> dict[str, float]:
    """Explicitness E and size S of DCI-ES (Eastwood et al. 2023, arXiv 2210.00364); D, C and I are those of `dci`.

    E, in [-1, 1], is high if a simple learner reads the factors as well as a strong one (see
    `explicitness_from_curve`), mean over the factors that any of them reads. S = K / d_active: 1 if the code is
    as small as the factors.

    Args:
        states: (N, d) latents.
        factors: (N, K) ground truth; constant factors are left out.
        split: (N,) 0 train, 1 validation, 2 test, by whole episodes.
        kinds: K entries of "continuous", "angular" or "categorical".
        seed: seed of the random features.
    """
    states, factors = common.check_inputs(states, factors)
    capacities, losses = loss_curves(states, factors, split=split, kinds=kinds, seed=seed)
    varying = common.varying_factors(factors)
    learnt = common.nan_mean(np.array([explicitness_from_curve(capacities, curve) for curve in losses[varying]]))
    if np.isnan(learnt):
        warnings.warn("E is undefined: no learner explains a tenth of any factor", stacklevel=2)
    n_active = int(common.active_dims(states).sum())
    return {"E": learnt, "S": float(varying.sum() / n_active) if n_active else float("nan")}
