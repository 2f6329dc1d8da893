r"""Autoencoder (Hinton & Salakhutdinov 2006, Science 313; for robots Mattner et al. 2012).

    \mathcal{L} = \mathbb{E}\,\lVert g(\phi(o_t)) - o_t \rVert^2 / \mathbb{E}\,\lVert \bar o - o_t \rVert^2

The error is a share of the pixels' variance around the mean image. Assumes that what explains the pixels is
what matters; squared error hardly notices small objects, and distractors are encoded as faithfully as the task.
"""

from dataclasses import dataclass
from typing import ClassVar

from srl_bench.losses.autoencoding import Reconstruction
from srl_bench.method import Method
from srl_bench.objective import Loss
from srl_bench.registry import method


@method("autoencoder")
@dataclass(frozen=True)
class Autoencoder(Method):
    """Reconstruction from a low-dimensional state."""

    learning_rate: ClassVar[float] = 3e-4

    def objective(self, state_dim: int) -> Loss:
        """Return the reconstruction error."""
        return Reconstruction()
