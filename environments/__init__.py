"""Simulated robots behind the Gymnasium interface; importing this package registers their ids."""

if __name__ == "environments":
    raise ImportError("this folder is the package srl_bench.environments; import it by that name")

import inspect
import os
from typing import Any

import gymnasium
from gymnasium.envs.registration import load_env_creator

from srl_bench.environments.window import has_display
from srl_bench.errors import ConfigError, UnknownNameError
from srl_bench.factors import Factor
from srl_bench.registry import import_room


def _import_pybullet_silently() -> None:
    """PyBullet prints its build time to the file descriptor of stderr when it is imported."""
    stderr = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        import pybullet  # noqa: F401
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


_import_pybullet_silently()
import_room(__name__)


def environment_ids() -> list[str]:
    """Return the ids of the environments that are ours or of plug-ins: classes that name factors."""
    ours = [name for name in gymnasium.registry if name.startswith("srl_bench/")]
    # classes that are not loaded yet are of other packages, which may lack what they import
    loaded = [name for name, spec in gymnasium.registry.items() if isinstance(spec.entry_point, type)]
    return sorted({*ours, *(name for name in loaded if hasattr(environment_class(name), "factors"))})


def environment_class(environment: str) -> Any:
    """Return the class, or the function, that makes an environment.

    Raises:
        UnknownNameError: the id is not known.
    """
    if environment not in gymnasium.registry:
        ours = [name for name in gymnasium.registry if name.startswith("srl_bench/")]
        raise UnknownNameError("environment", environment, ours)
    entry_point = gymnasium.spec(environment).entry_point
    return load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point


def make_environment(environment: str, kwargs: dict[str, Any]) -> gymnasium.Env[Any, Any]:
    """Make one environment.

    Raises:
        UnknownNameError: the id or a keyword argument is not known.
        ConfigError: the value of an argument is not accepted.
    """
    parameters = parameters_of(environment)
    if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters.values()):
        for name in kwargs:
            if name not in parameters:
                raise UnknownNameError(f"argument of {environment}", name, parameters)
    mode = kwargs.get("render_mode")
    if not isinstance(mode, str | None):  # Gymnasium takes it for one before the environment can check it
        raise ConfigError(f"render_mode={mode!r} is not accepted; give None or the name of a mode.")
    if mode == "human" and not has_display():
        raise ConfigError("render_mode='human' needs a display (DISPLAY is not set); use render_mode='rgb_array'.")
    return gymnasium.make(environment, disable_env_checker=True, **kwargs)


def merged_arguments(kwargs: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return keyword arguments with changes; how much a domain varies does not outlast a change of the domain."""
    merged = {**kwargs, **changes}
    if changes.get("domain", "randomised") != "randomised" and "randomise" not in changes:
        merged.pop("randomise", None)
    return merged


def parameters_of(environment: str) -> dict[str, inspect.Parameter]:
    """Return the keyword arguments that an environment takes."""
    return _parameters(environment_class(environment))


def _parameters(creator: Any) -> dict[str, inspect.Parameter]:
    """Return the parameters of a function or class; keyword arguments that a class hands on are its base's."""
    parameters = dict(inspect.signature(creator).parameters)
    if isinstance(creator, type):
        for base in creator.__mro__[1:]:
            rest = [name for name, parameter in parameters.items() if parameter.kind is parameter.VAR_KEYWORD]
            if not rest:
                break
            if "__init__" in vars(base) and base is not object:
                del parameters[rest[0]]
                parameters |= {k: v for k, v in inspect.signature(base).parameters.items() if k not in parameters}
    return parameters


def factor_table(env: gymnasium.Env[Any, Any]) -> tuple[Factor, ...]:
    """Return the ground-truth factors of an environment.

    Raises:
        ConfigError: it does not name any.
    """
    if not hasattr(env.unwrapped, "factors"):
        raise ConfigError(
            f"{env} has no ground truth: it needs the attribute `factors` (a tuple of srl_bench.Factor) and their "
            "values in info['state']."
        )
    return env.unwrapped.factors
