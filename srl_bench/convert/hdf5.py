"""Reading the HDF5 files of Minari data sets: https://minari.farama.org/content/dataset_standards/

Only what is asked for is read, and only after its shape was checked. Links to other files, which HDF5 follows by
itself, are refused, and no environment is made to learn its spaces.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srl_bench.convert.checks import (
    MAX_COLUMNS,
    MAX_ROWS,
    check_table,
    count,
    decode_image,
    existing,
    image_shape,
    needs_formats,
    read_json,
    reading,
)
from srl_bench.convert.sealing import Bounds, Episode, require_state
from srl_bench.errors import DataError

STEPS = {"rewards": "rewards", "terminations": "terminated", "truncations": "truncated"}


@dataclass(frozen=True)
class Source:
    """A Minari data set whose description was checked.

    Attributes:
        file: the HDF5 file.
        metadata: the content of metadata.json.
        shapes: shape of the images of each view: (H, W), (H, W, 1) or (H, W, 3); the view "" is the observation itself.
        n_actions, first_action: number of discrete actions and the lowest, 0 for continuous ones.
        bounds: (low, high) of continuous actions.
        width: length of an action vector, None for discrete ones.
    """

    file: Path
    metadata: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    n_actions: int
    first_action: int
    bounds: Bounds | None
    width: int | None

    @property
    def views(self) -> list[str]:
        """Names of the views."""
        return [view or "pixels" for view in self.shapes]

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of each view."""
        return [(shape[0], shape[1]) for shape in self.shapes.values()]

    @property
    def place(self) -> Path:
        """The file of the metadata."""
        return self.file.with_name("metadata.json")


def open_source(folder: Path, observations: str | Sequence[str] | None) -> Source:
    """Check the description of a data set.

    Args:
        folder: which holds metadata.json and main_data.hdf5.
        observations: entries of the observation that are the views; by default all images.

    Raises:
        DataError: it is missing, damaged, or describes something else than HDF5 data of images.
    """
    place = folder / "metadata.json"
    metadata = read_json(place)
    if metadata.get("data_format", "hdf5") != "hdf5":
        raise DataError(f"{place}: data_format is {metadata['data_format']!r}; only 'hdf5' is read.")
    space = _space(place, metadata, "observation_space")
    spaces = space.get("subspaces") if space.get("type") == "Dict" else {"": space}
    if not isinstance(spaces, dict):
        raise DataError(f"{place}: 'subspaces' of the observation_space is no object.")
    images = {name: shape for name, entry in spaces.items() if (shape := _image(place, entry)) is not None}
    wanted = [observations] if isinstance(observations, str) else list(observations or images)
    if not wanted or not set(wanted) <= set(images):
        raise DataError(
            f"{place}: the observation_space has {', '.join(images) or 'no'} images (H, W), (H, W, 1) or (H, W, 3) of "
            f"uint8, but {', '.join(wanted) or 'one'} is needed."
        )
    shapes = {name: images[name] for name in wanted}
    return Source(existing(folder / "main_data.hdf5"), metadata, shapes, **_actions(place, metadata))


def check_episodes(source: Source, indices: Sequence[int], state: str | None) -> int:
    """Check the shapes of some episodes, and return how many rows they have together.

    Raises:
        DataError: an array is missing, refers to another file, or has another shape than it should.
    """
    rows = 0
    width = () if source.width is None else (source.width,)
    with reading(source.file), _opened(source) as file:
        for index in indices:
            group = _group(source, file, f"episode_{index}")
            steps = _numbers(source, group, "rewards", ()).shape[0]
            count(f"{source.file}: {group.name}", "the number of steps", steps, MAX_ROWS, 1)
            for name in STEPS:
                _check_rows(source, _numbers(source, group, name, ()), steps)
            _check_rows(source, _numbers(source, group, "actions", width), steps)
            for view, shape in source.shapes.items():
                _check_rows(source, _images(source, group, view, shape), steps + 1)
                check_table(source.file, steps + 1, 3 * shape[0] * shape[1])
            if state is not None:
                found = _state(source, group, state)
                _check_rows(source, found, steps + 1)
                check_table(source.file, steps + 1, 8 * math.prod(found.shape[1:]))
            rows += steps + 1
    return rows


def read_episodes(source: Source, indices: Sequence[int], state: str | None) -> Iterator[tuple[Episode, list[NDArray]]]:
    """Yield, for each episode of T steps, its arrays and the images (T + 1, H, W, 3) of its views.

    The arrays are rewards, terminated, truncated and actions (T), factors (T + 1, K) and, if there is, domain (T + 1).

    Raises:
        DataError: an array cannot be decoded.
    """
    width = () if source.width is None else (source.width,)
    with reading(source.file), _opened(source) as file:
        for index in indices:
            group = _group(source, file, f"episode_{index}")
            arrays = {ours: _numbers(source, group, name, ())[()] for name, ours in STEPS.items()}
            arrays["actions"] = _numbers(source, group, "actions", width)[()]
            length = len(arrays["rewards"]) + 1
            states = np.zeros((length, 0)) if state is None else _state(source, group, state)[()]
            arrays["factors"] = states.reshape(length, -1)
            if _is_there(group, "infos") and _is_there(infos := _group(source, group, "infos"), "domain"):
                domain = _numbers(source, infos, "domain", ())
                _check_rows(source, domain, length)
                arrays["domain"] = domain[()]
            yield arrays, [_decoded(source, group, view, shape) for view, shape in source.shapes.items()]


def seeds(source: Source, indices: Sequence[int]) -> list[int | None]:
    """Return the seed of each episode, None where it has none."""
    with reading(source.file), _opened(source) as file:
        found = [_group(source, file, f"episode_{index}").attrs.get("seed") for index in indices]
        return [None if seed is None else int(seed) for seed in found]


