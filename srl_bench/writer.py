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

HASHED = ("observations", "actions", "rewards", "factors")
HASHED_ROWS = 8
# one line for each committed episode: its number of rows, its hash, a hash of all that was written up to there
COMMITTED = "committed.txt"


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
    """A `.npy` file of rows (n, *shape) that is longer with every append.

    Nothing is held back in memory, which after an error could reach the file when another process has it.

    Args:
        file: where; what is in it beyond `rows` is dropped.
        dtype: of the numbers.
        shape: of one row.
        rows: how many to keep.
        expected: how many there will be: if that is right, the file need not be read again for its checksum.
    """

    def __init__(self, file: Path, dtype: np.dtype, shape: tuple[int, ...], rows: int = 0, expected: int = 0) -> None:
        self._file = file
        self._stream = file.open("r+b" if rows else "w+b", buffering=0)
        self._dtype = dtype
        self._shape = shape
        self._rows = rows
        self._expected = expected
        self._digest = hashlib.sha256(self._header(expected))
        self._write(np.frombuffer(self._header(rows), np.uint8))
        start, width = self._stream.tell(), math.prod(shape) * dtype.itemsize
        self._stream.truncate(start + rows * width)
        if rows:
            hashlib.file_digest(self._stream, lambda: self._digest)
        if expected > rows and hasattr(os, "posix_fallocate"):
            # a full disk is known before the work, and writing takes half as long
            os.posix_fallocate(self._stream.fileno(), 0, start + expected * width)
        self._stream.seek(start + rows * width)

    @classmethod
    def reopen(cls, file: Path, rows: int, expected: int) -> GrowingArray:
        """Go on with the first `rows` rows of a file, whose header does not yet count them.

        Raises:
            ValueError: this is no `.npy` file, or it holds less.
        """
        with file.open("rb") as stream:
            try:
                npy.read_magic(stream)
                (_, *shape), _, dtype = npy.read_array_header_1_0(stream)
            except OSError:
                raise
            except Exception as error:  # the parser of numpy raises all kinds
                raise ValueError(f"{file} has no header of numpy's: {error}.") from error
            end = stream.tell() + rows * math.prod(shape) * dtype.itemsize
        if dtype.hasobject or file.stat().st_size < end:
            raise ValueError(f"{file} does not hold {rows} rows of {dtype}{shape}.")
        return cls(file, dtype, tuple(shape), rows, expected)

    @property
    def state(self) -> bytes:
        """A hash of all rows."""
        return self._digest.digest()

    def append(self, rows: NDArray) -> None:
        """Add rows (n, *shape)."""
        data = np.ascontiguousarray(rows, dtype=self._dtype).reshape(-1).view(np.uint8)
        self._write(data)
        self._digest.update(data.data)
        self._rows += len(rows)

    def close(self) -> str:
        """Write the length, and everything to the disk; return the checksum."""
        self._stream.truncate(self._stream.tell())
        self._stream.seek(0)
        self._write(np.frombuffer(self._header(self._rows), np.uint8))
        os.fsync(self._stream.fileno())
        self._stream.close()
        return self._digest.hexdigest() if self._rows == self._expected else checksum(self._file)

    def _write(self, data: NDArray[np.uint8]) -> None:
        while len(data):
            data = data[self._stream.write(data.data) :]

    def _header(self, rows: int) -> bytes:
        # numpy pads the header so that the first dimension can grow in place
        header = {"descr": npy.dtype_to_descr(self._dtype), "fortran_order": False, "shape": (rows, *self._shape)}
        stream = BytesIO()
        npy.write_array_header_1_0(stream, header)
        return stream.getvalue()


