"""Regression probes: how well do simple learners read the factors off the latents?

Every probe sees latents standardised over the train rows and factors of unit variance over all rows, learns
on train episodes, chooses hyperparameters on validation episodes and is judged by R^2 on test episodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from srl_bench.errors import DataError
from srl_bench.metrics import common
from srl_bench.registry import metric

ALPHAS = np.logspace(-3, 3, 7)


class ProbeScores(NamedTuple):
    """Test R^2 (K,), NaN for a constant factor, and test squared error (K,) as a share of its variance."""

    r2: NDArray
    mse: NDArray


class Task(NamedTuple):
    """What a probe is given: latents (N, d), factor columns (N, C), their factors (C,), split (N,), seed."""

    x: NDArray
    y: NDArray
    owners: NDArray
    split: NDArray
    seed: int


def probe(
    predict: Callable[[Task], NDArray],
    states: NDArray,
    factors: NDArray,
    *,
    split: NDArray,
    kinds: Sequence[str] | None = None,
    seed: int = 0,
) -> ProbeScores:
    """Score `predict`, which maps a `Task` to (S, n_test, C) predictions of S independent fits.

    A collapsed representation is given R^2 = 0 without a fit.
    """
    states, factors = common.check_inputs(states, factors)
    split = common.check_split(split, len(states))
    train, test = split == 0, split == 2
    x = common.standardise(states[:, common.active_dims(states[train])], train)
    y, owners = common.standardised_blocks(factors, kinds)
    target = y[test]
    if x.shape[1]:
        predictions = predict(Task(x, y, owners, split, seed))
    else:
        predictions = np.broadcast_to(y[train].mean(axis=0), (1, *target.shape))

    r2, mse = np.full(factors.shape[1], np.nan), np.full(factors.shape[1], np.nan)
    for k in np.flatnonzero(common.varying_factors(factors)):
        block = owners == k
        r2[k] = np.mean([common.block_r2(target[:, block], fit[:, block]) for fit in predictions])
        mse[k] = ((predictions - target)[:, :, block] ** 2).sum(axis=2).mean()
    if not x.shape[1]:
        r2 = np.where(np.isnan(r2), np.nan, 0.0)
    return ProbeScores(r2, mse)


def _summarise(
    scores: ProbeScores, factors: NDArray, names: Sequence[str] | None, roles: Sequence[str] | None
) -> dict[str, float]:
    factors = np.asarray(factors)
    mean = common.nan_mean(np.maximum(scores.r2[common.task_factors(factors, roles)], 0.0))
    return common.summarise(scores.r2, common.factor_names(factors, names), mean)


def ridge_path(x: NDArray, y: NDArray, alphas: NDArray) -> NDArray:
    """Return (A, d, C) minimisers of |y - x w|^2 + alpha |w|^2 for centred x (n, d) and y (n, C).

    One eigendecomposition x'x = V diag(l) V' gives them all: w = V diag(1 / (l + alpha)) V' x'y.
    """
    eigenvalues, vectors = np.linalg.eigh(x.T @ x)
    shrunk = (vectors.T @ (x.T @ y)) / (np.maximum(eigenvalues, 0.0)[:, None] + np.reshape(alphas, (-1, 1, 1)))
    return vectors @ shrunk


def _ridge(task: Task) -> NDArray:
    train, validation, test = (task.split == part for part in range(3))
    if not validation.any():
        raise DataError("split leaves no validation rows, on which the ridge probe chooses its penalty.")
    offset = task.y[train].mean(axis=0)
    weights = ridge_path(task.x[train], task.y[train] - offset, ALPHAS)
    squared = ((task.x[validation] @ weights + offset - task.y[validation]) ** 2).sum(axis=1)  # (A, C)
    loss = np.stack([squared[:, task.owners == k].sum(axis=1) for k in range(task.owners[-1] + 1)])  # (K, A)
    chosen = loss.argmin(axis=1)[task.owners]  # (C,)
    return (task.x[test] @ weights[chosen, :, np.arange(len(chosen))].T + offset)[None]


def ridge_scores(
    states: NDArray, factors: NDArray, *, split: NDArray, kinds: Sequence[str] | None = None
) -> ProbeScores:
    """Return test R^2 and squared error per factor of the ridge probe (see `ridge_r2`)."""
    return probe(_ridge, states, factors, split=split, kinds=kinds)


@metric("ridge_r2", better="higher", range=(-np.inf, 1.0), needs=("split", "kinds", "names", "roles"))
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
    return _summarise(ridge_scores(states, factors, split=split, kinds=kinds), factors, names, roles)


def _mlp(
    task: Task,
    *,
    n_nets: int = 3,
    width: int = 64,
    learning_rate: float = 1e-3,
    batch_size: int = 256,
    epochs: int = 150,
    weight_decay: float = 1e-4,
) -> NDArray:
    """Train S networks at once as batched matrices, with the backward pass and Adam written out."""
    import torch

    random = torch.Generator().manual_seed(task.seed)
    train, test = task.split == 0, task.split == 2
    x, y, x_test = (
        torch.as_tensor(np.ascontiguousarray(part), dtype=torch.float32)
        for part in (task.x[train], task.y[train], task.x[test])
    )
    sizes = [x.shape[1], width, width, y.shape[1]]
    shapes = [shape for a, b in pairwise(sizes) for shape in ((n_nets, a, b), (n_nets, 1, b))]
    numbers = [int(np.prod(shape)) for shape in shapes]
    theta, gradient, first, second = torch.zeros(4, sum(numbers))
    w1, b1, w2, b2, w3, b3 = (part.view(shape) for part, shape in zip(theta.split(numbers), shapes, strict=True))
    gw1, gb1, gw2, gb2, gw3, gb3 = (
        part.view(shape) for part, shape in zip(gradient.split(numbers), shapes, strict=True)
    )
    for weight in (w1, w2, w3):
        limit = (6 / (weight.shape[1] + weight.shape[2])) ** 0.5
        weight.uniform_(-limit, limit, generator=random)

    def forward(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        hidden = torch.baddbmm(b1, inputs, w1).relu_()
        hidden2 = torch.baddbmm(b2, hidden, w2).relu_()
        return hidden, hidden2, torch.baddbmm(b3, hidden2, w3)

    step = 0
    with torch.no_grad():
        for _ in range(epochs):
            order = torch.stack([torch.randperm(len(x), generator=random) for _ in range(n_nets)])
            shuffled_x, shuffled_y = x[order], y[order]  # (S, n, d), (S, n, C)
            for start in range(0, len(x), batch_size):
                xb, yb = shuffled_x[:, start : start + batch_size], shuffled_y[:, start : start + batch_size]
                h1, h2, output = forward(xb)
                error = output.sub_(yb).mul_(1 / yb.shape[1])
                torch.bmm(h2.mT, error, out=gw3)
                torch.sum(error, 1, keepdim=True, out=gb3)
                error = torch.bmm(error, w3.mT).mul_(h2 > 0)
                torch.bmm(h1.mT, error, out=gw2)
                torch.sum(error, 1, keepdim=True, out=gb2)
                error = torch.bmm(error, w2.mT).mul_(h1 > 0)
                torch.bmm(xb.mT, error, out=gw1)
                torch.sum(error, 1, keepdim=True, out=gb1)

                step += 1
                gradient.add_(theta, alpha=weight_decay)
                first.lerp_(gradient, 0.1)
                second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
                scale = (second / (1 - 0.999**step)).sqrt_().add_(1e-8)
                theta.addcdiv_(first, scale, value=-learning_rate / (1 - 0.9**step))
        return forward(x_test.expand(n_nets, -1, -1))[2].double().numpy()


def mlp_scores(
    states: NDArray, factors: NDArray, *, split: NDArray, kinds: Sequence[str] | None = None, seed: int = 0
) -> ProbeScores:
    """Return test R^2 and squared error per factor of the network probe (see `mlp_r2`)."""
    return probe(_mlp, states, factors, split=split, kinds=kinds, seed=seed)


@metric(
    "mlp_r2",
    better="higher",
    range=(-np.inf, 1.0),
    needs=("split", "kinds", "names", "roles", "seed"),
    shifts=1,
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
) -> dict[str, float]:
    """Non-linear decodability: test R^2 of a small network with one output per factor column.

    Two hidden layers of 64 ReLU units, Adam (Kingma & Ba 2015) at 1e-3 with weight decay 1e-4, 150 epochs of
    batches of 256; mean R^2 of three initialisations. Below 1; noise scores below 0 because the network
    overfits. The global random state stays as it is.

    Args:
        states: (N, d) latents.
        factors: (N, K) ground truth.
        split: (N,) 0 train, 1 validation (unused), 2 test, by whole episodes.
        kinds: K entries of "continuous", "angular" or "categorical".
        names: K factor names, the keys of the result.
        roles: K entries of "task", "distractor" or "nuisance".
        seed: seed of initial weights and batches.

    Returns:
        "mean" of max(0, R^2) over task factors, and R^2 per factor, NaN for a constant one.
    """
    return _summarise(mlp_scores(states, factors, split=split, kinds=kinds, seed=seed), factors, names, roles)
