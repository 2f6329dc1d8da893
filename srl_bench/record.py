"""Record rollouts: whole episodes, each with its own seed, so that the data do not depend on the workers."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from srl_bench.config import RecordConfig, options
from srl_bench.environments import factor_table, make_environment
from srl_bench.errors import ConfigError, DataError, SrlBenchError
from srl_bench.policies import Policy, check_policy, make_policy
from srl_bench.progress import progress
from srl_bench.provenance import code_version
from srl_bench.registry import load_plugin, plugin_version
from srl_bench.rollouts import Rollouts, open_rollouts
from srl_bench.seeding import derive_seed, generator
from srl_bench.writer import RolloutWriter

CHUNK = 8


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
        workers: processes that run episodes (default: one per core); the data do not depend on it.
        plugins: plug-ins that register the environment.

    Raises:
        ConfigError: an option is wrong, or the environment is unknown.
        DataError: `out` holds another recording or a damaged one.
    """
    config = options(RecordConfig, {"environment": environment, "frames": frames, "seed": seed, **settings})
    if workers is not None and workers < 1:
        raise ConfigError(f"workers must be at least 1, not {workers}.")
    for plugin in plugins:
        load_plugin(plugin)
    path = Path(out) if out is not None else Path("data") / recording_name(config, plugins)
    if path.exists() and any(path.iterdir()):
        found = open_rollouts(path)
        if found.info["recording"] != json.loads(json.dumps(asdict(config))):
            raise DataError(
                f"{path} holds another recording ({found.info['recording']}); give another folder or delete it."
            )
        return found
    info = _describe(config)
    with _partial(path, config, plugins) as folder, progress() as bar:
        writer = RolloutWriter(folder)
        task = bar.add_task(f"record {config.environment}", total=config.frames, completed=writer.n_steps, status="")
        start = writer.n_episodes
        for batch in _batches(config, start, workers or os.cpu_count() or 1, plugins):
            for episode in batch:
                left = config.frames - writer.n_steps
                if left:
                    writer.append(_cut(episode, min(len(episode["rewards"]) - 1, left)))
            writer.commit()
            bar.update(task, completed=writer.n_steps)
            if writer.n_steps == config.frames:
                break
        writer.seal(info, seed=config.seed)
        folder.rename(path)
    writer.remember(path)
    return open_rollouts(path)


@contextmanager
def _partial(path: Path, config: RecordConfig, plugins: tuple[str, ...]) -> Iterator[Path]:
    """Yield the folder of an unfinished recording, which stays when it is interrupted, for the next run to go on.

    Raises:
        DataError: another process records the same data set.
    """
    folder = path.with_name(f".{path.name}.partial")
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise DataError(f"another process is recording {path}; wait for it, or give another folder.") from error
    request = {"name": recording_name(config, plugins), "recording": asdict(config)}
    note = folder / "recording.json"
    try:
        if not note.exists() or note.read_text() != json.dumps(request):
            for file in folder.iterdir():
                if file.name != "lock":
                    file.unlink()
            note.write_text(json.dumps(request))
        yield folder
        for name in ("recording.json", "lock"):
            (path / name).unlink(missing_ok=True)
    except SrlBenchError:
        shutil.rmtree(folder)
        raise
    finally:
        lock.release()


def _describe(config: RecordConfig) -> dict[str, Any]:
    """Return what a data set says of itself, after a check that environment and policy can be recorded."""
    check_policy(config.policy)
    tables = {}
    for domain, env in _environments(config).items():
        if not all(space.dtype == np.uint8 for space in _images(env).values()):
            raise ConfigError(
                f"only image observations are recorded, not {env.observation_space}; use obs_type='pixels'."
            )
        space = env.action_space
        if not isinstance(space, gymnasium.spaces.Discrete | gymnasium.spaces.Box):
            raise ConfigError(f"only Discrete and Box actions can be recorded, not {space}.")
        if isinstance(space, gymnasium.spaces.Box) and not space.is_bounded():
            raise ConfigError(f"only Box actions with finite bounds can be recorded, not {space}.")
        make_policy(config, env)
        tables[domain] = [factor.to_dict() for factor in factor_table(env)]
        views = list(_images(env))
        env.close()
    if any(table != tables[domain] for table in tables.values()):
        raise ConfigError(f"the domains {', '.join(tables)} have different factors; record them apart.")
    return {
        "environment": config.environment,
        "environment_kwargs": config.environment_kwargs,
        "recording": asdict(config),
        "n_actions": int(space.n) if isinstance(space, gymnasium.spaces.Discrete) else 0,
        "action_bounds": [space.low.tolist(), space.high.tolist()] if isinstance(space, gymnasium.spaces.Box) else None,
        "factors": tables[domain],
        "views": views,
        "domains": list(config.domains),
    }


def _environments(config: RecordConfig) -> dict[str, gymnasium.Env]:
    """Make the environment in each domain; without domains, once."""
    variants = {domain: {"domain": domain} for domain in config.domains} or {"": {}}
    return {
        name: make_environment(config.environment, {**config.environment_kwargs, **extra})
        for name, extra in variants.items()
    }


def _images(env: gymnasium.Env) -> dict[str, gymnasium.Space]:
    """Return the spaces of the views."""
    space = env.observation_space
    return dict(space.spaces) if isinstance(space, gymnasium.spaces.Dict) else {"pixels": space}


