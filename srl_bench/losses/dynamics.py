"""Forward and inverse models in state space."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from srl_bench.batch import Batch
from srl_bench.errors import ConfigError
from srl_bench.losses.variational import gaussian_log_density
from srl_bench.nets.heads import mlp
from srl_bench.objective import Loss, Spec

TARGETS = ("gradient", "detach", "average")


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
    `target` (s') is "detach"; the target "average" is the state that a moving average of the encoder gives. The
    error is squared and averaged over dimensions ("l2"), absolute and averaged ("l1"), or half the sum of squares
    ("gaussian": minus the log-likelihood of a unit Gaussian, up to a constant). A constant state is a perfect
    solution, so combine it with a term that prevents collapse (Lesort et al. 2018, section 3.2).
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
        for name, flow, known in (("target", self.target, TARGETS), ("source", self.source, TARGETS[:2])):
            if flow not in known:
                raise ConfigError(f"{name} must be one of {', '.join(known)}, not {flow!r}.")
        if self.norm not in ("l2", "l1", "gaussian"):
            raise ConfigError(f"norm must be 'l2', 'l1' or 'gaussian', not {self.norm!r}.")

    @property
    def target_rate(self) -> float:  # type: ignore[override]
        """Rate of the target network, if there is one."""
        return 0.01 if self.target == "average" else 0.0

    def build(self, spec: Spec) -> None:
        inputs = spec.state_dim + spec.action_dim
        self.model = make_head(self.kind, inputs, self.hidden, spec.state_dim)

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) the error of the predicted next state."""
        state = batch.state if self.source == "gradient" else batch.state.detach()
        target = batch.target_next_state if self.target == "average" else batch.next_state
        target = target.detach() if self.target == "detach" else target
        prediction = self.model(torch.cat([state, batch.action_vector], dim=1))
        error = prediction + state - target if self.residual else prediction - target
        if self.norm == "l1":
            return error.abs().mean(1)
        return error.square().mean(1) if self.norm == "l2" else 0.5 * error.square().sum(1)


class Inverse(Loss):
    """Recover the action from the two states around it (Agrawal et al. 2016; Pathak et al. 2017).

    Cross-entropy for discrete actions. For continuous ones the `likelihood` is "mse", the squared error averaged over
    dimensions; "gaussian", minus the log-likelihood of a Gaussian whose deviations are learned; or "mixture", that of
    `components` Gaussians, for policies of several minds.
    """

    kind: str = "mlp"
    hidden: int = 128
    likelihood: str = "mse"
    components: int = 5

    needs = ("obs", "action", "next_obs")
    symbol = r"\mathbb{E}\left[-\log p(a_t \mid s_t, s_{t+1})\right]"

    def __post_init__(self) -> None:
        check_head(self.kind, self.hidden)
        if self.likelihood not in ("mse", "gaussian", "mixture") or self.components < 1:
            raise ConfigError(
                f"likelihood must be 'mse', 'gaussian' or 'mixture' of at least one component, not "
                f"{self.likelihood!r} of {self.components}."
            )

    def build(self, spec: Spec) -> None:
        self.discrete = spec.n_actions > 0
        if self.discrete and self.likelihood != "mse":
            raise ConfigError(f"likelihood={self.likelihood!r} is for continuous actions; these are discrete.")
        outputs = spec.action_dim
        if self.likelihood == "gaussian":
            self.log_deviation = nn.Parameter(torch.zeros(spec.action_dim))
        if self.likelihood == "mixture":
            outputs = self.components * (1 + 2 * spec.action_dim)
        self.model = make_head(self.kind, 2 * spec.state_dim, self.hidden, outputs)
        if self.likelihood == "mixture":
            # Components that begin at one place stay together: spread their means over the range of actions.
            with torch.no_grad():
                last = self.model[-1]
                assert isinstance(last, nn.Linear)
                bias = last.bias[self.components :].unflatten(0, (self.components, -1))
                bias[:, : spec.action_dim] += torch.linspace(-1, 1, self.components)[:, None]

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) the error of the recovered action."""
        prediction = self.model(torch.cat([batch.state, batch.next_state], dim=1))
        if self.discrete:
            return functional.cross_entropy(prediction, batch.action, reduction="none")
        if self.likelihood == "mixture":
            return -mixture_log_density(batch.action, prediction, self.components)
        if self.likelihood == "gaussian":
            return -gaussian_log_density(batch.action, prediction, 2 * self.log_deviation.clamp(-5, 2))
        return (prediction - batch.action).square().mean(1)


def mixture_log_density(x: Tensor, parameters: Tensor, components: int) -> Tensor:
    """Return (B,) the log-density of x (B, m) under mixtures of diagonal Gaussians (Bishop 1994).

    `parameters` (B, components (1 + 2 m)) are logits, means and log-variances, the latter clamped to [-10, 4].
    """
    logits, rest = parameters.split((components, parameters.shape[1] - components), dim=1)
    means, logvars = rest.unflatten(1, (components, -1)).chunk(2, dim=-1)
    densities = gaussian_log_density(x[:, None], means, logvars.clamp(-10, 4))
    return torch.logsumexp(logits.log_softmax(1) + densities, dim=1)


class FactorisedInverse(Loss):
    """Recover the action dimension by dimension, each as one of `bins` intervals (Agrawal et al. 2016, section 4).

    p(a | s, s') = p(a_1 | s, s') p(a_2 | a_1, s, s') ...: each dimension has a head that also reads the true bins of
    those before it. A discrete action is a single dimension with its own values for bins.
    """

    bins: int = 15
    hidden: int = 128

    needs = ("obs", "action", "next_obs")
    symbol = r"\mathbb{E}\left[-\sum_i \log p(a^i_t \mid a^{<i}_t, s_t, s_{t+1})\right]"

    def __post_init__(self) -> None:
        check_head("mlp", self.hidden)
        if self.bins < 2:
            raise ConfigError(f"bins must be at least 2, not {self.bins}.")

    def build(self, spec: Spec) -> None:
        self.discrete = spec.n_actions > 0
        self.classes = spec.n_actions or self.bins
        dimensions = 1 if self.discrete else spec.action_dim
        inputs = [2 * spec.state_dim + index * self.classes for index in range(dimensions)]
        self.heads = nn.ModuleList(make_head("mlp", size, self.hidden, self.classes) for size in inputs)

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) the cross-entropy, summed over the dimensions of the action."""
        seen = torch.cat([batch.state, batch.next_state], dim=1)
        if self.discrete:
            labels = batch.action[:, None]
        else:
            labels = ((batch.action + 1) / 2 * self.bins).long().clamp(0, self.bins - 1)
        total = torch.zeros(len(seen), device=seen.device)
        for index, head in enumerate(self.heads):
            total = total + functional.cross_entropy(head(seen), labels[:, index], reduction="none")
            seen = torch.cat([seen, functional.one_hot(labels[:, index], self.classes).float()], dim=1)
        return total


def make_head(kind: str, inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Return a linear map, or a network of two hidden layers."""
    return mlp([inputs, outputs] if kind == "linear" else [inputs, hidden, hidden, outputs])


def check_head(kind: str, hidden: int) -> None:
    """Raise `ConfigError` unless `kind` is "linear" or "mlp" and its hidden layers have a unit."""
    if kind not in ("linear", "mlp"):
        raise ConfigError(f"kind must be 'linear' or 'mlp', not {kind!r}.")
    if hidden < 1:
        raise ConfigError(f"hidden must be at least 1, not {hidden}.")
