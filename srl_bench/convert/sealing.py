"""Episodes from elsewhere become rollouts: checked, described, and sealed by `RolloutWriter`.

A data set that we exported carries its own description. When its arrays come back bit for bit, the description
comes back as it was, its seal included; when they do not (lossy images), its facts and its split are kept and
sealed anew. Arrays that were exported without loss but come back otherwise were altered, and are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from srl_bench.convert.checks import new_folder
from srl_bench.errors import ConfigError, DataError
from srl_bench.factors import Factor
from srl_bench.rollouts import SCHEMA, SPLITS, Rollouts, atomic_folder, open_rollouts, seal_of
from srl_bench.writer import HASHED, RolloutWriter

# The writer makes these entries of a description; all others describe what was recorded.
SEALED = ("schema", "split", "episode_hashes", "sha256", "versions", "seal")
STEPPED = ("actions", "rewards", "terminated", "truncated")
ADVICE = "Export them again, or delete this description to import what is there as a data set of others."
Episode = dict[str, NDArray]
Bounds = tuple[ArrayLike, ArrayLike]


@dataclass(frozen=True)
class Exported:
    """What a data set that we exported says of itself.

    Attributes:
        place: where it says so.
        info: the content of `rollouts.json`.
        exact: the arrays that come back bit for bit.
    """

    place: Path
    info: Mapping[str, Any]
    exact: Collection[str]


def write_rollouts(
    out: str | Path,
    episodes: Iterable[Episode],
    info: Mapping[str, Any],
    *,
    names: Sequence[str] = (),
    categorical: Sequence[str] = (),
    seed: int | None = None,
    exported: Exported | None = None,
) -> Rollouts:
    """Write episodes as a sealed data set and open it.

    Args:
        out: folder to write.
        episodes: rows for `RolloutWriter.append`, the last row of each being the final observation.
        info: the description; without the entry "factors", they are called `names` and have the ranges of the data.
        names: one per column of the factors; by default state_0 and so on.
        categorical: those of them that are numbers of categories.
        seed: of the split into training, validation and test episodes; by default that of `exported`, or 0.
        exported: what a data set of ours says of itself.

    Raises:
        DataError: `out` is not empty, an episode is malformed, there are too few, or a set of ours was altered.
    """
    out = new_folder(out)
    with atomic_folder(out) as folder:
        writer, ranges, first = RolloutWriter(folder), _Ranges(), None
        for index, episode in enumerate(episodes):
            first = first or {name: (rows.shape[1:], rows.dtype) for name, rows in episode.items()}
            _check_episode(index, episode, first, info)
            ranges.add(episode["factors"])
            writer.append(episode)
        table = [factor.to_dict() for factor in ranges.factors(names, categorical)]
        writer.seal({"factors": table, **info}, seed=seed or 0)
        if exported is not None:
            info = json.loads((folder / "rollouts.json").read_text())
            _check_unaltered(exported, info)
            if seed is None:
                (folder / "rollouts.json").write_text(json.dumps(_restored(info, exported.info), indent=1))
    writer.remember(out)
    return open_rollouts(out)


def foreign_info(
    kind: str, name: str, views: Sequence[str], n_actions: int, bounds: Bounds | None, **recording: Any
) -> dict[str, Any]:
    """Return the description of a data set that others recorded: as `record` writes it, the environment unknown."""
    return {
        # names of folders and of Minari's namespaces have what names of environments must not
        "environment": f"{kind}/{re.sub(r'[^A-Za-z0-9_.-]+', '-', name)}",
        "environment_kwargs": {},
        "recording": {"format": kind, "source": name, **recording},
        "n_actions": n_actions,
        "action_bounds": None if bounds is None else [np.asarray(side, np.float64).tolist() for side in bounds],
        "views": list(views),
        "domains": [],
    }


def last_is_final(episode: Episode) -> Episode:
    """Make the last of T frames the final observation, for formats that do not record what the last step led to.

    The action and the reward of the last frame are dropped, and the step before it is marked as the end.
    """
    episode = {name: rows.copy() if name in STEPPED else rows for name, rows in episode.items()}
    for name in STEPPED:
        episode[name][-1] = 0
    if len(episode["rewards"]) > 1:
        episode["truncated"][-2] |= not episode["terminated"][-2]
    return episode


def check_final_rows(rollouts: Rollouts) -> None:
    """Check that the final row of every episode starts no step: a format that has no such row can then restore it.

    Raises:
        DataError: it holds an action, a reward or an end.
    """
    last = rollouts.episodes[1:] - 1
    for name in STEPPED:
        if getattr(rollouts, name)[last].any():
            raise DataError(f"{rollouts.path / name}.npy is not zero on the last row of every episode.")


def scaled_actions(source: object, actions: NDArray, bounds: Bounds | None) -> NDArray[np.float32]:
    """Return continuous actions (T, m) scaled from (low, high), each (m,), to [-1, 1].

    Raises:
        DataError: an action is outside, or the bounds do not fit.
    """
    low, high = (np.asarray(side, dtype=np.float64) for side in bounds or (np.nan, np.nan))
    if low.shape != actions.shape[1:] or high.shape != low.shape or not np.isfinite([low, high]).all():
        raise DataError(
            f"{source} has actions of shape {actions.shape[1:]}, whose bounds are not known; pass "
            "action_bounds=(low, high) (--action-low and --action-high), each with a finite number per dimension."
        )
    half = np.maximum((high - low) / 2, 1e-8)
    scaled = (actions - (high + low) / 2) / half
    if np.abs(scaled).max(initial=0) > 1 + 1e-3:
        raise DataError(f"{source} has actions outside of {low.tolist()} to {high.tolist()}; pass wider action_bounds.")
    return scaled.astype(np.float32)


def observed_bounds(actions: NDArray) -> Bounds:
    """Return the lowest and the highest action (m,) among (N, m)."""
    return actions.min(axis=0).astype(np.float64), actions.max(axis=0).astype(np.float64)


def action_count(source: object, actions: NDArray[np.int64], n_actions: int | None) -> int:
    """Return the number of discrete actions: as given, or one more than the largest of (N,).

    Raises:
        DataError: an action is negative or above.
    """
    found = int(actions.max(initial=0)) + 1
    if actions.min(initial=0) < 0 or found > (n_actions or found):
        raise DataError(f"{source} has discrete actions from {actions.min()} to {found - 1}, not below {n_actions}.")
    return n_actions or found


def checked_description(source: object, value: Any) -> dict[str, Any]:
    """Return the part of a `rollouts.json` that describes what was recorded, from a foreign file.

    Raises:
        DataError: an entry is missing or of the wrong type, or it was altered.
    """
    kinds = {"environment": str, "environment_kwargs": dict, "recording": dict, "n_actions": int, "factors": list}
    kinds |= {"sha256": dict, "episode_hashes": list}
    if not isinstance(value, dict):
        raise DataError(f"{source} holds no description of rollouts.")
    for name, kind in kinds.items():
        if not isinstance(value.get(name), kind):
            raise DataError(f"{source}: {name!r} is missing or not a {kind.__name__}.")
    for name in ("views", "domains"):
        entries = value.get(name, [])
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            raise DataError(f"{source}: {name!r} is not a list of names.")
    allowed = {field.name for field in fields(Factor)}
    for row in value["factors"]:
        named = isinstance(row, dict) and set(row) <= allowed and {"name", "unit", "low", "high"} <= set(row)
        if not named or not all(isinstance(row[end], int | float) for end in ("low", "high")):
            raise DataError(f"{source}: {str(row)[:80]} does not describe a factor.")
    if seal_of({name: entry for name, entry in value.items() if name != "seal"}) != value.get("seal"):
        raise DataError(f"{source}: the description of the rollouts was altered (its seal does not match). {ADVICE}")
    return {name: entry for name, entry in value.items() if name not in SEALED}


def own_state(source: object, own: Mapping[str, Any], state: str | None, default: str, **others: Any) -> str | None:
    """Return where a data set of ours has its ground truth, None if it has none.

    Raises:
        ConfigError: another place was asked for, or one of the other arguments given: the set says these itself.
    """
    found = default if own["factors"] else None
    given = [name for name, value in others.items() if value is not None]
    given += ["state"] if state not in (default, found) else []
    if given:
        raise ConfigError(
            f"{source} is a data set of srl_bench, which says its {', '.join(given)} itself; leave it out."
        )
    return found


class _Ranges:
    """Ranges of factors (T, K) over episodes, and whether they change within one."""

    def __init__(self) -> None:
        self.low: NDArray = np.array(np.inf)
        self.high: NDArray = np.array(-np.inf)
        self.moves: NDArray = np.array(False)

    def add(self, values: NDArray) -> None:
        low, high = values.min(axis=0), values.max(axis=0)
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)
        self.moves = self.moves | (high > low)

    def factors(self, names: Sequence[str], categorical: Sequence[str]) -> list[Factor]:
        names = names or [f"state_{index}" for index in range(self.low.size)]
        return [
            Factor(
                name,
                "",
                float(low),
                float(high),
                kind="categorical" if name in categorical else "continuous",
                scope="step" if moves else "episode",
            )
            for name, low, high, moves in zip(names, self.low, self.high, self.moves, strict=True)
        ]


def _check_episode(index: int, episode: Episode, first: Mapping[str, tuple], info: Mapping[str, Any]) -> None:
    rows = len(episode["observations"])
    if rows < 2:
        raise DataError(f"episode {index} has {rows} frame(s), but a step needs two.")
    for name, values in episode.items():
        if first.get(name) != (values.shape[1:], values.dtype) or len(values) != rows:
            raise DataError(
                f"episode {index}: {name} are {values.dtype} of shape {values.shape}, which does not fit the others."
            )
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise DataError(f"episode {index}: {name} holds NaN or infinite values.")
    discrete = episode["actions"].ndim == 1
    views = 1 + (episode["views"].shape[1] if "views" in episode else 0)
    facts = {
        "factors": (episode["factors"].shape[1], len(info.get("factors", episode["factors"].T))),
        "n_actions": (discrete, info["n_actions"] > 0),
        "views": (views, len(info.get("views") or [""])),
    }
    for name, (found, told) in facts.items():
        if found != told:
            raise DataError(f"episode {index}: its {name} are {found}, but the description says {told}.")
    if discrete and not ((episode["actions"] >= 0) & (episode["actions"] < info["n_actions"])).all():
        raise DataError(f"episode {index} has actions outside of 0 to {info['n_actions'] - 1}.")
    if "domain" in episode and not np.isin(episode["domain"], range(len(info.get("domains", ())))).all():
        raise DataError(f"episode {index} is of a domain that the description does not name.")


def _check_unaltered(exported: Exported, info: Mapping[str, Any]) -> None:
    """Raise `DataError` if arrays that come back bit for bit are not those that were exported, or some episodes."""
    told = exported.info["episode_hashes"]
    if len(told) == len(info["episode_hashes"]):
        differing = [n for n in exported.exact if info["sha256"].get(n) != exported.info["sha256"].get(n)]
    elif len(told) > len(info["episode_hashes"]) and set(exported.exact) >= set(HASHED):
        differing = [f"episode {n}" for n, digest in enumerate(info["episode_hashes"]) if digest not in told]
    else:
        differing = []
    if differing:
        raise DataError(
            f"{exported.place} describes other rollouts than there are: {', '.join(differing[:5])} were altered after "
            f"the export. {ADVICE}"
        )


def _restored(info: Mapping[str, Any], described: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the exported data set said of itself: all of it for the same arrays, else its split."""
    same = all(described.get(name) == info[name] for name in ("schema", "sha256", "episode_hashes"))
    if not _is_partition(described.get("split"), len(info["episode_hashes"])):
        return dict(info)
    if same and described["schema"] == SCHEMA:
        return dict(described)
    restored = {**info, "split": {name: described["split"][name] for name in SPLITS}}
    return restored | {"seal": seal_of({name: value for name, value in restored.items() if name != "seal"})}


def _is_partition(split: Any, n_episodes: int) -> bool:
    if not isinstance(split, dict) or set(split) != set(SPLITS) or not all(isinstance(split[n], list) for n in SPLITS):
        return False
    parts = [episode for name in SPLITS for episode in split[name]]
    return all(type(episode) is int for episode in parts) and sorted(parts) == list(range(n_episodes))


def require_state(source: object, name: str, found: Iterable[str]) -> DataError:
    """Return the error for a data set without the ground truth that was asked for."""
    return DataError(
        f"{source} has no {name!r} to take the ground truth from (but {', '.join(sorted(found)) or 'nothing'}); name "
        "another with state=... (--state NAME), or pass state=None (--state None) for data without it, which pretrain "
        "but cannot be scored."
    )
