"""Diagonal Gaussians: divergences, and the prior of variational autoencoders."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from srl_bench.batch import Batch
from srl_bench.errors import ConfigError
from srl_bench.objective import Loss


def gaussian_kl_per_sample(mean_p: Tensor, logvar_p: Tensor, mean_q: Tensor, logvar_q: Tensor) -> Tensor:
    """Return KL(p || q) of diagonal Gaussians summed over dimensions, (B,)."""
    ratio = (logvar_p.exp() + (mean_p - mean_q).square()) * (-logvar_q).exp()
    return 0.5 * (logvar_q - logvar_p + ratio - 1).sum(-1)


def gaussian_kl(mean_p: Tensor, logvar_p: Tensor, mean_q: Tensor, logvar_q: Tensor) -> Tensor:
    """Return KL(p || q) of diagonal Gaussians (B, d), summed over dimensions, averaged over the batch."""
    return gaussian_kl_per_sample(mean_p, logvar_p, mean_q, logvar_q).mean()


def gaussian_log_density(x: Tensor, mean: Tensor | float = 0.0, logvar: Tensor | float = 0.0) -> Tensor:
    """Return log N(x; mean, diag(exp logvar)) of x (B, d), (B,); by default of the unit Gaussian."""
    logvar = torch.as_tensor(logvar)
    return -0.5 * ((x - mean).square() * (-logvar).exp() + logvar + math.log(2 * math.pi)).sum(-1)


class KL(Loss):
    """Divergence of the state's posterior from a unit Gaussian (Kingma & Welling 2014, eq. 10).

    With a `capacity` C > 0, in nats, it is |KL - C t| instead, where t rises from 0 to 1 in training (Burgess et al.
    2018, 1804.03599, eq. 8): the state is told how much to say, and learns to say more.
    """

    capacity: float = 0.0

    needs = ("obs",)
    variational = True
    prevents_collapse = False
    symbol = r"D_\mathrm{KL}\left[q(s_t \mid o_t)\,\Vert\,\mathcal{N}(0, I)\right]"

    def __post_init__(self) -> None:
        if self.capacity < 0:
            raise ConfigError(f"capacity must be positive, or 0 for the plain divergence, not {self.capacity}.")

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) the divergence in nats, or the distance of its mean from the capacity, a scalar."""
        zero = batch.mean.new_zeros(())
        divergence = gaussian_kl_per_sample(batch.mean, batch.logvar, zero, zero)
        return (divergence.mean() - self.capacity * batch.progress).abs() if self.capacity else divergence
