"""Handing a frozen encoder to Stable-Baselines3: one batched forward pass per step of a vector of environments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from srl_bench.encoder import Encoder
from srl_bench.errors import ConfigError
from srl_bench.nets.encoder import EncoderNetwork
from srl_bench.parallel import LocalVecEnv, WorkerVecEnv


def make_vec_env(
    environment: str,
    n_envs: int = 8,
    *,
    seed: int = 0,
    workers: int = 1,
    plugins: Sequence[str] = (),
    **kwargs: Any,
) -> VecEnv:
    """Return monitored and seeded environments that step together.

    Args:
        environment: Gymnasium id.
        n_envs: number of environments.
        seed: environment i is seeded by (seed, i), wherever it runs.
        workers: number of processes that share the environments, this one among them; 0 is as 1. They import the
            script that is run, whose main part has to stand below `if __name__ == "__main__":`.
        plugins: plug-ins that register the environment, for the workers to load.
        kwargs: keyword arguments of the environment; `obs_type="state"` gives the ground truth.

    Raises:
        UnknownNameError, ConfigError: the environment or an argument is not known.
    """
    if n_envs < 1 or not 0 <= workers <= n_envs:
        raise ConfigError(f"n_envs={n_envs} must be at least 1 and workers={workers} from 0 to n_envs.")
    venv: VecEnv
    if workers > 1:
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
    """Encodes all observations of a step at once, and the final observations of episodes that ended.

    Args:
        venv: environments that give what the encoder reads; with `beside`, dictionaries of "pixels" and "state".
        encoder: the frozen encoder.
        beside: function of "state" vectors (n, K) whose columns (n, C) are put beside the states of the encoder.
    """

    def __init__(self, venv: VecEnv, encoder: Encoder, beside: Callable[[NDArray], NDArray] | None = None) -> None:
        space, width = venv.observation_space, 0
        if beside is not None:
            if not isinstance(space, gymnasium.spaces.Dict) or not {"pixels", "state"} <= set(space.spaces):
                raise ConfigError(f"the environment gives {space}; make it with obs_type='pixels+state'.")
            width = beside(np.zeros((1, *(space["state"].shape or ())))).shape[1]
            space = space["pixels"]
        check_observations(space, encoder)
        super().__init__(venv, observation_space=_unbounded(encoder.state_dim + width))
        self.encoder = encoder
        self.beside = beside

    def reset(self) -> VecEnvObs:
        """Reset all environments; return (n, d) states."""
        held, actions = self.encoder.initial_state(self.num_envs), no_actions(self.action_space, self.num_envs)
        frames, columns = self._split(self.venv.reset())
        self._held, states = self.encoder.step(held, frames, actions)
        return _joined(states, columns)

    def step_async(self, actions: NDArray) -> None:
        """Start a step of all environments."""
        self._actions = np.asarray(actions)
        super().step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Return states (n, d), rewards, dones and infos, whose "terminal_observation" is a state as well."""
        observations, rewards, dones, infos = self.venv.step_wait()
        ended = [index for index, info in enumerate(infos) if "terminal_observation" in info]
        frames, columns = self._split(observations)
        held, actions = self._held, self._actions
        if ended:
            final = [self._split(_batched(infos[index]["terminal_observation"])) for index in ended]
            frames = np.concatenate([frames, *(frame for frame, _ in final)])
            columns = np.concatenate([columns, *(column for _, column in final)])
            # The frames after a reset begin an episode; the final ones continue what is held.
            held, actions = np.concatenate([held, held[ended]]), np.concatenate([actions, actions[ended]])
            held[ended] = self.encoder.initial_state(len(ended))
        held, states = self.encoder.step(held, frames, actions)
        self._held = held[: self.num_envs]
        states = _joined(states, columns)
        for position, index in enumerate(ended):
            infos[index]["terminal_observation"] = states[self.num_envs + position]
        return states[: self.num_envs], rewards, dones, infos

    def _split(self, observations: VecEnvObs) -> tuple[NDArray, NDArray]:
        """Return what the encoder reads (n, ...) and the columns beside its states (n, C)."""
        if self.beside is None:
            assert isinstance(observations, np.ndarray)
            return observations, np.empty((len(observations), 0), np.float32)
        assert isinstance(observations, dict)
        return observations["pixels"], self.beside(observations["state"])


