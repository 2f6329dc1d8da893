r"""Ground truth: the simulator's factor vector itself, the reference that every table needs.

    s = y

It reads no image. Scores of this row are ceilings; an agent trained on it shows what perfect state
estimation is worth. (Raffin et al. 2018, arXiv 1809.09369.)
"""

from dataclasses import dataclass

import torch

from srl_bench.method import Method
from srl_bench.nets.encoder import EncoderNetwork
from srl_bench.registry import method
from srl_bench.rollouts import Rollouts


@method("ground_truth")
@dataclass(frozen=True)
class GroundTruth(Method):
    """The factors, standardised."""

    observation = "state"

    def objective(self, state_dim: int) -> None:
        """Return None: nothing is trained."""
        return

    def state_dim(self, latent_dim: int, n_factors: int) -> int:
        """Return the number of factors."""
        return n_factors

    def body(self, default: str) -> str:
        """Return the identity."""
        return "flatten"

    @torch.no_grad()
    def fit(self, network: EncoderNetwork, rollouts: Rollouts, seed: int) -> EncoderNetwork:
        """Make the head the identity."""
        torch.nn.init.eye_(network.head.weight)
        torch.nn.init.zeros_(network.head.bias)
        return network
