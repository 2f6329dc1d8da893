r"""Learning to poke (Agrawal, Nair, Abbeel, Malik & Levine 2016, 1606.07419).

    \mathcal{L} = \mathbb{E}\left[-\log p(a_t \mid s_t, s_{t+1})\right]
                + \lambda\, \mathbb{E}\,\lVert s_t + f(s_t, a_t) - s_{t+1} \rVert_1 / d

Assumes that what the action changes, and is changed by predictably, is the state. The inverse model holds the
state open; the forward model, in the same space and with a gradient into both states, removes what cannot be
predicted. Continuous actions are binned, dimension by dimension, each bin given those before it, as the paper bins
place, angle and length of a poke. What no action moves is lost.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from srl_bench.losses.dynamics import FactorisedInverse, Forward
from srl_bench.method import Method
from srl_bench.objective import Objective, Warmup
from srl_bench.registry import method


@method("poke")
@dataclass(frozen=True)
class Poke(Method):
    """Options: `weight` of the forward model, its `kind`, "linear" or "mlp", and the `bins` of a continuous action.

    The weight rises over the first share `warmup` of training: an absolute error pulls as hard at small states as at
    large ones, and would close the state before the inverse model has opened it.
    """

    weight: float = 0.14
    kind: str = "linear"
    bins: int = 15
    warmup: float = 0.5

    learning_rate: ClassVar[float] = 4e-4
    search: ClassVar[dict[str, Any]] = {"weight": (0.01, 1.0), "kind": ["linear", "mlp"]}

    def objective(self, state_dim: int) -> Objective:
        """Return inverse model plus forward model."""
        return FactorisedInverse(bins=self.bins) + Warmup(self.weight, self.warmup) * Forward(kind=self.kind, norm="l1")
