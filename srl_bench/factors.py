"""Ground-truth factors: what a simulator knows and a representation should recover."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Factor:
    """One dimension of the ground-truth state.

    `scope` says whether the factor changes within an episode; `observable` whether one frame of the environment's
    first camera shows it ("frame"), several frames do ("stack"), or none ("never", e.g. whose turn it is). A
    categorical factor takes the integers from low to high. What a robot knows of itself, such as its joints, is
    `proprioceptive`. A simulator that is put into a state reads each factor back to within its `tolerance`, which is
    infinite for one that follows from the others.
    """

    name: str
    unit: str
    low: float
    high: float
    kind: Literal["continuous", "angular", "categorical"] = "continuous"
    scope: Literal["step", "episode"] = "step"
    role: Literal["task", "distractor", "nuisance"] = "task"
    observable: Literal["frame", "stack", "never"] = "frame"
    tolerance: float = 1e-9
    proprioceptive: bool = False

    def sample(self, rng: np.random.Generator) -> float:
        """Draw a value uniformly from the range."""
        if self.kind == "categorical":
            return float(rng.integers(int(self.low), int(self.high) + 1))
        return float(rng.uniform(self.low, self.high))

    def to_dict(self) -> dict[str, Any]:
        """Return what describes recorded values, for JSON: all fields but the tolerance."""
        fields = asdict(self)
        del fields["tolerance"]
        return fields


def fix_factors(table: Sequence[Factor], values: Mapping[str, float]) -> tuple[Factor, ...]:
    """Return the table, those factors that are named in `values` with this one value as their range."""
    return tuple(
        replace(factor, low=values[factor.name], high=values[factor.name]) if factor.name in values else factor
        for factor in table
    )


def encode_factors(values: NDArray, kinds: Sequence[str]) -> tuple[NDArray, NDArray]:
    """Encode factors as columns a linear map can use.

    A continuous factor is its column, an angular one is (sin, cos), a categorical one with more than two
    levels is a one-hot code divided by sqrt(2), so that a mismatch costs a squared distance of 1.

    Args:
        values: (N, K) factors.
        kinds: K entries of "continuous", "angular" or "categorical".

    Returns:
        (N, C) float64 columns, and (C,) the factor index that each column belongs to.
    """
    columns: list[NDArray] = []
    owners: list[int] = []
    for index, kind in enumerate(kinds):
        column = np.asarray(values[:, index], dtype=np.float64)
        levels = np.unique(column) if kind == "categorical" else column[:0]
        if kind == "angular":
            block = [np.sin(column), np.cos(column)]
        elif len(levels) > 2:
            block = [(column == level) / np.sqrt(2) for level in levels]
        else:
            block = [column]
        columns += block
        owners += [index] * len(block)
    return np.stack(columns, axis=1), np.array(owners)


def scale_factors(values: NDArray, table: Sequence[Factor]) -> NDArray[np.float32]:
    """Return factors as inputs of a network, by their ranges alone, so that no data are needed.

    A continuous factor is mapped from [low, high] to [-1, 1], an angular one to (sin, cos), a categorical one with
    more than two levels to a one-hot code.

    Args:
        values: (..., K) factors.
        table: the K factors.

    Returns:
        (..., C) float32 columns.
    """
    columns = []
    for index, factor in enumerate(table):
        column = np.asarray(values[..., index], dtype=np.float64)
        if factor.kind == "angular":
            columns += [np.sin(column), np.cos(column)]
        elif factor.kind == "categorical" and factor.high - factor.low > 1:
            columns += [column == level for level in range(int(factor.low), int(factor.high) + 1)]
        else:
            span = factor.high - factor.low
            columns.append(2 * (column - factor.low) / (span if span > 0 else 1.0) - 1)
    return np.stack(columns, axis=-1).astype(np.float32)
