"""Regression probes: how well do simple learners read the factors off the latents?

Every probe sees latents standardised over the train rows and factors of unit variance over all rows, learns
on train episodes, chooses hyperparameters on validation episodes and is judged by R^2 on test episodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from srl_bench.errors import DataError
from srl_bench.metrics import common
from srl_bench.metrics.learners import boosted_trees, ridge_path
from srl_bench.metrics.memory import remembered
from srl_bench.metrics.network import fit_networks
from srl_bench.metrics.readout import (
    ProbeScores,
    Task,
    by_episode,
    make_task,
    mean_over,
    of_sums,
    positive_mean,
    scores_of,
    squared_errors,
)
from srl_bench.metrics.resampling import EpisodeSums
from srl_bench.registry import metric

ALPHAS = np.logspace(-3, 3, 7)
NEIGHBOURS = 10
NEEDS = ("split", "kinds", "names", "roles")

ProbeName = Literal["ridge", "knn", "gbt", "mlp", "shared_mlp"]


def ridge(task: Task) -> NDArray:
    """Predict by ridge regression whose penalty, per factor, is the best of `ALPHAS` on validation rows."""
    train, validation, test = (task.split == part for part in range(3))
    if not validation.any():
        raise DataError("split leaves no validation rows, on which the ridge probe chooses its penalty.")
    centre, offset = task.x[train].mean(axis=0), task.y[train].mean(axis=0)
    weights = ridge_path(task.x[train] - centre, task.y[train] - offset, ALPHAS)
    squared = (((task.x[validation] - centre) @ weights + offset - task.y[validation]) ** 2).sum(axis=1)  # (A, C)
    loss = np.stack([squared[:, task.owners == k].sum(axis=1) for k in range(task.owners[-1] + 1)])  # (K, A)
    chosen = loss.argmin(axis=1)[task.owners]  # (C,)
    return ((task.x[test] - centre) @ weights[chosen, :, np.arange(len(chosen))].T + offset)[None]


def knn(task: Task) -> NDArray:
    """Predict the mean of the ten nearest train rows."""
    from sklearn.neighbors import KNeighborsRegressor

    train = task.split == 0
    neighbours = KNeighborsRegressor(min(NEIGHBOURS, int(train.sum()))).fit(task.x[train], task.y[train])
    return neighbours.predict(task.x[task.split == 2])[None]


def gbt(task: Task) -> NDArray:
    """Predict each column by 200 boosted trees."""
    train, test = task.split == 0, task.split == 2
    columns = [boosted_trees(task.x[train], column, task.seed)(task.x[test]) for column in task.y[train].T]
    return np.stack(columns, axis=1)[None]


def mlp(task: Task) -> NDArray:
    """Predict each factor by a small network; three initialisations."""
    parts = [shared_mlp(task._replace(y=task.y[:, task.owners == k])) for k in range(task.owners[-1] + 1)]
    return np.concatenate(parts, axis=2)


def shared_mlp(task: Task) -> NDArray:
    """Predict all columns by one small network; three initialisations."""
    train, test = task.split == 0, task.split == 2
    return fit_networks(task.x[train], task.y[train], task.seed)(task.x[test])


PROBES: dict[str, Callable[[Task], NDArray]] = {
    "ridge": ridge,
    "knn": knn,
    "gbt": gbt,
    "mlp": mlp,
    "shared_mlp": shared_mlp,
}


def probe_scores(
    probe: ProbeName,
    states: NDArray,
    factors: NDArray,
    *,
    split: NDArray,
    kinds: Sequence[str] | None = None,
    seed: int = 0,
) -> ProbeScores:
    """Return test R^2 and squared error per factor of one of `PROBES`; equal requests are answered once."""
    if probe not in PROBES:
        raise DataError(f"probe {probe!r} is unknown; use one of {', '.join(PROBES)}.")
    task = make_task(states, factors, split, kinds, seed)
    return scores_of(probe_errors(probe, *task), task)


def ridge_scores(
    states: NDArray, factors: NDArray, *, split: NDArray, kinds: Sequence[str] | None = None
) -> ProbeScores:
    """Return test R^2 and squared error per factor of the ridge probe (see `ridge_r2`)."""
    return probe_scores("ridge", states, factors, split=split, kinds=kinds)


@remembered
def probe_errors(probe: ProbeName, x: NDArray, y: NDArray, owners: NDArray, split: NDArray, seed: int) -> NDArray:
    """Return (S, n_test, K) squared errors of one of `PROBES`, given the fields of a `Task`."""
    return squared_errors(PROBES[probe], Task(x, y, owners, split, seed))


def _r2(
    probe: ProbeName,
    states: NDArray,
    factors: NDArray,
    split: NDArray,
    kinds: Sequence[str] | None,
    names: Sequence[str] | None,
    roles: Sequence[str] | None,
    seed: int = 0,
) -> dict[str, float]:
    r2 = probe_scores(probe, states, factors, split=split, kinds=kinds, seed=seed).r2
    factors = np.asarray(factors, dtype=np.float64)
    labels = common.factor_names(factors, names)
    mean = common.nan_mean(np.maximum(r2[common.task_factors(factors, roles)], 0.0))
    return common.summarise(r2, labels, mean)


def r2_sums(probe: ProbeName) -> Callable[..., EpisodeSums]:
    """Return how the R^2 of a probe is summed over test episodes; the probe itself stays as it was fitted."""

    def sums(
        states: NDArray,
        factors: NDArray,
        *,
        episode_ids: NDArray,
        split: NDArray,
        kinds: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
        roles: Sequence[str] | None = None,
        seed: int = 0,
        shared: bool = False,
    ) -> EpisodeSums:
        task = make_task(states, factors, split, kinds, seed)
        errors = probe_errors("shared_mlp" if shared else probe, *task)
        wanted = common.task_factors(np.asarray(factors), roles)

        def finish(totals: NDArray) -> dict[str, NDArray]:
            r2 = of_sums(totals, task).r2
            per_factor = dict(zip(common.factor_names(np.asarray(factors), names), r2.T, strict=True))
            return {"mean": positive_mean(r2, wanted), **per_factor}

        return EpisodeSums(by_episode(errors, task, episode_ids), finish)

    return sums


@metric("ridge_r2", better="higher", range=(-np.inf, 1.0), needs=NEEDS, resample=r2_sums("ridge"))
def ridge_r2(
    states: NDArray,
    factors: NDArray,
    *,
    split: NDArray,
    kinds: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
) -> dict[str, float]:
    """Linear decodability: test R^2 of ridge regression (Hoerl & Kennard 1970) from latents to factors.

    The penalty of each factor is the best on validation episodes out of 1e-3 ... 1e3. An angle is judged by
    its sine and cosine together, a class by its one-hot code. Below 1; 0 is the test mean.

    Args:
        states: (N, d) latents.
        factors: (N, K) ground truth.
        split: (N,) 0 train, 1 validation, 2 test, by whole episodes.
        kinds: K entries of "continuous", "angular" or "categorical".
        names: K factor names, the keys of the result.
        roles: K entries of "task", "distractor" or "nuisance".

    Returns:
        "mean" of max(0, R^2) over task factors, and R^2 per factor, NaN for a constant one.
    """
    return _r2("ridge", states, factors, split, kinds, names, roles)


@metric(
    "knn_probe_r2", better="higher", range=(-np.inf, 1.0), needs=NEEDS, shifts=1, version="2", resample=r2_sums("knn")
)
def knn_probe_r2(
    states: NDArray,
    factors: NDArray,
    *,
    split: NDArray,
    kinds: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
) -> dict[str, float]:
    """Local decodability: test R^2 of the mean of the ten nearest train rows.

    Arguments and result as in `ridge_r2`; validation rows are unused.
    """
    return _r2("knn", states, factors, split, kinds, names, roles)


@metric(
    "gbt_r2",
    better="higher",
    range=(-np.inf, 1.0),
    needs=(*NEEDS, "seed"),
    shifts=1,
    core=False,
    resample=r2_sums("gbt"),
)
def gbt_r2(
    states: NDArray,
    factors: NDArray,
    *,
    split: NDArray,
    kinds: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Decodability along axes: test R^2 of boosted trees (scikit-learn's histogram gradient boosting).

    200 trees of at most 31 leaves, at least 20 rows each, rate 0.1, per factor column. Warps of single
    dimensions hardly matter, rotations do. Arguments and result as in `ridge_r2`; validation rows are unused;
    `seed` is that of the trees.
    """
    return _r2("gbt", states, factors, split, kinds, names, roles, seed)


