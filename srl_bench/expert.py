"""What an environment's scripted expert would do in the states of a data set."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from srl_bench.environments import environment_class, make_environment
from srl_bench.errors import DataError
from srl_bench.rollouts import Rollouts

# what only changes the look of an environment, and takes time to put on
LOOKS = ("domain", "randomise")


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
    kwargs = {key: value for key, value in rollouts.info["environment_kwargs"].items() if key not in LOOKS}
    made: Any = make_environment(rollouts.info["environment"], kwargs)
    env = made.unwrapped
    try:
        logged = [factor.name for factor in rollouts.factor_table]
        lacking = [factor.name for factor in env.factors if factor.name not in logged]
        if lacking:
            raise DataError(
                f"{rollouts.path} lacks the factors {', '.join(lacking)} of {rollouts.info['environment']}."
            )
        env.reset(seed=0)
        columns = [logged.index(factor.name) for factor in env.factors]
        random = np.random.default_rng(0)
        actions = []
        for state in rollouts.factors[rows][:, columns]:
            env.set_factors(state)
            actions.append(env.scripted_action(random, 0.0))
    finally:
        env.close()
    return np.array(actions)
