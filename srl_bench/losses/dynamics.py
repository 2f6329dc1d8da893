"""Forward and inverse models in state space."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from srl_bench.batch import Batch
from srl_bench.errors import ConfigError
from srl_bench.nets.heads import mlp
from srl_bench.objective import Loss, Spec


@torch.no_grad()
def intrinsic_reward(
    state: Tensor, action_vector: Tensor, next_state: Tensor, model: nn.Module, eta: float = 0.01
) -> Tensor:
    """Return (B,) eta / 2 ||f([s; a]) - s'||^2, the bonus of a curious agent (Pathak et al. 2017, eq. 6).

    `model` is the f of `Forward(residual=False)`; no gradient flows.
    """
    prediction = model(torch.cat([state, action_vector], dim=1))
    return 0.5 * eta * (prediction - next_state).square().sum(1)


class Forward(Loss):
    """Predict the next state from state and action: f(s, a) = s + W [s; a] + b, or s + MLP([s; a]).

    Without `residual` the model predicts s' itself. The gradient flows into both states unless `source` (s) or
    `target` (s') is "detach". The error is squared and averaged over dimensions ("l2"), absolute and averaged
    ("l1"), or half the sum of squares ("gaussian": minus the log-likelihood of a unit Gaussian, up to a constant).
    A constant state is a perfect solution, so combine it with a term that prevents collapse (Lesort et al. 2018,
    section 3.2).
    """

    kind: str = "linear"
    hidden: int = 128
    target: str = "gradient"
    source: str = "gradient"
    norm: str = "l2"
    residual: bool = True

    needs = ("obs", "action", "next_obs")
    prevents_collapse = False
    symbol = r"\mathbb{E}\,\ell\left(f(s_t, a_t),\, s_{t+1}\right)"

    def __post_init__(self) -> None:
        check_head(self.kind, self.hidden)
        for name, flow in (("target", self.target), ("source", self.source)):
            if flow not in ("gradient", "detach"):
                raise ConfigError(f"{name} must be 'gradient' or 'detach', not {flow!r}.")
        if self.norm not in ("l2", "l1", "gaussian"):
            raise ConfigError(f"norm must be 'l2', 'l1' or 'gaussian', not {self.norm!r}.")

    def build(self, spec: Spec) -> None:
        inputs = spec.state_dim + spec.action_dim
        self.model = make_head(self.kind, inputs, self.hidden, spec.state_dim)

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) the error of the predicted next state."""
        state = batch.state if self.source == "gradient" else batch.state.detach()
        target = batch.next_state if self.target == "gradient" else batch.next_state.detach()
        prediction = self.model(torch.cat([state, batch.action_vector], dim=1))
        error = prediction + state - target if self.residual else prediction - target
        if self.norm == "l1":
            return error.abs().mean(1)
        return error.square().mean(1) if self.norm == "l2" else 0.5 * error.square().sum(1)


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
