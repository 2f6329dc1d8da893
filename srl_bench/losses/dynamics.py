"""Forward and inverse models in state space."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from srl_bench.batch import Batch
from srl_bench.errors import ConfigError
from srl_bench.nets.heads import mlp
from srl_bench.objective import Loss, Spec


class Forward(Loss):
    """Predict the next state from state and action: f(s, a) = s + W [s; a] + b, or s + MLP([s; a]).

    The gradient flows into both states unless `target` is "detach". A constant state is a perfect solution,
    so combine it with a term that prevents collapse (Lesort et al. 2018, section 3.2).
    """

    kind: str = "linear"
    hidden: int = 128
    target: str = "gradient"

    needs = ("obs", "action", "next_obs")
    prevents_collapse = False
    symbol = r"\mathbb{E}\,\lVert f(s_t, a_t) - s_{t+1} \rVert^2 / d"

    def __post_init__(self) -> None:
        check_head(self.kind, self.hidden)
        if self.target not in ("gradient", "detach"):
            raise ConfigError(f"target must be 'gradient' or 'detach', not {self.target!r}.")

    def build(self, spec: Spec) -> None:
        inputs = spec.state_dim + spec.action_dim
        self.model = make_head(self.kind, inputs, self.hidden, spec.state_dim)

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) the squared error of the predicted next state, averaged over dimensions."""
        target = batch.next_state if self.target == "gradient" else batch.next_state.detach()
        step = self.model(torch.cat([batch.state, batch.action_vector], dim=1))
        return (batch.state + step - target).square().mean(1)


class Inverse(Loss):
    """Recover the action from the two states around it (Agrawal et al. 2016; Pathak et al. 2017).

    Cross-entropy for discrete actions, squared error averaged over dimensions for continuous ones.
    """

    kind: str = "mlp"
    hidden: int = 128

    needs = ("obs", "action", "next_obs")
    symbol = r"\mathbb{E}\left[-\log p(a_t \mid s_t, s_{t+1})\right]"

    def __post_init__(self) -> None:
        check_head(self.kind, self.hidden)

    def build(self, spec: Spec) -> None:
        self.discrete = spec.n_actions > 0
        self.model = make_head(self.kind, 2 * spec.state_dim, self.hidden, spec.action_dim)

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) the error of the recovered action."""
        prediction = self.model(torch.cat([batch.state, batch.next_state], dim=1))
        if self.discrete:
            return functional.cross_entropy(prediction, batch.action, reduction="none")
        return (prediction - batch.action).square().mean(1)


def make_head(kind: str, inputs: int, hidden: int, outputs: int) -> nn.Module:
    """Return a linear map, or a network of two hidden layers."""
    return mlp([inputs, outputs] if kind == "linear" else [inputs, hidden, hidden, outputs])


def check_head(kind: str, hidden: int) -> None:
    """Raise `ConfigError` unless `kind` is "linear" or "mlp" and its hidden layers have a unit."""
    if kind not in ("linear", "mlp"):
        raise ConfigError(f"kind must be 'linear' or 'mlp', not {kind!r}.")
    if hidden < 1:
        raise ConfigError(f"hidden must be at least 1, not {hidden}.")
