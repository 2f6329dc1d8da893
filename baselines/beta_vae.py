r"""beta-VAE (Higgins et al. 2017, ICLR, openreview Sy2fzU9gl).

    \mathcal{L} = \mathbb{E}_{q(s \mid o)}\left[-\log \mathcal{N}(o;\, g(s), \sigma^2 I)\right]
                + \beta\, D_\mathrm{KL}\left[q(s \mid o)\,\Vert\,\mathcal{N}(0, I)\right], \quad \beta > 1

The `vae` with a heavier divergence: assumes that the causes of an image are independent, and pays with detail
for dimensions that are. Axes that a policy moves together (the joints of an arm) are not independent in the
data, and small objects are the detail that is lost first. How much beta means depends on sigma: with a learned
one the likelihood follows the contrast of the scene. With a `capacity` C the second term is
\beta\,|D_\mathrm{KL} - C\,t|, t the share of training that is done (Burgess et al. 2018, 1804.03599).
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from srl_bench.losses.autoencoding import Reconstruction
from srl_bench.losses.variational import KL
from srl_bench.method import Method
from srl_bench.objective import Objective, Warmup
from srl_bench.registry import method


@method("beta_vae")
@dataclass(frozen=True)
class BetaVAE(Method):
    """Options: `beta` weighs the divergence after a linear warm-up; `sigma` is the decoder's noise (0: learned).

    With a `capacity` in nats there is no warm-up: the capacity rises instead, and beta only has to be large enough to
    keep the divergence there. A capacity of 0 is the plain method, for which a beta of 4 is usual; on scenes whose
    objects are a few pixels it encodes nothing, so that it is not the default.
    """

    beta: float = 100.0
    sigma: float = 0.0
    warmup: float = 0.2
    capacity: float = 40.0

    learning_rate: ClassVar[float] = 4e-4
    search: ClassVar[dict[str, Any]] = {"beta": (10.0, 1000.0), "capacity": (10.0, 100.0)}

    def objective(self, state_dim: int) -> Objective:
        """Return reconstruction and weighted divergence."""
        weight = self.beta if self.capacity else Warmup(self.beta, self.warmup)
        return Reconstruction(likelihood="gaussian", sigma=self.sigma) + weight * KL(capacity=self.capacity)
