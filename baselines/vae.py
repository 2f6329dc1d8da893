r"""Variational autoencoder (Kingma & Welling 2014, 1312.6114; the weight beta: Higgins et al. 2017).

    \mathcal{L} = \mathbb{E}_{q(s \mid o)}\left[-\log \mathcal{N}(o;\, g(s), \sigma^2 I)\right]
                + \beta\, D_\mathrm{KL}\left[q(s \mid o)\,\Vert\,\mathcal{N}(0, I)\right]

Reconstruction is summed over pixels, divergence over dimensions; averaging one of them would change beta by
orders of magnitude. The state handed on is the mean. A large beta, or a fixed sigma above the contrast of
what moves, collapses dimensions; beta = 1 is the bound itself, the default (searched for) pays less for them.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from srl_bench.losses.autoencoding import Reconstruction
from srl_bench.losses.variational import KL
from srl_bench.method import Method
from srl_bench.objective import Objective, Warmup
from srl_bench.registry import method


@method("vae")
@dataclass(frozen=True)
class VAE(Method):
    """Options: `beta` weighs the divergence after a linear warm-up; `sigma` is the decoder's noise (0: learned)."""

    beta: float = 0.13
    sigma: float = 0.0
    warmup: float = 0.2

    learning_rate: ClassVar[float] = 4e-4
    search: ClassVar[dict[str, Any]] = {"beta": (0.01, 10.0)}

    def objective(self, state_dim: int) -> Objective:
        """Return the negative evidence lower bound."""
        return Reconstruction(likelihood="gaussian", sigma=self.sigma) + Warmup(self.beta, self.warmup) * KL()
