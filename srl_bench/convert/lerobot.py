"""LeRobot data sets of format v3.0: https://huggingface.co/docs/lerobot/lerobot-dataset-v3

    meta/info.json, stats.json, tasks.parquet, episodes/chunk-000/file-000.parquet
    data/chunk-000/file-000.parquet
    videos/<camera>/chunk-000/file-000.mp4

A row of the data is a frame: what was observed, the action taken from there, and what that led to (next.*). LeRobot
records no final observation. Ours is a frame more, with is_final true and an action of 0; `final_frames=False` leaves
it out, for agents that imitate, which would learn to stand still. Of a set without the column is_final, the last frame
of an episode becomes the final observation, and its action and reward are dropped.

Labels of tasks become tasks, and several tasks a categorical factor: see `srl_bench.convert.lerobot_tasks`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np

from srl_bench.convert.checks import check_disk, needs_formats, new_folder, output_size, read_json
from srl_bench.convert.lerobot_frames import (
    FINAL,
    STATE,
    actions_of,
    camera_keys,
    columns_of,
    episode_of,
    features_of,
    images_of,
    outcomes,
    state_names,
)
from srl_bench.convert.lerobot_source import (
    CAMERA,
    Source,
    data_files,
    open_source,
    read_episode_table,
    read_frames_table,
    read_images,
)
from srl_bench.convert.lerobot_target import (
    CHUNK_FILES,
    DATA_MB,
    DATA_PATH,
    VIDEO_MB,
    VIDEO_PATH,
    DataFiles,
    Statistics,
    VideoFiles,
    png_files,
    write_meta,
)
from srl_bench.convert.lerobot_tasks import TASK, Tasks, read_tasks, tasks_of, write_tasks
from srl_bench.convert.sealing import (
    Bounds,
    Exported,
    check_final_rows,
    checked_description,
    foreign_info,
    own_state,
    require_state,
    write_rollouts,
)
from srl_bench.convert.video import ENCODINGS
from srl_bench.errors import ConfigError, DataError, UnknownNameError
from srl_bench.rollouts import ARRAYS, FRAMES, OPTIONAL, Rollouts, atomic_folder

DESCRIPTION = "meta/srl_bench.json"


def to_lerobot(
    rollouts: Rollouts,
    folder: str | Path,
    *,
    fps: int = 10,
    encoding: str = "lossless",
    final_frames: bool = True,
    task: str | None = None,
    robot_type: str | None = None,
    max_file_mb: float | None = None,
) -> Path:
    """Write rollouts as a LeRobot data set; with the defaults, `from_lerobot` brings them back bit for bit.

    Args:
        rollouts: the data.
        folder: to write.
        fps: frames per second; frame t of an episode has the timestamp t / fps.
        encoding: of the images: "lossless" (H.264 of RGB, exact), "png" (in the data files, exact), "av1" or "h264"
            (with loss, as LeRobot does it).
        final_frames: whether the final observation of each episode is a frame.
        task: what the robot does, in words; by default the id of the environment. The labels of an episode follow,
            unless it has the sentence of a LeRobot data set that was imported.
        robot_type: entry of meta/info.json.
        max_file_mb: a new file begins above this size; by default LeRobot's 100 for data and 200 for videos.

    Returns:
        The folder.

    Raises:
        ConfigError: a package is not installed, or an argument is wrong.
        DataError: the folder is not empty, or the rollouts cannot be written.
    """
    if encoding not in (*ENCODINGS, "png"):
        raise ConfigError(f"encoding must be one of {', '.join([*ENCODINGS, 'png'])}, not {encoding!r}.")
    if isinstance(fps, bool) or not isinstance(fps, int) or not 1 <= fps <= 1_000:
        raise ConfigError(f"fps must be a whole number from 1 to 1000, not {fps!r}.")
    with needs_formats():
        import av  # noqa: F401
        import pyarrow  # noqa: F401
    folder = new_folder(folder)
    check_final_rows(rollouts)
    keys = camera_keys(rollouts)
    tasks = tasks_of(rollouts, task)
    features = features_of(rollouts, keys, fps, encoding, final_frames)
    with atomic_folder(folder) as root:
        with ExitStack() as stack:
            data = stack.enter_context(closing(DataFiles(root, features, (max_file_mb or DATA_MB) * 1e6)))
            videos = {
                key: stack.enter_context(closing(VideoFiles(root, key, fps, encoding, (max_file_mb or VIDEO_MB) * 1e6)))
                for key in keys
            }
            episodes, stats = _write_episodes(rollouts, data, videos, fps, encoding, final_frames, tasks)
        info = {
            "codebase_version": "v3.0",
            "robot_type": robot_type,
            "total_episodes": len(episodes),
            "total_frames": episodes[-1]["dataset_to_index"],
            "total_tasks": len(tasks.sentences),
            "chunks_size": CHUNK_FILES,
            "data_files_size_in_mb": DATA_MB,
            "video_files_size_in_mb": VIDEO_MB,
            "fps": fps,
            "splits": {"train": f"0:{len(episodes)}"},
            "data_path": DATA_PATH,
            "video_path": None if encoding == "png" else VIDEO_PATH,
            "features": features,
        }
        write_meta(root, info, episodes, stats)
        write_tasks(root, tasks.sentences)
        (root / DESCRIPTION).write_text(json.dumps(rollouts.info, indent=1))
    return folder


def _write_episodes(
    rollouts: Rollouts,
    data: DataFiles,
    videos: Mapping[str, VideoFiles],
    fps: int,
    encoding: str,
    final_frames: bool,
    tasks: Tasks,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Write data and videos, and return the rows of meta/episodes and the content of meta/stats.json."""
    statistics = Statistics()
    episodes: list[dict[str, Any]] = []
    start = 0
    for index in range(rollouts.n_episodes):
        rows = slice(int(rollouts.episodes[index]), int(rollouts.episodes[index + 1]) - (not final_frames))
        images = images_of(rollouts, list(videos), rows)
        task = int(tasks.numbers[index])
        columns = columns_of(rollouts, rows, index, start, fps, final_frames, task)
        stop = start + rows.stop - rows.start
        row = {"episode_index": index, "tasks": [tasks.sentences[task]], "length": stop - start}
        row |= {"dataset_from_index": start, "dataset_to_index": stop}
        if encoding == "png":
            row |= data.append({**columns, **{key: png_files(pixels) for key, pixels in images.items()}})
        else:
            row |= data.append(columns)
            for key, pixels in images.items():
                row |= videos[key].append(pixels)
        episodes.append(row | statistics.add(columns, images))
        start = stop
    return episodes, statistics.all()


