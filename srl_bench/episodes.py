"""The episodes of a recording, each run with its own seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from srl_bench.config import RecordConfig
from srl_bench.environments import factor_table, make_environment, merged_arguments
from srl_bench.errors import ConfigError
from srl_bench.factors import Factor
from srl_bench.policies import Policy, agent_version, make_policy, with_policy
from srl_bench.provenance import code_version
from srl_bench.registry import plugin_version
from srl_bench.seeding import derive_seed, generator

Episode = dict[str, NDArray]


def recording_name(config: RecordConfig, plugins: Sequence[str] = ()) -> str:
    """Return a folder name that is unique to a configuration, its agent's weights, and the code that records it.

    Plug-ins count unless the environment is one of ours, which they do not change.
    """
    code = code_version("environments", "record.py", "episodes.py", "workers.py", "policies.py", "seeding.py")
    foreign = "" if _is_ours(config.environment) else plugin_version(plugins)
    agent = agent_version(config)
    facts = json.dumps([asdict(with_policy(config)), code, foreign, *([agent] if agent else [])], sort_keys=True)
    digest = hashlib.sha256(facts.encode()).hexdigest()[:12]
    return f"{config.environment.replace('/', '_')}-{digest}"


def _is_ours(environment: str) -> bool:
    spec = gymnasium.registry.get(environment)
    creator = "" if spec is None else str(spec.entry_point)
    return environment.startswith("srl_bench/") and creator.startswith("srl_bench.")


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
