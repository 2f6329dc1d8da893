r"""Reward prior with reconstruction (the correlation prior of S-RL Toolbox, Raffin et al. 2018, 1809.09369).

    \mathcal{L} = \mathbb{E}\,\lVert g(s_t) - o_t \rVert^2 / \mathbb{E}\,\lVert \bar o - o_t \rVert^2
                + w \left(1 - \tfrac{1}{d} \sum_j \left| \mathrm{corr}(s^j_t, r_t) \right|\right)

Assumes that the reward is nearly a linear function of the state. Alone, the second term makes every dimension
a copy of the reward, so that reconstruction must say what the others are. Sparse rewards correlate with hardly
anything, and minibatches without a rewarding transition add nothing.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from srl_bench.losses.autoencoding import Reconstruction
from srl_bench.losses.rewards import RewardCorrelation
from srl_bench.method import Method
from srl_bench.objective import Objective
from srl_bench.registry import method


@method("reward_prior")
@dataclass(frozen=True)
class RewardPrior(Method):
    """Options: `weight` of the correlation beside the reconstruction."""

    weight: float = 0.5

    search: ClassVar[dict[str, Any]] = {"weight": (0.03, 3.0)}

    def objective(self, state_dim: int) -> Objective:
        """Return reconstruction plus reward correlation."""
        return Reconstruction() + self.weight * RewardCorrelation()
