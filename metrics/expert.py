"""What to do: does the representation show the action of an expert, and what it is worth?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from srl_bench.metrics import common
from srl_bench.metrics.dynamics import action_columns, classify, is_discrete
from srl_bench.metrics.learners import Learner, fit
from srl_bench.metrics.returns import check_rewards
from srl_bench.registry import metric


@metric(
    "expert_action",
    better="higher",
    range=(-np.inf, 1.0),
    needs=("expert_actions", "split", "seed"),
    shifts=3,
    resample="test",
)
def expert_action(
    states: NDArray,
    factors: NDArray,
    *,
    expert_actions: NDArray,
    split: NDArray,
    learner: Learner = "ridge",
    seed: int = 0,
) -> dict[str, float]:
    """Expert-action decodability (Zhang et al. 2022, arXiv 2208.12345): can an expert's action be read off z_t?

    The expert is the environment's scripted one, without noise, asked in every logged state; it need not have
    collected the data. A linear policy on these latents could imitate it to that extent.

    Args:
        states: (N, d) latents.
        factors: (N, K) ground truth (unused).
        expert_actions: (N, a) continuous, or (N,) integers for discrete ones.
        split: (N,) 0 train, 1 validation (unused), 2 test, by whole episodes.
        learner: "ridge" (penalty 1), "gbt" or "mlp" for continuous actions.
        seed: seed of the learner.

    Returns:
        Continuous actions: "r2" pooled over their dimensions. Discrete ones, by logistic regression:
        "balanced_accuracy", and "gain", the share of the labels' cross-entropy that the latents remove. NaN, with
        a warning, where the expert always does the same. Constant latents have R^2 and gain 0.
    """
    states, factors = common.check_inputs(states, factors)
    split = common.check_split(split, len(states))
    train, test = split == 0, split == 2
    columns = action_columns(expert_actions, len(states))
    z = states[:, common.active_dims(states)]
    if is_discrete(np.asarray(expert_actions)):
        labels = np.asarray(expert_actions).reshape(-1)
        if not z.shape[1]:
            return {"balanced_accuracy": 1 / len(np.unique(labels[test])), "gain": 0.0}
        return classify("expert_action", z[train], labels[train], z[test], labels[test])
    if not np.ptp(columns[test], axis=0).any():
        return {"r2": common.undefined("expert_action", "the expert's actions in the test episodes are constant")}
    if not z.shape[1]:
        return {"r2": 0.0}
    return {"r2": common.block_r2(columns[test], fit(learner, z[train], columns[train], seed)(z[test]))}


@metric(
    "expert_value",
    better="higher",
    range=(-np.inf, 1.0),
    needs=("expert_returns", "split", "seed"),
    shifts=3,
    resample="test",
    core=False,
)
def expert_value(
    states: NDArray,
    factors: NDArray,
    *,
    expert_returns: NDArray,
    split: NDArray,
    learner: Learner = "gbt",
    seed: int = 0,
) -> float:
    """Value decodability under an expert: test R^2 of what it would get from here on, from z_t.

    Unlike `value`, whose policy collected the data, it asks for what matters to an agent that solves the task, also
    where the data hold next to no reward. The expert is the environment's scripted one; its returns are those of
    simulations from every logged state over 20 steps, discounted by 0.95.

    Args:
        states: (N, d) latents.
        factors: (N, K) ground truth (unused).
        expert_returns: (N,) discounted return of the expert from the state of row t on.
        split: (N,) 0 train, 1 validation (unused), 2 test, by whole episodes.
        learner: "gbt", "ridge" (penalty 1) or "mlp". A value is seldom linear even in the true state: on a plane it
            falls with the distance to the goal.
        seed: seed of the learner.

    Returns:
        The R^2; constant latents score 0. NaN, with a warning, where the expert gets the same from everywhere.
    """
    states, factors = common.check_inputs(states, factors)
    split = common.check_split(split, len(states))
    returns = check_rewards(expert_returns, len(states))
    train, test = split == 0, split == 2
    if not np.ptp(returns[test]):
        return common.undefined("expert_value", "the expert's returns from the test episodes are constant")
    z = states[:, common.active_dims(states)]
    if not z.shape[1]:
        return 0.0
    return common.block_r2(returns[test, None], fit(learner, z[train], returns[train, None], seed)(z[test]))
