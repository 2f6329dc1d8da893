r"""Deep variational Bayes filter (Karl, Soelch, Bayer & van der Smagt 2017, 1605.06432).

    z_{t+1} = A_t z_t + B_t a_t + C_t w_t, \quad w_t \sim q(w_t \mid z_t, o_{t+1}, a_t)

    \mathcal{L} = \mathbb{E}_q \sum_t \left[-c \log p(o_t \mid z_t) - c \log p(w_t) + \log q(w_t)\right]

Assumes dynamics that are a mixture of linear ones, driven by noise. The state is a function of noise and is never
encoded from its own frame: reconstructions reach the encoder through the transition only, which therefore has to hold
what a single frame does not show, such as velocity. The encoder is recurrent. c anneals likelihood and prior in the
paper; by default the divergence of the noise from its prior is annealed instead (`SequenceBound`), because an object
of a few pixels is not found in much noise.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from srl_bench.losses.dvbf import SequenceBound
from srl_bench.method import Method
from srl_bench.objective import Loss
from srl_bench.registry import method


@method("dvbf")
@dataclass(frozen=True)
class DVBF(Method):
    """Options: the `horizon` of windows, the number of base `matrices`, the share of steps with `annealing`."""

    horizon: int = 16
    matrices: int = 16
    annealing: float = 0.4

    clip: ClassVar[float | None] = 10.0

    search: ClassVar[dict[str, Any]] = {"horizon": [4, 8, 16], "matrices": [8, 16]}

    def objective(self, state_dim: int) -> Loss:
        """Return the annealed bound."""
        return SequenceBound(horizon=self.horizon, matrices=self.matrices, annealing=self.annealing)
