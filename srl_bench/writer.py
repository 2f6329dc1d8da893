"""Writing rollouts: episodes are appended as they are recorded, then the set is sealed."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from srl_bench.description import check_description
from srl_bench.errors import DataError
from srl_bench.integrity import checksum, remember
from srl_bench.rollouts import FRAMES, SCHEMA, seal_of
from srl_bench.seeding import generator

HASHED_ROWS = 8


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


class GrowingArray:
    """A `.npy` file of uint8 rows (n, *shape) that is longer with every append.

    Args:
        file: where; what is in it beyond `rows` is dropped.
        shape: of one row.
        rows: how many to keep.
        expected: how many there will be: if that is right, the file need not be read again for its checksum.
    """

    def __init__(self, file: Path, shape: tuple[int, ...], rows: int = 0, expected: int = 0) -> None:
        self._file = file
        self._stream = file.open("r+b" if rows else "w+b")
        self._shape = shape
        self._rows = rows
        self._expected = 0 if rows else expected
        self._digest = hashlib.sha256(self._header(expected))
        self._stream.write(self._header(rows))
        self._stream.seek(rows * math.prod(shape), os.SEEK_CUR)
        self._stream.truncate(self._stream.tell())

    def append(self, rows: NDArray[np.uint8]) -> None:
        """Add rows (n, *shape)."""
        data = np.ascontiguousarray(rows, dtype=np.uint8).data
        self._stream.write(data)
        if self._expected:
            self._digest.update(data)
        self._rows += len(rows)

    def flush(self) -> None:
        """Hand all rows to the operating system: they survive the end of this process."""
        self._stream.flush()

    def close(self) -> str:
        """Write the length, and everything to the disk; return the checksum."""
        self._stream.seek(0)
        self._stream.write(self._header(self._rows))
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        return self._digest.hexdigest() if self._rows == self._expected else checksum(self._file)

    def _header(self, rows: int) -> bytes:
        # numpy pads the header so that the first dimension can grow in place
        header = {
            "descr": npy.dtype_to_descr(np.dtype(np.uint8)),
            "fortran_order": False,
            "shape": (rows, *self._shape),
        }
        stream = BytesIO()
        npy.write_array_header_1_0(stream, header)
        return stream.getvalue()


class RolloutWriter:
    """Append episodes to a data set under construction; `seal` completes it.

    What was committed is found again by a new writer on the same folder, so that a recording that was killed
    goes on: frames lie in their final files, everything else in one file per commit.

    Args:
        folder: of the data set.
        expected: how many rows there will be, if that is known: see `GrowingArray`.
    """

    def __init__(self, folder: Path, expected: int = 0) -> None:
        self.folder = folder
        self._expected = expected
        self._frames: dict[str, GrowingArray] = {}
        self._small: dict[str, list[NDArray]] = {}
        self._lengths: list[int] = []
        self._hashes: list[str] = []
        self._committed = 0
        parts = sorted(folder.glob("part_*.npz"))
        for part in parts:
            with np.load(part, allow_pickle=False) as arrays:
                self._lengths += arrays["lengths"].tolist()
                self._hashes += arrays["hashes"].tolist()
                for name in set(arrays) - {"lengths", "hashes"}:
                    self._small.setdefault(name, []).append(arrays[name])
        self._parts = len(parts)
        self._committed = len(self._lengths)
        for name in FRAMES:
            if parts and (file := folder / f"{name}.npy").exists():
                shape = np.load(file, mmap_mode="r").shape[1:] if file.stat().st_size else ()
                self._frames[name] = GrowingArray(file, shape, sum(self._lengths))

    @property
    def n_episodes(self) -> int:
        """Number of episodes so far."""
        return len(self._lengths)

    @property
    def n_steps(self) -> int:
        """Number of steps so far: the last row of an episode starts none."""
        return sum(self._lengths) - len(self._lengths)

    def append(self, episode: Mapping[str, NDArray]) -> None:
        """Add one episode: equal numbers of rows under each name of `ARRAYS` but "episodes", and of `OPTIONAL`."""
        for name, rows in episode.items():
            if name not in FRAMES:
                self._small.setdefault(name, []).append(rows)
                continue
            if name not in self._frames:
                self._frames[name] = GrowingArray(self.folder / f"{name}.npy", rows.shape[1:], expected=self._expected)
            self._frames[name].append(rows)
        self._lengths.append(len(episode["observations"]))
        self._hashes.append(_episode_hash(episode))

    def commit(self) -> None:
        """Keep what was appended, whatever happens to this process."""
        new = self.n_episodes - self._committed
        if not new:
            return
        for frames in self._frames.values():
            frames.flush()
        arrays: dict[str, Any] = {name: np.concatenate(parts[-new:]) for name, parts in self._small.items()}
        temporary = self.folder / "part.tmp.npz"
        np.savez(temporary, lengths=self._lengths[-new:], hashes=self._hashes[-new:], **arrays)
        temporary.replace(self.folder / f"part_{self._parts:06}.npz")
        self._parts += 1
        self._committed = self.n_episodes

    def seal(self, info: Mapping[str, Any], *, seed: int) -> None:
        """Write the remaining arrays, the episode split, the checksums and the description."""
        if not self._lengths:
            raise DataError("a data set needs at least one episode; record more frames.")
        split = split_episodes(len(self._lengths), seed)
        self._checksums = {name: frames.close() for name, frames in self._frames.items()}
        for name, parts in self._small.items():
            np.save(self.folder / f"{name}.npy", np.concatenate(parts))
        np.save(self.folder / "episodes.npy", np.concatenate([[0], np.cumsum(self._lengths)]))
        for part in self.folder.glob("part*.npz"):
            part.unlink()
        checksums = {name: checksum(self.folder / f"{name}.npy") for name in (*self._small, "episodes")}
        described = {
            "schema": SCHEMA,
            **info,
            "split": split,
            "episode_hashes": self._hashes,
            "sha256": dict(sorted((self._checksums | checksums).items())),
            "versions": {name: version(name) for name in ("gymnasium", "numpy", "pybullet")}
            | {"python": platform.python_version()},
        }
        described["seal"] = seal_of(described)
        # of converted sets, much was written by others
        check_description(json.loads(json.dumps(described)), str(self.folder / "rollouts.json"))
        (self.folder / "rollouts.json").write_text(json.dumps(described, indent=1))

    def remember(self, folder: Path) -> None:
        """Note that the frames are intact, once the folder is where it stays: they need not be read to know."""
        for name in self._frames:
            remember(folder / f"{name}.npy", self._checksums[name])


def _episode_hash(episode: Mapping[str, NDArray]) -> str:
    """Hash the first rows of an episode: a recording of another length may hold it cut short."""
    digest = hashlib.sha256()
    for name in ("observations", "actions", "rewards", "factors"):
        digest.update(np.ascontiguousarray(episode[name][:HASHED_ROWS]).tobytes())
    return digest.hexdigest()[:16]
