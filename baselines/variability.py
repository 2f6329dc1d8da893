r"""Slowness with variability (Jonschkowski et al. 2017, 1705.09805; Lesort et al. 2018, 1802.04181, section 3.4).

    \mathcal{L} = \mathbb{E}\,\lVert s_{t+1} - s_t \rVert^2 + w\, \mathbb{E}\, e^{-\lVert s_{t_1} - s_{t_2} \rVert}

Assumes that what changes slowly matters. It reads neither actions nor rewards, so what is constant within an
episode (a target, the colour of a light) is the perfect state, and what moves fast is left out. Within an
expression the name `variability` is the second term alone.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from srl_bench.losses.slowness import TemporalCoherence
from srl_bench.losses.slowness import Variability as VariabilityLoss
from srl_bench.method import Method
from srl_bench.objective import Objective
from srl_bench.registry import method


@method("variability")
@dataclass(frozen=True)
class Variability(Method):
    """Options: `weight` of the variability, which alone holds the state open."""

    weight: float = 27.0

    learning_rate: ClassVar[float] = 5e-4
    search: ClassVar[dict[str, Any]] = {"weight": (0.3, 100.0)}

    def objective(self, state_dim: int) -> Objective:
        """Return slowness plus variability."""
        return TemporalCoherence() + self.weight * VariabilityLoss()
