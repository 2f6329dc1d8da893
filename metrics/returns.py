"""Rewards and values: does the representation show what the task pays?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from srl_bench.errors import DataError
from srl_bench.metrics import common
from srl_bench.metrics.dynamics import action_columns
from srl_bench.metrics.learners import Learner, fit
from srl_bench.metrics.transitions import runs
from srl_bench.registry import metric


def check_rewards(rewards: NDArray, n_rows: int) -> NDArray:
    """Return rewards (N,) as float64; raise `DataError` for another shape or values that are not finite."""
    rewards = np.asarray(rewards, dtype=np.float64)
    if rewards.shape != (n_rows,) or not np.isfinite(rewards).all():
        raise DataError(f"rewards must be {n_rows} finite numbers, not an array of shape {rewards.shape}, or hold NaN.")
    return rewards


@metric(
    "reward",
    better="higher",
    range=(-np.inf, 1.0),
    needs=("rewards", "actions", "split", "seed"),
    shifts=3,
    resample="test",
)
def reward(
    states: NDArray,
    factors: NDArray,
    *,
    rewards: NDArray,
    split: NDArray,
    actions: NDArray | None = None,
    learner: Learner = "ridge",
    seed: int = 0,
) -> dict[str, float]:
    """Reward decodability: test R^2 of r_t from z_t, and from [z_t, a_t] if there are actions.

    Args:
        states: (N, d) latents.
        factors: (N, K) ground truth (unused).
        rewards: (N,) reward of the step that row t begins.
        split: (N,) 0 train, 1 validation (unused), 2 test, by whole episodes.
        actions: (N, a) continuous, or (N,) integers for discrete ones.
        learner: "ridge" (penalty 1), "gbt" or "mlp".
        seed: seed of the learner.

    Returns:
        "r2" and, with actions, "r2_with_action". If rewards take at most five values or are zero in more than
        80 % of the rows, also how well the prediction from z_t ranks rows of r > 0: "auroc",
        "average_precision", and the "prevalence" that a random ranking reaches in the latter. NaN, with a
        warning, where test rewards do not vary. Constant latents have R^2 0.
    """
    states, factors = common.check_inputs(states, factors)
    split = common.check_split(split, len(states))
    r = check_rewards(rewards, len(states))
    train, test = split == 0, split == 2
    z = states[:, common.active_dims(states)]
    inputs = {"r2": z}
    if actions is not None:
        inputs["r2_with_action"] = np.hstack([z, action_columns(actions, len(states))])
    scores: dict[str, float] = {}
    constant = not np.ptp(r[test])
    if constant:
        scores = dict.fromkeys(inputs, common.undefined("reward", "the rewards of the test episodes are constant"))
    predictions = {}
    for name, x in inputs.items():
        predictions[name] = fit(learner, x[train], r[train, None], seed)(x[test]) if x.shape[1] else None
        if not constant:
            found = predictions[name]
            scores[name] = 0.0 if found is None else common.block_r2(r[test, None], found)
    if len(np.unique(r)) <= 5 or (r == 0).mean() > 0.8:
        guess = predictions["r2"]
        scores |= _ranking(r[test] > 0, np.zeros(test.sum()) if guess is None else guess[:, 0])
    return scores


def _ranking(positive: NDArray, prediction: NDArray) -> dict[str, float]:
    from sklearn.metrics import average_precision_score, roc_auc_score

    names = ("auroc", "average_precision")
    if positive.all() or not positive.any():
        reason = f"{positive.sum()} of {len(positive)} test rows have a positive reward"
        scores = dict.fromkeys(names, common.undefined("reward.auroc", reason))
    else:
        values = (roc_auc_score(positive, prediction), average_precision_score(positive, prediction))
        scores = {name: float(value) for name, value in zip(names, values, strict=True)}
    return scores | {"prevalence": float(positive.mean())}


def discounted_returns(
    rewards: NDArray, episode_ids: NDArray, steps: NDArray, gamma: float = 0.95, horizon: int = 20
) -> tuple[NDArray, NDArray]:
    """Return the rows (M,) that `horizon` logged steps follow, and their returns sum_l gamma^l r_{t+l} (M,)."""
    rows = runs(episode_ids, steps, horizon)
    return rows[:, 0], rewards[rows] @ gamma ** np.arange(horizon)


@metric(
    "value",
    better="higher",
    range=(-np.inf, 1.0),
    needs=("rewards", "episode_ids", "steps", "split", "seed"),
    shifts=3,
    resample="test",
)
def value(
    states: NDArray,
    factors: NDArray,
    *,
    rewards: NDArray,
    episode_ids: NDArray,
    steps: NDArray,
    split: NDArray,
    gamma: float = 0.95,
    horizon: int = 20,
    learner: Learner = "ridge",
    seed: int = 0,
) -> float:
    """Value decodability: test R^2 of the discounted return of the next steps, from z_t.

    The return is that of the policy that collected the data, over a fixed horizon, so that rows near the end of
    an episode, where it would be cut, are left out. Constant latents score 0; NaN, with a warning, if no episode
    is that long or the returns of test episodes are constant.

    Args:
        states: (N, d) latents.
        factors: (N, K) ground truth (unused).
        rewards: (N,) reward of the step that row t begins.
        episode_ids: (N,) integers.
        steps: (N,) step within the episode.
        split: (N,) 0 train, 1 validation (unused), 2 test, by whole episodes.
        gamma: discount per step.
        horizon: number of steps.
        learner: "ridge" (penalty 1), "gbt" or "mlp".
        seed: seed of the learner.
    """
    states, factors = common.check_inputs(states, factors)
    split = common.check_split(split, len(states))
    r = check_rewards(rewards, len(states))
    starts, returns = discounted_returns(r, episode_ids, steps, gamma, horizon)
    train, test = split[starts] == 0, split[starts] == 2
    if not train.any() or not test.any():
        return common.undefined("value", f"too few train or test episodes last {horizon} steps")
    if not np.ptp(returns[test]):
        return common.undefined("value", "the returns of the test episodes are constant")
    z = states[starts][:, common.active_dims(states)]
    if not z.shape[1]:
        return 0.0
    prediction = fit(learner, z[train], returns[train, None], seed)(z[test])
    return common.block_r2(returns[test, None], prediction)
