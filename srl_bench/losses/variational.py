"""Diagonal Gaussians: divergences, and the prior of variational autoencoders."""

from __future__ import annotations

from torch import Tensor

from srl_bench.batch import Batch
from srl_bench.objective import Loss


def gaussian_kl_per_sample(mean_p: Tensor, logvar_p: Tensor, mean_q: Tensor, logvar_q: Tensor) -> Tensor:
    """Return KL(p || q) of diagonal Gaussians summed over dimensions, (B,)."""
    ratio = (logvar_p.exp() + (mean_p - mean_q).square()) * (-logvar_q).exp()
    return 0.5 * (logvar_q - logvar_p + ratio - 1).sum(-1)


def gaussian_kl(mean_p: Tensor, logvar_p: Tensor, mean_q: Tensor, logvar_q: Tensor) -> Tensor:
    """Return KL(p || q) of diagonal Gaussians (B, d), summed over dimensions, averaged over the batch."""
    return gaussian_kl_per_sample(mean_p, logvar_p, mean_q, logvar_q).mean()


class KL(Loss):
    """Divergence of the state's posterior from a unit Gaussian (Kingma & Welling 2014, eq. 10)."""

    needs = ("obs",)
    variational = True
    prevents_collapse = False
    symbol = r"D_\mathrm{KL}\left[q(s_t \mid o_t)\,\Vert\,\mathcal{N}(0, I)\right]"

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) the divergence in nats."""
        zero = batch.mean.new_zeros(())
        return gaussian_kl_per_sample(batch.mean, batch.logvar, zero, zero)
