"""What `rollouts.json` and the arrays beside it have to look like, whoever wrote and sealed them."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any, NotRequired

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, Strict, StringConstraints, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from srl_bench.errors import DataError
from srl_bench.factors import Factor

# "module:id" would make Gymnasium import the module
EnvironmentId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)?$")]
Episode = Annotated[int, Strict(), Field(ge=0)]
# kind of numbers and dimensions of every array; actions are discrete or continuous
SHAPES = {
    "observations": ("u1", 4),
    "rewards": ("f4", 1),
    "terminated": ("b1", 1),
    "truncated": ("b1", 1),
    "factors": ("f8", 2),
    "episodes": ("i8", 1),
    "views": ("u1", 5),
    "domain": ("i8", 1),
}


class Splits(TypedDict):
    """Numbers of the episodes of each split."""

    train: list[Episode]
    val: list[Episode]
    test: list[Episode]


class Description(TypedDict):
    """The content of `rollouts.json`."""

    schema: int
    environment: EnvironmentId
    environment_kwargs: dict[str, Any]
    recording: dict[str, Any]
    n_actions: Annotated[int, Strict(), Field(ge=0)]
    action_bounds: NotRequired[tuple[list[float], list[float]] | None]
    factors: list[Factor]
    views: NotRequired[list[str]]
    domains: NotRequired[list[str]]
    split: Splits
    episode_hashes: list[str]
    sha256: dict[str, str]
    versions: dict[str, Any]
    seal: str


def check_description(info: Any, where: str) -> None:
    """Raise `DataError` unless the content of a `rollouts.json` is a valid `Description`."""
    try:
        TypeAdapter(Description).validate_python(info)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        raise DataError(f"{where} is damaged at {place}: {fault['msg']}; record the data set again.") from error
    known = {field.name for field in fields(Factor)}
    unknown = {key for row in info["factors"] for key in row} - known
    if unknown:
        raise DataError(f"{where} has factors with unknown entries: {', '.join(sorted(unknown))}.")


def check_arrays(arrays: dict[str, NDArray], info: dict[str, Any], where: str) -> None:
    """Raise `DataError` unless arrays are of the described types and shapes, and episodes and splits of their rows."""
    rows = len(arrays["observations"]) if arrays["observations"].ndim else 0
    actions = ("i8", 1) if info["n_actions"] else ("f4", 2)
    for name, array in arrays.items():
        kind, dimensions = actions if name == "actions" else SHAPES[name]
        if array.dtype != np.dtype(kind) or array.ndim != dimensions:
            raise DataError(
                f"{where}/{name}.npy holds {array.dtype}{array.shape}, not {kind} in {dimensions} dimensions."
            )
        if name != "episodes" and len(array) != rows:
            raise DataError(f"{where}/{name}.npy has {len(array)} rows where observations have {rows}.")
    bounds = arrays["episodes"]
    if len(bounds) < 2 or bounds[0] != 0 or bounds[-1] != rows or (np.diff(bounds) < 1).any():
        raise DataError(f"{where}/episodes.npy does not divide {rows} rows into episodes.")
    if arrays["factors"].shape[1] != len(info["factors"]):
        raise DataError(f"{where}/factors.npy has {arrays['factors'].shape[1]} columns, not {len(info['factors'])}.")
    numbers = [number for numbers in info["split"].values() for number in numbers]
    if len(set(numbers)) < len(numbers) or max(numbers, default=0) >= len(bounds) - 1:
        raise DataError(f"the split in {where}/rollouts.json is not one of {len(bounds) - 1} episodes.")
    if len(info["episode_hashes"]) != len(bounds) - 1:
        raise DataError(f"{where}/rollouts.json does not hold a hash of every episode; record the data set again.")
    if "views" in arrays and arrays["views"].shape[1] != len(info.get("views", ())) - 1:
        raise DataError(
            f"{where}/views.npy has {arrays['views'].shape[1]} views beyond the first of {info.get('views')}."
        )
    if "domain" in arrays and not np.isin(arrays["domain"], np.arange(len(info.get("domains", ())))).all():
        raise DataError(f"{where}/domain.npy has values that are no index into {info.get('domains')}.")