def from_lerobot(
    folder: str | Path,
    out: str | Path,
    *,
    cameras: Sequence[str] | None = None,
    state: str | None = STATE,
    image_size: int | tuple[int, int] | None = None,
    n_actions: int | None = None,
    action_bounds: Bounds | None = None,
    seed: int | None = None,
) -> Rollouts:
    """Write a LeRobot data set of format v3.0 as rollouts.

    One that `to_lerobot` wrote without loss comes back bit for bit, with its split. Of others, the last frame of each
    episode becomes the final observation and the step before it is marked as truncated (unless next.done says that the
    episode ended there); actions are scaled to [-1, 1]; a set without next.reward has rewards of 0. The sentence of
    each task is in info["recording"]["tasks"], by its number; of several tasks, this number is a last, categorical
    factor "task", or "task_index" if the state has one of that name.

    Args:
        folder: of the data set, which holds meta, data and videos.
        out: folder to write.
        cameras: the features that are the views, with or without "observation.images."; by default all RGB images.
        state: the feature that is the ground truth (K,). None imports data without factors but the task: such data
            pretrain but cannot be scored.
        image_size: height and width, or both as one number, to resize images to.
        n_actions: number of discrete actions; by default one more than the largest that occurs.
        action_bounds: (low, high) of continuous actions, each (m,); by default the lowest and highest that occur.
        seed: of the split into training, validation and test episodes; by default that of the set, or 0.

    Raises:
        ConfigError: a package is not installed, or an argument is wrong.
        DataError: a file is missing or damaged, or the set lacks images, actions or the ground truth.
    """
    size = output_size(image_size)
    with needs_formats():
        import av  # noqa: F401
        import pyarrow  # noqa: F401
    new_folder(out)
    source = open_source(Path(folder))
    own, described = _described(source)
    if own is not None:
        state = own_state(
            source.root / DESCRIPTION, own, state, STATE, n_actions=n_actions, action_bounds=action_bounds
        )
    keys = _chosen_cameras(source, cameras, own, size)
    episodes = read_episode_table(source, keys)
    files = data_files(source, episodes)
    check_disk(source.root, Path(out), source.frames, (*(size or source.cameras[keys[0]]), 3), len(keys))
    table = read_frames_table(source, files, _wanted(source, state, own))
    if not np.array_equal(table["episode_index"], np.repeat(np.arange(source.episodes), episodes["length"])):
        raise DataError(f"{source.root / 'data'}: 'episode_index' does not fit the lengths in meta/episodes.")
    whole = FINAL in table
    if whole and not np.array_equal(np.flatnonzero(table[FINAL]), episodes["dataset_to_index"] - 1):
        raise DataError(f"{source.root / 'data'}: {FINAL!r} is not true on the last frame of episodes only.")
    columns, names = outcomes(table, state), state_names(source, state)
    tasks = read_tasks(source, table[TASK]) if TASK in table else {}
    label = [TASK if "task" in names else "task"] if len(tasks) > 1 else []
    if label:
        columns["factors"] = np.column_stack([columns["factors"], table[TASK]])
    columns["actions"], n_actions, action_bounds = actions_of(source, table["action"], own, n_actions, action_bounds)
    if own is not None and "domain" in table:
        columns["domain"] = table["domain"].astype(np.int64)
    views = [key.removeprefix(CAMERA).removeprefix("observation.") for key in keys]
    recording = {"fps": source.fps} | ({"tasks": tasks} if tasks else {})
    info = own or foreign_info("lerobot", source.root.resolve().name, views, n_actions, action_bounds, **recording)
    if cameras is not None:
        info = {**info, "views": views}
    images = read_images(source, files, episodes, keys)
    rows = (episode_of(columns, episodes, index, cameras, size, whole) for index, cameras in enumerate(images))
    exported = None
    if described is not None:
        same_images = cameras is None and size in (None, source.cameras[keys[0]]) and all(map(source.is_exact, keys))
        exact = [name for name in (*ARRAYS, *OPTIONAL) if whole and (same_images or name not in FRAMES)]
        exported = Exported(source.root / DESCRIPTION, described, exact)
    return write_rollouts(out, rows, info, names=[*names, *label], categorical=label, seed=seed, exported=exported)


