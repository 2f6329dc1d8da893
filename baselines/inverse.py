r"""Inverse model (Shelhamer et al. 2016; Agrawal et al. 2016, 1606.07419; Pathak et al. 2017, 1705.05363).

    \mathcal{L} = \mathbb{E}\left[-\log p(a_t \mid \phi(o_t), \phi(o_{t+1}))\right]

Learns what the agent controls. What its actions do not move, such as a target, need not be encoded and
mostly is not; a blocked action is label noise.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from srl_bench.losses.dynamics import Inverse as InverseLoss
from srl_bench.method import Method
from srl_bench.objective import Loss
from srl_bench.registry import method


@method("inverse")
@dataclass(frozen=True)
class Inverse(Method):
    """Options: the `kind` of the model that recovers the action, "linear" or "mlp", and its `likelihood`.

    The latter is for continuous actions: "mse", "gaussian" or "mixture".
    """

    kind: str = "linear"
    likelihood: str = "mse"

    learning_rate: ClassVar[float] = 4e-4
    search: ClassVar[dict[str, Any]] = {"kind": ["linear", "mlp"]}

    def objective(self, state_dim: int) -> Loss:
        """Return the action's cross-entropy (discrete) or squared error (continuous)."""
        return InverseLoss(kind=self.kind, likelihood=self.likelihood)
