"""Data sets of the S-RL Toolbox: https://srl-zoo.readthedocs.io and https://s-rl-toolbox.readthedocs.io

    record_000/frame000000.jpg                 one folder per episode; frame000000_1.jpg, ..._2.jpg for two cameras
    preprocessed_data.npz                      rewards, actions, episode_starts: one row per frame
    ground_truth.npz                           ground_truth_states, images_path: one row per frame; target_positions:
                                               one row per episode
    dataset_config.json, env_globals.json      relative_pos and max_dist; constants of the environment

The reward of a frame is that of the action taken from there. The toolbox records no final observation. Ours is a frame
more, with an action and a reward of 0. Of a set that the toolbox recorded, the last frame of an episode becomes the
final observation: its action and its reward, whose outcome was not recorded, are dropped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srl_bench.convert.checks import check_disk, needs_formats, new_folder, output_size
from srl_bench.convert.sealing import (
    Bounds,
    Episode,
    Exported,
    action_count,
    check_final_rows,
    checked_description,
    foreign_info,
    last_is_final,
    observed_bounds,
    own_state,
    scaled_actions,
    write_rollouts,
)
from srl_bench.convert.srl_zoo_source import DESCRIPTION, STATES, Source, dataset_config, open_source
from srl_bench.errors import ConfigError, DataError
from srl_bench.rollouts import ARRAYS, FRAMES, OPTIONAL, Rollouts, atomic_folder


def to_srl_zoo(
    rollouts: Rollouts, folder: str | Path, *, quality: int = 95, max_distance: float = float("inf")
) -> Path:
    """Write rollouts as the S-RL Toolbox does.

    Images lose by JPEG (at quality 95 about one grey level in the mean); all else comes back exactly. Factors that are
    constant within every episode and are said to be become target_positions, the others ground_truth_states. What the
    format has no place for is in srl_bench.json (the description) and in further arrays of preprocessed_data.npz
    (terminated, truncated, domain), which the toolbox does not look at.

    Args:
        rollouts: the data.
        folder: to write.
        quality: of the JPEG files, from 1 to 100.
        max_distance: what dataset_config.json says, in m.

    Returns:
        The folder.

    Raises:
        ConfigError: an argument is wrong.
        DataError: the folder is not empty, or the rollouts cannot be written.
    """
    if isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 100:
        raise ConfigError(f"quality must be a whole number from 1 to 100, not {quality!r}.")
    folder = new_folder(folder)
    check_final_rows(rollouts)
    height, width = rollouts.observations.shape[1:3]
    targets = _constant(rollouts)
    moving = [column for column in range(rollouts.factors.shape[1]) if column not in targets]
    starts = np.zeros(len(rollouts), dtype=bool)
    starts[rollouts.episodes[:-1]] = True
    further: dict[str, Any] = {"terminated": rollouts.terminated, "truncated": rollouts.truncated}
    further |= {} if rollouts.domain is None else {"domain": rollouts.domain}
    with atomic_folder(folder) as root:
        names = [name for index in range(rollouts.n_episodes) for name in _write_frames(rollouts, root, index, quality)]
        np.savez(
            root / "preprocessed_data.npz",
            rewards=rollouts.rewards, actions=rollouts.actions, episode_starts=starts, **further,
        )  # fmt: skip
        np.savez(
            root / "ground_truth.npz",
            target_positions=rollouts.factors[rollouts.episodes[:-1]][:, targets],
            ground_truth_states=rollouts.factors[:, moving],
            images_path=np.array([f"{folder.name}/{name}" for name in names]),
        )
        facts = {"environment": rollouts.environment, **rollouts.environment_kwargs}
        globals_ = {**facts, "RENDER_HEIGHT": height, "RENDER_WIDTH": width}
        _write_json(root / "dataset_config.json", {"relative_pos": False, "max_dist": str(max_distance)})
        _write_json(root / "env_globals.json", globals_)
        _write_json(root / DESCRIPTION, {"rollouts": rollouts.info, "target_columns": targets})
    return folder


def from_srl_zoo(
    folder: str | Path,
    out: str | Path,
    *,
    state: str | None = STATES,
    image_size: int | tuple[int, int] | None = None,
    n_actions: int | None = None,
    action_bounds: Bounds | None = None,
    seed: int | None = None,
) -> Rollouts:
    """Write a data set of the S-RL Toolbox as rollouts, such as its sets of the real Baxter (224 x 224 pixels).

    The factors are the columns of the ground truth (state_0, ...) followed by the position of the target, constant
    within an episode (target_0, ...), both as recorded, whatever relative_pos says. How episodes ended is not recorded:
    all count as truncated. A set that `to_srl_zoo` wrote comes back exactly but for its images, with its split.

    Args:
        folder: of the data set.
        out: folder to write.
        state: the array of ground_truth.npz that is the ground truth. None imports data without factors: they
            pretrain but cannot be scored.
        image_size: height and width, or both as one number, to resize images to.
        n_actions: number of discrete actions; by default one more than the largest that occurs.
        action_bounds: (low, high) of continuous actions, each (m,); by default -1 and 1, as in the toolbox, or the
            lowest and highest that occur where some are outside.
        seed: of the split into training, validation and test episodes; by default that of the set, or 0.

    Raises:
        ConfigError: an argument is wrong.
        DataError: a file or an array is missing, damaged or pickled, or lengths differ.
    """
    size = output_size(image_size)
    new_folder(out)
    source = open_source(Path(folder), state)
    frames, cameras = len(source.frames), len(source.endings)
    check_disk(source.root, Path(out), frames, (*(size or source.image_size), 3), cameras)
    described = None if source.described is None else source.described["rollouts"]
    own = None if described is None else checked_description(source.root / DESCRIPTION, described)
    if own is not None:
        own_state(source.root / DESCRIPTION, own, state, STATES, n_actions=n_actions, action_bounds=action_bounds)
    actions, n_actions, action_bounds = _actions(source, own, n_actions, action_bounds)
    factors, names = _factors(source)
    columns = {"actions": actions, "factors": factors, "rewards": source.steps["rewards"][:, 0].astype(np.float32)}
    for name, kind in (("terminated", bool), ("truncated", bool), ("domain", np.int64)):
        if name in source.steps:
            columns[name] = source.steps[name][:, 0].astype(kind)
        elif name != "domain":
            columns[name] = np.zeros(frames, dtype=bool)
    views = ["pixels"] if cameras == 1 else [f"camera_{number + 1}" for number in range(cameras)]
    about = dataset_config(source.root)
    name = source.root.resolve().name
    info = own or foreign_info("srl_zoo", name, views, n_actions, action_bounds, **about)
    ends = [*source.starts[1:], frames]
    episodes = (_episode(source, columns, slice(*rows), size) for rows in zip(source.starts, ends, strict=True))
    exact = [name for name in (*ARRAYS, *OPTIONAL) if name not in FRAMES]
    exported = None if described is None else Exported(source.root / DESCRIPTION, described, exact)
    return write_rollouts(out, episodes, info, names=names, seed=seed, exported=exported)


def _constant(rollouts: Rollouts) -> list[int]:
    """Return the factors that are constant within episodes, by their description and in fact."""
    first = rollouts.factors[rollouts.episodes[:-1]][rollouts.episode_ids]
    constant = (rollouts.factors == first).all(axis=0)
    return [index for index, f in enumerate(rollouts.factor_table) if f.scope == "episode" and constant[index]]


def _write_frames(rollouts: Rollouts, root: Path, index: int, quality: int) -> Iterator[str]:
    """Write the images of an episode, and yield the name of each frame below the folder, without its ending."""
    with needs_formats():
        from PIL import Image
    record = f"record_{index:03d}"
    (root / record).mkdir()
    first, end = int(rollouts.episodes[index]), int(rollouts.episodes[index + 1])
    for row in range(first, end):
        name = f"{record}/frame{row - first:06d}"
        images = [rollouts.observations[row], *(() if rollouts.views is None else rollouts.views[row])]
        for number, image in enumerate(images):
            ending = ".jpg" if len(images) == 1 else f"_{number + 1}.jpg"
            Image.fromarray(image).save(root / f"{name}{ending}", quality=quality, subsampling=0)
        yield name


def _write_json(file: Path, value: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(dict(value), indent=1))


def _factors(source: Source) -> tuple[NDArray[np.float64], list[str]]:
    """Return the factors (N, K): states and the targets of their episodes, each where our description has it."""
    frames = len(source.frames)
    states = np.zeros((frames, 0)) if source.states is None else source.states
    lengths = np.diff([*source.starts, frames])
    targets = np.zeros((frames, 0)) if source.targets is None else np.repeat(source.targets, lengths, axis=0)
    names = [f"state_{index}" for index in range(states.shape[1])]
    names += [f"target_{index}" for index in range(targets.shape[1])]
    factors = np.hstack([states, targets])
    if source.described is None:
        return factors, names
    columns = source.described["target_columns"]
    order = [column for column in range(len(names)) if column not in columns] + columns
    if sorted(order) != list(range(len(names))):
        raise DataError(f"{source.root / DESCRIPTION}: 'target_columns' does not fit {len(names)} columns.")
    return factors[:, np.argsort(order)], names


def _actions(
    source: Source, own: Mapping[str, Any] | None, n_actions: int | None, bounds: Bounds | None
) -> tuple[NDArray, int, Bounds | None]:
    """Return actions as rollouts hold them, the number of discrete ones, and the bounds of continuous ones."""
    actions = source.steps["actions"]
    place = source.root / "preprocessed_data.npz"
    if own is not None and not own["n_actions"]:
        return actions, 0, None
    if actions.shape[1] == 1 and (actions == np.floor(actions)).all():
        actions = actions[:, 0].astype(np.int64)
        return actions, action_count(place, actions, own["n_actions"] if own else n_actions), None
    if bounds is None:
        inside = np.abs(actions).max(initial=0) <= 1
        bounds = (-np.ones(actions.shape[1]), np.ones(actions.shape[1])) if inside else observed_bounds(actions)
    return scaled_actions(place, actions, bounds), 0, bounds


def _episode(source: Source, columns: Mapping[str, NDArray], rows: slice, size: tuple[int, int] | None) -> Episode:
    images = source.images(rows, size)
    episode = {name: values[rows] for name, values in columns.items()}
    episode["observations"] = images[0]
    if len(images) > 1:
        episode["views"] = np.stack(images[1:], axis=1)
    return last_is_final(episode) if source.described is None else episode
