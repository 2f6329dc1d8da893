"""Reading the files of an S-RL Toolbox data set: https://srl-zoo.readthedocs.io"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srl_bench.convert.checks import MAX_COLUMNS, MAX_ROWS, check_table, count, decode_image, inside, read_json, resized
from srl_bench.convert.npz import read_npz
from srl_bench.convert.sealing import checked_description, require_state
from srl_bench.errors import DataError

DESCRIPTION = "srl_bench.json"
STATES, TARGETS = "ground_truth_states", "target_positions"
# What earlier versions of the toolbox called them.
FORMER = {STATES: "arm_states", TARGETS: "button_positions"}
STEPS = ("rewards", "actions", "episode_starts")
FURTHER = ("terminated", "truncated", "domain")
PART = re.compile(r"\w[\w.-]*")
MAX_VIEWS = 16


@dataclass(frozen=True)
class Source:
    """A data set whose arrays fit together.

    Attributes:
        root: its folder.
        steps: arrays (N, ...) by the names in preprocessed_data.npz.
        starts: rows at which episodes begin.
        states: (N, K) ground truth, None if it was not asked for.
        targets: (E, K) positions of the target, None if there are none.
        frames: the name of each frame, without its ending.
        described: the content of srl_bench.json, None for a set of the toolbox.
    """

    root: Path
    steps: dict[str, NDArray]
    starts: list[int]
    states: NDArray[np.float64] | None
    targets: NDArray[np.float64] | None
    frames: list[Path]
    described: dict[str, Any] | None

    @cached_property
    def endings(self) -> list[str]:
        """The endings of the files of a frame, one per camera."""
        first = self.frames[0]
        if first.with_name(f"{first.name}.jpg").is_file():
            return [".jpg"]
        present = [f"_{number}.jpg" for number in range(1, MAX_VIEWS + 1)]
        present = [ending for ending in present if first.with_name(f"{first.name}{ending}").is_file()]
        if not present:
            raise DataError(f"{first}.jpg is missing, and so is {first.name}_1.jpg of a first camera.")
        return present

    @cached_property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the first image, which all must have."""
        file = self.frames[0].with_name(self.frames[0].name + self.endings[0])
        height, width = decode_image(file, file, None, ("JPEG",)).shape[:2]
        return height, width

    def images(self, rows: slice, size: tuple[int, int] | None) -> list[NDArray[np.uint8]]:
        """Return the images (T, H, W, 3) of each camera in some rows, resized to `size`."""
        return [
            np.concatenate([self._image(frame.with_name(frame.name + ending), size) for frame in self.frames[rows]])
            for ending in self.endings
        ]

    def _image(self, file: Path, size: tuple[int, int] | None) -> NDArray[np.uint8]:
        if not file.is_file():
            raise DataError(f"{file} is missing.")
        return resized(decode_image(file, file, self.image_size, ("JPEG",))[None], size)


def open_source(root: Path, state: str | None) -> Source:
    """Read the arrays of a data set and check that they fit together.

    Args:
        root: its folder.
        state: the array of ground_truth.npz that is the ground truth, or None; a set of ours has its own.

    Raises:
        DataError: a file or an array is missing, damaged or pickled, or lengths differ.
    """
    description = root / DESCRIPTION
    described = read_json(description) if description.exists() else None
    if described is not None:
        own = checked_description(description, described.get("rollouts"))
        columns = described.get("target_columns")
        if not isinstance(columns, list):
            raise DataError(f"{description}: 'target_columns' is no list.")
        for column in columns:
            count(description, "an entry of 'target_columns'", column, len(own["factors"]) - 1)
        if len(set(columns)) < len(columns):
            raise DataError(f"{description}: 'target_columns' repeats itself.")
        state = STATES
    file = root / "preprocessed_data.npz"
    steps = read_npz(file, (*STEPS, *(FURTHER if described else ())))
    _require(file, steps, (*STEPS, *(FURTHER[:2] if described else ())))
    rows = len(np.atleast_1d(steps["rewards"]))
    check_table(file, rows, 8)
    for name in steps:
        steps[name] = _table(file, name, steps[name], rows)
    starts = np.flatnonzero(steps.pop("episode_starts")[:, 0]).tolist()
    if not starts or starts[0] != 0 or steps["rewards"].shape[1] != 1:
        raise DataError(f"{file}: 'episode_starts' does not begin with an episode, or 'rewards' has several columns.")
    states, targets, names = _read_truth(root / "ground_truth.npz", state, rows, len(starts))
    return Source(root, steps, starts, states, targets, _frames(root, names), described)


