r"""Forward model with reconstruction (van Hoof et al. 2016; Lesort et al. 2018, 1802.04181, section 3.2).

    \mathcal{L} = \mathbb{E}\,\lVert g(s_t) - o_t \rVert^2 / \mathbb{E}\,\lVert \bar o - o_t \rVert^2
                + w\, \mathbb{E}\,\lVert s_t + f(s_t, a_t) - s_{t+1} \rVert^2 / d

Assumes that the action changes a good state in a simple way. Alone, the second term is minimised by a
constant state, so the first must hold the state open.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from srl_bench.losses.autoencoding import Reconstruction
from srl_bench.losses.dynamics import Forward as ForwardLoss
from srl_bench.method import Method
from srl_bench.objective import Objective
from srl_bench.registry import method


@method("forward")
@dataclass(frozen=True)
class Forward(Method):
    """Options: `weight` of the forward term, the `kind` of its model, "linear" or "mlp", and its `target`.

    The gradient flows into the target ("gradient") or not ("detach"), or the target is that of a moving average of
    the encoder ("average").
    """

    weight: float = 1.0
    kind: str = "linear"
    target: str = "gradient"

    search: ClassVar[dict[str, Any]] = {"weight": (0.01, 10.0), "kind": ["linear", "mlp"]}

    def objective(self, state_dim: int) -> Objective:
        """Return reconstruction plus forward prediction."""
        return Reconstruction() + self.weight * ForwardLoss(kind=self.kind, target=self.target)
