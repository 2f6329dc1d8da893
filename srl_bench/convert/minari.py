"""Minari data sets: https://minari.farama.org/content/dataset_standards/

An episode of T steps has observations (T + 1), actions, rewards, terminations and truncations (T) and infos (T + 1).
That includes our final observation, so nothing is lost in either direction. Images are stored as they are: what Minari
does by default is JPEG.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from srl_bench.convert.checks import check_disk, count, needs_formats, new_folder, output_size, reading, resized
from srl_bench.convert.hdf5 import Source, check_episodes, open_source, read_episodes, seeds
from srl_bench.convert.sealing import (
    Bounds,
    Episode,
    Exported,
    check_final_rows,
    checked_description,
    foreign_info,
    own_state,
    scaled_actions,
    write_rollouts,
)
from srl_bench.errors import ConfigError, DataError
from srl_bench.rollouts import ARRAYS, FRAMES, OPTIONAL, Rollouts, atomic_folder
from srl_bench.seeding import derive_seed

if TYPE_CHECKING:
    from minari import MinariDataset
    from minari.data_collector import EpisodeBuffer

DESCRIPTION = "srl_bench"
MAX_EPISODES = 10_000_000


def to_minari(
    rollouts: Rollouts,
    dataset_id: str,
    *,
    author: str | None = None,
    author_email: str | None = None,
    code_permalink: str | None = None,
) -> MinariDataset:
    """Write rollouts as a Minari data set, without loss.

    Observations are uint8 images (H, W, 3), or a dictionary of them by view if there are several. Actions are ours,
    in [-1, 1] if continuous; the environment that `recover_environment` makes takes them so. infos["state"] are the
    factors (T + 1, K) float64, infos["domain"] (T + 1,) the domain. The metadata hold the description.

    Args:
        rollouts: the data.
        dataset_id: "name-v0" or "namespace/name-v0", below MINARI_DATASETS_PATH or ~/.minari/datasets.
        author, author_email, code_permalink: entries of the metadata.

    Returns:
        What `minari.load_dataset(dataset_id)` reads.

    Raises:
        ConfigError: Minari is not installed, or the id is malformed.
        DataError: there is a data set of this id.
    """
    with needs_formats():
        import minari
        from minari.dataset.minari_storage import MinariStorage
        from minari.namespace import create_namespace, list_local_namespaces
    namespace, path = _place(dataset_id)
    check_final_rows(rollouts)
    new_folder(path)
    if namespace is not None and namespace not in list_local_namespaces():
        create_namespace(namespace)
    about: dict[str, Any] = {
        "dataset_id": dataset_id,
        "minari_version": minari.__version__,
        "description": f"rollouts of {rollouts.environment}, recorded with srl_bench",
        "algorithm_name": str(rollouts.info["recording"].get("policy", "unknown")),
        DESCRIPTION: rollouts.info,
    }
    about |= {"author": {author}} if author else {}
    about |= {"author_email": {author_email}} if author_email else {}
    about |= {"code_permalink": code_permalink} if code_permalink else {}
    with atomic_folder(path) as folder:
        storage = MinariStorage.new(
            folder / "data",
            observation_space=_observation_space(rollouts),
            action_space=_action_space(rollouts),
            env_spec=_env_spec(rollouts),
            data_format="hdf5",
            jpeg_encoding=False,
        )
        storage.update_metadata(about)
        storage.update_episodes(_buffers(rollouts))
    return minari.load_dataset(dataset_id)


def from_minari(
    dataset: str | Path | MinariDataset,
    out: str | Path,
    *,
    observations: str | Sequence[str] | None = None,
    state: str | None = "state",
    image_size: int | tuple[int, int] | None = None,
    action_bounds: Bounds | None = None,
    seed: int | None = None,
) -> Rollouts:
    """Write a Minari data set of images as rollouts.

    One that `to_minari` wrote comes back bit for bit, with its split. Of others, actions are scaled from the bounds of
    their space, rewards become float32, and an episode whose last step has no end is marked as truncated.

    Args:
        dataset: an id, the folder of a data set, or a data set, whose selection of episodes counts.
        out: folder to write.
        observations: which entries of a dictionary of observations are the views; by default all images in it.
        state: where the ground truth (T + 1, K) is: a key of the infos, or else of the observations. None imports
            data without factors: they pretrain but cannot be scored.
        image_size: height and width, or both as one number, to resize images to.
        action_bounds: (low, high) of continuous actions, each (m,), for spaces without bounds.
        seed: of the split into training, validation and test episodes; by default that of the set, or 0.

    Raises:
        ConfigError: a package is not installed, or an argument is wrong.
        DataError: the data set is missing, damaged, not stored as HDF5, or lacks images or the ground truth.
    """
    size = output_size(image_size)
    new_folder(out)
    folder, indices = _located(dataset)
    source = open_source(folder, observations)
    described = source.metadata.get(DESCRIPTION)
    own = None if described is None else checked_description(source.place, described)
    if own is not None:
        state = own_state(source.place, own, state, "state", action_bounds=action_bounds)
        if observations is None and len(own.get("views", ())) > 1:  # spaces sort their entries
            source = open_source(folder, own["views"])
    elif size is None and len(set(source.sizes)) > 1:
        raise DataError(
            f"{source.place} has views of different sizes; pass image_size=... (--image-size) or one of them with "
            "observations=... (--views)."
        )
    if indices is None:
        total = count(source.place, "total_episodes", source.metadata.get("total_episodes"), MAX_EPISODES)
        indices = list(range(total))
    rows = check_episodes(source, indices, state)
    check_disk(folder, Path(out), rows, (*(size or source.sizes[0]), 3), len(source.views))
    bounds = action_bounds if action_bounds is not None else source.bounds
    info = own or _foreign_info(source, folder, indices, bounds)
    if observations is not None:
        info = {**info, "views": source.views}
    read = read_episodes(source, indices, state)
    episodes = (_episode(source, arrays, images, size, bounds, own=own is not None) for arrays, images in read)
    same_images = observations is None and size in (None, source.sizes[0])
    exact = [name for name in (*ARRAYS, *OPTIONAL) if same_images or name not in FRAMES]
    exported = None if described is None else Exported(source.place, described, exact)
    return write_rollouts(out, episodes, info, seed=seed, exported=exported)


def _place(dataset_id: str) -> tuple[str | None, Path]:
    """Return the namespace of an id, and the folder of its data set.

    Raises:
        ConfigError: the id is malformed; one that is well formed has no "..".
    """
    with needs_formats():
        from minari.dataset.minari_dataset import parse_dataset_id
        from minari.storage import get_dataset_path
    try:
        return parse_dataset_id(dataset_id)[0], get_dataset_path(dataset_id)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{dataset_id!r} is no Minari id; write 'name-v0' or 'namespace/name-v0'.") from error


def _located(dataset: str | Path | MinariDataset) -> tuple[Path, list[int] | None]:
    """Return the folder with the metadata, and the episodes if only some are meant."""
    if isinstance(dataset, str):
        return _place(dataset)[1] / "data", None
    if isinstance(dataset, Path):
        return dataset / "data" if (dataset / "data").is_dir() else dataset, None
    return Path(dataset.storage.data_path), [int(index) for index in dataset.episode_indices]


def _observation_space(rollouts: Rollouts) -> gymnasium.Space:
    image = gymnasium.spaces.Box(0, 255, rollouts.observations.shape[1:], np.uint8)
    views = _views(rollouts)
    return image if len(views) == 1 else gymnasium.spaces.Dict(dict.fromkeys(views, image))


def _views(rollouts: Rollouts) -> list[str]:
    return rollouts.info.get("views") or ["pixels"]


def _action_space(rollouts: Rollouts) -> gymnasium.Space:
    if rollouts.n_actions:
        return gymnasium.spaces.Discrete(rollouts.n_actions)
    return gymnasium.spaces.Box(-1, 1, rollouts.actions.shape[1:], np.float32)


def _env_spec(rollouts: Rollouts) -> EnvSpec | None:
    """Return how to make the environment so that it takes our actions; None for one that is not registered."""
    # `gymnasium.spec` would import the module that an id may name
    registered = gymnasium.registry.get(rollouts.environment)
    if registered is None or not isinstance(registered.entry_point, str):
        return None
    spec = copy.deepcopy(registered)
    spec.kwargs = {**spec.kwargs, **rollouts.environment_kwargs}
    if not rollouts.n_actions:
        spec.additional_wrappers += (gymnasium.wrappers.RescaleAction.wrapper_spec(min_action=-1.0, max_action=1.0),)
    return spec


def _buffers(rollouts: Rollouts) -> Iterator[EpisodeBuffer]:
    from minari.data_collector import EpisodeBuffer

    recording = rollouts.info["recording"]
    seeded = isinstance(recording.get("seed"), int) and "policy" in recording  # as `record` writes it
    for index in range(rollouts.n_episodes):
        rows = slice(rollouts.episodes[index], rollouts.episodes[index + 1])
        steps = slice(rows.start, rows.stop - 1)
        images = [rollouts.observations[rows]]
        if rollouts.views is not None:
            images += list(np.moveaxis(rollouts.views[rows], 1, 0))
        infos: dict[str, NDArray] = {"state": rollouts.factors[rows]} if rollouts.factors.shape[1] else {}
        infos |= {} if rollouts.domain is None else {"domain": rollouts.domain[rows]}
        yield EpisodeBuffer(
            id=index,
            seed=derive_seed(recording["seed"], "episode", index) % 2**31 if seeded else None,
            observations=images[0] if len(images) == 1 else dict(zip(_views(rollouts), images, strict=True)),
            actions=rollouts.actions[steps],
            rewards=rollouts.rewards[steps],
            terminations=rollouts.terminated[steps],
            truncations=rollouts.truncated[steps],
            infos=infos,
        )


def _foreign_info(source: Source, folder: Path, indices: Sequence[int], bounds: Bounds | None) -> dict[str, Any]:
    """Return the description of a set that others recorded; the environment is named but not made."""
    name = str(source.metadata.get("dataset_id", folder.parent.name))
    info = foreign_info("minari", name, source.views, source.n_actions, bounds, seeds=seeds(source, indices))
    text = source.metadata.get("env_spec")
    if isinstance(text, str):
        with reading(f"{source.place}: env_spec"):
            spec = json.loads(text)
            info |= {"environment": str(spec["id"]), "environment_kwargs": dict(spec["kwargs"])}
    return info


def _episode(
    source: Source,
    arrays: Mapping[str, NDArray],
    images: Sequence[NDArray],
    size: tuple[int, int] | None,
    bounds: Bounds | None,
    *,
    own: bool,
) -> Episode:
    """Return the rows of an episode; actions and ends that are our own stay as they are."""
    steps = {name: arrays[name] for name in ("rewards", "terminated", "truncated", "actions")}
    if source.width is None:
        steps["actions"] = steps["actions"].astype(np.int64) - source.first_action
    elif not own:
        steps["actions"] = scaled_actions(source.file, steps["actions"], bounds)
    types = {"rewards": np.float32, "terminated": bool, "truncated": bool}
    steps = {name: values.astype(types.get(name, values.dtype)) for name, values in steps.items()}
    if not own:
        steps["truncated"][-1] |= not steps["terminated"][-1]
    episode = {name: np.concatenate([values, np.zeros_like(values[:1])]) for name, values in steps.items()}
    episode |= {"observations": resized(images[0], size), "factors": arrays["factors"].astype(np.float64)}
    if len(images) > 1:
        episode["views"] = np.stack([resized(view, size) for view in images[1:]], axis=1)
    if own and "domain" in arrays:
        episode["domain"] = arrays["domain"].astype(np.int64)
    return episode
