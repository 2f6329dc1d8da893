"""Run the episodes of a recording, each with its own seed, in this process or in workers.

Workers leave frames in files, a few episodes in each, from which they are copied into the data set: a pipe would cost
about a fifth of the time of drawing them.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from pathlib import Path
from threading import Thread
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from srl_bench.config import RecordConfig, options
from srl_bench.environments import factor_table, make_environment, merged_arguments
from srl_bench.errors import ConfigError
from srl_bench.factors import Factor
from srl_bench.policies import Policy, make_policy
from srl_bench.registry import load_plugin
from srl_bench.rollouts import FRAMES
from srl_bench.seeding import derive_seed, generator

CHUNK = 4
# what workers leave in the folder of an unfinished data set
LEFT_FRAMES = "frames_*"

Episode = dict[str, NDArray]
Runner = Callable[[int, int], Iterable[Iterable[Episode]]]


@contextmanager
def episode_runner(config: RecordConfig, workers: int, plugins: tuple[str, ...], folder: Path) -> Iterator[Runner]:
    """Yield a function (first, number) that runs episodes, and yields a few at a time, in the order of their index.

    Args:
        config, plugins: see `srl_bench.record`.
        workers: at most so many processes.
        folder: where workers put `LEFT_FRAMES`; an episode's frames can be read until the next one is asked for.
    """
    # Starting a worker costs about a second, as much as a thousand frames.
    workers = min(workers, max(1, config.frames // 2_000))

    def chunks(first: int, number: int) -> Iterator[tuple[int, int]]:
        while number:
            # the last ones are short, so that no worker waits long for another
            size = min(CHUNK, math.ceil(number / (2 * workers)))
            yield first, size
            first, number = first + size, number - size

    if workers == 1:
        recorder = Recorder(config)
        yield lambda first, number: (recorder.run(*chunk) for chunk in chunks(first, number))
        for env in recorder.environments:
            env.close()
        return
    from joblib import Parallel, delayed

    work = delayed(_work)
    recording = json.dumps(asdict(config))
    with Parallel(n_jobs=workers, return_as="generator", batch_size=1) as pool:

        def run(first: int, number: int) -> Iterator[list[Episode]]:
            for stored in pool(work(recording, plugins, folder.resolve(), *chunk) for chunk in chunks(first, number)):
                yield stored.fetch()
                stored.file.unlink()

        yield run


def make_environments(config: RecordConfig) -> dict[str, gymnasium.Env]:
    """Make the environment in each domain; without domains, once, under the name "".

    Raises:
        ConfigError: an argument is not accepted.
    """
    if config.domains and "randomise" in config.environment_kwargs and "randomised" not in config.domains:
        raise ConfigError(f"randomise needs 'randomised' among the domains, which are {', '.join(config.domains)}.")
    names = config.domains or ("",)
    return {name: make_environment(config.environment, arguments_in(config, name)) for name in names}


def arguments_in(config: RecordConfig, domain: str) -> dict[str, Any]:
    """Return the arguments of the environment in a domain."""
    return merged_arguments(config.environment_kwargs, {"domain": domain} if domain else {})


def widest_domain(environments: dict[str, gymnasium.Env]) -> str:
    """Return the first domain that has all factors: agents act in it, and simulators of it are put into states."""
    return max(environments, key=lambda domain: len(factor_table(environments[domain])))


def fixed_look(env: gymnasium.Env, wanted: Sequence[Factor]) -> dict[str, float]:
    """Return those of the wanted factors that the domain of an environment does not vary, with the values they have."""
    look = getattr(env.unwrapped, "look", None)
    known = {factor.name for factor in factor_table(env)}
    names = [factor.name for factor in wanted if factor.name not in known and hasattr(look, factor.name)]
    return {name: float(getattr(look, name)) for name in names}


def image_spaces(env: gymnasium.Env) -> dict[str, gymnasium.Space]:
    """Return the spaces of the views, the main one first."""
    space = env.observation_space
    if not isinstance(space, gymnasium.spaces.Dict):
        return {"pixels": space}
    views = getattr(env.unwrapped, "views", ())
    return {name: space[name] for name in (views if set(views) == set(space) else space)}


class Frames:
    """Room for the frames of an episode, to be used again: new memory takes a twentieth of the time of drawing.

    Args:
        env: whose views are kept.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        self._names = list(image_spaces(env))
        self._arrays = [np.empty((128, *(space.shape or ())), np.uint8) for space in image_spaces(env).values()]

    def put(self, row: int, observation: Any) -> None:
        """Keep the views of an observation, the next one or an earlier one again."""
        if row == len(self._arrays[0]):
            self._arrays = [np.concatenate([array, np.empty_like(array)]) for array in self._arrays]
        if isinstance(observation, dict):
            for name, array in zip(self._names, self._arrays, strict=True):
                array[row] = observation[name]
        else:
            self._arrays[0][row] = observation

    def first(self, rows: int) -> list[NDArray[np.uint8]]:
        """Return so many frames of each view."""
        return [array[:rows] for array in self._arrays]


