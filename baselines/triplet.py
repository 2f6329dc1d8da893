r"""Time-contrastive triplets (Sermanet et al. 2018, 1704.06888).

    \mathcal{L} = \mathbb{E}\left[\lVert \bar s_t - \bar s_{t^+} \rVert^2
                - \lVert \bar s_t - \bar s_{t^-} \rVert^2 + \alpha\right]_+, \quad \bar s = s / \lVert s \rVert,
                \quad |t^+ - t| \le w, \quad |t^- - t| > 2w

Assumes that moments of one episode far apart in time look different for a reason. Where an episode returns to
the same place, as a random walk in a small room does, equal states are pushed apart; what is constant within an
episode tells no two moments apart and is not encoded.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from srl_bench.losses.contrastive import Triplet as TripletLoss
from srl_bench.method import Method
from srl_bench.objective import Loss
from srl_bench.registry import method


@method("triplet")
@dataclass(frozen=True)
class Triplet(Method):
    """Options: the `margin`, the `window` of positives in steps, and whether to `normalize` the states.

    With `multi_view` a positive is the same moment seen by a second camera; the data must have two.
    """

    margin: float = 0.2
    window: int = 4
    normalize: bool = True
    multi_view: bool = False

    learning_rate: ClassVar[float] = 2.6e-3
    search: ClassVar[dict[str, Any]] = {"margin": [0.2, 0.5, 1.0], "window": [2, 4, 8]}

    def objective(self, state_dim: int) -> Loss:
        """Return the triplets' hinge loss."""
        return TripletLoss(margin=self.margin, window=self.window, normalize=self.normalize, multi_view=self.multi_view)
