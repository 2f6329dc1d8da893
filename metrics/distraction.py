"""What moves the representation: the task, or what has nothing to do with it?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from srl_bench.metrics import common
from srl_bench.metrics.learners import Learner, fit
from srl_bench.metrics.memory import remembered
from srl_bench.metrics.resampling import EpisodeSums, sums_by_episode
from srl_bench.registry import metric

CAUSES = ("task", "distractor")


def _summands(
    states: NDArray,
    factors: NDArray,
    split: NDArray,
    kinds: Sequence[str] | None,
    roles: Sequence[str] | None,
    learner: Learner,
    seed: int,
) -> dict[str, NDArray]:
    """Return, by the role of factors, (n_test, 2 + d) squared errors of latents told from them, squares, and latents.

    A role without a factor that varies is left out.
    """
    states, factors = common.check_inputs(states, factors)
    split = common.check_split(split, len(states))
    z = states[:, common.active_dims(states)]
    known = common.factor_kinds(factors, kinds)
    varying = common.varying_factors(factors)
    given = ["task"] * len(known) if roles is None else list(roles)
    found = {}
    for role in CAUSES:
        chosen = np.flatnonzero([name == role and varies for name, varies in zip(given, varying, strict=True)])
        if len(chosen) and z.shape[1]:
            causes = common.standardised_blocks(factors[:, chosen], [known[k] for k in chosen])[0]
            target = z[split == 2]
            error = (_told(causes, z, split, learner, seed) - target) ** 2
            target = target - target.mean(axis=0)
            found[role] = np.column_stack([error.sum(axis=1), (target**2).sum(axis=1), target])
    return found


@remembered
def _told(causes: NDArray, z: NDArray, split: NDArray, learner: Learner, seed: int) -> NDArray:
    return fit(learner, causes[split == 0], z[split == 0], seed)(causes[split == 2])


def _share(sums: NDArray) -> NDArray:
    """Return (R,) 1 - SSE / SST of the number of rows and the sums of summands (R, 3 + d)."""
    n, error, squares = sums[:, :3].T
    return 1 - error / (squares - (sums[:, 3:] ** 2).sum(axis=1) / n)


def _sums(
    states: NDArray,
    factors: NDArray,
    *,
    episode_ids: NDArray,
    split: NDArray,
    kinds: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    seed: int = 0,
) -> EpisodeSums:
    """Return how errors are summed over test episodes; the learners stay as they were fitted."""
    found = _summands(states, factors, split, kinds, roles, "gbt", seed)
    ids = np.asarray(episode_ids)[np.asarray(split) == 2]
    tables = [sums_by_episode(part, ids) for part in found.values()]
    edges = np.cumsum([table.shape[1] for table in tables])[:-1]
    return EpisodeSums(
        np.hstack(tables),
        lambda totals: dict(zip(found, map(_share, np.split(totals, edges, axis=1)), strict=True)),
    )


@metric(
    "variance_split",
    better="neither",
    range=(-np.inf, 1.0),
    needs=("split", "kinds", "roles", "seed"),
    shifts=1,
    core=False,
    resample=_sums,
)
def variance_split(
    states: NDArray,
    factors: NDArray,
    *,
    split: NDArray,
    kinds: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    learner: Learner = "gbt",
    seed: int = 0,
) -> dict[str, float]:
    """How much of what the latents do is told by the task factors alone, and by the distractors alone.

    Each latent dimension is predicted from the factors of one role; R^2 on test rows, weighted by the variance of the
    dimensions. High by the task and low by the distractors is what control wants. Where the two depend on each other
    in the data, both are told; `srl_bench.intervene` draws them independently.

    Args:
        states: (N, d) latents; NaN if they are constant.
        factors: (N, K) ground truth.
        split: (N,) 0 train, 1 validation (unused), 2 test, by whole episodes.
        kinds: K entries of "continuous", "angular" or "categorical".
        roles: K entries of "task", "distractor" or "nuisance".
        learner: "gbt", "ridge" (penalty 1) or "mlp".
        seed: seed of the learner.

    Returns:
        "task" and "distractor", NaN, with a warning, where no factor of that role varies.
    """
    found = _summands(states, factors, split, kinds, roles, learner, seed)
    scores = {}
    for role in CAUSES:
        if role in found:
            scores[role] = float(_share(np.append(len(found[role]), found[role].sum(axis=0))[None])[0])
        else:
            scores[role] = common.undefined(f"variance_split.{role}", f"no {role} factor, or no latent, varies")
    return scores