def dataset_config(root: Path) -> dict[str, Any]:
    """Return what dataset_config.json says, nothing if there is none."""
    file = root / "dataset_config.json"
    return {"dataset_config": read_json(file)} if file.exists() else {}


def _read_truth(
    file: Path, state: str | None, rows: int, episodes: int
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None, NDArray]:
    """Return the ground truth (rows, K), the targets (episodes, K), and the names of the frames (rows,)."""
    former = FORMER.get(state or "", "")
    wanted = [*([state, former] if state else []), TARGETS, FORMER[TARGETS], "images_path"]
    truth = read_npz(file, dict.fromkeys(name for name in wanted if name))
    _require(file, truth, ["images_path"])
    names = truth["images_path"]
    if names.shape != (rows,) or names.dtype.kind not in "US":
        raise DataError(f"{file}: 'images_path' is {names.dtype} of shape {names.shape}, not {rows:,} names.")
    if state is None:
        return None, None, names
    if not {state, former} & set(truth):
        raise require_state(file, state, truth)
    key = state if state in truth else former
    target = TARGETS if TARGETS in truth else FORMER[TARGETS]
    targets = truth.get(target)
    if targets is not None:
        # A target that never moves is recorded once by some versions.
        targets = _table(file, target, np.repeat(targets, episodes, axis=0) if len(targets) == 1 else targets, episodes)
        targets = targets.astype(np.float64)
    return _table(file, key, truth[key], rows).astype(np.float64), targets, names


def _require(file: Path, arrays: dict[str, NDArray], names: Sequence[str]) -> None:
    missing = [name for name in names if name not in arrays]
    if missing:
        raise DataError(f"{file} lacks {', '.join(missing)}.")


def _table(file: Path, name: str, array: NDArray, rows: int) -> NDArray:
    """Return an array of numbers (rows,) or (rows, d) as (rows, d)."""
    if array.ndim not in (1, 2) or len(array) != rows or array.dtype.kind not in "biuf" or rows > MAX_ROWS:
        raise DataError(f"{file}: {name!r} is {array.dtype} of shape {array.shape}, not numbers for {rows:,} rows.")
    if array.ndim == 2 and array.shape[1] > MAX_COLUMNS:
        raise DataError(f"{file}: {name!r} has {array.shape[1]:,} columns, more than is read.")
    return array[:, None] if array.ndim == 1 else array


def _frames(root: Path, names: NDArray) -> list[Path]:
    """Return the frames that recorded paths mean: what follows the folder of the data set, wherever that was."""
    frames = []
    for name in names.tolist():
        text = name.decode("ascii", "replace") if isinstance(name, bytes) else name
        parts = text.replace("\\", "/").split("/")
        records = [index for index, part in enumerate(parts) if re.fullmatch(r"record_\d+", part)]
        inner = parts[records[-1] :] if records else []
        if not 2 <= len(inner) <= 3 or not all(PART.fullmatch(part) for part in inner):
            raise DataError(
                f"{root / 'ground_truth.npz'}: 'images_path' has {text[:80]!r}, not record_000/frame000000."
            )
        frames.append(inside(root, "/".join(inner).removesuffix(".jpg")))
    return frames