def _described(source: Source) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Return what the description of a set that we exported says was recorded, and all of it; or nothing twice."""
    file = source.root / DESCRIPTION
    if not file.exists():
        return None, None
    described = read_json(file)
    return checked_description(file, described), described


def _chosen_cameras(
    source: Source, cameras: Sequence[str] | None, own: Mapping[str, Any] | None, size: tuple[int, int] | None
) -> list[str]:
    """Return the features of the views: those asked for, those of our description, or all there are."""
    known = source.cameras
    if not known:
        raise DataError(f"{source.place} has no feature of RGB images.")
    keys = [name if name in known else CAMERA + name for name in cameras or (own or {}).get("views") or known]
    unknown = [key for key in keys if key not in known]
    if unknown and cameras:
        raise UnknownNameError(f"camera of {source.root}", unknown[0], known)
    if unknown:
        raise DataError(f"{source.place} lacks the feature {unknown[0]!r}, which {DESCRIPTION} names as a view.")
    if size is None and len({known[key] for key in keys}) > 1:
        raise DataError(
            f"{source.place} has images of different sizes; pass image_size=... (--image-size) or one camera with "
            "cameras=[...] (--views)."
        )
    return keys


def _wanted(source: Source, state: str | None, own: Mapping[str, Any] | None) -> list[str]:
    """Return the columns to read."""
    if "action" not in source.features:
        raise DataError(f"{source.place} has no feature 'action'.")
    if state is not None and state not in source.features:
        raise require_state(source.place, state, (name for name in source.features if name not in source.cameras))
    further = ["next.reward", "next.done", "next.terminated", "next.truncated", FINAL, "domain"]
    further += [] if own else [TASK]  # the factors of a set of ours have it
    return ["action", "episode_index", *([state] if state else []), *(n for n in further if n in source.features)]
