"""A method: what an encoder looks like and what it is trained for."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from srl_bench.batch import Batch
from srl_bench.built import BuiltObjective
from srl_bench.errors import ConfigError
from srl_bench.grammar import construct, parse, parse_call
from srl_bench.nets.encoder import MAX_STACK, EncoderNetwork
from srl_bench.objective import Loss, Objective
from srl_bench.provenance import source_version
from srl_bench.registry import BODIES, METHODS
from srl_bench.rollouts import Rollouts


@dataclass(frozen=True)
class Method:
    """Base of the zoo. A subclass is a frozen dataclass of options registered by `@srl.method("name")`.

    A trained method returns its `objective`; a closed-form one returns a fitted network from `fit`.
    """

    name: ClassVar[str]
    observation: ClassVar[Literal["pixels", "state"]] = "pixels"
    """What the encoder reads: images, or the simulator's factor vector."""
    learning_rate: ClassVar[float] = 1e-3
    """Default step size of Adam."""
    search: ClassVar[dict[str, Any]] = {}
    """Options worth tuning: (low, high) of numbers, on a logarithmic scale, or lists of values."""
    single_frames: ClassVar[bool] = False
    """Whether the encoder can read single frames only."""
    clip: ClassVar[float | None] = None
    """Largest norm of a step's gradient, None for any; recurrent methods need one."""
    head: ClassVar[Literal["linear", "none"]] = "linear"
    """What stands between body and state; "none" where the features of the body are the state."""

    def objective(self, state_dim: int) -> Objective | Loss | None:
        """Return what is minimised, for a state of `state_dim` dimensions; None if nothing is trained."""
        raise NotImplementedError(f"{type(self).__name__} defines no objective(state_dim).")

    def state_dim(self, latent_dim: int, n_factors: int) -> int:
        """Return the dimensions of the state, by default the benchmark's common latent size."""
        return latent_dim

    def body(self, default: str) -> str:
        """Return the network body, by default the benchmark's common one."""
        return default

    def memory(self, state_dim: int, n_actions: int, action_dim: int) -> dict[str, Any] | None:
        """Return name and options of the network's memory, by default of the one that the objective trains."""
        objective = as_objective(self, state_dim)
        return None if objective is None else objective.memory(state_dim, n_actions, action_dim)

    def fit(self, network: EncoderNetwork, rollouts: Rollouts, seed: int) -> EncoderNetwork:
        """Return the network of a method without objective, by default `network` as it was initialised."""
        return network

    def optimizer(self, parameters: list[torch.nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        """Return the optimiser of encoder and heads."""
        return torch.optim.Adam(parameters, lr=learning_rate, fused=True)

    def training_step(
        self, objective: BuiltObjective, batch: Batch, optimizer: torch.optim.Optimizer, progress: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Take one step and return the total loss and the raw value of each term.

        Override it for alternating or adversarial games.
        """
        total, values = objective(batch, progress)
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        if self.clip is not None:
            torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], self.clip)
        optimizer.step()
        return total, values

    def __str__(self) -> str:
        changed = [
            f"{f.name}={getattr(self, f.name)!r}"
            for f in dataclasses.fields(self)
            if getattr(self, f.name) != f.default
        ]
        return self.name + (f"({', '.join(changed)})" if changed else "")


@dataclass(frozen=True)
class Composed(Method):
    """A method made of a bare objective or of the expression that spells one."""

    expression: str | Objective = ""
    name: ClassVar[str] = "composed"

    def objective(self, state_dim: int) -> Objective:
        """Return the objective itself."""
        return parse(self.expression, state_dim) if isinstance(self.expression, str) else self.expression

    def __str__(self) -> str:
        return str(self.expression)


def resolve(method: str | Method | Objective | Loss) -> Method:
    """Return a method from its name, name with options, expression, objective, or itself.

    Raises:
        UnknownNameError: the name is neither a method nor a loss.
        ConfigError: the expression is malformed, or an option is wrong.
    """
    if isinstance(method, Method):
        return method
    if isinstance(method, Loss):
        method = 1.0 * method
    if isinstance(method, Objective):
        return Composed(method)
    if not isinstance(method, str):
        raise ConfigError(f"a method is a name, an expression, a Method or an Objective, not {method!r}.")
    call = parse_call(method)
    if call is not None and call[0] in METHODS:
        return construct("method", METHODS[call[0]], call[1])
    parse(method, state_dim=1_000_000)  # malformed expressions fail here, before any work; slices are checked later
    return Composed(method)


def describe(method: Method, state_dim: int, body: str) -> dict[str, Any]:
    """Return the method's name, expression and equation as plain text, and the version of the plug-ins behind it."""
    objective = as_objective(method, state_dim)
    classes = [type(method), BODIES[body], *(type(term.loss) for term in objective or ())]
    return {
        "method": str(method),
        "objective": None if objective is None else str(objective),
        "latex": None if objective is None else objective.latex(),
        "plugins": source_version(cls.__module__ for cls in classes),
    }


def as_objective(method: Method, state_dim: int) -> Objective | None:
    """Return the method's objective, a bare loss wrapped into one."""
    objective = method.objective(state_dim)
    return 1.0 * objective if isinstance(objective, Loss) else objective


def check_stack(method: Method, frame_stack: int, state_dim: int) -> None:
    """Raise a ConfigError if a method cannot be trained on stacks of so many frames.

    One that reads factors takes no notice of stacks.
    """
    objective, reason = as_objective(method, state_dim), ""
    if frame_stack > MAX_STACK:
        reason = f"at most {MAX_STACK} are stacked"
    elif frame_stack > 1 and method.observation == "pixels":
        if method.memory(state_dim, 1, 1):
            reason = "its encoder has a memory"
        elif method.single_frames or any(term.loss.single_frames for term in objective or ()):
            reason = "it encodes single frames"
        elif objective is not None and objective.teacher:
            reason = "its teacher looks at single frames"
    if reason:
        raise ConfigError(f"{method} cannot be trained with frame_stack={frame_stack}: {reason}.")
