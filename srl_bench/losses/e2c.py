"""Embed to control: a locally linear transition between Gaussian states (Watter et al. 2015).

The next state is predicted as A s + B a + c with A = I + v r^T, where v, r, B and c depend on s ("local") or
are the same everywhere ("global").
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from srl_bench.batch import Batch
from srl_bench.errors import ConfigError
from srl_bench.losses.autoencoding import Reconstruction
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


class Transition(nn.Module):
    """The coefficients v, r (B, d), B (B, d, m) and c (B, d) of the transition at a state."""

    def __init__(self, kind: str, state_dim: int, action_dim: int) -> None:
        super().__init__()
        self.shape = (state_dim, action_dim)
        outputs = state_dim * (3 + action_dim)
        if kind == "local":
            self.net = mlp([state_dim, HIDDEN, HIDDEN, outputs])
            with torch.no_grad():
                self.net[-1].weight.mul_(0.1)  # type: ignore[operator]
        self.bias = nn.Parameter(0.01 * torch.randn(outputs))

    def forward(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return v, r, B, c at the states (B, d)."""
        out = self.bias.expand(len(state), -1)
        if hasattr(self, "net"):
            out = out + self.net(state)
        d, m = self.shape
        v, r, c, matrix = out.split([d, d, d, d * m], dim=1)
        return v, r, matrix.unflatten(1, (d, m)), c

    def predict(self, state: Tensor, at: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return A state + B action + c with the coefficients linearised `at` a state, and v and r."""
        v, r, matrix, c = self(at)
        following = state + v * (r * state).sum(-1, keepdim=True)
        return following + torch.einsum("bdm,bm->bd", matrix, action) + c, v, r


def _shared_transition(loss: Loss, kind: str, spec: Spec) -> nn.Module:
    if kind not in ("local", "global"):
        raise ConfigError(f"the transition of {loss.name!r} is 'local' or 'global', not {kind!r}.")
    return spec.shared(f"e2c {kind}", lambda: Transition(kind, spec.state_dim, spec.action_dim))


class NextReconstruction(Reconstruction):
    """Decode the next observation from the state that the transition predicts for it."""

    transition: str = "local"

    needs: ClassVar[tuple[str, ...]] = ("obs", "action", "next_obs")
    variational = True
    symbol = r"\mathbb{E}\,\ell\left(g(A s_t + B a_t + c),\, o_{t+1}\right)"

    def build(self, spec: Spec) -> None:
        super().build(spec)
        self.model = _shared_transition(self, self.transition, spec)

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) the reconstruction error of o_{t+1}."""
        predicted, _, _ = self.model.predict(batch.state, batch.state, batch.action_vector)  # type: ignore[operator]
        return self.error(self.decode(batch, predicted), batch.next_obs)


class E2CTransition(Loss):
    """Divergence of the predicted Gaussian of the next state from the encoded one, in nats."""

    transition: str = "local"

    name = "e2c_transition"
    needs = ("obs", "action", "next_obs")
    variational = True
    prevents_collapse = False
    symbol = (
        r"D_\mathrm{KL}\left[\mathcal{N}(A\mu_t + B a_t + c,\, A\Sigma_t A^\top)\,\Vert\,q(s_{t+1} \mid o_{t+1})\right]"
    )

    def build(self, spec: Spec) -> None:
        self.model = _shared_transition(self, self.transition, spec)

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) the divergence."""
        mean, v, r = self.model.predict(batch.mean, batch.state, batch.action_vector)  # type: ignore[operator]
        return e2c_kl_per_sample(mean, batch.logvar, v, r, batch.next_mean, batch.next_logvar)
