"""Vectors of environments for Stable-Baselines3, in this process or in workers with shared memory.

Both avoid what makes SB3's own vectors slow with images: in one process the deep copies of every step, between
processes the pickling of every frame and a message per environment.
"""

from __future__ import annotations

import math
import multiprocessing
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn
from stable_baselines3.common.vec_env.util import dict_to_obs, obs_space_info

from srl_bench.environments import make_environment
from srl_bench.errors import SrlBenchError, WorkerError
from srl_bench.registry import load_plugin
from srl_bench.seeding import derive_seed

Arrays = dict[str | None, NDArray]
Layout = dict[str | None, tuple[tuple[int, ...], np.dtype]]


class LocalVecEnv(DummyVecEnv):
    """Monitored environments in this process.

    Args:
        environment: Gymnasium id.
        kwargs: keyword arguments of each environment.
        indices: which environments of the whole vector these are.
    """

    def __init__(self, environment: str, kwargs: dict[str, Any], indices: Sequence[int]) -> None:
        self.indices = indices
        super().__init__([lambda: Monitor(make_environment(environment, kwargs)) for _ in indices])

    def seed(self, seed: int | None = None) -> list[int | None]:
        """Seed each environment by (seed, index).

        SB3 seeds by seed + index, also when an agent with a seed is made, so that agents of neighbouring seeds
        would share all but one of their environments.
        """
        if seed is None:
            return list(super().seed(seed))
        self._seeds = [derive_seed(seed, "environment", index) % 2**31 for index in self.indices]
        return self._seeds

    def step_wait(self) -> VecEnvStepReturn:
        """Step every environment and start the next episode of those that ended."""
        observations = {key: np.empty_like(rows) for key, rows in self.buf_obs.items()}
        rewards, dones = np.empty(self.num_envs, np.float32), np.empty(self.num_envs, bool)
        infos: list[dict[str, Any]] = []
        for index, (env, action) in enumerate(zip(self.envs, self.actions, strict=True)):
            observation, rewards[index], terminated, truncated, info = env.step(action)
            dones[index] = terminated or truncated
            info["TimeLimit.truncated"] = truncated and not terminated
            if dones[index]:
                info["terminal_observation"] = observation
                observation, self.reset_infos[index] = env.reset()
            for key, rows in observations.items():
                rows[index] = observation if key is None else observation[key]
            infos.append(info)
        return dict_to_obs(self.observation_space, observations), rewards, dones, infos


