"""Policies that record rollouts: random actions, an environment's scripted expert, or a stored agent."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from srl_bench.environments import environment_class
from srl_bench.errors import ConfigError, DataError, UnknownNameError

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from srl_bench.config import RecordConfig

POLICIES = ("random", "scripted", "mixed")
Actor = Callable[[Any, dict[str, Any]], Any]
"""(observation, info) -> action."""
Policy = Callable[[np.random.Generator], Actor]
"""Called at the start of an episode with the generator of its actions."""


def make_policy(config: RecordConfig, env: gymnasium.Env) -> Policy:
    """Return the policy of a recording.

    Raises:
        ConfigError: the environment has no scripted expert, or an agent does not fit it.
        DataError: the file holds no agent.
    """
    if config.policy == "random":
        return lambda rng: lambda observation, info: random_action(env, rng)
    if config.policy not in ("scripted", "mixed"):
        return _agent_policy(config, env)
    scripted = getattr(env.unwrapped, "scripted_action", None)
    if scripted is None:
        raise ConfigError(f"{env} has no scripted_action(rng, noise); record it with the random policy.")

    def start(rng: np.random.Generator) -> Actor:
        noise = config.noise if config.policy == "scripted" else rng.random()
        return lambda observation, info: scripted(rng, noise)

    return start


def random_action(env: gymnasium.Env, rng: np.random.Generator) -> Any:
    """Draw an action uniformly."""
    space = env.action_space
    if isinstance(space, gymnasium.spaces.Discrete):
        return int(space.start + rng.integers(space.n))
    assert isinstance(space, gymnasium.spaces.Box)
    return rng.uniform(space.low, space.high).astype(space.dtype)


def _agent_policy(config: RecordConfig, env: gymnasium.Env) -> Policy:
    """Return the policy of an agent, with a share of random actions."""
    if Path(str(config.policy)).is_dir():
        from srl_bench.acting import run_policy

        begin = run_policy(Path(str(config.policy)), config.environment, env)
    else:
        step = _file_policy(config, env)
        begin = lambda: step  # noqa: E731

    def start(rng: np.random.Generator) -> Actor:
        agent, taken = begin(), None

        def act(observation: Any, info: dict[str, Any]) -> Any:
            nonlocal taken
            # An agent with a memory has to see what led to where it is, its own doing or not.
            wanted = agent(observation, info, taken)
            taken = random_action(env, rng) if rng.random() < config.noise else wanted
            return taken

        return act

    return start


def _file_policy(config: RecordConfig, env: gymnasium.Env) -> Callable[[Any, dict[str, Any], Any], Any]:
    """Return the function (observation, info, last action) -> action of an agent in a file."""
    observed, space = _agent_input(config, env)
    agent = load_agent(config.policy, space, env.action_space)

    def step(observation: Any, info: dict[str, Any], taken: Any) -> Any:
        action, _ = agent.predict(observed(observation, info), deterministic=True)
        return int(action) if isinstance(env.action_space, gymnasium.spaces.Discrete) else action

    return step


def _agent_input(
    config: RecordConfig, env: gymnasium.Env
) -> tuple[Callable[[Any, dict[str, Any]], Any], gymnasium.Space]:
    """Return how to make an agent's input from observation and info, and its space."""
    if config.agent_reads == "pixels":
        return lambda observation, info: observation, env.observation_space
    if config.agent_reads == "ground_truth":
        count = len(getattr(env.unwrapped, "factors", ()))
        space = gymnasium.spaces.Box(-np.inf, np.inf, (count,), np.float32)
        return lambda observation, info: info["state"].astype(np.float32), space
    from srl_bench.encoder import load_encoder
    from srl_bench.vecenv import check_observations, state_space

    encoder = load_encoder(config.agent_reads)
    check_observations(env.observation_space, encoder)
    if encoder.is_recurrent:
        raise ConfigError(
            f"agent_reads={config.agent_reads!r} is a recurrent encoder; recordings take those of single frames."
        )
    return lambda observation, info: encoder.encode(observation), state_space(encoder)


