"""Terms on positions of consecutive frames, and on the velocities between them (Jonschkowski et al. 2017, 1705.09805).

Velocities are differences of positions, v_t = s_t - s_{t-1}; a scale of theirs is a matter of the weights.
"""

from __future__ import annotations

import torch
from torch import Tensor

from srl_bench.batch import Batch
from srl_bench.errors import ConfigError
from srl_bench.objective import Loss, Spec


def inertia(positions: Tensor) -> Tensor:
    """Return (B,) the mean over time of ||v_{t+1} - v_t||^2 for positions (B, T, d), T > 2."""
    return positions.diff(n=2, dim=1).square().sum(-1).mean(1)


def conservation(positions: Tensor) -> Tensor:
    """Return (B,) the mean over time of (||v_{t+1}|| - ||v_t||)^2 for positions (B, T, d), T > 2."""
    # The constant keeps the gradient of the norm finite where nothing moves.
    speed = (positions.diff(dim=1).square().sum(-1) + 1e-12).sqrt()
    return speed.diff(dim=1).square().mean(1)


def controllability(acceleration: Tensor, action: Tensor) -> Tensor:
    """Return the sum over i of exp(-Cov(a_i, (v_{t+1} - v_t)_i)), a scalar.

    Args:
        acceleration: (B, d), the change of velocity that the action brought about.
        action: (B, m), m <= d: dimension i of the action is to accelerate dimension i of the position.
    """
    matched = acceleration[:, : action.shape[1]]
    covariance = ((action - action.mean(0)) * (matched - matched.mean(0))).mean(0)
    return torch.exp(-covariance).sum()


class Inertia(Loss):
    """Velocities change slowly."""

    needs = ("obs",)
    horizon = 3
    prevents_collapse = False
    symbol = r"\mathbb{E}\,\lVert (s_{t+1} - s_t) - (s_t - s_{t-1}) \rVert^2"

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) the `inertia` of three frames."""
        return inertia(batch.states[:, :3])


class Conservation(Loss):
    """Speeds change slowly."""

    needs = ("obs",)
    horizon = 3
    prevents_collapse = False
    symbol = r"\mathbb{E}\left(\lVert s_{t+1} - s_t \rVert - \lVert s_t - s_{t-1} \rVert\right)^2"

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) the `conservation` of three frames."""
        return conservation(batch.states[:, :3])


class Controllability(Loss):
    """Each dimension of the action accelerates a dimension of the position of its own.

    Actions are divided by their deviation in the minibatch, accelerations multiplied by `scale`. It fixes the order
    of the axes, and asks for as many dimensions as the action has.
    """

    scale: float = 1.0

    needs = ("obs", "action")
    horizon = 3
    symbol = r"\sum_i e^{-\mathrm{Cov}\left(a^i_t,\, (v_{t+1} - v_t)^i\right)}"

    def build(self, spec: Spec) -> None:
        if spec.action_dim > spec.state_dim:
            raise ConfigError(
                f"controllability needs a dimension of the position for each of the {spec.action_dim} dimensions of "
                f"the action; there are {spec.state_dim}."
            )

    def forward(self, batch: Batch) -> Tensor:
        """Return the scalar `controllability` of the action between the last two of three frames."""
        action = batch.actions[:, 1]
        deviation = (action - action.mean(0)).square().mean(0).sqrt().clamp(min=1e-6)
        acceleration = self.scale * batch.states[:, :3].diff(n=2, dim=1)[:, 0]
        return controllability(acceleration, action / deviation)
