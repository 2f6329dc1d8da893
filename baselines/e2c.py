r"""Embed to control (Watter, Springenberg, Boedecker & Riedmiller 2015, 1506.07365).

    \mathcal{L} = \mathbb{E}\left[-\log p(o_t \mid s_t) - \log p(o_{t+1} \mid \hat{s}_{t+1})\right]
                + D_\mathrm{KL}\left[q(s_t \mid o_t)\,\Vert\,\mathcal{N}(0, I)\right]
                + \lambda\, D_\mathrm{KL}\left[\mathcal{N}(A\mu_t + B a_t + c,\, A\Sigma_t A^\top)
                  \,\Vert\, q(s_{t+1} \mid o_{t+1})\right]

Assumes that one observation shows the whole state, in which the dynamics are locally linear. A system with
velocity, seen in single frames, breaks the first assumption: give the encoder two (`--frame-stack 2`), as the paper
does.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from srl_bench.losses.autoencoding import Reconstruction
from srl_bench.losses.e2c import E2CTransition, NextReconstruction
from srl_bench.losses.variational import KL
from srl_bench.method import Method
from srl_bench.objective import Objective, Warmup
from srl_bench.registry import method


@method("e2c")
@dataclass(frozen=True)
class E2C(Method):
    """Options: `weight` of the transition's divergence; `sigma` and `warmup` as in `vae`; the kind of `transition`.

    It is "local", "global" or "nonlinear".
    """

    weight: float = 2.8
    transition: str = "local"
    sigma: float = 0.0
    warmup: float = 0.2

    learning_rate: ClassVar[float] = 4e-4
    search: ClassVar[dict[str, Any]] = {"weight": (0.1, 10.0), "transition": ["local", "global", "nonlinear"]}

    def objective(self, state_dim: int) -> Objective:
        """Return the four terms; the two reconstructions share a decoder, the last two terms a transition."""
        return (
            Reconstruction(likelihood="gaussian", sigma=self.sigma)
            + NextReconstruction(likelihood="gaussian", sigma=self.sigma, transition=self.transition)
            + Warmup(1.0, self.warmup) * KL()
            + self.weight * E2CTransition(transition=self.transition)
        )
