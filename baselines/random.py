r"""Random features: the untrained encoder.

    s = \phi_{\theta_0}(o)

A random convolutional network keeps much of the position of what moves, so this row is hard to beat and must
stand in every table. (Raffin et al. 2018, arXiv 1809.09369, found it within noise of learned encoders.)
"""

from dataclasses import dataclass

from srl_bench.method import Method
from srl_bench.registry import method


@method("random")
@dataclass(frozen=True)
class Random(Method):
    """The network as it was initialised."""

    def objective(self, state_dim: int) -> None:
        """Return None: nothing is trained."""
        return
