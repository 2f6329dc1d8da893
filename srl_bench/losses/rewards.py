"""Prediction of the reward, and correlation with it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from srl_bench.batch import Batch
from srl_bench.errors import ConfigError, DataError
from srl_bench.nets.heads import mlp
from srl_bench.objective import Loss, Spec

MAX_CLASSES = 8


def require_rewards(spec: Spec, consequence: str) -> None:
    """Raise `DataError` if all rewards of the training transitions are equal."""
    if len(spec.reward_values) < 2:
        raise DataError(
            f"all rewards of the training episodes equal {spec.reward_values}{consequence} Drop the term, or record "
            "more frames or with the scripted policy."
        )


def reward_correlation(state: Tensor, reward: Tensor) -> Tensor:
    """Return 1 - mean_j |corr(s_j, r)| over the dimensions j of states (B, d), a scalar in [0, 1].

    Exactly 0, without gradient, if all rewards (B,) are equal; a constant dimension has correlation 0.
    """
    state, centred = state - state.mean(0), reward - reward.mean()
    # The constant keeps the gradient finite where a dimension does not vary.
    norms = (state.square().sum(0) + 1e-12).sqrt() * (centred.square().sum() + 1e-12).sqrt()
    value = 1 - ((state * centred[:, None]).sum(0) / norms).abs().mean()
    return torch.where(reward.min() == reward.max(), torch.zeros_like(value), value)


class Reward(Loss):
    """Predict the reward of a transition from its two states (Raffin et al. 2018; Jaderberg et al. 2016).

    Up to 8 distinct rewards are classes, balanced within the batch because most rewards are zero; more
    are standardised and regressed with a Huber loss.
    """

    hidden: int = 64

    needs = ("obs", "reward", "next_obs")
    symbol = r"\mathbb{E}\left[-\log p(r_t \mid s_t, s_{t+1})\right]"

    def __post_init__(self) -> None:
        if self.hidden < 1:
            raise ConfigError(f"hidden must be at least 1, not {self.hidden}.")

    def build(self, spec: Spec) -> None:
        require_rewards(spec, "; there is nothing to predict.")
        values = torch.tensor(spec.reward_values)
        self.classes = len(values) <= MAX_CLASSES
        self.register_buffer("values", values)
        self.mean, self.std = spec.reward_mean, spec.reward_std
        self.model = mlp([2 * spec.state_dim, self.hidden, self.hidden, len(values) if self.classes else 1])

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) the weighted error of the predicted reward."""
        values = self.get_buffer("values")
        prediction = self.model(torch.cat([batch.state, batch.next_state], dim=1))
        if not self.classes:
            reward = (batch.reward - self.mean) / self.std
            return functional.huber_loss(prediction[:, 0], reward, reduction="none")
        labels = torch.searchsorted(values, batch.reward).clamp(max=len(values) - 1)
        counts = torch.bincount(labels, minlength=len(values))
        weights = len(labels) / (counts[labels] * (counts > 0).sum())
        return weights * functional.cross_entropy(prediction, labels, reduction="none")


class RewardCorrelation(Loss):
    """Every dimension of the state correlates with the reward, whatever the sign (Raffin et al. 2018).

    All dimensions as copies of the reward are optimal; combine it with a term that needs more.
    """

    needs = ("obs", "reward")
    reward_oversampling = 0.25  # a batch of equal rewards has no correlation
    symbol = r"\left(1 - \tfrac{1}{d} \sum_j \left| \mathrm{corr}(s^j_t, r_t) \right|\right)"

    def build(self, spec: Spec) -> None:
        require_rewards(spec, "; nothing correlates with them.")

    def forward(self, batch: Batch) -> Tensor:
        """Return the scalar `reward_correlation`."""
        return reward_correlation(batch.state, batch.reward)