def load_agent(policy: str | None, observation_space: gymnasium.Space, action_space: gymnasium.Space) -> BaseAlgorithm:
    """Read a Stable-Baselines3 agent without executing anything that its file contains.

    The weights are read as plain tensors, the network's options as JSON; a custom policy class, which SB3 stores
    as code, is refused.

    Args:
        policy: the algorithm and the file, such as "ppo:agents/best_model.zip".
        observation_space, action_space: of the environment that the agent is to act in.

    Raises:
        ConfigError: the algorithm is unknown, or the agent does not fit the spaces.
        DataError: the file holds no agent.
    """
    import stable_baselines3 as sb3
    import torch
    from stable_baselines3.common.vec_env import DummyVecEnv

    name, _, file = (policy or "").partition(":")
    known = {algorithm.lower(): algorithm for algorithm in ("A2C", "DDPG", "DQN", "PPO", "SAC", "TD3")}
    if name.lower() not in known:
        raise UnknownNameError("policy", str(policy), [*POLICIES, "FOLDER", *(f"{short}:FILE.zip" for short in known)])
    try:
        with zipfile.ZipFile(file) as archive:
            settings = json.loads(archive.read("data"))
            weights = torch.load(io.BytesIO(archive.read("policy.pth")), map_location="cpu", weights_only=True)
    except (OSError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        raise DataError(f"{file} holds no agent of Stable-Baselines3: {error}.") from error
    options = settings.get("policy_kwargs") or {}
    if ":serialized:" in options:
        raise DataError(f"{file} stores its policy's options as code, which is not executed; use plain options.")
    kind = "MultiInputPolicy" if isinstance(observation_space, gymnasium.spaces.Dict) else "MlpPolicy"
    kind = "CnnPolicy" if observation_space.dtype == np.uint8 else kind
    arguments: dict[str, Any] = {"policy_kwargs": options, "device": "cpu"}
    if known[name.lower()] not in ("A2C", "PPO"):
        arguments["buffer_size"] = 1
    try:
        venv = DummyVecEnv([lambda: _Spaces(observation_space, action_space)])
        agent = getattr(sb3, known[name.lower()])(kind, venv, **arguments)
        agent.policy.load_state_dict(weights)
    except (AssertionError, RuntimeError, TypeError) as error:
        raise ConfigError(f"the agent {policy} does not fit {observation_space} and {action_space}: {error}") from error
    return agent


class _Spaces(gymnasium.Env):
    """Nothing but the spaces that an agent needs to be made."""

    def __init__(self, observation_space: gymnasium.Space, action_space: gymnasium.Space) -> None:
        self.observation_space = observation_space
        self.action_space = action_space


def with_policy(config: RecordConfig) -> RecordConfig:
    """Return the configuration with a policy: if none is given, the one that the environment's class names."""
    if config.policy is not None:
        return config
    return replace(config, policy=getattr(environment_class(config.environment), "recording_policy", "random"))


def agent_version(config: RecordConfig) -> str:
    """Return the hash of the weights that act and of the encoder that they read; "" without an agent."""
    policy = str(config.policy)
    if config.policy is None or policy in POLICIES:
        return ""
    digest = hashlib.sha256()
    for place in (Path(policy if Path(policy).is_dir() else policy.partition(":")[2]), Path(config.agent_reads)):
        for file in [place] if place.is_file() else sorted(place.rglob("*.safetensors")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def check_policy(policy: str | None) -> None:
    """Raise `ConfigError` unless a policy is a known one, a folder, or ALGORITHM:FILE with a file that exists."""
    if policy in POLICIES or Path(str(policy)).is_dir():
        return
    _, colon, file = str(policy).partition(":")
    if not colon or not Path(file).is_file():
        raise ConfigError(
            f"policy must be {', '.join(POLICIES)}, the folder of an agent (agents/vae) or ALGORITHM:FILE of one of "
            f"Stable-Baselines3 (ppo:agent.zip), not {policy!r}."
        )
