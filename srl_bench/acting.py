"""A trained agent as the policy of a recording.

Its observations go through the wrappers that it was trained behind (encoder, memory, stack, normalisation), at whose
bottom an environment stands that is told what another one gave.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from srl_bench.environments import factor_table, make_environment
from srl_bench.errors import ConfigError
from srl_bench.rl import load_run, read_run
from srl_bench.segments import actor

Step = Callable[[Any, dict[str, Any], Any], Any]
"""(observation, info, the action that led there) -> action."""


class ToldVecEnv(VecEnv):
    """One environment that gives the observation that it was told last; rewards are 0, and no episode ends.

    Args:
        observation_space: what the wrappers above expect: images, factors, or a dictionary of "pixels" and "state".
        env: where the observations come from; it answers questions about attributes and methods.
    """

    def __init__(self, observation_space: gymnasium.Space, env: gymnasium.Env) -> None:
        self.env = env
        super().__init__(1, observation_space, env.action_space)

    def tell(self, observation: Any, info: dict[str, Any]) -> None:
        """Take the observation and the info of a step."""
        space = self.observation_space
        state = np.asarray(info["state"])
        if isinstance(space, gymnasium.spaces.Dict):
            self._told: VecEnvObs = {"pixels": observation[None], "state": state[None].astype(space["state"].dtype)}
        else:
            self._told = (observation if space.dtype == np.uint8 else state.astype(space.dtype))[None]

    def reset(self) -> VecEnvObs:
        """Return what was told."""
        return self._told

    def step_async(self, actions: NDArray) -> None:
        """Do nothing: the action was taken elsewhere."""

    def step_wait(self) -> VecEnvStepReturn:
        """Return what was told."""
        return self._told, np.zeros(1, np.float32), np.zeros(1, bool), [{}]

    def close(self) -> None:
        """Leave the environment to its owner."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return the attribute of the environment."""
        return [getattr(self.env, attr_name, None)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the environment."""
        setattr(self.env, attr_name, value)

    def env_method(self, method_name: str, *words: Any, indices: Any = None, **options: Any) -> list[Any]:
        """Call a method of the environment."""
        return [getattr(self.env.unwrapped, method_name)(*words, **options)]

    def env_is_wrapped(self, wrapper_class: type[gymnasium.Wrapper], indices: Any = None) -> list[bool]:
        """Return whether the environment is wrapped: it counts as bare."""
        return [False]


def run_policy(folder: Path, environment: str, env: gymnasium.Env) -> Callable[[], Step]:
    """Return a function that begins an episode with the agent of a run's folder, and returns how it goes on.

    Args:
        folder: what `train_agent` wrote.
        environment: Gymnasium id of `env`, whose images the recording keeps.
        env: the environment that is recorded.

    Raises:
        DataError: the folder holds no finished agent.
        ConfigError: the agent is of another environment, or of other observations or actions.
    """
    about = read_run(folder)
    if about["environment"] != environment:
        raise ConfigError(f"the agent in {folder} was trained on {about['environment']!r}, not {environment!r}.")
    if about["rl"]["algorithm"] == "random":
        raise ConfigError(f"the agent in {folder} acts at random; record with policy='random'.")
    trained = make_environment(environment, about["environment_kwargs"])
    space, actions = trained.observation_space, trained.action_space
    trained.close()
    if actions != env.action_space:
        raise ConfigError(f"the agent in {folder} gives actions {actions}, but {environment} takes {env.action_space}.")
    has = {"pixels": env.observation_space, "state": f"{len(factor_table(env))} factors"}
    for kind, read in _parts(space).items():
        fits = read == has["pixels"] if kind == "pixels" else read.shape == (len(factor_table(env)),)
        if not fits:
            raise ConfigError(
                f"the agent in {folder} observes {read}, but the recording has {has[kind]}; record with the arguments "
                f"of its training: {about['environment_kwargs']}."
            )
    base = ToldVecEnv(space, env)
    agent, venv, _, _ = load_run(folder, base)

    def begin() -> Step:
        act = actor(agent, venv)

        def step(observation: Any, info: dict[str, Any], taken: Any) -> Any:
            base.tell(observation, info)
            observed = venv.reset() if taken is None else venv.step(np.asarray(taken)[None])[0]
            (action,) = act(observed, np.array([taken is None]))
            return int(action) if isinstance(env.action_space, gymnasium.spaces.Discrete) else action

        return step

    return begin


def _parts(space: gymnasium.Space) -> dict[str, gymnasium.Space]:
    """Return the spaces of what an agent reads: "pixels", "state" or both."""
    if isinstance(space, gymnasium.spaces.Dict):
        return {name: space[name] for name in ("pixels", "state")}
    return {"pixels" if space.dtype == np.uint8 else "state": space}
