r"""Perceptual beta-VAE (DARLA: Higgins, Pal, Rusu et al. 2017, 1707.08475).

    \mathcal{L} = \mathbb{E}_{q(s \mid o)}\, \lVert J(g(s)) - J(o) \rVert^2 / 2 \sigma^2
                + \beta\, D_\mathrm{KL}\left[q(s \mid o)\,\Vert\,\mathcal{N}(0, I)\right]

J is the encoder of a `denoising_autoencoder`, trained first with the same settings and then frozen, so that the method
costs two trainings. Assumes that what survives corruption matters more than pixels do. What J does not encode, such as
an object of a few pixels, is lost for good.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from srl_bench.losses.perceptual import PerceptualReconstruction
from srl_bench.losses.variational import KL
from srl_bench.method import Method
from srl_bench.objective import Objective, Warmup
from srl_bench.registry import method


@method("perceptual_vae")
@dataclass(frozen=True)
class PerceptualVAE(Method):
    """Options: `beta` weighs the divergence after a linear warm-up; `sigma` is the deviation of features."""

    beta: float = 1.0
    sigma: float = 0.1
    warmup: float = 0.2

    learning_rate: ClassVar[float] = 4e-4
    search: ClassVar[dict[str, Any]] = {"beta": (0.1, 10.0), "sigma": (0.03, 0.3)}

    def objective(self, state_dim: int) -> Objective:
        """Return reconstruction of features plus weighted divergence."""
        return PerceptualReconstruction(sigma=self.sigma) + Warmup(self.beta, self.warmup) * KL()
