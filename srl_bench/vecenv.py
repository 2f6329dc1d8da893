"""Handing a frozen encoder to Stable-Baselines3: one batched forward pass per step of a vector of environments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from srl_bench.encoder import Encoder
from srl_bench.errors import ConfigError
from srl_bench.parallel import LocalVecEnv, WorkerVecEnv


def make_vec_env(
    environment: str,
    n_envs: int = 8,
    *,
    seed: int = 0,
    workers: int = 0,
    plugins: Sequence[str] = (),
    **kwargs: Any,
) -> VecEnv:
    """Return monitored and seeded environments that step together.

    Args:
        environment: Gymnasium id.
        n_envs: number of environments.
        seed: environment i is seeded by (seed, i), wherever it runs.
        workers: number of processes that share the environments; 0 runs them in this one.
        plugins: plug-ins that register the environment, for the workers to load.
        kwargs: keyword arguments of the environment; `obs_type="state"` gives the ground truth.

    Raises:
        UnknownNameError, ConfigError: the environment or an argument is not known.
    """
    if n_envs < 1 or not 0 <= workers <= n_envs:
        raise ConfigError(f"n_envs={n_envs} must be at least 1 and workers={workers} from 0 to n_envs.")
    venv: VecEnv
    if workers:
        venv = WorkerVecEnv(environment, kwargs, n_envs, workers, plugins)
    else:
        venv = LocalVecEnv(environment, kwargs, range(n_envs))
    venv.seed(seed)
    return venv


def encode(venv: VecEnv, encoder: Encoder) -> VecEnv:
    """Return the environments with states for observations, so that rollout buffers hold states only.

    Raises:
        ConfigError: the environments' observations are not what the encoder reads.
    """
    return EncodedVecEnv(venv, encoder)


class EncodedVecEnv(VecEnvWrapper):
    """Encodes all observations of a step at once, and the final observations of episodes that ended."""

    def __init__(self, venv: VecEnv, encoder: Encoder) -> None:
        check_observations(venv.observation_space, encoder)
        super().__init__(venv, observation_space=state_space(encoder))
        self.encoder = encoder

    def reset(self) -> VecEnvObs:
        """Reset all environments; return (n, d) states."""
        held, actions = self.encoder.initial_state(self.num_envs), no_actions(self.action_space, self.num_envs)
        self._held, states = self.encoder.step(held, self._array(self.venv.reset()), actions)
        return states

    def step_async(self, actions: NDArray) -> None:
        """Start a step of all environments."""
        self._actions = np.asarray(actions)
        super().step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Return states (n, d), rewards, dones and infos, whose "terminal_observation" is a state as well."""
        observations, rewards, dones, infos = self.venv.step_wait()
        ended = [index for index, info in enumerate(infos) if "terminal_observation" in info]
        frames, held, actions = self._array(observations), self._held, self._actions
        if ended:
            final = np.stack([infos[index]["terminal_observation"] for index in ended])
            frames = np.concatenate([frames, final])
            # The frames after a reset begin an episode; the final ones continue what is held.
            held, actions = np.concatenate([held, held[ended]]), np.concatenate([actions, actions[ended]])
            held[ended] = self.encoder.initial_state(len(ended))
        held, states = self.encoder.step(held, frames, actions)
        self._held = held[: self.num_envs]
        for position, index in enumerate(ended):
            infos[index]["terminal_observation"] = states[self.num_envs + position]
        return states[: self.num_envs], rewards, dones, infos

    @staticmethod
    def _array(observations: VecEnvObs) -> NDArray:
        assert isinstance(observations, np.ndarray)
        return observations


class EncodedObservation(gymnasium.Wrapper):
    """The same encoder around a single environment, for code without vectors of environments."""

    def __init__(self, env: gymnasium.Env, encoder: Encoder) -> None:
        check_observations(env.observation_space, encoder)
        super().__init__(env)
        self.encoder = encoder
        self.observation_space = state_space(encoder)

    def reset(self, **kwargs: Any) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Return the state (d,) of the first observation, and info."""
        observation, info = self.env.reset(**kwargs)
        self._held = self.encoder.initial_state(1)
        return self._encode(observation, no_actions(self.action_space, 1)), info

    def step(self, action: Any) -> tuple[NDArray[np.float32], SupportsFloat, bool, bool, dict[str, Any]]:
        """Return the state (d,) of the new observation, reward, terminated, truncated and info."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._encode(observation, np.asarray(action)[None]), reward, terminated, truncated, info

    def _encode(self, observation: NDArray, actions: NDArray) -> NDArray[np.float32]:
        self._held, states = self.encoder.step(self._held, observation[None], actions)
        return states[0]


def no_actions(space: gymnasium.Space, n: int) -> NDArray:
    """Return n actions for the start of an episode, which no action led to."""
    assert space.shape is not None
    return np.zeros((n, *space.shape), dtype=space.dtype)


def state_space(encoder: Encoder) -> gymnasium.spaces.Box:
    """Return the unbounded space of standardised states."""
    return gymnasium.spaces.Box(-np.inf, np.inf, (encoder.state_dim,), np.float32)


def check_observations(space: gymnasium.Space, encoder: Encoder) -> None:
    """Raise `ConfigError` unless the encoder reads observations of this space."""
    expected = encoder.observation_shape
    pixels = encoder.observation == "pixels"
    if space.shape == expected and (space.dtype == np.uint8) == pixels:
        return
    made = f"image_size={expected[0]}" if pixels else "obs_type='state'"
    raise ConfigError(
        f"the encoder reads {'uint8 images' if pixels else 'factor vectors'} of shape {expected}, but the environment "
        f"gives {space}; make the environment with {made}, or use an encoder pretrained on its observations."
    )
