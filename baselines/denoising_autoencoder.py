r"""Denoising autoencoder (Vincent, Larochelle, Bengio & Manzagol 2008, ICML; boxes: Raffin et al. 2018, 1809.09369).

    \mathcal{L} = \mathbb{E}\,\lVert g(\phi(\tilde o_t)) - o_t \rVert^2 / \mathbb{E}\,\lVert \bar o - o_t \rVert^2,
    \quad \tilde o_t \sim C(\cdot \mid o_t)

Assumes that what is hidden follows from what is left. That holds for an arm with many visible links; a small
object behind the box is gone, and the best guess is its mean. States are read from clean images, which the
encoder sees in training only where a box is small.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from srl_bench.losses.denoising import Denoising
from srl_bench.method import Method
from srl_bench.objective import Loss
from srl_bench.registry import method


@method("denoising_autoencoder")
@dataclass(frozen=True)
class DenoisingAutoencoder(Method):
    """Options: the `corruption`, "rectangle", "noise" or "dropout", and its `amount` (0: the usual one)."""

    corruption: str = "dropout"
    amount: float = 0.0

    learning_rate: ClassVar[float] = 4e-4
    search: ClassVar[dict[str, Any]] = {"corruption": ["rectangle", "noise", "dropout"]}

    def objective(self, state_dim: int) -> Loss:
        """Return the error of the clean image, decoded from the corrupted one."""
        return Denoising(corruption=self.corruption, amount=self.amount)
