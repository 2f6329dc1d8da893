"""What a search varies: a method's options, the weights of an expression, its training, and an agent's hyperparameters.

Options go by their names, as do `latent_dim` and `learning_rate` of the training; `weight.TERM` is the weight of a term
by its name in `train.csv`, and `rl.NAME` is a hyperparameter of the agent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import optuna

from srl_bench.algorithms import accepted_hyperparameters, hyperparameters, search_ranges
from srl_bench.config import RLConfig, TrainConfig
from srl_bench.errors import ConfigError, UnknownNameError
from srl_bench.grammar import construct
from srl_bench.method import Composed, Method, as_objective
from srl_bench.objective import Objective, Warmup

Choice = tuple[float, float] | Sequence[Any]
"""(low, high) of a number that is searched on a logarithmic scale, or the list of the values to try."""
WEIGHT, AGENT = "weight.", "rl."
LEARNING_RATE = (1e-4, 3e-3)
WEIGHT_FACTOR = 10.0


def present_values(
    method: Method | None, config: TrainConfig, rl: RLConfig | None = None, environment: str = ""
) -> dict[str, Any]:
    """Return what can be searched: names, with the values that they have without a search.

    Args:
        method: whose encoder is trained; None for none.
        config: of its training.
        rl: of the agent; None for none.
        environment: Gymnasium id of the agent's environment.
    """
    values: dict[str, Any] = {}
    if isinstance(method, Composed):
        objective = method.objective(config.latent_dim)
        values |= {f"{WEIGHT}{label}": _size(term.weight) for label, term in _labelled(objective)}
    elif method is not None:
        values |= {field.name: getattr(method, field.name) for field in fields(method)}
    if method is not None:
        values["latent_dim"] = config.latent_dim
        if as_objective(method, config.latent_dim) is not None:
            values["learning_rate"] = config.learning_rate or method.learning_rate
    if rl is not None:
        given = hyperparameters(rl.algorithm, environment, rl.hyperparameters)
        agent = {**accepted_hyperparameters(rl.algorithm), **given}
        values |= {f"{AGENT}{name}": value for name, value in agent.items()}
    return values


def default_space(method: Method | None, values: Mapping[str, Any], rl: RLConfig | None = None) -> dict[str, Choice]:
    """Return the ranges that a search has by default, of `values` as `present_values` gives them."""
    space: dict[str, Choice] = dict(type(method).search) if method is not None else {}
    # An optimiser like Adam does not notice a common factor of all weights, so the first one stays.
    for name in [name for name in values if name.startswith(WEIGHT)][1:]:
        if values[name]:
            space[name] = (values[name] / WEIGHT_FACTOR, values[name] * WEIGHT_FACTOR)
    if "learning_rate" in values:
        space["learning_rate"] = LEARNING_RATE
    if rl is not None:
        space |= {f"{AGENT}{name}": choice for name, choice in search_ranges(rl.algorithm).items()}
    return space


def check_space(
    space: Mapping[str, Choice], values: Mapping[str, Any], method: Method | None, config: TrainConfig
) -> None:
    """Raise an error for the first name that cannot be searched, range that is none, or value that cannot be.

    Raises:
        UnknownNameError, ConfigError: it names the option.
    """
    for name, choice in space.items():
        if name not in values:
            raise UnknownNameError("option to search", name, values)
        if not isinstance(choice, tuple | list) or not len(choice):
            raise ConfigError(f"{name} has no values to try: give a range (low, high) or a list, not {choice!r}.")
        if isinstance(choice, tuple) and not (_is_pair(choice) and 0 < choice[0] < choice[1]):
            raise ConfigError(f"the range of {name} must be (low, high) with 0 < low < high, not {choice}.")
        for value in choice:
            try:
                candidate(method, config, {name: value})
            except (TypeError, ValueError) as error:
                raise ConfigError(f"{name} cannot be {value!r}: {error}") from error
    if not space:
        raise ConfigError(f"{method} names nothing to search; give ranges with search (--search latent_dim=(8, 64)).")


def candidate(
    method: Method | None, config: TrainConfig, drawn: Mapping[str, Any]
) -> tuple[Method | None, TrainConfig, dict[str, Any]]:
    """Return the method, the settings of its training, and the hyperparameters of the agent that were drawn.

    Raises:
        ConfigError: the method cannot have an option's value.
    """
    agent = {name.removeprefix(AGENT): value for name, value in drawn.items() if name.startswith(AGENT)}
    settings = {name: drawn[name] for name in ("latent_dim", "learning_rate") if name in drawn}
    own = {name: value for name, value in drawn.items() if not name.startswith(AGENT) and name not in settings}
    if not isinstance(settings.get("latent_dim", 1), int):
        raise ConfigError(f"latent_dim must be a whole number, not {settings['latent_dim']!r}.")
    config = replace(config, **settings)
    if isinstance(method, Composed):
        objective = method.objective(config.latent_dim)
        for term in objective:
            term.bounds(config.latent_dim)
        return (_weighted(objective, own) if own else method), config, agent
    if method is not None and own:
        present = {field.name: getattr(method, field.name) for field in fields(method)}
        method = construct("method", type(method), {**present, **own})
    return method, config, agent


def suggest(trial: optuna.Trial, name: str, choice: Choice, present: Any) -> Any:
    """Draw a value; whole numbers where the present value is one."""
    if not isinstance(choice, tuple):
        return trial.suggest_categorical(name, list(choice))
    low, high = choice
    if isinstance(present, int) and isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(name, low, high, log=True)
    return trial.suggest_float(name, low, high, log=True)


def first_trial(space: Mapping[str, Choice], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the present values, or the ends of ranges that they lie beyond, without those that are in no list."""
    first: dict[str, Any] = {}
    for name, choice in space.items():
        value = values[name]
        if not isinstance(choice, tuple):
            first |= {name: value} if value in choice else {}
        elif isinstance(value, int | float):
            first[name] = min(max(value, choice[0]), choice[1])
    return first


def _is_pair(choice: tuple) -> bool:
    return len(choice) == 2 and all(isinstance(bound, int | float) for bound in choice)


def _labelled(objective: Objective) -> list[tuple[str, Any]]:
    return list(zip(objective.labels, objective, strict=True))


def _size(weight: float | Warmup) -> float:
    return abs(float(weight.value if isinstance(weight, Warmup) else weight))


def _weighted(objective: Objective, sizes: Mapping[str, float]) -> Composed:
    """Return the method with other sizes of weights; signs and warm-ups stay."""
    terms = []
    for label, term in _labelled(objective):
        size = sizes.get(f"{WEIGHT}{label}", _size(term.weight))
        if isinstance(term.weight, Warmup):
            weight: float | Warmup = replace(term.weight, value=-size if term.weight.value < 0 else size)
        else:
            weight = -size if term.weight < 0 else size
        terms.append(replace(term, weight=weight))
    return Composed(Objective(tuple(terms)))
