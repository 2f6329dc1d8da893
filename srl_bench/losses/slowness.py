"""Slowness, and the variability that keeps it from collapsing."""

from __future__ import annotations

import torch
from torch import Tensor

from srl_bench.batch import Batch
from srl_bench.objective import Loss


def temporal_coherence(state: Tensor, next_state: Tensor) -> Tensor:
    """Return E ||s' - s||^2, a scalar (Jonschkowski & Brock 2015, eq. 2)."""
    return (next_state - state).square().sum(-1).mean()


def variability(state_a: Tensor, state_b: Tensor) -> Tensor:
    """Return E exp(-||s_a - s_b||), a scalar in (0, 1]; 1 for a constant state.

    The norm is not squared (Jonschkowski et al. 2017, section 3).
    """
    return torch.exp(-torch.linalg.vector_norm(state_a - state_b, dim=-1)).mean()


class TemporalCoherence(Loss):
    """States change slowly. Collapses alone: a constant state is perfect."""

    needs = ("obs", "next_obs")
    prevents_collapse = False
    symbol = r"\mathbb{E}\,\lVert s_{t+1} - s_t \rVert^2"

    def forward(self, batch: Batch) -> Tensor:
        """Return the scalar `temporal_coherence`."""
        return temporal_coherence(batch.state, batch.next_state)


class Variability(Loss):
    """States of different times differ; pairs are neighbours in the shuffled minibatch."""

    needs = ("obs",)
    symbol = r"\mathbb{E}\, e^{-\lVert s_{t_1} - s_{t_2} \rVert}"

    def forward(self, batch: Batch) -> Tensor:
        """Return the scalar `variability` of each state and the next one in the batch."""
        return variability(batch.state, batch.state.roll(1, dims=0))