class RolloutWriter:
    """Append episodes to a data set under construction; `seal` completes it.

    What was committed is found again by a new writer on the same folder, so that a recording that was killed
    goes on: rows lie in their final files, and a list says how many of them each committed episode has.

    Args:
        folder: of the data set.
        expected: how many rows there will be, if that is known: see `GrowingArray`.

    Raises:
        DataError: what was committed is damaged.
        OSError: the disk is full; what was committed stays.
    """

    def __init__(self, folder: Path, expected: int = 0) -> None:
        self.folder = folder
        self._expected = expected
        self._list = folder / COMMITTED
        self._list.touch()
        # the last line of a process that was killed may be half a line
        lines = self._list.read_text("ascii", errors="replace").splitlines(keepends=True)
        self._lines = [line for line in lines if line.endswith("\n")]
        os.truncate(self._list, sum(map(len, self._lines)))
        self._committed = len(self._lines)
        self._listed = hashlib.sha256("".join(self._lines[:-1]).encode())
        self._arrays: dict[str, GrowingArray] = {}
        try:
            self._lengths = [int(line.split()[0]) for line in self._lines]
            self._hashes = [line.split()[1] for line in self._lines]
            for file in folder.glob("*.npy") if self._lines else ():
                if file.stem != "episodes":
                    self._arrays[file.stem] = GrowingArray.reopen(file, sum(self._lengths), expected)
            intact = not self._lines or self._line() == self._lines[-1]
        except (ValueError, IndexError):
            intact = False
        if not intact:
            raise DataError(f"{folder} holds an unfinished data set that is damaged; it has to be written anew.")

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
            if name not in self._arrays:
                file = self.folder / f"{name}.npy"
                self._arrays[name] = GrowingArray(file, rows.dtype, rows.shape[1:], expected=self._expected)
            self._arrays[name].append(rows)
        self._lengths.append(len(episode["observations"]))
        self._hashes.append(_episode_hash(episode))
        self._listed.update("".join(self._lines[-1:]).encode())
        self._lines.append(self._line())

    def commit(self) -> None:
        """Keep what was appended, whatever happens to this process."""
        with self._list.open("a") as stream:
            stream.writelines(self._lines[self._committed :])
        self._committed = self.n_episodes

    def _line(self) -> str:
        """Return what the list says of the last episode, with a hash of all rows and lines up to there."""
        state = self._listed.copy()
        for name, array in sorted(self._arrays.items()):
            state.update(name.encode() + array.state)
        return f"{self._lengths[-1]} {self._hashes[-1]} {state.hexdigest()[:16]}\n"

    def seal(self, info: Mapping[str, Any], *, seed: int) -> None:
        """Write the remaining arrays, the episode split, the checksums and the description."""
        if not self._lengths:
            raise DataError("a data set needs at least one episode; record more frames.")
        split = split_episodes(len(self._lengths), seed)
        self._checksums = {name: array.close() for name, array in self._arrays.items()}
        np.save(self.folder / "episodes.npy", np.concatenate([[0], np.cumsum(self._lengths)]))
        checksums = self._checksums | {"episodes": checksum(self.folder / "episodes.npy")}
        described = {
            "schema": SCHEMA,
            **info,
            "split": split,
            "episode_hashes": self._hashes,
            "sha256": dict(sorted(checksums.items())),
            "versions": {name: version(name) for name in ("gymnasium", "numpy", "pybullet")}
            | {"python": platform.python_version()},
        }
        described["seal"] = seal_of(described)
        # of converted sets, much was written by others
        check_description(json.loads(json.dumps(described)), str(self.folder / "rollouts.json"))
        (self.folder / "rollouts.json").write_text(json.dumps(described, indent=1))
        self._list.unlink()

    def remember(self, folder: Path) -> None:
        """Note that the frames are intact, once the folder is where it stays: they need not be read to know."""
        for name in self._checksums.keys() & set(FRAMES):
            remember(folder / f"{name}.npy", self._checksums[name])


def _episode_hash(episode: Mapping[str, NDArray]) -> str:
    """Hash the first rows of an episode: a recording of another length may hold it cut short."""
    digest = hashlib.sha256()
    for name in HASHED:
        digest.update(np.ascontiguousarray(episode[name][:HASHED_ROWS]).tobytes())
    return digest.hexdigest()[:16]
