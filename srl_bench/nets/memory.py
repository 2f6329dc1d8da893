"""Memories: from the encodings of single frames to states that depend on the history of an episode."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from srl_bench.errors import ConfigError
from srl_bench.registry import memory


class Memory(nn.Module):
    """Base of memories: takes one step of B episodes at once.

    Attributes:
        size: length of what is held from step to step.
        state_dim: dimensions of the states.
        action_dim: length of the action vectors; -1 for any, if the memory ignores them.
    """

    size: int
    state_dim: int
    action_dim: int

    def forward(self, held: Tensor, encoded: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Take one step.

        Args:
            held: (B, size) what was held before: zeros at the start of an episode, where the first column is 1 later.
            encoded: (B, d) the encodings of the new frames.
            action: (B, m) vectors of the actions that led to them, zeros at the start of an episode.

        Returns:
            What is held now (B, size), and the states (B, state_dim).
        """
        raise NotImplementedError(f"{type(self).__name__} defines no forward(held, encoded, action).")


@memory("velocity")
class Velocity(Memory):
    """Position and velocity [p; scale (p - p_before)] (Jonschkowski et al. 2017, 1705.09805, section 3).

    The velocity is computed, never predicted, and 0 at the start of an episode.
    """

    def __init__(self, encoded_dim: int, scale: float = 10.0) -> None:
        super().__init__()
        if scale <= 0:
            raise ConfigError(f"the scale of velocities must be positive, not {scale}.")
        self.scale = scale
        self.size, self.state_dim, self.action_dim = encoded_dim + 1, 2 * encoded_dim, -1

    def forward(self, held: Tensor, encoded: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is held next, [1; p], and the states (B, 2 d)."""
        begun, before = held[:, :1], held[:, 1:]
        velocity = self.scale * begun * (encoded - before)
        return torch.cat([torch.ones_like(begun), encoded], dim=1), torch.cat([encoded, velocity], dim=1)
