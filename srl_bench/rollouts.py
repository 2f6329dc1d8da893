"""Logged rollouts on disk: one folder of numpy arrays and a JSON file that describes and seals them.

Row t of every array belongs to observation o_t. `actions[t]`, `rewards[t]`, `terminated[t]` and
`truncated[t]` describe the step taken *from* o_t, so they are zero on the last row of an episode, which
holds the final observation and starts no step. `factors[t]` is the ground truth of o_t.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from srl_bench.errors import DataError
from srl_bench.factors import Factor
from srl_bench.seeding import generator

SCHEMA = 1
SPLITS = ("train", "val", "test")
ARRAYS = ("observations", "actions", "rewards", "terminated", "truncated", "factors", "episodes")


@dataclass(frozen=True)
class Rollouts:
    """A sealed data set of episodes.

    Attributes:
        path: its folder.
        info: the content of `rollouts.json`.
        observations: (N, H, W, 3) uint8, memory-mapped.
        actions: (N,) int64 for discrete actions, (N, m) float32 for continuous ones, in [-1, 1] for our environments.
        rewards: (N,) float32, the reward that the step from row t produced.
        terminated, truncated: (N,) bool, whether the step from row t ended the episode, and how.
        factors: (N, K) float64 ground truth.
        episodes: (E + 1,) int64, episode e covers rows episodes[e] to episodes[e + 1] - 1.
    """

    path: Path
    info: dict[str, Any]
    observations: NDArray[np.uint8]
    actions: NDArray
    rewards: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    factors: NDArray[np.float64]
    episodes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.observations)

    @property
    def environment(self) -> str:
        """The Gymnasium id of the environment that was recorded."""
        return self.info["environment"]

    @property
    def environment_kwargs(self) -> dict[str, Any]:
        """The keyword arguments that the environment was made with."""
        return self.info["environment_kwargs"]

    @property
    def data_hash(self) -> str:
        """sha256 over the checksums of all arrays: two sets with the same hash hold the same data."""
        return _digest(self.info["sha256"])

    @cached_property
    def factor_table(self) -> tuple[Factor, ...]:
        """Names, units, kinds and ranges of the columns of `factors`."""
        return tuple(Factor(**row) for row in self.info["factors"])

    @property
    def n_actions(self) -> int:
        """Number of discrete actions; 0 for continuous ones."""
        return self.info["n_actions"]

    @property
    def n_episodes(self) -> int:
        """Number of episodes."""
        return len(self.episodes) - 1

    @cached_property
    def episode_ids(self) -> NDArray[np.int64]:
        """(N,) the episode that each row belongs to."""
        return np.repeat(np.arange(self.n_episodes), np.diff(self.episodes))

    @cached_property
    def steps(self) -> NDArray[np.int64]:
        """(N,) the step within its episode that each row is."""
        return np.arange(len(self)) - self.episodes[self.episode_ids]

    @cached_property
    def split(self) -> NDArray[np.int64]:
        """(N,) 0 for rows of training episodes, 1 for validation, 2 for test."""
        by_episode = np.empty(self.n_episodes, dtype=np.int64)
        for code, name in enumerate(SPLITS):
            by_episode[self.info["split"][name]] = code
        return by_episode[self.episode_ids]

    def transitions(self, split: str) -> NDArray[np.int64]:
        """Return the rows t of one split for which row t + 1 is the next step of the same episode."""
        inside = np.ones(len(self), dtype=bool)
        inside[self.episodes[1:] - 1] = False
        return np.flatnonzero(inside & (self.split == SPLITS.index(split)))


def split_episodes(n_episodes: int, seed: int) -> dict[str, list[int]]:
    """Assign whole episodes to splits: a quarter test, 15 % validation, the rest train.

    Raises:
        DataError: there are fewer than 3 episodes, so that a split would be empty.
    """
    if n_episodes < 3:
        raise DataError(
            f"{n_episodes} episode(s) cannot be split into train, validation and test; at least 3 are "
            "needed (100 or more to score factors that are constant within an episode). Record more frames "
            "or shorter episodes."
        )
    order = generator(seed, "split").permutation(n_episodes)
    n_test, n_val = int(np.ceil(0.25 * n_episodes)), int(np.ceil(0.15 * n_episodes))
    parts = np.split(order, [n_test, n_test + n_val])
    return {name: sorted(part.tolist()) for name, part in zip(("test", "val", "train"), parts, strict=True)}


def open_rollouts(path: str | Path) -> Rollouts:
    """Open a recorded data set and check it against its checksums.

    Raises:
        DataError: a file is missing, truncated or altered, or the schema version is unknown.
    """
    path = Path(path)
    description = path / "rollouts.json"
    if not description.is_file():
        raise DataError(f"{path} holds no rollouts.json; give a folder that `srl-bench record` wrote.")
    try:
        info = json.loads(description.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{description} is not valid JSON ({error}); record the data set again.") from error
    if not isinstance(info, dict) or info.get("schema") != SCHEMA:
        raise DataError(f"{description} has no schema version {SCHEMA}, the only one this version reads.")
    try:
        sealed = _digest({key: value for key, value in info.items() if key != "seal"})
        if sealed != info["seal"]:
            raise DataError(f"{description} was altered after recording (its seal does not match).")
        arrays = {name: _open_array(path, name, info["sha256"][name]) for name in ARRAYS}
    except KeyError as error:
        raise DataError(f"{description} lacks the entry {error}; record the data set again.") from error
    rows = len(arrays["observations"])
    for name in ARRAYS[:-1]:
        if len(arrays[name]) != rows:
            raise DataError(f"{path / name}.npy has {len(arrays[name])} rows where observations have {rows}.")
    return Rollouts(path=path, info=info, **arrays)


def _open_array(folder: Path, name: str, sha256: str) -> NDArray:
    file = folder / f"{name}.npy"
    if not file.is_file():
        raise DataError(f"{file} is missing.")
    with file.open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != sha256:
            raise DataError(f"{file} is truncated or was altered (its sha256 does not match rollouts.json).")
    # Copy-on-write, so that torch takes the pages as they are; nothing is ever written back.
    return np.load(file, mmap_mode="c" if name == "observations" else None, allow_pickle=False)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


class RolloutWriter:
    """Append episodes to a data set under construction; `seal` completes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._small: dict[str, list[NDArray]] = {name: [] for name in ARRAYS[1:-1]}
        self._lengths: list[int] = []
        self._frames: IO[bytes] | None = None
        self._frame_shape: tuple[int, ...] = ()

    def append(self, episode: Mapping[str, NDArray]) -> None:
        """Add one episode: equal numbers of rows under each name of `ARRAYS` but "episodes"."""
        observations = episode["observations"]
        if self._frames is None:
            self._frame_shape = observations.shape[1:]
            self._frames = (self.folder / "observations.npy").open("w+b")
            self._write_header()
        self._frames.write(np.ascontiguousarray(observations, dtype=np.uint8).tobytes())
        for name, parts in self._small.items():
            parts.append(episode[name])
        self._lengths.append(len(observations))

    def seal(self, info: Mapping[str, Any], *, seed: int) -> None:
        """Write the remaining arrays, the episode split, the checksums and the description."""
        if self._frames is None:
            raise DataError("a data set needs at least one episode; record more frames.")
        split = split_episodes(len(self._lengths), seed)
        self._write_header()
        self._frames.flush()
        os.fsync(self._frames.fileno())
        self._frames.close()
        for name, parts in self._small.items():
            np.save(self.folder / f"{name}.npy", np.concatenate(parts))
        np.save(self.folder / "episodes.npy", np.concatenate([[0], np.cumsum(self._lengths)]))
        checksums = {}
        for name in ARRAYS:
            with (self.folder / f"{name}.npy").open("rb") as stream:
                checksums[name] = hashlib.file_digest(stream, "sha256").hexdigest()
        described = {
            "schema": SCHEMA,
            **info,
            "split": split,
            "sha256": checksums,
            "versions": {name: version(name) for name in ("gymnasium", "numpy", "pybullet")}
            | {"python": platform.python_version()},
        }
        described["seal"] = _digest(described)
        (self.folder / "rollouts.json").write_text(json.dumps(described, indent=1))

    def _write_header(self) -> None:
        assert self._frames is not None
        # numpy pads the header so that the first dimension can grow in place.
        self._frames.seek(0)
        header = {
            "descr": npy.dtype_to_descr(np.dtype(np.uint8)),
            "fortran_order": False,
            "shape": (sum(self._lengths), *self._frame_shape),
        }
        npy.write_array_header_1_0(self._frames, header)
        self._frames.seek(0, os.SEEK_END)


@contextmanager
def atomic_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `path` that becomes `path` if the block succeeds, and vanishes if not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        if replace and path.exists():
            old = path.with_name(f"{temporary.name}.old")
            path.rename(old)
            temporary.rename(path)
            shutil.rmtree(old)
        else:
            temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
