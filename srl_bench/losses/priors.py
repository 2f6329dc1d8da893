"""Robotic priors about pairs of transitions (Jonschkowski & Brock 2015, Autonomous Robots 39(3)).

All three compare transitions of one minibatch. For discrete actions the pairs are those with equal actions.
For continuous actions every pair counts with the weight exp(-||a_i - a_j||^2 / sigma^2).
"""

from __future__ import annotations

import torch
from torch import Tensor

from srl_bench.batch import Batch
from srl_bench.losses.rewards import require_rewards
from srl_bench.objective import Loss, Spec

SIGMA = 0.4


def causality(state: Tensor, action: Tensor, reward: Tensor, *, tolerance: float = 1e-6) -> Tensor:
    """Return the mean of exp(-||s_i - s_j||^2) over pairs with the same action and different rewards.

    Args:
        state: (B, d).
        action: (B,) integers or (B, m) floats.
        reward: (B,) of the transition that starts in the state.
        tolerance: rewards that differ by less are the same.

    Returns:
        A scalar; exactly 0, without gradient, if the batch holds no such pair.
    """
    different = (reward[:, None] - reward[None]).abs() > tolerance
    return _mean(torch.exp(-_squared_distances(state)), _same_action(action) * different)


def proportionality(state: Tensor, next_state: Tensor, action: Tensor) -> Tensor:
    """Return the mean of (||Δs_i|| - ||Δs_j||)^2 over pairs with the same action, a scalar."""
    # The constant keeps the gradient of the norm finite where a state does not move.
    length = ((next_state - state).square().sum(-1) + 1e-12).sqrt()
    return _mean((length[:, None] - length[None]).square(), _same_action(action))


def repeatability(state: Tensor, next_state: Tensor, action: Tensor) -> Tensor:
    """Return the mean of exp(-||s_i - s_j||^2) ||Δs_i - Δs_j||^2 over pairs with the same action, a scalar."""
    similar = torch.exp(-_squared_distances(state))
    return _mean(similar * _squared_distances(next_state - state), _same_action(action))


def _squared_distances(x: Tensor) -> Tensor:
    return (x[:, None] - x[None]).square().sum(-1)


def _same_action(action: Tensor) -> Tensor:
    """Return (B, B) weights of pairs i < j."""
    if action.ndim == 1:
        weight = (action[:, None] == action[None]).float()
    else:
        weight = torch.exp(-_squared_distances(action) / SIGMA**2)
    return torch.triu(weight, diagonal=1)


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    total = weights.sum()
    return (values * weights).sum() / torch.where(total > 0, total, 1.0)


class Causality(Loss):
    """The same action with another reward must have started in another state."""

    needs = ("obs", "action", "reward")
    reward_oversampling = 0.25  # a batch without rewards has no pair
    symbol = r"\mathbb{E}_{a_i = a_j,\, r_i \ne r_j}\, e^{-\lVert s_i - s_j \rVert^2}"

    def build(self, spec: Spec) -> None:
        require_rewards(spec, ", so the causality prior has no pairs.")

    def forward(self, batch: Batch) -> Tensor:
        """Return the scalar `causality`."""
        return causality(batch.state, batch.action, batch.reward)


class Proportionality(Loss):
    """The same action changes the state by the same amount."""

    needs = ("obs", "action", "next_obs")
    prevents_collapse = False
    symbol = r"\mathbb{E}_{a_i = a_j} \left(\lVert \Delta s_i \rVert - \lVert \Delta s_j \rVert\right)^2"

    def forward(self, batch: Batch) -> Tensor:
        """Return the scalar `proportionality`."""
        return proportionality(batch.state, batch.next_state, batch.action)


class Repeatability(Loss):
    """The same action in similar states changes them in the same way."""

    needs = ("obs", "action", "next_obs")
    prevents_collapse = False
    symbol = r"\mathbb{E}_{a_i = a_j}\, e^{-\lVert s_i - s_j \rVert^2} \lVert \Delta s_i - \Delta s_j \rVert^2"

    def forward(self, batch: Batch) -> Tensor:
        """Return the scalar `repeatability`."""
        return repeatability(batch.state, batch.next_state, batch.action)
