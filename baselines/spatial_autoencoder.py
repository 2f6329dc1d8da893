r"""Deep spatial autoencoder (Finn, Tan, Duan, Darrell, Levine & Abbeel 2016, 1509.06113).

    \mathcal{L} = \mathbb{E}\,\ell_w(g(s_t), o_t) + w_s\, \mathbb{E}\,
                \lVert (s_{t+1} - s_t) - (s_t - s_{t-1}) \rVert^2, \quad
    s_t = \left(\sum_{ij} p_c(i, j)\, x_j,\; \sum_{ij} p_c(i, j)\, y_i\right)_c, \quad
    p_c = \mathrm{softmax}_{ij}(h_c(o_t) / \alpha)

Assumes that the state is where things are: each channel of the last convolution is a point in the image, and the
state holds nothing else. The paper's decoder is linear (`decoder="linear"`); by default every point is drawn as a blob
and painted (Jakab et al. 2018, 1806.07823), with a weight on the foreground, so that small objects get points of
their own. Slow velocities (w_s > 0, as in the paper) triple the frames of a step and cost the point of a small still
object on the navigation task, so they are off by default. Much is the body's: untrained points already tell places.
Fails where the state is not a place (colour, contact), and
for more objects of one kind than points tell apart.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from srl_bench.losses.spatial import SpatialReconstruction
from srl_bench.losses.velocity import Inertia
from srl_bench.method import Method
from srl_bench.nets.bodies import SpatialSoftmax
from srl_bench.objective import Objective
from srl_bench.registry import method


@method("spatial_autoencoder")
@dataclass(frozen=True)
class SpatialAutoencoder(Method):
    """Options: the `decoder`, "blobs" or "linear"; the weights of `foreground` and of `slowness` (0: none)."""

    decoder: str = "blobs"
    foreground: float = 20.0
    slowness: float = 0.0

    head: ClassVar[Literal["linear", "none"]] = "none"

    search: ClassVar[dict[str, Any]] = {"foreground": (5.0, 50.0), "decoder": ["blobs", "linear"]}

    def objective(self, state_dim: int) -> Objective:
        """Return reconstruction plus slow velocities."""
        objective = 1.0 * SpatialReconstruction(decoder_kind=self.decoder, foreground=self.foreground)
        return objective + self.slowness * Inertia() if self.slowness else objective

    def state_dim(self, latent_dim: int, n_factors: int) -> int:
        """Return two coordinates for each point."""
        return SpatialSoftmax.width

    def body(self, default: str) -> str:
        """Return the body whose features are points."""
        return "spatial_softmax"