@metric(
    "mlp_r2",
    better="higher",
    range=(-np.inf, 1.0),
    needs=(*NEEDS, "seed", "shared"),
    shifts=1,
    version="2",
    resample=r2_sums("mlp"),
)
def mlp_r2(
    states: NDArray,
    factors: NDArray,
    *,
    split: NDArray,
    kinds: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    seed: int = 0,
    shared: bool = False,
) -> dict[str, float]:
    """Non-linear decodability: test R^2 of a small network per factor.

    Two hidden layers of 64 ReLU units, Adam (Kingma & Ba 2015) at 1e-3 with weight decay 1e-4, 150 epochs of
    batches of 256; mean R^2 of three initialisations, those of scikit-learn's MLPRegressor. Below 1; noise scores
    below 0 because the network overfits. Arguments and result as in `ridge_r2`; validation rows are unused; `seed`
    is that of initial weights and batches. `shared` fits one network with an output per factor column instead, in a
    fraction of the time, as `srl-bench score` does: readable factors differ by some hundredths, noise overfits less.
    """
    return _r2("shared_mlp" if shared else "mlp", states, factors, split, kinds, names, roles, seed)


def _mse_sums(
    states: NDArray,
    factors: NDArray,
    *,
    episode_ids: NDArray,
    split: NDArray,
    kinds: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    seed: int = 0,
) -> EpisodeSums:
    """Return how the error of the ridge probe is summed over test episodes; the probe stays as it was fitted."""
    task = make_task(states, factors, split, kinds, seed)
    wanted = common.task_factors(np.asarray(factors), roles)

    def finish(totals: NDArray) -> dict[str, NDArray]:
        mse = of_sums(totals, task).mse
        per_factor = dict(zip(common.factor_names(np.asarray(factors), names), mse.T, strict=True))
        return {"mean": mean_over(mse, wanted), **per_factor}

    return EpisodeSums(by_episode(probe_errors("ridge", *task), task, episode_ids), finish)


