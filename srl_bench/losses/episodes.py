"""States that do not tell which episode they are of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from srl_bench.batch import Batch
from srl_bench.errors import ConfigError
from srl_bench.losses.moments import far
from srl_bench.nets.heads import mlp
from srl_bench.objective import Loss, Spec


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.scale * gradients[0], None


def reverse_gradient(x: Tensor, scale: float = 1.0) -> Tensor:
    """Return x, whose gradient comes back times -scale (Ganin & Lempitsky 2015, 1409.7495)."""
    return _Reversal.apply(x, scale)


class EpisodeIndependence(Loss):
    """A discriminator of pairs of states, of one episode or of two, that the encoder works against.

    Every sample is in two pairs: with another moment of its episode, and with the next sample of the batch if
    that is of another episode. Both kinds weigh the same, so that a discriminator at chance has log 2. The
    gradient is reversed on its way to the encoder, `reversal` times as long (Raffin et al. 2018, with Ganin &
    Lempitsky 2015). The discriminator reads standardised states: the cross-entropy has no upper bound, and the
    encoder would win by ever longer states. A constant state is the encoder's best answer, so combine it with a
    term that holds it open. It costs a pass of its own through the encoder.
    """

    reversal: float = 1.0
    hidden: int = 64

    needs = ("obs",)
    prevents_collapse = False
    symbol = r"\max_\phi \min_D\, \mathbb{E}\left[-\log D(e_i = e_j \mid s_i, s_j)\right]"

    def __post_init__(self) -> None:
        if self.reversal < 0 or self.hidden < 1:
            raise ConfigError(
                f"reversal must not be negative and hidden at least 1, not {self.reversal} and {self.hidden}."
            )

    def build(self, spec: Spec) -> None:
        self.discriminator = mlp([2 * spec.state_dim, self.hidden, self.hidden, 1])

    def forward(self, batch: Batch) -> Tensor:
        """Return the discriminator's mean cross-entropy, a scalar."""
        rows, paired = far(batch.row, *batch.episode_rows, 0)
        states = standardised(torch.cat([batch.state, batch.encode_rows(rows)]))
        state, partner = reverse_gradient(states, self.reversal).chunk(2)
        same = self.discriminator(torch.cat([state, partner], dim=1))[:, 0]
        different = self.discriminator(torch.cat([state, state.roll(1, dims=0)], dim=1))[:, 0]
        strangers = batch.episode != batch.episode.roll(1, dims=0)
        return 0.5 * (_mean(functional.softplus(-same), paired) + _mean(functional.softplus(different), strangers))


def standardised(states: Tensor) -> Tensor:
    """Return states (N, d) with mean 0 and deviation 1 in each dimension; constant dimensions become 0."""
    centred = states - states.mean(0)
    return centred / (centred.square().mean(0) + 1e-12).sqrt()


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Return the mean of the chosen values, 0 if there are none."""
    return (values * chosen).sum() / chosen.sum().clamp(min=1)
