"""What to do: does the representation show the action of an expert?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from srl_bench.metrics import common
from srl_bench.metrics.dynamics import action_columns, classify, is_discrete
from srl_bench.metrics.learners import Learner, fit
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
