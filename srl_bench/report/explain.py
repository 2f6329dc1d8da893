"""What a method is, told by its own objects."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

from srl_bench.config import TrainConfig
from srl_bench.method import Composed, Method, as_objective, resolve
from srl_bench.objective import Term
from srl_bench.registry import MEMORIES

ACTIONS = 4  # of the example that sizes are shown for


def explain(text: str, config: TrainConfig, n_factors: int = 4) -> str:
    """Return equation, terms, needs, read-out, source and budget of a method or expression.

    Args:
        text: a method, with options in brackets, or an expression.
        config: the settings that a training would have.
        n_factors: of the data, for methods whose state is made of factors.

    Raises:
        UnknownNameError, ConfigError: as `resolve`.
    """
    found = facts(text, config, n_factors)
    about = found.pop("About")
    sections = [
        f"{title}\n" + "\n".join(f"  {line}" for line in content.splitlines()) for title, content in found.items()
    ]
    return "\n\n".join([about, *sections])


def facts(text: str, config: TrainConfig, n_factors: int = 4) -> dict[str, str]:
    """Return what `explain` prints, by title: "About" (assumptions and source), "Name", "Objective", "LaTeX", ..."""
    method = resolve(text)
    state_dim = method.state_dim(config.latent_dim, n_factors)
    objective = as_objective(method, state_dim)
    documented = "" if isinstance(method, Composed) else (sys.modules[type(method).__module__].__doc__ or "").strip()
    found = {"About": documented or "A composed objective.", "Name": str(method)}
    if options := _options(method):
        found["Options"] = "\n".join(options)
    found["Objective"] = "none: the encoder is not trained by gradient descent"
    if objective is not None:
        found["Objective"] = str(objective)
        found["LaTeX"] = objective.latex()
        found["Terms"] = "\n".join(_described(term) for term in objective)
        needs = sorted(objective.needs)
        frames = f"{objective.horizon} consecutive frames" if objective.horizon > 1 else "one frame"
        teacher = f", and a {objective.teacher} trained before it" if objective.teacher else ""
        found["Needs"] = f"{', '.join(needs)}; {frames} at a time{teacher}"
    found["Read-out"] = _read_out(method, config, state_dim)
    found["Budget"] = _budget(method, config, objective is not None)
    return found


def _options(method: Method) -> list[str]:
    if isinstance(method, Composed):
        return []
    fields = dataclasses.fields(method)
    summary = [line.strip() for line in (type(method).__doc__ or "").strip().splitlines()] if fields else []
    return [*summary, *(f"{field.name} = {getattr(method, field.name)!r}" for field in fields)]


def _described(term: Term) -> str:
    """Return a term with its weight and the first line of what its loss says of itself."""
    first = (type(term.loss).__doc__ or "").strip().splitlines()[0]
    return f"{term}\n  {first}"


def _read_out(method: Method, config: TrainConfig, state_dim: int) -> str:
    objective = as_objective(method, state_dim)
    memory = method.memory(state_dim, ACTIONS, ACTIONS)
    what = "the mean of the Gaussian" if objective is not None and objective.variational else "the encoder's output"
    if memory is not None:
        options: dict[str, Any] = dict(memory)
        made = MEMORIES[options.pop("name")](state_dim, **options)
        return (
            f"{made.state_dim} dimensions, which a recurrent memory ({memory['name']}) makes of {state_dim} per frame; "
            "standardised by the training states"
        )
    images = "images" if config.frame_stack == 1 else f"stacks of {config.frame_stack} images"
    source = "factors" if method.observation == "state" else f"{images}, body {method.body(config.body)}"
    return f"{what}, {state_dim} dimensions, of {source}; standardised by the training states"


def _budget(method: Method, config: TrainConfig, trained: bool) -> str:
    if not trained:
        return "none"
    rate = config.learning_rate or method.learning_rate
    return f"{config.steps} steps of {config.batch_size} transitions, Adam with a step size of {rate:g}"