@metric(
    "probe_mse",
    better="lower",
    range=(0.0, np.inf),
    needs=(*NEEDS, "seed"),
    shifts=1,
    core=False,
    resample=_mse_sums,
)
def probe_mse(
    states: NDArray,
    factors: NDArray,
    *,
    split: NDArray,
    probe: ProbeName = "ridge",
    units: Literal["std", "raw"] = "std",
    kinds: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Test mean squared error of a probe: "std", as a share of the factor's variance, or "raw", in its unit squared.

    An angle has the error of its sine and cosine together, a class that of its one-hot code. Arguments as in
    `ridge_r2`; `probe` is "ridge", "knn", "gbt", "mlp" or "shared_mlp" (see `mlp_r2`).

    Returns:
        "mean" over task factors, and the error per factor, NaN for a constant one.
    """
    mse = probe_scores(probe, states, factors, split=split, kinds=kinds, seed=seed).mse
    factors = np.asarray(factors, dtype=np.float64)
    if units not in ("std", "raw"):
        raise DataError(f"units {units!r} is unknown; use 'std' or 'raw'.")
    if units == "raw":
        mse = mse * common.block_variance(factors, kinds)
    mean = common.nan_mean(mse[common.task_factors(factors, roles)])
    return common.summarise(mse, common.factor_names(factors, names), mean)
