r"""Reward prediction (Jaderberg et al. 2016, 1611.05397; Munk et al. 2016; Raffin et al. 2018, 1809.09369).

    \mathcal{L} = \mathbb{E}\left[-\log p(r_t \mid \phi(o_t), \phi(o_{t+1}))\right]

Assumes that what a task needs shows in its rewards. The state tells rewarding transitions from others and
little else: far from the goal, where the reward is constant, all states may be one. Combine it with a term that
sees every frame, as `splits` does.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from srl_bench.losses.rewards import Reward as RewardLoss
from srl_bench.method import Method
from srl_bench.objective import Loss
from srl_bench.registry import method


@method("reward")
@dataclass(frozen=True)
class Reward(Method):
    """Options: `hidden` units in each of the two layers that predict the reward."""

    hidden: int = 64

    learning_rate: ClassVar[float] = 4e-4
    search: ClassVar[dict[str, Any]] = {"hidden": [32, 64, 128]}

    def objective(self, state_dim: int) -> Loss:
        """Return the balanced cross-entropy of few rewards, or the Huber loss of many."""
        return RewardLoss(hidden=self.hidden)
