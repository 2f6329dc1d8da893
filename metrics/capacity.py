"""DCI-ES: how strong must a learner be to read the factors off (E), and how large is the code (S)?"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from srl_bench.metrics import common
from srl_bench.metrics.learners import ridge_path
from srl_bench.metrics.memory import remembered
from srl_bench.metrics.probes import ALPHAS, probe_errors
from srl_bench.metrics.readout import Task, make_task, mean_over, scores_of, squared_errors, sums_of_fits
from srl_bench.metrics.resampling import EpisodeSums
from srl_bench.registry import metric

FEATURES = 2 ** np.arange(1, 10)
# of a line, and of that many random features
CAPACITIES = np.concatenate([[0.0], np.log2(FEATURES)])
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


@remembered
def _feature_errors(n_features: int, x: NDArray, y: NDArray, owners: NDArray, split: NDArray, seed: int) -> NDArray:
    return squared_errors(lambda task: _random_features(task, n_features), Task(x, y, owners, split, seed))


def _errors(task: Task) -> list[NDArray]:
    """Return squared errors (S, n_test, K) of a line and of 2, 4 ... 512 random features."""
    return [probe_errors("ridge", *task), *(_feature_errors(count, *task) for count in FEATURES.tolist())]


def loss_curves(
    states: NDArray, factors: NDArray, *, split: NDArray, kinds: Sequence[str] | None = None, seed: int = 0
) -> NDArray:
    """Return test losses (K, T), at `CAPACITIES`, of a line and of 2, 4 ... 512 random features."""
    task = make_task(states, factors, split, kinds, seed)
    return np.stack([1 - scores_of(errors, task).r2 for errors in _errors(task)], axis=1)


def _sums(
    states: NDArray,
    factors: NDArray,
    *,
    episode_ids: NDArray,
    split: NDArray,
    kinds: Sequence[str] | None = None,
    seed: int = 0,
) -> EpisodeSums:
    """Return how the losses are summed over test episodes; the learners stay as they were fitted. S is a count."""
    task = make_task(states, factors, split, kinds, seed)
    table, judge = sums_of_fits(_errors(task), task, episode_ids)
    varying = common.varying_factors(np.asarray(factors, dtype=np.float64))

    def finish(totals: NDArray) -> dict[str, NDArray]:
        losses = 1 - np.stack([scores.r2 for scores in judge(totals)], axis=2)[:, varying]  # (R, K, T)
        curves = [[explicitness_from_curve(CAPACITIES, curve) for curve in draw] for draw in losses]
        return {"E": mean_over(np.array(curves))}

    return EpisodeSums(table, finish)


@metric(
    "dci_es",
    better="higher",
    range=(-1.0, np.inf),
    needs=("split", "kinds", "seed"),
    shifts=1,
    core=False,
    resample=_sums,
)
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
    losses = loss_curves(states, factors, split=split, kinds=kinds, seed=seed)
    varying = common.varying_factors(factors)
    learnt = common.nan_mean(np.array([explicitness_from_curve(CAPACITIES, curve) for curve in losses[varying]]))
    if np.isnan(learnt):
        warnings.warn("E is undefined: no learner explains a tenth of any factor", stacklevel=2)
    n_active = int(common.active_dims(states).sum())
    return {"E": learnt, "S": float(varying.sum() / n_active) if n_active else float("nan")}
