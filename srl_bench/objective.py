"""Losses and the algebra that composes them.

    Reconstruction()[:14] + 2 * Inverse()[14:16] + Warmup(4.0, 0.2) * KL()

A `Loss` is a dataclass of options and a torch module; an `Objective` is a sum of weighted losses, each of
which may read only a slice of the state. `print(objective)` is an expression that `srl_bench.grammar.parse`
turns back into the same objective; `objective.latex()` is the equation for the paper.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self, dataclass_transform

from torch import Tensor, nn

from srl_bench.errors import ConfigError
from srl_bench.registry import LOSSES

if TYPE_CHECKING:
    from srl_bench.batch import Batch


@dataclass(frozen=True)
class Spec:
    """What a loss has to know to build its heads.

    Attributes:
        state_dim: dimensions of the state that the loss reads (its slice).
        pixel_mean, pixel_std: the mean training image (C, H, W) and the deviation of pixels from it.
        n_actions: number of discrete actions, 0 for continuous ones.
        action_dim: length of the action vector (one-hot for discrete actions).
        reward_values: the distinct rewards of the training transitions, ascending.
        reward_mean, reward_std: of the training transitions.
        factor_mean, factor_std: of the training rows, (K,); for losses that may see the ground truth.
        proprioception: (N, P) the standardised factors of the training rows that the robot knows of itself.
        rows: (N,) the training rows.
        teacher: the frozen encoder of the loss's `teacher` method.
    """

    state_dim: int
    pixel_mean: Tensor
    pixel_std: float
    n_actions: int
    action_dim: int
    reward_values: tuple[float, ...] = ()
    reward_mean: float = 0.0
    reward_std: float = 1.0
    factor_mean: tuple[float, ...] = ()
    factor_std: tuple[float, ...] = ()
    proprioception: Tensor | None = None
    rows: Tensor | None = None
    teacher: nn.Module | None = None
    _shared: dict[tuple, nn.Module] = field(default_factory=dict, repr=False, compare=False)
    _slice: tuple[int, int] = (0, 0)

    def shared(self, name: str, factory: Callable[[], nn.Module]) -> nn.Module:
        """Return the module that all losses on the same slice of the state share under `name`."""
        key = (name, self._slice)
        if key not in self._shared:
            self._shared[key] = factory()
        return self._shared[key]


def snake_case(name: str) -> str:
    """Return the name under which a class is registered: "MyLoss" becomes "my_loss"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z0-9])(?=[A-Z][a-z])", "_", name).lower()


@dataclass_transform(eq_default=False)
class Loss(nn.Module):
    """A term of an objective. Subclasses become dataclasses and are registered by their name in snake case.

    Override `forward(batch)`, which returns a value per sample (B,) or a scalar, and `build(spec)` if the
    loss has parameters of its own. Options are the annotated fields of the class.
    """

    name: ClassVar[str]
    symbol: ClassVar[str]
    """LaTeX of the term."""
    needs: ClassVar[tuple[str, ...]] = ("obs", "action", "reward", "next_obs")
    """Batch fields that the loss reads; without "next_obs" the next frame is never encoded."""
    horizon: ClassVar[int] = 1
    """Consecutive frames that the loss reads; "next_obs" among the needs makes it two. May be an option."""
    variational: ClassVar[bool] = False
    """Whether the loss needs a Gaussian over states (`batch.mean`, `batch.logvar`)."""
    reward_oversampling: ClassVar[float] = 0.0
    """Share of every minibatch to draw from transitions with another reward than the most frequent."""
    target_rate: ClassVar[float] = 0.0
    """Share of the encoder's weights that a target network takes over at every step (`batch.target_state`)."""
    single_frames: ClassVar[bool] = False
    """Whether the loss encodes images of its own, which are no stacks of frames."""
    teacher: ClassVar[str] = ""
    """A method whose encoder is trained first, and then frozen as `spec.teacher`."""
    prevents_collapse: ClassVar[bool] = True
    """Whether a constant state is not already optimal for the loss alone."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" not in cls.__dict__:
            dataclass(eq=False, repr=False)(cls)
        if "name" not in cls.__dict__:
            cls.name = snake_case(cls.__name__)
        if "symbol" not in cls.__dict__:
            cls.symbol = rf"\mathcal{{L}}_\text{{{cls.name.replace('_', ' ')}}}"
        LOSSES.add(cls.name, cls, cls)

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Initialise the module before the generated `__init__` sets the options."""
        self = super().__new__(cls)
        nn.Module.__init__(self)
        return self

    def build(self, spec: Spec) -> None:
        """Make the heads of the loss."""

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss, (B,) or a scalar."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward(batch).")

    def memory(self, state_dim: int, n_actions: int, action_dim: int) -> dict[str, Any] | None:
        """Return name and options of the memory that the loss trains, if it makes states of more than one frame.

        Args:
            state_dim: numbers that the network gives for a single frame.
            n_actions: number of discrete actions, 0 for continuous ones.
            action_dim: length of the action vector.
        """
        return None

    def options(self) -> dict[str, Any]:
        """Return the option values by name."""
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return str(Term(self))

    def __getitem__(self, index: slice | tuple[slice, str]) -> Objective:
        return Objective((Term(self),))[index]

    def __mul__(self, weight: float | Warmup) -> Objective:
        return Objective((Term(self),)) * weight

    __rmul__ = __mul__

    def __add__(self, other: Loss | Objective) -> Objective:
        return Objective((Term(self),)) + other

    def __sub__(self, other: Loss | Objective) -> Objective:
        return Objective((Term(self),)) + -1.0 * other

    def __neg__(self) -> Objective:
        return -1.0 * self


