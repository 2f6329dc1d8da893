"""Memories: from the encodings of single frames to states that depend on the history of an episode."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from srl_bench.errors import ConfigError
from srl_bench.nets.heads import mlp
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


@memory("variational_filter")
class VariationalFilter(Memory):
    """The transition and recognition networks of a deep variational Bayes filter (Karl et al. 2017, 1605.06432).

    The state is z' = A z + B a + C w, where w ~ q(w | z, o', a) is the noise that the new frame betrays and A, B and
    C are mixed from `matrices` base matrices by weights that depend on z and a. The first state is a function of a
    w of the first frame alone (the paper's sees the whole sequence, which an agent cannot). In use w is its mean.
    """

    def __init__(self, encoded_dim: int, action_dim: int, matrices: int = 16, hidden: int = 64) -> None:
        super().__init__()
        if min(encoded_dim, action_dim, matrices, hidden) < 1:
            raise ConfigError(f"a filter of {encoded_dim} dimensions, {matrices} matrices and {hidden} units is empty.")
        d = encoded_dim
        self.size, self.state_dim, self.action_dim = d + 1, d, action_dim
        self.a = nn.Parameter(torch.eye(d) + 0.05 / d**0.5 * torch.randn(matrices, d, d))
        self.b = nn.Parameter(0.3 * torch.randn(matrices, d, action_dim) / d**0.5)
        self.c = nn.Parameter(0.3 * torch.randn(matrices, d, d) / d**0.5)
        self.mixing = mlp([d + action_dim, hidden, matrices])
        self.recognition = mlp([2 * d + action_dim, hidden, hidden, 2 * d])
        self.first_noise = mlp([d, hidden, 2 * d])
        self.first_state = mlp([d, hidden, d])
        with torch.no_grad():  # little noise to begin with, or nothing gets through it
            for network in (self.recognition, self.first_noise):
                network[-1].bias[d:] -= 4  # type: ignore[index, operator]

    def recognise_first(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance (B, d) of the noise behind the first frame."""
        return _gaussian(self.first_noise(encoded))

    def recognise(self, state: Tensor, encoded: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance (B, d) of the noise that led from a state to a new frame."""
        return _gaussian(self.recognition(torch.cat([state, encoded, action], dim=1)))

    def transition(self, state: Tensor, action: Tensor, noise: Tensor) -> Tensor:
        """Return the next state (B, d)."""
        shares = self.mixing(torch.cat([state, action], dim=1)).softmax(dim=1)
        return sum(
            torch.einsum("bk,kij,bj->bi", shares, matrices, x)
            for matrices, x in ((self.a, state), (self.b, action), (self.c, noise))
        )  # type: ignore[return-value]

    def forward(self, held: Tensor, encoded: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is held next, [1; z], and the states z (B, d)."""
        begun, before = held[:, :1], held[:, 1:]
        first = self.first_state(self.recognise_first(encoded)[0])
        later = self.transition(before, action, self.recognise(before, encoded, action)[0])
        state = torch.where(begun > 0, later, first)
        return torch.cat([torch.ones_like(begun), state], dim=1), state


def _gaussian(out: Tensor) -> tuple[Tensor, Tensor]:
    mean, logvar = out.chunk(2, dim=1)
    return mean, logvar.clamp(-10, 4)
