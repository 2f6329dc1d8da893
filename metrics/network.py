"""The network that probes train: small, on a CPU, several initialisations at once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


def fit_networks(
    inputs: NDArray,
    targets: NDArray,
    seed: int = 0,
    *,
    n_nets: int = 3,
    width: int = 64,
    learning_rate: float = 1e-3,
    batch_size: int = 256,
    epochs: int = 150,
    weight_decay: float = 1e-4,
) -> Callable[[NDArray], NDArray]:
    """Fit S networks with two hidden layers of ReLU units and return them as (n, d) -> (S, n, C).

    They are trained at once as batched matrices, with the backward pass and Adam (Kingma & Ba 2015) written out.
    Initial weights and batches are those of scikit-learn's MLPRegressor with the seeds `seed`, `seed` + 1, ..., whose
    fits these are but for rounding. The global random state stays as it is.

    Args:
        inputs: (n, d) values of about unit variance.
        targets: (n, C) values of about unit variance.
        seed: seed of the first network's weights and batches.
        n_nets: number S of networks.
        width: units per hidden layer.
        learning_rate: step size of Adam.
        batch_size: rows per step.
        epochs: passes over the rows.
        weight_decay: penalty on half the squared weights, as a share of a row's loss in a batch.
    """
    import torch
    from sklearn.utils import shuffle

    randoms = [np.random.RandomState(seed + net) for net in range(n_nets)]
    x, y = (torch.as_tensor(np.ascontiguousarray(part), dtype=torch.float32) for part in (inputs, targets))
    sizes = [x.shape[1], width, width, y.shape[1]]
    shapes = [shape for a, b in pairwise(sizes) for shape in ((n_nets, a, b), (n_nets, 1, b))]
    numbers = [int(np.prod(shape)) for shape in shapes]
    theta, gradient, first, second = torch.zeros(4, sum(numbers))
    w1, b1, w2, b2, w3, b3 = (part.view(shape) for part, shape in zip(theta.split(numbers), shapes, strict=True))
    gw1, gb1, gw2, gb2, gw3, gb3 = (
        part.view(shape) for part, shape in zip(gradient.split(numbers), shapes, strict=True)
    )
    decay = torch.zeros_like(theta)
    for weight, bias, shrunk in zip((w1, w2, w3), (b1, b2, b3), decay.split(numbers)[::2], strict=True):
        shrunk.fill_(weight_decay)
        limit = (6 / sum(weight.shape[1:])) ** 0.5
        for net, random in enumerate(randoms):
            for part in (weight[net], bias[net]):
                part.copy_(torch.as_tensor(random.uniform(-limit, limit, tuple(part.shape))))

    def forward(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        hidden = torch.baddbmm(b1, rows, w1).relu_()
        hidden2 = torch.baddbmm(b2, hidden, w2).relu_()
        return hidden, hidden2, torch.baddbmm(b3, hidden2, w3)

    step = 0
    orders = np.tile(np.arange(len(x)), (n_nets, 1))
    with torch.no_grad():
        for _ in range(epochs):
            for net, random in enumerate(randoms):
                orders[net] = shuffle(orders[net], random_state=random)
            order = torch.as_tensor(orders)
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
                gradient.addcmul_(theta, decay, value=1 / yb.shape[1])
                first.lerp_(gradient, 0.1)
                second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
                rate = learning_rate * (1 - 0.999**step) ** 0.5 / (1 - 0.9**step)
                theta.addcdiv_(first, second.sqrt().add_(1e-8), value=-rate)

    def predict(rows: NDArray) -> NDArray:
        with torch.no_grad():
            batch = torch.as_tensor(np.ascontiguousarray(rows), dtype=torch.float32)
            return forward(batch.expand(n_nets, -1, -1))[2].double().numpy()

    return predict