class FactorVecEnv(VecEnvWrapper):
    """Maps the factors (n, K) that environments with obs_type="state" give to columns (n, C)."""

    def __init__(self, venv: VecEnv, columns: Callable[[NDArray], NDArray]) -> None:
        width = columns(np.zeros((1, *(venv.observation_space.shape or ())))).shape[1]
        super().__init__(venv, observation_space=_unbounded(width))
        self.columns = columns

    def reset(self) -> VecEnvObs:
        """Reset all environments; return (n, C)."""
        return self.columns(self.venv.reset())  # type: ignore[arg-type]

    def step_wait(self) -> VecEnvStepReturn:
        """Return columns (n, C), rewards, dones and infos, whose "terminal_observation" are columns as well."""
        observations, rewards, dones, infos = self.venv.step_wait()
        for info in infos:
            if "terminal_observation" in info:
                info["terminal_observation"] = self.columns(info["terminal_observation"])
        return self.columns(observations), rewards, dones, infos  # type: ignore[arg-type]


class EncoderExtractor(BaseFeaturesExtractor):
    """The encoder inside an agent's policy, which then reads observations: for replay of images, or to train it.

    `PPO("CnnPolicy", venv, policy_kwargs={"features_extractor_class": EncoderExtractor,
    "features_extractor_kwargs": {"encoder": encoder}})`; "MlpPolicy" for an encoder of vectors. Frozen, it gives the
    states of `encode`, but encodes every observation again each time that it is sampled.

    Args:
        observation_space: of the environments, images as (C, H, W).
        encoder: what to begin with.
        mode: "frozen"; "finetune", to train a copy further; or "scratch", to train the same network from new weights.

    Raises:
        ConfigError: states depend on earlier frames, which a policy that samples single steps does not see.
    """

    def __init__(self, observation_space: gymnasium.Space, encoder: Encoder, mode: str = "frozen") -> None:
        super().__init__(observation_space, encoder.state_dim)
        if encoder.is_recurrent:
            raise ConfigError(
                "a recurrent encoder needs earlier frames, but a policy's network sees single steps; "
                "use srl.encode(venv, encoder), which keeps what it needs."
            )
        # not a submodule: neither an optimiser nor the averages of target networks may touch a frozen encoder
        self._frozen = (encoder,) if mode == "frozen" else ()
        if mode == "frozen":
            return
        if mode not in ("finetune", "scratch"):
            raise ConfigError(f"mode must be frozen, finetune or scratch, not {mode!r}.")
        self.network = deepcopy(encoder.network)
        if mode == "scratch":
            self.network = EncoderNetwork(**encoder.network.config)  # type: ignore[arg-type]
            self.network.input_scale.copy_(encoder.network.input_scale)
            self.network.input_offset.copy_(encoder.network.input_offset)
        self.network.requires_grad_(True)
        trained = mode == "finetune"
        self.register_buffer("mean", encoder.mean.clone() if trained else torch.zeros_like(encoder.mean))
        self.register_buffer("std", encoder.std.clone() if trained else torch.ones_like(encoder.std))

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Return states (B, d) of float images (B, C, H, W) in [0, 1], or of vectors (B, K)."""
        if self._frozen:
            encoder = self._frozen[0]
            with torch.no_grad():
                return encoder(observations.to(encoder.device)).to(observations.device)
        mean, _ = self.network(observations)
        return (mean - self.mean) / self.std

    def apply(self, fn: Callable[[torch.nn.Module], None]) -> EncoderExtractor:
        """Leave the weights alone: SB3 initialises its policies through this."""
        return self


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
    return _unbounded(encoder.state_dim)


def _unbounded(width: int) -> gymnasium.spaces.Box:
    return gymnasium.spaces.Box(-np.inf, np.inf, (width,), np.float32)


def _batched(observation: Any) -> Any:
    """Return one observation as a batch."""
    if isinstance(observation, dict):
        return {key: value[None] for key, value in observation.items()}
    return observation[None]


def _joined(states: NDArray[np.float32], columns: NDArray) -> NDArray[np.float32]:
    return np.concatenate([states, columns], axis=1) if columns.shape[1] else states


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
