r"""Position-velocity encoders (Jonschkowski, Hafner, Scholz & Riedmiller 2017, 1705.09805).

    \mathcal{L} = \mathbb{E}\, e^{-\lVert p_a - p_b \rVert}
                + 10\, \mathbb{E} \left[ w_s \lVert v_t \rVert^2 + w_i \lVert v_{t+1} - v_t \rVert^2
                + w_c \left(\lVert v_{t+1} \rVert - \lVert v_t \rVert\right)^2 \right]
                + w_a \sum_i e^{-\mathrm{Cov}(a^i_t,\, 10\, (v_{t+1} - v_t)^i)},
    \quad v_t = p_t - p_{t-1}, \quad s_t = [p_t;\, 10\, v_t]

Assumes a physical world: positions vary, velocities are small, inert and moved by the action. Velocity is computed
from positions, never predicted, and the state is half of each. What the action does not accelerate is not asked for.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from srl_bench.errors import ConfigError
from srl_bench.losses.slowness import TemporalCoherence, Variability
from srl_bench.losses.velocity import Conservation, Controllability, Inertia
from srl_bench.method import Method
from srl_bench.objective import Objective
from srl_bench.registry import method

SCALE = 10.0


@method("pve")
@dataclass(frozen=True)
class PVE(Method):
    """Options: the weights of the terms beside the variation; 0 drops a term."""

    slowness: float = 1.0
    inertia: float = 0.1
    conservation: float = 0.0
    controllability: float = 1.0

    search: ClassVar[dict[str, Any]] = {"slowness": (0.1, 3.0), "inertia": (0.01, 1.0), "controllability": (0.1, 10.0)}

    def objective(self, state_dim: int) -> Objective:
        """Return variation plus the weighted terms on velocities."""
        objective = 1.0 * Variability()
        for weight, term in (
            (SCALE * self.slowness, TemporalCoherence()),
            (SCALE * self.inertia, Inertia()),
            (SCALE * self.conservation, Conservation()),
            (self.controllability, Controllability(scale=SCALE)),
        ):
            objective = objective + weight * term if weight else objective
        return objective

    def state_dim(self, latent_dim: int, n_factors: int) -> int:
        """Return the dimensions of a position, half of those of the state."""
        if latent_dim % 2:
            raise ConfigError(f"half of the state are positions, half velocities; {latent_dim} is odd.")
        return latent_dim // 2

    def memory(self, state_dim: int, n_actions: int, action_dim: int) -> dict[str, Any]:
        """Return the memory that computes velocities."""
        return {"name": "velocity", "scale": SCALE}
