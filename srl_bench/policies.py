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

    from srl_bench.acting import Step
    from srl_bench.config import RecordConfig

POLICIES = ("random", "scripted", "mixed")
# What a stored policy has besides its options, and options that acting does not need.
NOT_NEEDED = (":type:", ":serialized:", "optimizer_class", "optimizer_kwargs")
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
        space = env.action_space
        return lambda rng: lambda observation, info: random_action(space, rng)
    if config.policy not in ("scripted", "mixed"):
        return _agent_policy(config, env)
    scripted = getattr(env.unwrapped, "scripted_action", None)
    if scripted is None:
        raise ConfigError(f"{env} has no scripted_action(rng, noise); record it with the random policy.")

    def start(rng: np.random.Generator) -> Actor:
        noise = config.noise if config.policy == "scripted" else rng.random()
        return lambda observation, info: scripted(rng, noise)

    return start


def random_action(space: gymnasium.Space, rng: np.random.Generator) -> Any:
    """Draw an action uniformly."""
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
        begin = _file_policy(config, env)

    def start(rng: np.random.Generator) -> Actor:
        agent, taken = begin(), None

        def act(observation: Any, info: dict[str, Any]) -> Any:
            nonlocal taken
            # An agent with a memory has to see what led to where it is, its own doing or not.
            wanted = agent(observation, info, taken)
            taken = random_action(env.action_space, rng) if rng.random() < config.noise else wanted
            return taken

        return act

    return start


def _file_policy(config: RecordConfig, env: gymnasium.Env) -> Callable[[], Step]:
    """Return a function that begins an episode with an agent in a file, and returns how it goes on."""
    from srl_bench.acting import ToldVecEnv
    from srl_bench.segments import actor

    observed, space = _agent_input(config, env)
    agent = load_agent(config.policy, space, env)
    venv = ToldVecEnv(space, env)

    def begin() -> Step:
        act = actor(agent, venv)

        def step(observation: Any, info: dict[str, Any], taken: Any) -> Any:
            action = act(observed(observation, info), np.array([taken is None]))
            return int(action) if isinstance(env.action_space, gymnasium.spaces.Discrete) else action

        return step

    return begin


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


def load_agent(policy: str | None, observation_space: gymnasium.Space, env: gymnasium.Env) -> BaseAlgorithm:
    """Read an agent of Stable-Baselines3 or sb3-contrib without executing anything that its file contains.

    The weights are read as plain tensors, the network's options as JSON; options that are stored as code, such as an
    activation function, are refused.

    Args:
        policy: the algorithm and the file, such as "ppo:agents/best_model.zip".
        observation_space: what the agent reads.
        env: the environment that it is to act in.

    Raises:
        ConfigError: the algorithm is unknown, or the agent does not fit the observations or the environment.
        DataError: the file holds no agent.
    """
    from stable_baselines3.common.vec_env import DummyVecEnv

    from srl_bench.algorithms import ALGORITHMS, accepted_hyperparameters, check_algorithm

    name, _, file = (policy or "").partition(":")
    name = name.lower()
    if name not in (known := set(ALGORITHMS) - {"cma_es", "random"}):
        raise UnknownNameError("policy", str(policy), [*POLICIES, "FOLDER", *(f"{short}:FILE.zip" for short in known)])
    options, use_sde, weights = _read_agent(file)
    kind = "MultiInput" if isinstance(observation_space, gymnasium.spaces.Dict) else "Mlp"
    kind = "Cnn" if observation_space.dtype == np.uint8 else kind
    check_algorithm(name, env, images=kind != "Mlp")
    if name == "ars" and "action_net.2.weight" not in weights and "net_arch" not in options:
        kind = "Linear"
    accepted = accepted_hyperparameters(name)
    arguments: dict[str, Any] = {"policy_kwargs": options, "device": "cpu"}
    arguments |= {"buffer_size": 1} if "buffer_size" in accepted else {}
    arguments |= {"use_sde": use_sde} if "use_sde" in accepted else {}
    try:
        venv = DummyVecEnv([lambda: _Spaces(observation_space, env.action_space)])
        entry = ALGORITHMS[name]
        agent = entry.load()(f"{kind}{entry.policies}Policy", venv, **arguments)
        agent.policy.load_state_dict(weights)
    except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"the agent {policy} does not fit {observation_space} and {env.action_space}: {error}"
        ) from error
    return agent


def _read_agent(file: str) -> tuple[dict[str, Any], bool, dict[str, Any]]:
    """Return what a file says of an agent: the options of its policy, whether it explores by gSDE, and its weights.

    Raises:
        DataError: the file holds no agent, or one with options that are code.
    """
    import torch

    try:
        with zipfile.ZipFile(file) as archive:
            settings = json.loads(archive.read("data"))
            weights = torch.load(io.BytesIO(archive.read("policy.pth")), map_location="cpu", weights_only=True)
        stored, weights = dict(settings.get("policy_kwargs") or {}), dict(weights)
    except Exception as error:  # what reads a foreign file raises all kinds
        raise DataError(f"{file} holds no agent of Stable-Baselines3: {error}.") from error
    options = {name: value for name, value in stored.items() if name not in NOT_NEEDED}
    # Options of which one is code are pickled; beside that SB3 writes what is plain as it is, and the rest as text.
    coded = [name for name, value in options.items() if isinstance(value, str)]
    if coded:
        raise DataError(
            f"{file} stores the {', '.join(coded)} of its policy as code, which is not executed; use plain options."
        )
    return options, bool(settings.get("use_sde")), weights


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
    """Return the hash of the weights that act and of the encoder that they read; "" if there are none."""
    policy = str(config.policy)
    if config.policy is None or policy in POLICIES:
        return ""
    places = (Path(policy if Path(policy).is_dir() else policy.partition(":")[2]), Path(config.agent_reads))
    files = [
        file for place in places for file in ([place] if place.is_file() else sorted(place.rglob("*.safetensors")))
    ]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest() if files else ""


def check_policy(policy: str | None) -> None:
    """Raise `ConfigError` unless a policy is a known one, a folder, or ALGORITHM:FILE with a file that exists."""
    if policy in POLICIES or Path(str(policy)).is_dir():
        return
    _, colon, file = str(policy).partition(":")
    if not colon or not Path(file).is_file():
        raise ConfigError(
            f"policy must be {', '.join(POLICIES)}, the folder of an agent (agents/vae) or ALGORITHM:FILE of one of "
            f"Stable-Baselines3 or sb3-contrib (ppo:agent.zip), not {policy!r}."
        )
