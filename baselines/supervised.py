r"""Supervised regression of the ground truth: what this network can learn from this data when told the answer.

    \mathcal{L} = \mathbb{E}\,\lVert \phi(o_t) - y_t \rVert^2 / K

The state has one dimension per (standardised) factor. Factors that are constant within an episode have only
as many samples as there are episodes, and are memorised first. (Raffin et al. 2018, arXiv 1809.09369.)
"""

from dataclasses import dataclass

from srl_bench.losses.supervised import Supervised as SupervisedLoss
from srl_bench.method import Method
from srl_bench.objective import Loss
from srl_bench.registry import method


@method("supervised")
@dataclass(frozen=True)
class Supervised(Method):
    """Regression of the factors."""

    def objective(self, state_dim: int) -> Loss:
        """Return the squared error."""
        return SupervisedLoss()

    def state_dim(self, latent_dim: int, n_factors: int) -> int:
        """Return the number of factors."""
        return n_factors