def _opened(source: Source) -> Any:
    with needs_formats():
        import h5py
    return h5py.File(source.file, "r")


def _is_there(group: Any, name: str) -> bool:
    return group.get(name, getlink=True) is not None


def _member(source: Source, group: Any, name: str) -> Any:
    """Return what lies in a group under a name; links are not followed, so no other file is opened."""
    import h5py

    where = f"{source.file}: {group.name.rstrip('/')}/{name}"
    if "/" in name or not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise DataError(f"{where} is missing, or a link to another place.")
    member = group[name]
    if isinstance(member, h5py.Dataset) and (member.external or member.is_virtual):
        raise DataError(f"{where} keeps its values in another file.")
    return member


def _group(source: Source, group: Any, name: str) -> Any:
    import h5py

    member = _member(source, group, name)
    if not isinstance(member, h5py.Group):
        raise DataError(f"{source.file}: {member.name} is no group.")
    return member


def _numbers(source: Source, group: Any, name: str, tail: tuple[int, ...]) -> Any:
    """Return an array (n, *tail) of numbers."""
    import h5py

    member = _member(source, group, name)
    if not isinstance(member, h5py.Dataset):
        raise DataError(f"{source.file}: {member.name} is no array.")
    if member.ndim == 0 or member.shape[1:] != tail or member.dtype.kind not in "biuf":
        wanted = ", ".join(map(str, ("n", *tail)))
        raise DataError(f"{source.file}: {member.name} is {member.dtype} of shape {member.shape}, not ({wanted}).")
    return member


def _check_rows(source: Source, array: Any, rows: int) -> None:
    if array.shape[0] != rows:
        raise DataError(f"{source.file}: {array.name} has {array.shape[0]} rows, not {rows}.")


def _state(source: Source, group: Any, name: str) -> Any:
    """Return the array (n, K) or (n,) of the ground truth, in the infos or among the observations."""
    import h5py

    found: set[str] = set()
    for place in ("infos", "observations"):
        parent = _member(source, group, place) if _is_there(group, place) else None
        if isinstance(parent, h5py.Group):
            found |= set(parent)
            if _is_there(parent, name):
                tail = getattr(_member(source, parent, name), "shape", ())[1:]
                if len(tail) > 1 or not 1 <= math.prod(tail) <= MAX_COLUMNS:
                    raise DataError(f"{source.file}: {parent.name}/{name} has rows of shape {tail}, not (factors,).")
                return _numbers(source, parent, name, tail)
    raise require_state(source.file, name, found)


def _images(source: Source, group: Any, view: str, shape: tuple[int, ...]) -> Any:
    """Return the array of the images of a view: pixels, or JPEG files as rows of bytes."""
    import h5py

    parent, name = (_group(source, group, "observations"), view) if view else (group, "observations")
    array = _member(source, parent, name)
    stored = isinstance(array, h5py.Dataset) and (h5py.check_vlen_dtype(array.dtype) or array.dtype)
    if stored != np.uint8:
        raise DataError(f"{source.file}: {array.name} holds neither pixels nor JPEG files.")
    return array if array.ndim in (1, 2) else _numbers(source, parent, name, shape)


def _decoded(source: Source, group: Any, view: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    array = _images(source, group, view, shape)
    if array.ndim < 3:
        size = (shape[0], shape[1])
        files = (np.asarray(row).tobytes() for row in array)
        return np.stack([decode_image(f"{source.file}: {array.name}", file, size) for file in files])
    pixels = array[()].reshape(len(array), *shape[:2], -1)
    return pixels if pixels.shape[3] == 3 else np.repeat(pixels, 3, axis=3)


def _space(place: Path, metadata: Mapping[str, Any], name: str) -> dict[str, Any]:
    text = metadata.get(name)
    if not isinstance(text, str):
        raise DataError(f"{place}: {name!r} is missing; spaces are not taken from the environment, which is not made.")
    with reading(f"{place}: {name}"):
        space = json.loads(text)
    if not isinstance(space, dict):
        raise DataError(f"{place}: {name!r} describes no space.")
    return space


def _image(place: Path, space: Any) -> tuple[int, ...] | None:
    """Return the shape of a space of images, None for another one."""
    if not isinstance(space, dict) or (space.get("type"), space.get("dtype")) != ("Box", "uint8"):
        return None
    shape = space.get("shape")
    if not isinstance(shape, list) or len(shape) not in (2, 3) or shape[2:] not in ([], [1], [3]):
        return None
    return *image_shape(place, shape[0], shape[1])[:2], *shape[2:]


def _actions(place: Path, metadata: Mapping[str, Any]) -> dict[str, Any]:
    space = _space(place, metadata, "action_space")
    if space.get("type") == "Discrete":
        n = count(place, "the number of actions", space.get("n"), 2**31, 1)
        start = count(place, "the first action", space.get("start", 0), 2**31, -(2**31))
        return {"n_actions": n, "first_action": start, "bounds": None, "width": None}
    shape = space.get("shape")
    if space.get("type") != "Box" or not isinstance(shape, list) or len(shape) != 1:
        raise DataError(f"{place}: the action_space is {str(space)[:80]}, not Discrete or a Box of one dimension.")
    width = count(place, "the length of an action", shape[0], MAX_COLUMNS, 1)
    with reading(f"{place}: action_space"):
        bounds = (np.array(space["low"], np.float64), np.array(space["high"], np.float64))
    return {"n_actions": 0, "first_action": 0, "bounds": bounds, "width": width}
