"""Record rollouts: whole episodes, each with its own seed, so that the data do not depend on the workers."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from filelock import FileLock, Timeout

from srl_bench.config import RecordConfig, options
from srl_bench.environments import factor_table
from srl_bench.episodes import (
    Episode,
    arguments_in,
    fixed_look,
    image_spaces,
    make_environments,
    recording_name,
    widest_domain,
)
from srl_bench.errors import ConfigError, DataError
from srl_bench.factors import Factor
from srl_bench.policies import agent_version, check_policy, make_policy, with_policy
from srl_bench.progress import progress
from srl_bench.registry import load_plugin
from srl_bench.rollouts import Rollouts, open_rollouts
from srl_bench.workers import LEFT_FRAMES, episode_runner
from srl_bench.writer import RolloutWriter

# in the folder of an unfinished data set, what it is to hold
NOTE = "recording.json"


def record(
    environment: str = "srl_bench/MobileRobot-v0",
    frames: int = 20_000,
    seed: int = 0,
    *,
    out: str | Path | None = None,
    workers: int | None = None,
    plugins: tuple[str, ...] = (),
    **settings: Any,
) -> Rollouts:
    """Record rollouts of an environment, or open them if `out` already holds the same recording.

    Args:
        environment, frames, seed: see `RecordConfig`; `settings` are its other fields.
        out: folder of the data set; by default `data/<environment>-<hash of the configuration>`.
        workers: processes that run episodes, this one included (default: one per core); the data do not depend on it.
        plugins: plug-ins that register the environment.

    Raises:
        ConfigError: an option is wrong, or the environment is unknown.
        DataError: `out` holds another recording or a damaged one, or another process is recording it.
        WorkerError: a process that recorded was killed; the same call goes on.
        OSError: the disk is full, for example; the same call goes on.
    """
    config = options(RecordConfig, {"environment": environment, "frames": frames, "seed": seed, **settings})
    if workers is not None and workers < 1:
        raise ConfigError(f"workers must be at least 1, not {workers}.")
    for plugin in plugins:
        load_plugin(plugin)
    config = with_policy(config)
    path = Path(out) if out is not None else Path("data") / recording_name(config, plugins)
    path = path.resolve() if path.is_symlink() else path
    if _is_there(path):
        return _recorded(path, config)
    info = _describe(config)
    with _alone(path):
        # another process may have recorded it meanwhile
        return _recorded(path, config) if _is_there(path) else _record(path, config, info, workers, plugins)


def _record(
    path: Path, config: RecordConfig, info: dict[str, Any], workers: int | None, plugins: tuple[str, ...]
) -> Rollouts:
    with _partial(path, config, plugins) as folder, progress() as bar:
        # every episode adds its final observation
        writer = RolloutWriter(folder, expected=config.frames + math.ceil(config.frames / config.max_steps))
        task = bar.add_task(f"record {config.environment}", total=config.frames, completed=writer.n_steps, status="")
        with episode_runner(config, workers or os.cpu_count() or 1, plugins, folder) as run:
            while left := config.frames - writer.n_steps:
                # so many are needed at least, so that none is run in vain but the rest of the last one
                for episodes in run(writer.n_episodes, math.ceil(left / config.max_steps)):
                    for episode in episodes:
                        steps = min(len(episode["rewards"]) - 1, config.frames - writer.n_steps)
                        writer.append(_cut(episode, steps))
                    writer.commit()
                    bar.update(task, completed=writer.n_steps)
        writer.seal(info, seed=config.seed)
        for file in (folder / NOTE, *folder.glob(LEFT_FRAMES)):
            file.unlink()
        folder.rename(path)
    writer.remember(path)
    return open_rollouts(path)


def _is_there(path: Path) -> bool:
    return path.exists() and any(path.iterdir())


def _recorded(path: Path, config: RecordConfig) -> Rollouts:
    """Open a data set of an earlier run.

    Raises:
        DataError: it is damaged, or of another configuration, or of an agent that has since been trained again.
    """
    found = open_rollouts(path)
    if found.info["recording"] != json.loads(json.dumps(asdict(config))):
        raise DataError(
            f"{path} holds another recording ({found.info['recording']}); give another folder or delete it."
        )
    # an agent that is gone, as on another machine, contradicts nothing
    agent = agent_version(config)
    if agent and agent != found.info.get("agent", agent):
        raise DataError(
            f"{path} was recorded with other weights than {config.policy} (reading {config.agent_reads}) has now; "
            "give another folder or delete it."
        )
    return found


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes from recording the same data set.

    Raises:
        DataError: one does so already.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.partial.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise DataError(f"another process is recording {path}; wait for it, or give another folder.") from error
    try:
        yield
    finally:
        # only while it is held, so that no other process holds it; Windows first lets go of it, and removes it itself
        with suppress(PermissionError):
            Path(lock.lock_file).unlink()
        lock.release()


@contextmanager
def _partial(path: Path, config: RecordConfig, plugins: tuple[str, ...]) -> Iterator[Path]:
    """Yield the folder of an unfinished recording, which stays when it is interrupted, for the next run to go on.

    Raises:
        OSError: of the disk, such as that it is full; names the folder.
    """
    folder = path.with_name(f".{path.name}.partial")
    request = json.dumps({"name": recording_name(config, plugins), "recording": asdict(config)})
    note = folder / NOTE
    try:
        folder.mkdir(exist_ok=True)
        if not note.exists() or note.read_text(errors="replace") != request:
            for file in folder.iterdir():
                file.unlink()
            note.write_text(request)
        for file in folder.glob(LEFT_FRAMES):
            file.unlink()
        yield folder
    except (ConfigError, DataError):
        shutil.rmtree(folder)
        raise
    except OSError as error:
        error.filename = error.filename or str(folder)
        raise


def _describe(config: RecordConfig) -> dict[str, Any]:
    """Return what a data set says of itself, after a check that environment and policy can be recorded."""
    check_policy(config.policy)
    environments = make_environments(config)
    for env in environments.values():
        if not all(space.dtype == np.uint8 for space in image_spaces(env).values()):
            raise ConfigError(
                f"only image observations are recorded, not {env.observation_space}; use obs_type='pixels'."
            )
        space = env.action_space
        if not isinstance(space, gymnasium.spaces.Discrete | gymnasium.spaces.Box):
            raise ConfigError(f"only Discrete and Box actions can be recorded, not {space}.")
        if isinstance(space, gymnasium.spaces.Box) and not space.is_bounded():
            raise ConfigError(f"only Box actions with finite bounds can be recorded, not {space}.")
        make_policy(config, env)
        views = list(image_spaces(env))
    table = _common_table(environments)
    for env in environments.values():
        env.close()
    return {
        "environment": config.environment,
        "environment_kwargs": arguments_in(config, widest_domain(environments)),
        "recording": asdict(config),
        "agent": agent_version(config),
        "n_actions": int(space.n) if isinstance(space, gymnasium.spaces.Discrete) else 0,
        "action_bounds": [space.low.tolist(), space.high.tolist()] if isinstance(space, gymnasium.spaces.Box) else None,
        "factors": [factor.to_dict() for factor in table],
        "views": views,
        "domains": list(config.domains),
    }


def _common_table(environments: dict[str, gymnasium.Env]) -> tuple[Factor, ...]:
    """Return the factors of all domains; one that only some vary has in its range what it is in the others.

    Raises:
        ConfigError: domains differ in more than what their looks vary.
    """
    tables = [factor_table(env) for env in environments.values()]
    table = max(tables, key=len)
    looks = [fixed_look(env, table) for env in environments.values()]
    if any((*own, *(f for f in table if f.name in look)) != table for own, look in zip(tables, looks, strict=True)):
        raise ConfigError(f"the domains {', '.join(environments)} have different factors; record them apart.")
    for factor in table:
        values = [factor.low, factor.high, *(look[factor.name] for look in looks if factor.name in look)]
        table = tuple(replace(f, low=min(values), high=max(values)) if f is factor else f for f in table)
    return table


def _cut(episode: Episode, steps: int) -> Episode:
    """Keep the first `steps` steps of an episode, the cut marked as a truncation."""
    if steps == len(episode["rewards"]) - 1:
        return episode
    cut = {name: rows[: steps + 1].copy() for name, rows in episode.items()}
    cut["truncated"][steps - 1] = True
    for name in ("actions", "rewards", "terminated", "truncated"):
        cut[name][steps] = 0
    return cut
