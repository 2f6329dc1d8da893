"""Logged rollouts on disk: one folder of numpy arrays and a JSON file that describes and seals them.

Row t of every array belongs to observation o_t. `actions[t]`, `rewards[t]`, `terminated[t]` and
`truncated[t]` describe the step taken *from* o_t, so they are zero on the last row of an episode, which
holds the final observation and starts no step. `factors[t]` is the ground truth of o_t.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srl_bench.description import check_arrays, check_description
from srl_bench.errors import DataError, UnknownNameError
from srl_bench.factors import Factor
from srl_bench.integrity import checksum, is_intact

SCHEMA = 2
COVERAGE_PARTS = 20
SPLITS = ("train", "val", "test")
ARRAYS = ("observations", "actions", "rewards", "terminated", "truncated", "factors", "episodes")
OPTIONAL = ("views", "domain")
FRAMES = ("observations", "views")


@dataclass(frozen=True)
class Rollouts:
    """A sealed data set of episodes.

    Attributes:
        path: its folder.
        info: the content of `rollouts.json`.
        observations: (N, H, W, 3) uint8, memory-mapped.
        actions: (N,) int64 for discrete actions, (N, m) float32 for continuous ones, scaled to [-1, 1] from the bounds
            of the action space, which are info["action_bounds"] (low, high).
        rewards: (N,) float32, the reward that the step from row t produced.
        terminated, truncated: (N,) bool, whether the step from row t ended the episode, and how.
        factors: (N, K) float64 ground truth.
        episodes: (E + 1,) int64, episode e covers rows episodes[e] to episodes[e + 1] - 1.
        views: (N, V, H, W, 3) uint8, what the cameras of info["views"] beyond the first saw, or None.
        domain: (N,) int64, indices into info["domains"], or None for a set of one domain.
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
    views: NDArray[np.uint8] | None = None
    domain: NDArray[np.int64] | None = None

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
        return seal_of(self.info["sha256"])

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
        """(N,) 0 for rows of training episodes, 1 for validation, 2 for test, -1 for those left out."""
        by_episode = np.full(self.n_episodes, -1)
        for code, name in enumerate(SPLITS):
            by_episode[self.info["split"][name]] = code
        return by_episode[self.episode_ids]

    def episodes_by(self, name: str) -> dict[float, NDArray[np.int64]]:
        """Group the episodes by a factor that is constant within each, such as "task" or a class label.

        Returns:
            For each value, the numbers of its episodes.

        Raises:
            UnknownNameError: there is no such factor.
            DataError: it changes within an episode.
        """
        names = [factor.name for factor in self.factor_table]
        if name not in names:
            raise UnknownNameError(f"factor of {self.path}", name, names)
        column = self.factors[:, names.index(name)]
        first = column[self.episodes[:-1]]
        if (column != first[self.episode_ids]).any():
            raise DataError(f"the factor {name!r} of {self.path} changes within episodes; group by another one.")
        return {value: np.flatnonzero(first == value) for value in np.unique(first).tolist()}

    def coverage(self) -> NDArray[np.float64]:
        """Return, for each factor, the share of its range that is visited: of 20 equal parts, or of its categories."""
        shares = []
        for factor, column in zip(self.factor_table, self.factors.T, strict=True):
            inside = column[(column >= factor.low) & (column <= factor.high)]
            if factor.kind == "categorical":
                shares.append(len(np.unique(inside)) / (factor.high - factor.low + 1))
                continue
            parts = COVERAGE_PARTS if factor.high > factor.low else 1
            width = max((factor.high - factor.low) / parts, 1e-12)
            part = np.minimum((inside - factor.low) / width, parts - 1).astype(int)
            shares.append(len(np.unique(part)) / parts)
        return np.array(shares)

    def episode_hashes(self, *splits: str) -> list[str]:
        """Return the hashes by which episodes of some splits are recognised in other recordings."""
        return [self.info["episode_hashes"][episode] for split in splits for episode in self.info["split"][split]]

    def transitions(self, split: str, horizon: int = 2) -> NDArray[np.int64]:
        """Return the rows of one split from which `horizon` consecutive frames, this one included, are of one episode.

        By default these are the rows t for which row t + 1 is the next step.
        """
        last = self.episodes[1:][self.episode_ids] - 1
        inside = np.arange(len(self)) + horizon - 1 <= last
        return np.flatnonzero(inside & (self.split == SPLITS.index(split)))


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
    if seal_of({key: value for key, value in info.items() if key != "seal"}) != info.get("seal"):
        raise DataError(f"{description} was altered after recording (its seal does not match).")
    check_description(info, str(description))
    missing = set(ARRAYS) - set(info["sha256"])
    if missing:
        raise DataError(f"{description} lacks the checksum of {', '.join(sorted(missing))}; record the data set again.")
    names = (*ARRAYS, *(name for name in OPTIONAL if name in info["sha256"]))
    arrays = {name: _open_array(path, name, info["sha256"][name]) for name in names}
    check_arrays(arrays, info, str(path))
    return Rollouts(path=path, info=info, **arrays)


def _open_array(folder: Path, name: str, sha256: str) -> NDArray:
    file = folder / f"{name}.npy"
    if not file.is_file():
        raise DataError(f"{file} is missing.")
    intact = is_intact(file, sha256) if name in FRAMES else checksum(file) == sha256
    if not intact:
        raise DataError(f"{file} is truncated or was altered (its sha256 does not match rollouts.json).")
    # Copy-on-write, so that torch takes the pages as they are; nothing is ever written back.
    try:
        return np.load(file, mmap_mode="c" if name in FRAMES else None, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(f"{file} is no array of numbers: {error}.") from error


def seal_of(value: Any) -> str:
    """Return the sha256 of a value as JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def check_own_folder(folder: Path, names: Collection[str]) -> None:
    """Raise a DataError if a folder that is to be replaced holds other files than those of such names."""
    others = {path.name for path in folder.glob("*")} - set(names)
    if others:
        raise DataError(f"{folder} holds other files ({', '.join(sorted(others)[:3])}); give a folder of its own.")


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