@dataclass(frozen=True)
class Warmup:
    """A weight that rises linearly from 0 to `value` over the first `fraction` of training."""

    value: float
    fraction: float

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ConfigError(f"the fraction of a warmup must be in (0, 1], not {self.fraction}.")

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, Warmup):
            raise ConfigError(f"{self} and {other} cannot be multiplied; give their product as one warm-up.")
        return Warmup(self.value * other, self.fraction) if isinstance(other, int | float) else other * self

    __rmul__ = __mul__

    def at(self, progress: float) -> float:
        """Return the weight at a progress in [0, 1]."""
        return self.value * min(1.0, progress / self.fraction)

    def __str__(self) -> str:
        return f"warmup({self.value!r}, {self.fraction!r})"


@dataclass(frozen=True)
class Term:
    """One weighted loss on a slice of the state (`None`: all of it).

    With `detach` the loss reads the whole state, but only the slice hears of it.
    """

    loss: Loss
    weight: float | Warmup = 1.0
    start: int | None = None
    stop: int | None = None
    detach: bool = False

    def __post_init__(self) -> None:
        weight = self.weight.value if isinstance(self.weight, Warmup) else self.weight
        if not math.isfinite(weight):
            raise ConfigError(f"the weight of {self.loss.name!r} must be a finite number, not {weight}.")

    def weight_at(self, progress: float) -> float:
        """Return the weight at a progress in [0, 1]."""
        return self.weight.at(progress) if isinstance(self.weight, Warmup) else self.weight

    def bounds(self, state_dim: int) -> tuple[int, int]:
        """Return the first dimension of the slice and the one after its last.

        Raises:
            ConfigError: the slice is empty or reaches beyond the state.
        """
        start, stop, _ = slice(self.start, self.stop).indices(state_dim)
        if start >= stop or max(abs(self.start or 0), abs(self.stop or 0)) > state_dim:
            raise ConfigError(
                f"{self} reads dimensions {start}:{self.stop if self.stop is not None else stop} of a state of "
                f"{state_dim}; a slice must be non-empty and inside it."
            )
        return start, stop

    def __str__(self) -> str:
        fields = dataclasses.fields(self.loss)  # type: ignore[arg-type]
        given = {item.name: getattr(self.loss, item.name) for item in fields}
        changed = [f"{f.name}={given[f.name]!r}" for f in fields if given[f.name] != f.default]
        text = self.loss.name + (f"({', '.join(changed)})" if changed else "")
        if (self.start, self.stop) != (None, None):
            low, high = ("" if bound is None else bound for bound in (self.start, self.stop))
            text += f"[{low}:{high}, 'detach']" if self.detach else f"[{low}:{high}]"
        if isinstance(self.weight, Warmup) or self.weight != 1.0:
            text = f"{self.weight}*{text}"
        return text

    def latex(self) -> str:
        """Return weight and symbol, the slice as a subscript."""
        weight = self.weight.value if isinstance(self.weight, Warmup) else self.weight
        coefficient = "" if weight == 1.0 else f"{weight:g}\\,"
        if (self.start, self.stop) == (None, None):
            return coefficient + self.loss.symbol
        low, high = ("" if bound is None else bound for bound in (self.start, self.stop))
        read = rf"s^{{{low}:{high}}}" + (r",\,\mathrm{sg}(s)" if self.detach else "")
        return rf"{coefficient}\left[{self.loss.symbol}\right]_{{{read}}}"