class WorkerVecEnv(VecEnv):
    """The same environments in worker processes, several to each; observations travel through shared memory.

    Args:
        environment, kwargs: see `LocalVecEnv`.
        n_envs: number of environments.
        workers: number of processes.
        plugins: plug-ins that register the environment.

    Raises:
        WorkerError: a worker died.
    """

    def __init__(
        self, environment: str, kwargs: dict[str, Any], n_envs: int, workers: int, plugins: Sequence[str] = ()
    ) -> None:
        probe = make_environment(environment, kwargs)
        self.metadata = probe.metadata
        probe.close()
        # a forked copy of a process with threads, such as torch's, may hang
        context = multiprocessing.get_context("forkserver")
        keys, shapes, dtypes = obs_space_info(probe.observation_space)
        layout: Layout = {key: ((n_envs, *shapes[key]), dtypes[key]) for key in keys}
        raw = {key: context.RawArray("b", math.prod(shape) * dtype.itemsize) for key, (shape, dtype) in layout.items()}
        self._observations = _arrays(raw, layout)
        self._slices = [slice(part[0], part[-1] + 1) for part in np.array_split(range(n_envs), workers)]
        self._pipes: list[Connection] = []
        self._processes = []
        for part in self._slices:
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_work, args=(theirs, environment, kwargs, part, raw, layout, tuple(plugins)), daemon=True
            )
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
        self._closed = False
        super().__init__(n_envs, probe.observation_space, probe.action_space)

    def reset(self) -> VecEnvObs:
        """Start an episode in every environment."""
        self.reset_infos = [info for infos in self._ask("reset") for info in infos]
        return self._seen()

    def step_async(self, actions: NDArray) -> None:
        """Give every worker its actions."""
        for pipe, part in zip(self._pipes, self._slices, strict=True):
            self._send(pipe, ("step", actions[part]))

    def step_wait(self) -> VecEnvStepReturn:
        """Wait for the workers."""
        rewards, dones, infos = zip(*self._receive(self._pipes), strict=True)
        return self._seen(), np.concatenate(rewards), np.concatenate(dones), [i for part in infos for i in part]

    def seed(self, seed: int | None = None) -> list[int | None]:
        """Seed each environment by (seed, index), as `LocalVecEnv` does."""
        return [value for seeds in self._ask("seed", seed) for value in seeds]

    def close(self) -> None:
        """End the workers; safe to call again."""
        if self._closed:
            return
        self._closed = True
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join()

    def get_images(self) -> list[NDArray | None]:
        """Return what every environment renders."""
        return [image for images in self._ask("get_images") for image in images]

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute of some environments."""
        return self._select(self._ask("get_attr", attr_name), indices)

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of some environments."""
        self._ask_each("set_attr", indices, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        """Call a method of some environments."""
        return self._ask_each("env_method", indices, method_name, *args, **kwargs)

    def env_is_wrapped(self, wrapper_class: type, indices: VecEnvIndices = None) -> list[bool]:
        """Return which environments have a wrapper."""
        return self._select(self._ask("env_is_wrapped", wrapper_class), indices)

    def _select(self, answers: list[list[Any]], indices: VecEnvIndices) -> list[Any]:
        flat = [answer for part in answers for answer in part]
        return [flat[index] for index in self._get_indices(indices)]

    def _ask_each(self, method: str, indices: VecEnvIndices, *args: Any, **kwargs: Any) -> list[Any]:
        answers: list[Any] = []
        for index in self._get_indices(indices):
            worker = next(i for i, part in enumerate(self._slices) if part.start <= index < part.stop)
            local = index - self._slices[worker].start
            self._send(self._pipes[worker], (method, *args, {**kwargs, "indices": [local]}))
            answers += self._receive([self._pipes[worker]])[0] or []
        return answers

    def _ask(self, *message: Any) -> list[Any]:
        for pipe in self._pipes:
            self._send(pipe, message)
        return self._receive(self._pipes)

    def _send(self, pipe: Connection, message: tuple[Any, ...]) -> None:
        try:
            pipe.send(message)
        except BrokenPipeError as error:
            raise WorkerError(_DIED) from error

    def _receive(self, pipes: list[Connection]) -> list[Any]:
        try:
            # all of them before an error is raised, or the next request would get the answers to this one
            answers = [pipe.recv() for pipe in pipes]
        except (EOFError, ConnectionResetError) as error:
            raise WorkerError(_DIED) from error
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def _seen(self) -> VecEnvObs:
        return dict_to_obs(self.observation_space, {key: rows.copy() for key, rows in self._observations.items()})


_DIED = "a worker process of the environments died, perhaps for lack of memory; use fewer environments or workers=0."


def _arrays(raw: dict[str | None, Any], layout: Layout) -> Arrays:
    return {key: np.frombuffer(raw[key], dtype).reshape(shape) for key, (shape, dtype) in layout.items()}


def _work(
    pipe: Connection,
    environment: str,
    kwargs: dict[str, Any],
    part: slice,
    raw: dict[str | None, Any],
    layout: Layout,
    plugins: tuple[str, ...],
) -> None:
    """Serve some of the environments until the pipe closes."""
    rows = {key: array[part] for key, array in _arrays(raw, layout).items()}
    try:
        for plugin in plugins:
            load_plugin(plugin)
        venv = LocalVecEnv(environment, kwargs, range(part.start, part.stop))
        while True:
            command, *args = pipe.recv()
            try:
                pipe.send(_answer(venv, rows, command, args))
            except SrlBenchError as error:
                pipe.send(error)
            except Exception:
                pipe.send(WorkerError(f"an environment failed in its worker:\n{traceback.format_exc()}"))
    except (EOFError, ConnectionResetError, KeyboardInterrupt):
        pass


def _answer(venv: LocalVecEnv, rows: Arrays, command: str, args: list[Any]) -> Any:
    if command == "step":
        observations, *rest = venv.step(args[0])
        _store(observations, rows)
        return rest
    if command == "reset":
        _store(venv.reset(), rows)
        return venv.reset_infos
    named = args.pop() if args and isinstance(args[-1], dict) else {}
    return getattr(venv, command)(*args, **named)


def _store(observations: VecEnvObs, rows: Arrays) -> None:
    for key, array in rows.items():
        array[:] = observations if key is None else observations[key]  # type: ignore[call-overload]
