"""Record rollouts: whole episodes, each with its own seed, so that the data do not depend on the workers."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from srl_bench.config import RecordConfig, options
from srl_bench.environments import factor_table, make_environment
from srl_bench.errors import ConfigError, DataError
from srl_bench.progress import progress
from srl_bench.provenance import code_version
from srl_bench.registry import load_plugin
from srl_bench.rollouts import Rollouts, RolloutWriter, atomic_folder, open_rollouts
from srl_bench.seeding import derive_seed, generator

Policy = Callable[[gymnasium.Env, np.random.Generator], Any]


def _random(env: gymnasium.Env, rng: np.random.Generator) -> Any:
    space = env.action_space
    if isinstance(space, gymnasium.spaces.Discrete):
        return int(rng.integers(space.n))
    assert isinstance(space, gymnasium.spaces.Box)
    return rng.uniform(space.low, space.high).astype(space.dtype)


def _scripted(env: gymnasium.Env, rng: np.random.Generator, noise: float) -> Any:
    if not hasattr(env.unwrapped, "scripted_action"):
        raise ConfigError(f"{env} has no scripted_action(rng, noise); record it with the random policy.")
    return env.unwrapped.scripted_action(rng, noise)


POLICIES: dict[str, Callable[[RecordConfig], Policy]] = {
    "random": lambda config: _random,
    "scripted": lambda config: lambda env, rng: _scripted(env, rng, config.noise),
}


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
    path = Path(out) if out is not None else Path("data") / recording_name(config)
    if path.exists() and any(path.iterdir()):
        found = open_rollouts(path)
        if found.info["recording"] != json.loads(json.dumps(asdict(config))):
            raise DataError(
                f"{path} holds another recording ({found.info['recording']}); give another folder or delete it."
            )
        return found
    env = make_environment(config.environment, config.environment_kwargs)
    if env.observation_space.dtype != np.uint8:
        raise ConfigError(f"only image observations are recorded, not {env.observation_space}; use obs_type='pixels'.")
    space = env.action_space
    if not isinstance(space, gymnasium.spaces.Discrete | gymnasium.spaces.Box):
        raise ConfigError(f"only Discrete and Box actions can be recorded, not {space}.")
    info = {
        "environment": config.environment,
        "environment_kwargs": config.environment_kwargs,
        "recording": asdict(config),
        "n_actions": int(space.n) if isinstance(space, gymnasium.spaces.Discrete) else 0,
        "factors": [factor.to_dict() for factor in factor_table(env)],
    }
    env.close()
    with atomic_folder(path) as folder, progress() as bar:
        writer, done, task = (
            RolloutWriter(folder),
            0,
            bar.add_task(f"record {config.environment}", total=config.frames, status=""),
        )
        for episode in _episodes(config, workers or os.cpu_count() or 1, plugins):
            steps = len(episode["rewards"]) - 1
            if done + steps > config.frames:
                steps = config.frames - done
                episode = _cut(episode, steps)
            writer.append(episode)
            done += steps
            bar.advance(task, steps)
            if done == config.frames:
                break
        writer.seal(info, seed=config.seed)
    return open_rollouts(path)


def recording_name(config: RecordConfig) -> str:
    """Return a folder name that is unique to a configuration and to the code that records it."""
    code = code_version("environments", "record.py", "seeding.py")
    facts = json.dumps([asdict(config), code], sort_keys=True)
    digest = hashlib.sha256(facts.encode()).hexdigest()[:12]
    return f"{config.environment.replace('/', '_')}-{digest}"


def _episodes(config: RecordConfig, workers: int, plugins: tuple[str, ...]) -> Iterator[dict[str, NDArray]]:
    """Yield episodes in the order of their index, without end."""
    chunk = 8
    # Starting a worker costs about a second, as much as a thousand frames.
    workers = min(workers, max(1, config.frames // 2_000))
    if workers == 1:
        env = make_environment(config.environment, config.environment_kwargs)
        try:
            index = 0
            while True:
                yield run_episode(env, config, index)
                index += 1
        finally:
            env.close()
    from joblib import Parallel, delayed

    with Parallel(n_jobs=workers) as pool:
        start = 0
        while True:
            # One batch of chunks at a time bounds memory and the episodes run beyond the last one needed.
            for episodes in pool(
                delayed(_chunk)(config, start + i * chunk, chunk, plugins) for i in range(2 * workers)
            ):
                yield from episodes
            start += 2 * workers * chunk


def _chunk(config: RecordConfig, start: int, count: int, plugins: tuple[str, ...]) -> list[dict[str, NDArray]]:
    for plugin in plugins:
        load_plugin(plugin)
    env = make_environment(config.environment, config.environment_kwargs)
    try:
        return [run_episode(env, config, start + i) for i in range(count)]
    finally:
        env.close()


def run_episode(env: gymnasium.Env, config: RecordConfig, index: int) -> dict[str, NDArray]:
    """Run episode `index` and return its rows, the final observation included."""
    policy = POLICIES[config.policy](config)
    rng = generator(config.seed, "policy", index)
    observation, info = env.reset(seed=derive_seed(config.seed, "episode", index) % 2**31)
    discrete = isinstance(env.action_space, gymnasium.spaces.Discrete)
    idle = 0 if discrete else np.zeros(env.action_space.shape or ())
    rows: list[tuple] = []
    for step in range(config.max_steps):
        action = policy(env, rng)
        following, reward, terminated, truncated, next_info = env.step(action)
        truncated = truncated or (step + 1 == config.max_steps and not terminated)
        rows.append((observation, action, reward, terminated, truncated, info["state"]))
        observation, info = following, next_info
        if terminated or truncated:
            break
    rows.append((observation, idle, 0.0, False, False, info["state"]))
    observations, actions, rewards, terminations, truncations, factors = zip(*rows, strict=True)
    return {
        "observations": np.stack(observations),
        "actions": np.array(actions, dtype=np.int64 if discrete else np.float32),
        "rewards": np.array(rewards, dtype=np.float32),
        "terminated": np.array(terminations, dtype=bool),
        "truncated": np.array(truncations, dtype=bool),
        "factors": np.array(factors, dtype=np.float64),
    }


def _cut(episode: dict[str, NDArray], steps: int) -> dict[str, NDArray]:
    """Keep the first `steps` steps of an episode, the cut marked as a truncation."""
    cut = {name: rows[: steps + 1].copy() for name, rows in episode.items()}
    cut["truncated"][steps - 1] = True
    for name in ("actions", "rewards", "terminated", "truncated"):
        cut[name][steps] = 0
    return cut
