"""Rollouts as the frames of a LeRobot data set, and back: https://huggingface.co/docs/lerobot/lerobot-dataset-v3"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srl_bench.convert.checks import resized
from srl_bench.convert.lerobot_source import CAMERA, Source
from srl_bench.convert.lerobot_target import Features, camera_feature, column_feature
from srl_bench.convert.lerobot_tasks import TASK
from srl_bench.convert.sealing import (
    Bounds,
    Episode,
    action_count,
    last_is_final,
    observed_bounds,
    scaled_actions,
)
from srl_bench.errors import DataError
from srl_bench.rollouts import Rollouts

STATE = "observation.state"
FINAL = "is_final"


def camera_keys(rollouts: Rollouts) -> list[str]:
    """Return the features of the views."""
    views = rollouts.info.get("views") or ["pixels"]
    for view in views:
        if not re.fullmatch(r"\w[\w.-]*", view):
            raise DataError(f"{rollouts.path} has a view called {view!r}, which cannot be the name of a folder.")
    return [CAMERA + view for view in views]


def images_of(rollouts: Rollouts, keys: Sequence[str], rows: slice) -> dict[str, NDArray[np.uint8]]:
    """Return the images (T, H, W, 3) of each view in some rows."""
    images = [rollouts.observations[rows]]
    if rollouts.views is not None:
        images += list(np.moveaxis(rollouts.views[rows], 1, 0))
    return dict(zip(keys, images, strict=True))


def columns_of(
    rollouts: Rollouts, rows: slice, episode: int, start: int, fps: int, final: bool, task: int
) -> dict[str, NDArray]:
    """Return the columns of an episode, (T,) or (T, d)."""
    frames = np.arange(rows.stop - rows.start)
    columns = {
        STATE: rollouts.factors[rows],
        "action": rollouts.actions[rows],
        "next.reward": rollouts.rewards[rows],
        "next.done": rollouts.terminated[rows] | rollouts.truncated[rows],
        "next.terminated": rollouts.terminated[rows],
        "next.truncated": rollouts.truncated[rows],
        "timestamp": (frames / fps).astype(np.float32),
        "frame_index": frames,
        "episode_index": np.full(len(frames), episode),
        "index": start + frames,
        TASK: np.full(len(frames), task, np.int64),
    }
    if not rollouts.factors.shape[1]:
        del columns[STATE]
    if final:
        columns[FINAL] = frames == frames[-1]
    if rollouts.domain is not None:
        columns["domain"] = rollouts.domain[rows]
    return columns


def features_of(rollouts: Rollouts, keys: Sequence[str], fps: int, encoding: str, final: bool) -> Features:
    """Return the features for meta/info.json."""
    height, width = rollouts.observations.shape[1:3]
    features = {key: camera_feature((height, width), fps, encoding) for key in keys}
    names = {STATE: [factor.name for factor in rollouts.factor_table]}
    if not rollouts.n_actions:
        names["action"] = [f"action_{index}" for index in range(rollouts.actions.shape[1])]
    columns = columns_of(rollouts, slice(0, rollouts.episodes[1]), 0, 0, fps, final, 0)
    return features | {name: column_feature(values, names.get(name)) for name, values in columns.items()}


def outcomes(table: Mapping[str, NDArray], state: str | None) -> dict[str, NDArray]:
    """Return factors (N, K), rewards, terminated and truncated (N,)."""
    rows = len(table["index"])
    none = np.zeros(rows)
    truncated = table.get("next.truncated", none).astype(bool)
    done = table.get("next.done", none).astype(bool)
    return {
        "factors": (np.zeros((rows, 0)) if state is None else table[state].reshape(rows, -1)).astype(np.float64),
        "rewards": table.get("next.reward", none).astype(np.float32),
        "terminated": table.get("next.terminated", done & ~truncated).astype(bool),
        "truncated": truncated,
    }


def actions_of(
    source: Source, actions: NDArray, own: Mapping[str, Any] | None, n_actions: int | None, bounds: Bounds | None
) -> tuple[NDArray, int, Bounds | None]:
    """Return actions as rollouts hold them, the number of discrete ones, and the bounds of continuous ones."""
    if actions.dtype.kind in "iu" and actions.ndim == 1:
        actions = actions.astype(np.int64)
        return actions, action_count(source.root, actions, own["n_actions"] if own else n_actions), None
    if actions.dtype.kind != "f":
        raise DataError(f"{source.root / 'data'}: actions are {actions.dtype} of shape {actions.shape[1:]} per frame.")
    actions = actions.reshape(len(actions), -1)
    if own:
        return actions, 0, None
    bounds = observed_bounds(actions) if bounds is None else bounds
    return scaled_actions(source.root, actions, bounds), 0, bounds


def state_names(source: Source, state: str | None) -> list[str]:
    """Return the names of the numbers of a feature, or state_0 and so on if it has not one for each."""
    if state is None:
        return []
    feature = source.features[state]
    names = feature.get("names")
    if isinstance(names, dict):
        names = next(iter(names.values()), None)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        names = []
    fits = [len(set(names))] == [len(names)] == feature["shape"]
    return names if fits else [f"state_{index}" for index in range(feature["shape"][0])]


def episode_of(
    columns: Mapping[str, NDArray],
    table: Mapping[str, NDArray],
    index: int,
    images: Sequence[NDArray[np.uint8]],
    size: tuple[int, int] | None,
    whole: bool,
) -> Episode:
    """Return the rows of an episode; unless it is whole, its last frame becomes the final observation.

    Args:
        columns: of all frames.
        table: where the episodes are.
        index: of the episode.
        images: (T, H, W, 3) of each camera.
        size: (H, W) to resize them to.
        whole: whether the last frame is the final observation already.
    """
    rows = slice(table["dataset_from_index"][index], table["dataset_to_index"][index])
    episode = {name: values[rows] for name, values in columns.items()}
    episode["observations"] = resized(images[0], size)
    if len(images) > 1:
        episode["views"] = np.stack([resized(view, size) for view in images[1:]], axis=1)
    return episode if whole else last_is_final(episode)