@dataclass(frozen=True, eq=False)
class Objective:
    """A sum of terms. Immutable: operations return new objectives that share the losses."""

    terms: tuple[Term, ...]

    def __add__(self, other: Loss | Objective) -> Objective:
        return Objective(self.terms + _terms(other))

    def __sub__(self, other: Loss | Objective) -> Objective:
        return self + -1.0 * other

    def __neg__(self) -> Objective:
        return -1.0 * self

    def __mul__(self, factor: float | Warmup) -> Objective:
        return Objective(tuple(dataclasses.replace(term, weight=factor * term.weight) for term in self.terms))

    __rmul__ = __mul__

    def __getitem__(self, index: slice | tuple[slice, str]) -> Objective:
        part, mask = index if isinstance(index, tuple) and len(index) == 2 else (index, None)
        if not isinstance(part, slice) or part.step not in (None, 1) or mask not in (None, "detach"):
            raise ConfigError(
                f"an objective takes a slice of the state such as [:12] or [:12, 'detach'], not {index!r}."
            )
        for term in self.terms:
            if (term.start, term.stop) != (None, None):
                raise ConfigError(f"{term} already has a slice; slices cannot be nested.")
        cut = {"start": part.start, "stop": part.stop, "detach": mask is not None}
        return Objective(tuple(dataclasses.replace(term, **cut) for term in self.terms))

    def __eq__(self, other: object) -> bool:
        """Objectives are equal if their printed forms are."""
        return isinstance(other, Objective) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __iter__(self) -> Iterator[Term]:
        return iter(self.terms)

    def __str__(self) -> str:
        return _signed_sum([str(term) for term in self.terms])

    def latex(self) -> str:
        """Return the equation of the objective."""
        return r"\mathcal{L} = " + _signed_sum([term.latex() for term in self.terms])

    def drop(self, name: str) -> Objective:
        """Return the objective without the terms of one loss."""
        self._require(name)
        return Objective(tuple(term for term in self.terms if term.loss.name != name))

    def replace(self, name: str, loss: Loss) -> Objective:
        """Return the objective with one loss swapped; weights and slices stay."""
        self._require(name)
        return Objective(
            tuple(dataclasses.replace(term, loss=loss) if term.loss.name == name else term for term in self.terms)
        )

    def _require(self, name: str) -> None:
        if all(term.loss.name != name for term in self.terms):
            raise ConfigError(f"the objective {self} has no term {name!r}.")

    @property
    def labels(self) -> list[str]:
        """The terms' names: those of the losses, numbered where a loss occurs more than once."""
        names = [term.loss.name for term in self.terms]
        return [
            name if names.count(name) == 1 else f"{name}_{names[:index].count(name) + 1}"
            for index, name in enumerate(names)
        ]

    @property
    def needs(self) -> frozenset[str]:
        """All batch fields that the terms read."""
        return frozenset(name for term in self.terms for name in term.loss.needs)

    @property
    def horizon(self) -> int:
        """Consecutive frames that a minibatch holds of each moment."""
        return max(2 if "next_obs" in self.needs else 1, *(term.loss.horizon for term in self.terms))

    @property
    def target_rate(self) -> float:
        """Rate of the target network that the terms share, 0 if none needs one.

        Raises:
            ConfigError: two terms ask for different ones.
        """
        return _only({term.loss.target_rate for term in self.terms} - {0.0}, "target rates", self) or 0.0

    @property
    def teacher(self) -> str:
        """The method that trains the terms' teacher, "" if none needs one.

        Raises:
            ConfigError: two terms ask for different ones.
        """
        return _only({term.loss.teacher for term in self.terms} - {""}, "teachers", self) or ""

    @property
    def variational(self) -> bool:
        """Whether a term needs a Gaussian over states."""
        return any(term.loss.variational for term in self.terms)

    def memory(self, state_dim: int, n_actions: int, action_dim: int) -> dict[str, Any] | None:
        """Return the memory that a term trains, if any; see `Loss.memory`.

        Raises:
            ConfigError: two terms train different ones, or a term trains one for a slice of the state.
        """
        wanted = []
        for term in self.terms:
            memory = term.loss.memory(state_dim, n_actions, action_dim)
            if memory and (term.start, term.stop) != (None, None):
                raise ConfigError(f"{term} trains a memory and needs the whole state; drop its slice.")
            wanted += [memory] if memory else []
        if any(memory != wanted[0] for memory in wanted):
            raise ConfigError(f"the terms of {self} train different memories; an encoder has one.")
        return wanted[0] if wanted else None


def _only(wanted: set[Any], what: str, objective: Objective) -> Any:
    if len(wanted) > 1:
        raise ConfigError(f"the terms of {objective} ask for different {what}: {', '.join(map(str, wanted))}.")
    return next(iter(wanted), None)


def _signed_sum(terms: list[str]) -> str:
    rest = [f" - {term[1:]}" if term.startswith("-") else f" + {term}" for term in terms[1:]]
    return "".join(terms[:1] + rest)


def _terms(value: Loss | Objective) -> tuple[Term, ...]:
    if isinstance(value, Objective):
        return value.terms
    if isinstance(value, Loss):
        return (Term(value),)
    raise ConfigError(f"only losses and objectives can be added to an objective, not {value!r}.")
