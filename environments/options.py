"""Checks of what users give to environments, and the registration of their ids."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from srl_bench.errors import ConfigError
from srl_bench.factors import Factor


def register(name: str, entry_point: Any) -> None:
    """Register a Gymnasium id, unless it is there already."""
    if name not in gymnasium.registry:
        gymnasium.register(id=name, entry_point=entry_point)


def check_choice(option: str, value: Any, accepted: tuple[Any, ...]) -> None:
    """Raise ConfigError unless `value` is among the accepted ones."""
    # an array is compared element by element
    if not isinstance(value, str | bool | None) or value not in accepted:
        raise ConfigError(f"{option}={value!r} is unknown; choose one of {', '.join(map(repr, accepted))}.")


def check_integer(option: str, value: Any, low: int, high: int) -> None:
    """Raise ConfigError unless `value` is an integer from `low` to `high`."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(f"{option}={value!r} is not accepted; give an integer from {low} to {high}.")


def check_number(option: str, value: Any, low: float, high: float) -> None:
    """Raise ConfigError unless `value` is a number from `low` to `high`."""
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not number or not low <= value <= high:
        raise ConfigError(f"{option}={value!r} is not accepted; give a number from {low} to {high}.")


def check_factors(table: tuple[Factor, ...], factors: Sequence[float] | NDArray[np.floating]) -> list[float]:
    """Return factors as numbers.

    Raises:
        ConfigError: the vector has the wrong length, is not finite, or has an unknown category.
    """
    values = np.asarray(factors, dtype=np.float64)
    if values.shape != (len(table),) or not np.isfinite(values).all():
        names = ", ".join(factor.name for factor in table)
        raise ConfigError(f"the factors are {names}, all finite; got {factors!r}.")
    for factor, value in zip(table, values.tolist(), strict=True):
        if factor.kind == "categorical" and not (factor.low <= value <= factor.high and value == int(value)):
            raise ConfigError(f"{factor.name}={value} is not an integer from {factor.low:.0f} to {factor.high:.0f}.")
    return values.tolist()


def discrete_action(action: Any, size: int) -> int:
    """Return the action as an index below `size`, or raise ConfigError."""
    if 0 <= action < size and (index := int(action)) == action:
        return index
    raise ConfigError(f"action {action!r} is not accepted; give an integer from 0 to {size - 1}.")


def continuous_action(action: Any, size: int) -> list[float]:
    """Return the action clipped to [-1, 1], or raise ConfigError unless it is `size` finite numbers."""
    values = np.asarray(action, dtype=np.float64).tolist()
    if not isinstance(values, list) or len(values) != size or not all(map(math.isfinite, values)):
        raise ConfigError(f"action {action!r} is not accepted; give {size} numbers from -1 to 1.")
    return [min(max(value, -1.0), 1.0) for value in values]
