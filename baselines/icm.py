r"""Intrinsic curiosity module (Pathak, Agrawal, Efros & Darrell 2017, 1705.05363).

    \mathcal{L} = (1 - \beta)\, \mathbb{E}\left[-\log p(a_t \mid s_t, s_{t+1})\right]
                + \beta\, \mathbb{E}\,\tfrac{1}{2} \lVert f(s_t, a_t) - s_{t+1} \rVert^2

The forward error is summed over features and f predicts the next state itself, not the step to it. Assumes, as
`poke`, that only what actions change matters; the error of f is the bonus of a curious agent
(`srl_bench.losses.intrinsic_reward`). The unit of the state is free: the sum pulls states together, the inverse
model keeps them as far apart as it needs, and a large beta wins.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from srl_bench.errors import ConfigError
from srl_bench.losses.dynamics import Forward, Inverse
from srl_bench.method import Method
from srl_bench.objective import Objective
from srl_bench.registry import method


@method("icm")
@dataclass(frozen=True)
class ICM(Method):
    """Options: `beta` shares out the weight; `detach` keeps the forward model's gradient from the encoder.

    Detached, nothing keeps the state from growing, nor the error of the forward model with it.
    """

    beta: float = 0.02
    detach: bool = False

    learning_rate: ClassVar[float] = 4e-4
    search: ClassVar[dict[str, Any]] = {"beta": (0.01, 0.5)}

    def __post_init__(self) -> None:
        if not 0 <= self.beta < 1:
            raise ConfigError(f"beta must be in [0, 1), not {self.beta}; the inverse model holds the state open.")

    def objective(self, state_dim: int) -> Objective:
        """Return inverse model and forward model."""
        flow = "detach" if self.detach else "gradient"
        forward = Forward(kind="mlp", source=flow, target=flow, norm="gaussian", residual=False)
        return (1 - self.beta) * Inverse() + self.beta * forward