class Recorder:
    """Runs episodes: with an environment and a policy for each domain, by turns."""

    def __init__(self, config: RecordConfig) -> None:
        self.config = config
        self.environments = list(make_environments(config).values())
        self.policies = [make_policy(config, env) for env in self.environments]
        wanted = max(map(factor_table, self.environments), key=len)
        self._fixed = [list(fixed_look(env, wanted).values()) for env in self.environments]
        self._frames = Frames(self.environments[0])

    def run(self, first: int, number: int) -> Iterator[Episode]:
        """Yield episodes; the frames of one last until the next."""
        for index in range(first, first + number):
            turn = index % len(self.environments)
            episode = run_episode(self.environments[turn], self.policies[turn], self.config, index, self._frames)
            if self.config.domains:
                rows = len(episode["rewards"])
                episode["domain"] = np.full(rows, turn)
                episode["factors"] = np.hstack([episode["factors"], np.tile(self._fixed[turn], (rows, 1))])
            yield episode


@dataclass(frozen=True)
class _Stored:
    """Episodes whose frames, of which these are the shapes, lie one after the other in a file."""

    file: Path
    shapes: list[dict[str, tuple[int, ...]]]
    episodes: list[Episode]

    def fetch(self) -> list[Episode]:
        """Return the episodes, their frames mapped from the file."""
        data = np.memmap(self.file, np.uint8, "r")
        start = 0
        for episode, shapes in zip(self.episodes, self.shapes, strict=True):
            for name, shape in shapes.items():
                end = start + math.prod(shape)
                episode[name] = data[start:end].reshape(shape)
                start = end
        return self.episodes


@cache
def _watch_recorder() -> None:
    """End this worker when the recorder is gone: if that was killed, it would wait for work for ever."""
    Thread(target=_outlive, args=(os.getppid(),), daemon=True).start()


def _outlive(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


@lru_cache(maxsize=1)  # to make an environment takes as long as several hundred steps
def _worker_recorder(recording: str, plugins: tuple[str, ...]) -> Recorder:
    for plugin in plugins:
        load_plugin(plugin)
    return Recorder(options(RecordConfig, json.loads(recording)))


def _work(recording: str, plugins: tuple[str, ...], folder: Path, first: int, number: int) -> _Stored:
    _watch_recorder()
    recorder = _worker_recorder(recording, plugins)
    # a name of its own: a worker may outlive a recorder that was killed, and meet the next one
    file = folder / LEFT_FRAMES.replace("*", f"{first}_{os.getpid()}")
    shapes: list[dict[str, tuple[int, ...]]] = []
    episodes = []
    with file.open("wb") as stream:
        for episode in recorder.run(first, number):
            frames = {name: episode.pop(name) for name in FRAMES if name in episode}
            shapes.append({name: rows.shape for name, rows in frames.items()})
            for rows in frames.values():
                stream.write(rows.data)
            episodes.append(episode)
    return _Stored(file, shapes, episodes)


def run_episode(env: gymnasium.Env, policy: Policy, config: RecordConfig, index: int, frames: Frames) -> Episode:
    """Run episode `index` and return its rows, the final observation included; images lie in `frames`."""
    rng = generator(config.seed, "policy", index)
    observation, info = env.reset(seed=derive_seed(config.seed, "episode", index) % 2**31)
    space = env.action_space
    discrete = isinstance(space, gymnasium.spaces.Discrete)
    idle = 0 if discrete else np.zeros(space.shape or ())
    act = policy(rng)
    rows: list[tuple[Any, ...]] = []
    frames.put(0, observation)
    for step in range(1, config.max_steps + 1):
        action = act(observation, info)
        state = info["state"]
        observation, reward, terminated, truncated, info = env.step(action)
        truncated = truncated or (step == config.max_steps and not terminated)
        rows.append((action if discrete else _scaled(action, space), reward, terminated, truncated, state))
        frames.put(step, observation)
        if terminated or truncated:
            break
    rows.append((idle, 0.0, False, False, info["state"]))
    actions, rewards, terminations, truncations, factors = zip(*rows, strict=True)
    observations, *others = frames.first(len(rows))
    episode = {
        "observations": observations,
        "actions": np.array(actions, dtype=np.int64 if discrete else np.float32),
        "rewards": np.array(rewards, dtype=np.float32),
        "terminated": np.array(terminations, dtype=bool),
        "truncated": np.array(truncations, dtype=bool),
        "factors": np.array(factors, dtype=np.float64),
    }
    if others:
        episode["views"] = np.stack(others, axis=1)
    return episode


def _scaled(action: Any, space: gymnasium.Space) -> Any:
    """Return a continuous action scaled to [-1, 1] by the bounds of its space."""
    assert isinstance(space, gymnasium.spaces.Box)
    half = np.maximum((space.high - space.low) / 2, 1e-8)
    return (action - (space.high + space.low) / 2) / half
