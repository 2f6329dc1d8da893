r"""Episode prior with reconstruction (S-RL Toolbox, Raffin et al. 2018, 1809.09369; Ganin & Lempitsky 2015).

    \min_{\phi, g} \max_D\ \mathbb{E}\,\lVert g(s_t) - o_t \rVert^2 / \mathbb{E}\,\lVert \bar o - o_t \rVert^2
                + w\, \mathbb{E}\left[\log D(e_i = e_j \mid s_i, s_j)\right]

Assumes that what tells episodes apart (light, colours, a moved camera) does not matter. A target that is drawn
anew in every episode does, and is removed all the same; what moves slowly looks constant, too. As in every such
game the value of the loss says little: log 2 is a discriminator at chance.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from srl_bench.losses.autoencoding import Reconstruction
from srl_bench.losses.episodes import EpisodeIndependence
from srl_bench.method import Method
from srl_bench.objective import Objective
from srl_bench.registry import method


@method("episode_prior")
@dataclass(frozen=True)
class EpisodePrior(Method):
    """Options: `weight` of the discriminator, `reversal` times its gradient is what the encoder works against."""

    weight: float = 0.1
    reversal: float = 1.0

    search: ClassVar[dict[str, Any]] = {"weight": (0.03, 1.0)}

    def objective(self, state_dim: int) -> Objective:
        """Return reconstruction plus the discriminator's reversed cross-entropy."""
        return Reconstruction() + self.weight * EpisodeIndependence(reversal=self.reversal)
