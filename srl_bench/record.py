"""Record rollouts: whole episodes, each with its own seed, so that the data do not depend on the workers."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from srl_bench.config import RecordConfig, options
from srl_bench.environments import factor_table, make_environment
from srl_bench.errors import ConfigError, DataError, SrlBenchError
from srl_bench.policies import Policy, check_policy, make_policy, with_policy
from srl_bench.progress import progress
from srl_bench.provenance import code_version
from srl_bench.registry import load_plugin, plugin_version
from srl_bench.rollouts import Rollouts, open_rollouts
from srl_bench.seeding import derive_seed, generator
from srl_bench.writer import RolloutWriter

CHUNK = 4


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
    config = with_policy(config)
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
        with _episodes(config, workers or os.cpu_count() or 1, plugins) as run:
            while left := config.frames - writer.n_steps:
                # so many are needed at least, so that none is run in vain but the rest of the last one
                for episodes in run(writer.n_episodes, math.ceil(left / config.max_steps)):
                    for episode in episodes:
                        steps = min(len(episode["rewards"]) - 1, config.frames - writer.n_steps)
                        writer.append(_cut(episode, steps))
                    writer.commit()
                    bar.update(task, completed=writer.n_steps)
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
    """Return the spaces of the views, the main one first."""
    space = env.observation_space
    if not isinstance(space, gymnasium.spaces.Dict):
        return {"pixels": space}
    views = getattr(env.unwrapped, "views", ())
    return {name: space[name] for name in (views if set(views) == set(space) else space)}


def recording_name(config: RecordConfig, plugins: Sequence[str] = ()) -> str:
    """Return a folder name that is unique to a configuration and to the code that records it.

    Plug-ins count unless the environment is one of ours, which they do not change.
    """
    code = code_version("environments", "record.py", "policies.py", "seeding.py")
    foreign = "" if _is_ours(config.environment) else plugin_version(plugins)
    facts = json.dumps([asdict(with_policy(config)), code, foreign], sort_keys=True)
    digest = hashlib.sha256(facts.encode()).hexdigest()[:12]
    return f"{config.environment.replace('/', '_')}-{digest}"


def _is_ours(environment: str) -> bool:
    spec = gymnasium.registry.get(environment)
    creator = "" if spec is None else str(spec.entry_point)
    return environment.startswith("srl_bench/") and creator.startswith("srl_bench.")


Episodes = list[dict[str, NDArray]]
Runner = Callable[[int, int], Iterable[Episodes]]


@contextmanager
def _episodes(config: RecordConfig, workers: int, plugins: tuple[str, ...]) -> Iterator[Runner]:
    """Yield a function (first, number) that runs episodes, and yields a few at a time, in the order of their index."""
    # Starting a worker costs about a second, as much as a thousand frames.
    workers = min(workers, max(1, config.frames // 2_000))

    def chunks(first: int, number: int) -> Iterator[tuple[int, int]]:
        end = first + number
        return ((start, min(CHUNK, end - start)) for start in range(first, end, CHUNK))

    if workers == 1:
        recorder = _make_recorder(config)
        yield lambda first, number: (_run_episodes(recorder, *chunk) for chunk in chunks(first, number))
        for env in recorder.environments:
            env.close()
        return
    from joblib import Parallel, delayed

    recording = json.dumps(asdict(config))
    with Parallel(n_jobs=workers, return_as="generator", batch_size=1) as pool:
        yield lambda first, number: pool(delayed(_work)(recording, plugins, *chunk) for chunk in chunks(first, number))


@dataclass(frozen=True)
class _Recorder:
    """What runs episodes: an environment and a policy for each domain."""

    config: RecordConfig
    environments: list[gymnasium.Env]
    policies: list[Policy]


def _make_recorder(config: RecordConfig) -> _Recorder:
    environments = list(_environments(config).values())
    return _Recorder(config, environments, [make_policy(config, env) for env in environments])


@lru_cache(maxsize=1)  # to make an environment takes as long as several hundred steps
def _worker_recorder(recording: str, plugins: tuple[str, ...]) -> _Recorder:
    for plugin in plugins:
        load_plugin(plugin)
    return _make_recorder(options(RecordConfig, json.loads(recording)))


def _work(recording: str, plugins: tuple[str, ...], first: int, number: int) -> Episodes:
    return _run_episodes(_worker_recorder(recording, plugins), first, number)


def _run_episodes(recorder: _Recorder, first: int, number: int) -> Episodes:
    episodes = []
    for index in range(first, first + number):
        turn = index % len(recorder.environments)
        episode = run_episode(recorder.environments[turn], recorder.policies[turn], recorder.config, index)
        if recorder.config.domains:
            episode["domain"] = np.full(len(episode["rewards"]), turn)
        episodes.append(episode)
    return episodes


def run_episode(env: gymnasium.Env, policy: Policy, config: RecordConfig, index: int) -> dict[str, NDArray]:
    """Run episode `index` and return its rows, the final observation included."""
    rng = generator(config.seed, "policy", index)
    observation, info = env.reset(seed=derive_seed(config.seed, "episode", index) % 2**31)
    discrete = isinstance(env.action_space, gymnasium.spaces.Discrete)
    idle = 0 if discrete else np.zeros(env.action_space.shape or ())
    act = policy(rng)
    names = list(_images(env))
    frames, rows = [_views(observation, names)], []
    for step in range(config.max_steps):
        action = act(observation, info)
        state = info["state"]
        observation, reward, terminated, truncated, info = env.step(action)
        truncated = truncated or (step + 1 == config.max_steps and not terminated)
        rows.append((_scaled(action, env.action_space), reward, terminated, truncated, state))
        frames.append(_views(observation, names))
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


def _views(observation: Any, names: list[str]) -> list[NDArray[np.uint8]]:
    return [observation[name] for name in names] if isinstance(observation, dict) else [observation]


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