def recording_name(config: RecordConfig, plugins: Sequence[str] = ()) -> str:
    """Return a folder name that is unique to a configuration and to the code that records it.

    Plug-ins count unless the environment is one of ours, which they do not change.
    """
    code = code_version("environments", "record.py", "seeding.py")
    foreign = "" if _is_ours(config.environment) else plugin_version(plugins)
    facts = json.dumps([asdict(config), code, foreign], sort_keys=True)
    digest = hashlib.sha256(facts.encode()).hexdigest()[:12]
    return f"{config.environment.replace('/', '_')}-{digest}"


def _is_ours(environment: str) -> bool:
    spec = gymnasium.registry.get(environment)
    creator = "" if spec is None else str(spec.entry_point)
    return environment.startswith("srl_bench/") and creator.startswith("srl_bench.")


def _batches(
    config: RecordConfig, start: int, workers: int, plugins: tuple[str, ...]
) -> Iterator[list[dict[str, NDArray]]]:
    """Yield episodes in the order of their index, several at a time, without end."""
    # Starting a worker costs about a second, as much as a thousand frames.
    workers = min(workers, max(1, config.frames // 2_000))
    if workers == 1:
        with _recorder(config) as run:
            for first in count(start, CHUNK):
                yield [run(index) for index in range(first, first + CHUNK)]
    from joblib import Parallel, delayed

    with Parallel(n_jobs=workers) as pool:
        # One batch of chunks at a time bounds memory and the episodes run beyond the last one needed.
        for first in count(start, 2 * workers * CHUNK):
            chunks = pool(delayed(_chunk)(config, first + i * CHUNK, CHUNK, plugins) for i in range(2 * workers))
            yield [episode for episodes in chunks for episode in episodes]


def _chunk(config: RecordConfig, start: int, length: int, plugins: tuple[str, ...]) -> list[dict[str, NDArray]]:
    for plugin in plugins:
        load_plugin(plugin)
    with _recorder(config) as run:
        return [run(start + i) for i in range(length)]


@contextmanager
def _recorder(config: RecordConfig) -> Iterator[Callable[[int], dict[str, NDArray]]]:
    """Yield a function that runs an episode, by its index in the domain whose turn it is."""
    envs = list(_environments(config).values())
    policies = [make_policy(config, env) for env in envs]

    def run(index: int) -> dict[str, NDArray]:
        turn = index % len(envs)
        episode = run_episode(envs[turn], policies[turn], config, index)
        if config.domains:
            episode["domain"] = np.full(len(episode["rewards"]), turn)
        return episode

    try:
        yield run
    finally:
        for env in envs:
            env.close()


def run_episode(env: gymnasium.Env, policy: Policy, config: RecordConfig, index: int) -> dict[str, NDArray]:
    """Run episode `index` and return its rows, the final observation included."""
    rng = generator(config.seed, "policy", index)
    observation, info = env.reset(seed=derive_seed(config.seed, "episode", index) % 2**31)
    discrete = isinstance(env.action_space, gymnasium.spaces.Discrete)
    idle = 0 if discrete else np.zeros(env.action_space.shape or ())
    frames, rows = [_views(observation)], []
    for step in range(config.max_steps):
        action = policy(env, observation, info, rng)
        state = info["state"]
        observation, reward, terminated, truncated, info = env.step(action)
        truncated = truncated or (step + 1 == config.max_steps and not terminated)
        rows.append((_scaled(action, env.action_space), reward, terminated, truncated, state))
        frames.append(_views(observation))
        if terminated or truncated:
            break
    rows.append((idle, 0.0, False, False, info["state"]))
    actions, rewards, terminations, truncations, factors = zip(*rows, strict=True)
    episode = {
        "observations": np.stack([views[0] for views in frames]),
        "actions": np.array(actions, dtype=np.int64 if discrete else np.float32),
        "rewards": np.array(rewards, dtype=np.float32),
        "terminated": np.array(terminations, dtype=bool),
        "truncated": np.array(truncations, dtype=bool),
        "factors": np.array(factors, dtype=np.float64),
    }
    if len(frames[0]) > 1:
        episode["views"] = np.stack([np.stack(views[1:]) for views in frames])
    return episode


def _views(observation: Any) -> list[NDArray[np.uint8]]:
    return list(observation.values()) if isinstance(observation, dict) else [observation]


def _scaled(action: Any, space: gymnasium.Space) -> Any:
    """Return a continuous action scaled to [-1, 1] by the bounds of its space, a discrete one as it is."""
    if not isinstance(space, gymnasium.spaces.Box):
        return action
    half = np.maximum((space.high - space.low) / 2, 1e-8)
    return (action - (space.high + space.low) / 2) / half


def _cut(episode: dict[str, NDArray], steps: int) -> dict[str, NDArray]:
    """Keep the first `steps` steps of an episode, the cut marked as a truncation."""
    if steps == len(episode["rewards"]) - 1:
        return episode
    cut = {name: rows[: steps + 1].copy() for name, rows in episode.items()}
    cut["truncated"][steps - 1] = True
    for name in ("actions", "rewards", "terminated", "truncated"):
        cut[name][steps] = 0
    return cut
