r"""Robotic priors (Jonschkowski & Brock 2015, Autonomous Robots 39(3)).

    \mathcal{L} = w_t\,\mathbb{E}\lVert\Delta s_t\rVert^2
      + w_c\,\mathbb{E}_{a_i = a_j,\, r_i \ne r_j}\, e^{-\lVert s_i - s_j\rVert^2}
      + w_p\,\mathbb{E}_{a_i = a_j}\left(\lVert\Delta s_i\rVert - \lVert\Delta s_j\rVert\right)^2
      + w_r\,\mathbb{E}_{a_i = a_j}\, e^{-\lVert s_i - s_j\rVert^2}\lVert\Delta s_i - \Delta s_j\rVert^2

Assumes that the world changes slowly, in proportion to the action and repeatably, and that rewards have
causes. Only rewards hold the state open: where they are rare it collapses, and what is constant within an
episode (a random target) gives every episode its own cluster.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from srl_bench.losses.priors import Causality, Proportionality, Repeatability
from srl_bench.losses.slowness import TemporalCoherence
from srl_bench.method import Method
from srl_bench.objective import Objective
from srl_bench.registry import method


@method("robotic_priors")
@dataclass(frozen=True)
class RoboticPriors(Method):
    """Options: the weights of the four priors, 1, 1, 5 and 5 in the paper."""

    temporal: float = 0.55
    causal: float = 2.8
    proportional: float = 3.0
    repeatable: float = 0.53

    learning_rate: ClassVar[float] = 7e-4
    search: ClassVar[dict[str, Any]] = {
        "temporal": (0.1, 3.0),
        "causal": (0.3, 10.0),
        "proportional": (0.5, 10.0),
        "repeatable": (0.1, 10.0),
    }

    def objective(self, state_dim: int) -> Objective:
        """Return the weighted sum of the priors."""
        return (
            self.temporal * TemporalCoherence()
            + self.causal * Causality()
            + self.proportional * Proportionality()
            + self.repeatable * Repeatability()
        )
