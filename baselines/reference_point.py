r"""Robotic priors with a reference point (Lesort, Seurin, Li, Diaz-Rodriguez & Filliat 2017, 1709.05185).

    \mathcal{L} = \mathcal{L}_\text{robotic priors}
                + w\, \mathbb{E}_{p_i, p_j \approx p_\text{ref}}\, \lVert s_i - s_j \rVert^2

Assumes that the robot knows where it is (its joints), and that one place of the robot is one state. The priors alone
give every episode a cluster of its own; what is equal in all of them ties the clusters together. It also removes
what differs between episodes at that place: a random target is a nuisance to it, as it was noise to its authors.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from srl_bench.baselines.robotic_priors import RoboticPriors
from srl_bench.losses.reference import ReferencePoint as ReferencePointLoss
from srl_bench.method import Method
from srl_bench.objective import Objective
from srl_bench.registry import method


@method("reference_point")
@dataclass(frozen=True)
class ReferencePoint(Method):
    """Options: the `weight` of the prior, where its point is (`at`), and the `reach` around it in deviations."""

    weight: float = 1.0
    reach: float = 0.5
    at: str = "median"

    search: ClassVar[dict[str, Any]] = {"weight": (0.1, 10.0), "reach": [0.3, 0.5, 0.7]}

    def objective(self, state_dim: int) -> Objective:
        """Return the robotic priors plus the reference point."""
        priors = RoboticPriors().objective(state_dim)
        return priors + self.weight * ReferencePointLoss(at=self.at, reach=self.reach)
