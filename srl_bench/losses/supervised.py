"""Regression of the ground truth: the ceiling that self-supervised losses are compared to."""

from __future__ import annotations

import torch
from torch import Tensor

from srl_bench.batch import Batch
from srl_bench.errors import ConfigError
from srl_bench.objective import Loss, Spec


class Supervised(Loss):
    """The state itself is the standardised ground-truth factor vector."""

    needs = ("obs", "factors")
    symbol = r"\mathbb{E}\,\lVert s_t - y_t \rVert^2 / K"

    def build(self, spec: Spec) -> None:
        if spec.state_dim != len(spec.factor_mean):
            raise ConfigError(
                f"the supervised loss reads {len(spec.factor_mean)} dimensions of the state, one per factor, "
                f"not {spec.state_dim}; give it such a slice."
            )
        self.register_buffer("mean", torch.tensor(spec.factor_mean))
        self.register_buffer("std", torch.tensor(spec.factor_std))

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) the squared error averaged over factors."""
        return (batch.state - (batch.factors - self.mean) / self.std).square().mean(1)
