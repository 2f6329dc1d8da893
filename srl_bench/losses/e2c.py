"""Embed to control: a locally linear transition between Gaussian states (Watter et al. 2015).

The next state is predicted as A s + B a + c with A = I + v r^T, where v, r, B and c depend on s ("local") or
are the same everywhere ("global", for any A), or by a network without structure ("nonlinear").
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from srl_bench.batch import Batch
from srl_bench.errors import ConfigError
from srl_bench.losses.autoencoding import Reconstruction, decode
from srl_bench.losses.variational import gaussian_kl_per_sample
from srl_bench.nets.heads import mlp
from srl_bench.objective import Loss, Spec

HIDDEN = 128


def e2c_kl_per_sample(
    mean: Tensor, logvar: Tensor, v: Tensor, r: Tensor, next_mean: Tensor, next_logvar: Tensor
) -> Tensor:
    """Return (B,) the divergence that `e2c_kl` averages."""
    variance, precision = logvar.exp(), (-next_logvar).exp()
    trace = (variance * (1 + 2 * v * r) * precision).sum(-1)
    trace = trace + (v.square() * precision).sum(-1) * (r.square() * variance).sum(-1)
    quadratic = ((next_mean - mean).square() * precision).sum(-1)
    # log det(A diag(variance) A^T), where det A = 1 + v^T r may cross zero.
    log_determinant = logvar.sum(-1) + 2 * ((1 + (v * r).sum(-1)).abs() + 1e-6).log()
    return 0.5 * (trace + quadratic - mean.shape[-1] + next_logvar.sum(-1) - log_determinant)


def e2c_kl(mean: Tensor, logvar: Tensor, v: Tensor, r: Tensor, next_mean: Tensor, next_logvar: Tensor) -> Tensor:
    """Return KL[N(mean, A diag(exp logvar) A^T) || N(next_mean, diag(exp next_logvar))], A = I + v r^T.

    Args:
        mean: (B, d) the predicted mean A mu + B a + c.
        logvar: (B, d) log-variance of the current state, before A acts on it.
        v, r: (B, d) the rank-one part of A.
        next_mean, next_logvar: (B, d) the encoding of the next observation.

    Returns:
        A scalar in nats: summed over dimensions, averaged over the batch.
    """
    return e2c_kl_per_sample(mean, logvar, v, r, next_mean, next_logvar).mean()


def dense_kl_per_sample(mean: Tensor, logvar: Tensor, a: Tensor, next_mean: Tensor, next_logvar: Tensor) -> Tensor:
    """Return (B,) the same divergence for one matrix A (d, d) without structure."""
    variance, precision = logvar.exp(), (-next_logvar).exp()
    trace = (precision * (variance @ a.square().T)).sum(-1)
    quadratic = ((next_mean - mean).square() * precision).sum(-1)
    log_determinant = logvar.sum(-1) + 2 * torch.linalg.slogdet(a).logabsdet
    return 0.5 * (trace + quadratic - mean.shape[-1] + next_logvar.sum(-1) - log_determinant)


class LocalTransition(nn.Module):
    """s' = A s + B a + c with A = I + v r^T, where v, r, B and c are functions of the state."""

    def __init__(self, state_dim: int, action_dim: int) -> None:
        super().__init__()
        self.sizes = (state_dim, state_dim, state_dim, state_dim * action_dim)
        self.net = mlp([state_dim, HIDDEN, HIDDEN, sum(self.sizes)])
        with torch.no_grad():  # start near A = I, far from where its determinant vanishes
            self.net[-1].weight.mul_(0.1)  # type: ignore[operator]

    def coefficients(self, at: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return v, r, c (B, d) and B (B, d, m), linearised at the states (B, d)."""
        v, r, c, matrix = self.net(at).split(self.sizes, dim=1)
        return v, r, c, matrix.unflatten(1, (v.shape[1], -1))

    def predict(self, state: Tensor, at: Tensor, action: Tensor) -> Tensor:
        """Return (B, d) the next state, with the coefficients linearised `at` a state."""
        v, r, c, matrix = self.coefficients(at)
        return state + v * (r * state).sum(-1, keepdim=True) + torch.einsum("bdm,bm->bd", matrix, action) + c

    def divergence(self, batch: Batch) -> Tensor:
        """Return (B,) the divergence of the predicted Gaussian from the encoded one."""
        v, r, _, _ = self.coefficients(batch.state)
        mean = self.predict(batch.mean, batch.state, batch.action_vector)
        return e2c_kl_per_sample(mean, batch.logvar, v, r, batch.next_mean, batch.next_logvar)


class GlobalTransition(nn.Module):
    """s' = A s + B a + c with one A, B and c for all states."""

    def __init__(self, state_dim: int, action_dim: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.eye(state_dim) + 0.01 * torch.randn(state_dim, state_dim))
        self.b = nn.Linear(action_dim, state_dim)

    def predict(self, state: Tensor, at: Tensor, action: Tensor) -> Tensor:
        """Return (B, d) the next state; `at` makes no difference to a linear system."""
        return state @ self.a.T + self.b(action)

    def divergence(self, batch: Batch) -> Tensor:
        """Return (B,) the divergence of the predicted Gaussian from the encoded one."""
        mean = self.predict(batch.mean, batch.state, batch.action_vector)
        return dense_kl_per_sample(mean, batch.logvar, self.a, batch.next_mean, batch.next_logvar)


class NonlinearTransition(nn.Module):
    """s' ~ N(s + f(s, a), diag(exp l(s, a))), both by one network."""

    def __init__(self, state_dim: int, action_dim: int) -> None:
        super().__init__()
        self.net = mlp([state_dim + action_dim, HIDDEN, HIDDEN, 2 * state_dim])

    def gaussian(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance (B, d) of the next state."""
        step, logvar = self.net(torch.cat([state, action], dim=1)).chunk(2, dim=1)
        return state + step, logvar.clamp(-10, 4)

    def predict(self, state: Tensor, at: Tensor, action: Tensor) -> Tensor:
        """Return (B, d) the mean of the next state; nothing is linearised, so `at` makes no difference."""
        return self.gaussian(state, action)[0]

    def divergence(self, batch: Batch) -> Tensor:
        """Return (B,) the divergence of the predicted Gaussian from the encoded one."""
        mean, logvar = self.gaussian(batch.mean, batch.action_vector)
        return gaussian_kl_per_sample(mean, logvar, batch.next_mean, batch.next_logvar)


TRANSITIONS = {"local": LocalTransition, "global": GlobalTransition, "nonlinear": NonlinearTransition}


def _shared_transition(kind: str, spec: Spec) -> nn.Module:
    return spec.shared(f"{kind} transition", lambda: TRANSITIONS[kind](spec.state_dim, spec.action_dim))


def _check_transition(kind: str) -> None:
    if kind not in TRANSITIONS:
        raise ConfigError(f"the transition is 'local', 'global' or 'nonlinear', not {kind!r}.")


class NextReconstruction(Reconstruction):
    """Decode the next observation from the state that the transition predicts for it."""

    transition: str = "local"

    needs: ClassVar[tuple[str, ...]] = ("obs", "action", "next_obs")
    variational = True
    symbol = r"\mathbb{E}\,\ell\left(g(A s_t + B a_t + c),\, o_{t+1}\right)"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_transition(self.transition)

    def build(self, spec: Spec) -> None:
        super().build(spec)
        self.model = _shared_transition(self.transition, spec)

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) the reconstruction error of o_{t+1}."""
        predicted = self.model.predict(batch.state, batch.state, batch.action_vector)  # type: ignore[operator]
        return self.error(decode(self.decoder, batch, predicted), batch.next_obs)


class E2CTransition(Loss):
    """Divergence of the predicted Gaussian of the next state from the encoded one, in nats."""

    transition: str = "local"

    needs = ("obs", "action", "next_obs")
    variational = True
    prevents_collapse = False
    symbol = (
        r"D_\mathrm{KL}\left[\mathcal{N}(A\mu_t + B a_t + c,\, A\Sigma_t A^\top)\,\Vert\,"
        r"q(s_{t+1} \mid o_{t+1})\right]"
    )

    def __post_init__(self) -> None:
        _check_transition(self.transition)

    def build(self, spec: Spec) -> None:
        self.model = _shared_transition(self.transition, spec)

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) the divergence."""
        return self.model.divergence(batch)  # type: ignore[operator]
