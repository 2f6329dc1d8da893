"""What an environment's scripted expert would do in the states of a data set, and what it would get."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from srl_bench.environments import environment_class, make_environment, parameters_of
from srl_bench.errors import DataError
from srl_bench.rollouts import Rollouts

# what only changes the look of an environment, and takes time to put on
LOOKS = ("domain", "randomise")
HORIZON, GAMMA = 20, 0.95
DISCOUNTS = GAMMA ** np.arange(HORIZON)


def has_expert(rollouts: Rollouts) -> bool:
    """Return whether the environment of the data is known, has an expert, and can be put into a state."""
    name = rollouts.info["environment"]
    if name not in gymnasium.registry:
        return False
    return all(hasattr(environment_class(name), method) for method in ("scripted_action", "set_factors"))


def expert_actions(rollouts: Rollouts, rows: NDArray[np.int64]) -> NDArray:
    """Ask the expert, without noise, in the states of some rows; see `has_expert`.

    Args:
        rollouts: the data.
        rows: (N,) row indices.

    Returns:
        (N,) integers for discrete actions, (N, a) otherwise.

    Raises:
        DataError: the environment has other factors than the data.
    """
    random = np.random.default_rng(0)
    return np.array([env.scripted_action(random, 0.0) for env in _in_states(rollouts, rows)])


def expert_returns(rollouts: Rollouts, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Let the expert act from the states of some rows on; return (N,) its discounted returns over `HORIZON` steps.

    The expert is without noise, the bodies begin at rest, and what an episode counts (touches of a button, say) begins
    at none. Arguments and errors are those of `expert_actions`.
    """
    random = np.random.default_rng(0)
    returns = np.zeros(len(rows))
    for place, env in enumerate(_in_states(rollouts, rows)):
        for discount in DISCOUNTS:
            _, reward, terminated, _, _ = env.step(env.scripted_action(random, 0.0))
            returns[place] += discount * reward
            if terminated:
                break
    return returns


def _in_states(rollouts: Rollouts, rows: NDArray[np.int64]) -> Iterator[Any]:
    """Yield the environment of the data, without pictures, in the state of each row, in a new episode."""
    kwargs = {key: value for key, value in rollouts.info["environment_kwargs"].items() if key not in LOOKS}
    if "obs_type" in parameters_of(rollouts.info["environment"]):
        kwargs["obs_type"] = "state"
    made: Any = make_environment(rollouts.info["environment"], kwargs)
    env = made.unwrapped
    try:
        logged = [factor.name for factor in rollouts.factor_table]
        lacking = [factor.name for factor in env.factors if factor.name not in logged]
        if lacking:
            raise DataError(
                f"{rollouts.path} lacks the factors {', '.join(lacking)} of {rollouts.info['environment']}."
            )
        columns = [logged.index(factor.name) for factor in env.factors]
        for state in rollouts.factors[rows][:, columns]:
            env.reset(seed=0)
            env.set_factors(state)
            yield env
    finally:
        env.close()
