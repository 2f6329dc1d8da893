r"""SRL splits (Raffin et al. 2019, 1901.08651): each objective has dimensions of the state to itself.

    \mathcal{L} = \mathcal{L}_\text{reconstruction}(s^{:d-4}) + \mathcal{L}_\text{reward}(s^{d-4:d-2})
                + 2\,\mathcal{L}_\text{inverse}(s^{d-2:})

One encoder, and no path from a term to foreign dimensions: what the inverse model cannot use does not blur
what the decoder needs. The split sizes are prior knowledge about the task.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from srl_bench.errors import ConfigError
from srl_bench.losses.autoencoding import Reconstruction
from srl_bench.losses.dynamics import Inverse
from srl_bench.losses.rewards import Reward
from srl_bench.method import Method
from srl_bench.objective import Objective
from srl_bench.registry import method


@method("splits")
@dataclass(frozen=True)
class Splits(Method):
    """Options: dimensions and weights of the reward and inverse splits; reconstruction has the rest.

    With the `mask` "zero" a term knows its own dimensions only, with "detach" it reads all and moves its own, with
    "none" all terms share the whole state (the paper's combination).
    """

    reward_dim: int = 2
    inverse_dim: int = 2
    reward_weight: float = 1.0
    inverse_weight: float = 2.0
    mask: str = "zero"

    learning_rate: ClassVar[float] = 1.3e-3
    search: ClassVar[dict[str, Any]] = {"reward_weight": (0.3, 3.0), "inverse_weight": (0.5, 10.0)}

    def __post_init__(self) -> None:
        if self.mask not in ("zero", "detach", "none"):
            raise ConfigError(f"mask must be 'zero', 'detach' or 'none', not {self.mask!r}.")

    def objective(self, state_dim: int) -> Objective:
        """Return the three terms on their slices."""
        first, second = state_dim - self.reward_dim - self.inverse_dim, state_dim - self.inverse_dim
        if first < 1 or min(self.reward_dim, self.inverse_dim) < 1:
            raise ConfigError(
                f"a state of {state_dim} dimensions cannot be split into reconstruction, {self.reward_dim} for "
                f"the reward and {self.inverse_dim} for the inverse model; each needs at least one."
            )
        terms = (1.0 * Reconstruction(), self.reward_weight * Reward(), self.inverse_weight * Inverse())
        if self.mask != "none":
            parts = (slice(None, first), slice(first, second), slice(second, None))
            cuts = [(part, "detach") if self.mask == "detach" else part for part in parts]
            terms = tuple(term[cut] for term, cut in zip(terms, cuts, strict=True))  # type: ignore[assignment]
        return terms[0] + terms[1] + terms[2]
