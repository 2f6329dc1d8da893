"""Vectors of environments for Stable-Baselines3, in this process or in several with shared memory.

Both avoid what makes SB3's own vectors slow with images: in one process the deep copies of every step, between
processes the pickling of every frame, a message per environment, and a process that only waits for the others.
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
    """The same environments shared between this process and workers; observations travel through shared memory.

    Args:
        environment, kwargs: see `LocalVecEnv`.
        n_envs: number of environments.
        processes: number of processes; this one takes the last environments.
        plugins: plug-ins that register the environment.

    Raises:
        WorkerError: a worker died.
    """

    def __init__(
        self, environment: str, kwargs: dict[str, Any], n_envs: int, processes: int, plugins: Sequence[str] = ()
    ) -> None:
        parts = np.array_split(range(n_envs), processes)
        self._slices = [slice(int(part[0]), int(part[-1]) + 1) for part in parts]
        *theirs, ours = self._slices
        self._local = LocalVecEnv(environment, kwargs, range(ours.start, ours.stop))
        self.metadata = self._local.metadata
        # a forked copy of a process with threads, such as torch's, may hang
        context = multiprocessing.get_context("forkserver")
        keys, shapes, dtypes = obs_space_info(self._local.observation_space)
        layout: Layout = {key: ((n_envs, *shapes[key]), dtypes[key]) for key in keys}
        raw = {key: context.RawArray("b", math.prod(shape) * dtype.itemsize) for key, (shape, dtype) in layout.items()}
        self._observations = _arrays(raw, layout)
        self._rows = {key: array[ours] for key, array in self._observations.items()}
        self._pipes: list[Connection] = []
        self._processes = []
        for part in theirs:
            pipe, end = context.Pipe()
            process = context.Process(
                target=_work, args=(end, environment, kwargs, part, raw, layout, tuple(plugins)), daemon=True
            )
            process.start()
            end.close()
            self._pipes.append(pipe)
            self._processes.append(process)
        self._closed = False
        super().__init__(n_envs, self._local.observation_space, self._local.action_space)

    def reset(self) -> VecEnvObs:
        """Start an episode in every environment."""
        self.reset_infos = [info for infos in self._ask("reset") for info in infos]
        return self._seen()

    def step_async(self, actions: NDArray) -> None:
        """Give every worker its actions."""
        *theirs, self._actions = (actions[part] for part in self._slices)
        for pipe, share in zip(self._pipes, theirs, strict=True):
            self._send(pipe, "step", share)

    def step_wait(self) -> VecEnvStepReturn:
        """Step the environments of this process, then wait for the workers."""
        rewards, dones, infos, starts = zip(*self._gather("step", self._actions), strict=True)
        for part, started in zip(self._slices, starts, strict=True):
            for index, info in started.items():
                self.reset_infos[part.start + index] = info
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
        self._local.close()

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

    def _ask_each(self, command: str, indices: VecEnvIndices, /, *args: Any, **kwargs: Any) -> list[Any]:
        answers: list[Any] = []
        for index in (range(self.num_envs)[index] for index in self._get_indices(indices)):
            process = next(i for i, part in enumerate(self._slices) if index < part.stop)
            named = {**kwargs, "indices": [index - self._slices[process].start]}
            if process < len(self._pipes):
                self._send(self._pipes[process], command, *args, **named)
                answer = self._receive([self._pipes[process]])
            else:
                answer = [_answer(self._local, self._rows, command, args, named)]
            answers += _checked(answer)[0] or []
        return answers

    def _ask(self, command: str, *args: Any) -> list[Any]:
        for pipe in self._pipes:
            self._send(pipe, command, *args)
        return self._gather(command, *args)

    def _gather(self, command: str, *args: Any) -> list[Any]:
        """Return the answers of the workers, which have been asked, and of this process."""
        try:
            own = _answer(self._local, self._rows, command, args, {})
            return _checked([*self._receive(self._pipes), own])
        except KeyboardInterrupt:
            self.close()  # the answers still to come would be taken for those to the next request
            raise

    def _send(self, pipe: Connection, command: str, /, *args: Any, **named: Any) -> None:
        if self._closed:
            raise WorkerError("these environments are closed, as by an interruption; make new ones.")
        try:
            pipe.send((command, args, named))
        except BrokenPipeError as error:
            raise WorkerError(_DIED) from error

    def _receive(self, pipes: list[Connection]) -> list[Any]:
        try:
            return [pipe.recv() for pipe in pipes]
        except (EOFError, ConnectionResetError) as error:
            raise WorkerError(_DIED) from error

    def _seen(self) -> VecEnvObs:
        return dict_to_obs(self.observation_space, {key: rows.copy() for key, rows in self._observations.items()})


_DIED = (
    "a worker process of the environments died: for lack of memory (use fewer environments, or workers=1), or because "
    "the script that makes them does so outside of `if __name__ == '__main__':`, as its output above then says."
)


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
            pipe.send(_answer(venv, rows, *pipe.recv()))
    except (EOFError, ConnectionError, KeyboardInterrupt):
        pass


def _answer(venv: LocalVecEnv, rows: Arrays, command: str, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Return what a command gives, or the error: all answers are received before one is raised."""
    try:
        if command == "step":
            observations, rewards, dones, infos = venv.step(*args)
            _store(observations, rows)
            return rewards, dones, infos, {index: venv.reset_infos[index] for index in dones.nonzero()[0].tolist()}
        if command == "reset":
            _store(venv.reset(), rows)
            return venv.reset_infos
        return getattr(venv, command)(*args, **named)
    except SrlBenchError as error:
        return error
    except Exception:
        return WorkerError(f"an environment failed:\n{traceback.format_exc()}")


def _checked(answers: list[Any]) -> list[Any]:
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers


def _store(observations: VecEnvObs, rows: Arrays) -> None:
    for key, array in rows.items():
        array[:] = observations if key is None else observations[key]  # type: ignore[call-overload]
