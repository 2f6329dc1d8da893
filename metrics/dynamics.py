"""Dynamics: does the representation show what an action does, and can its own future be predicted?

Every learner is fitted on transitions of train episodes and judged on those of test episodes.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from srl_bench.errors import DataError
from srl_bench.metrics import common
from srl_bench.metrics.learners import (
    Learner,
    Model,
    balanced_accuracy,
    class_log_probabilities,
    fit,
    information_gain,
)
from srl_bench.metrics.resampling import EpisodeSums, sums_by_episode
from srl_bench.metrics.transitions import runs
from srl_bench.registry import metric

NO_TRANSITIONS = "no two rows of the train or of the test episodes are consecutive steps"
HORIZONS = (5, 10, 25)
CLIP = 10.0  # deviations from the mean at which an open-loop prediction is stopped


def action_columns(actions: NDArray, n_rows: int) -> NDArray:
    """Return actions as columns (N, a): continuous ones as they are, discrete ones (integers, (N,)) one-hot."""
    actions = np.asarray(actions)
    if len(actions) != n_rows or actions.ndim not in (1, 2) or not np.isfinite(actions).all():
        raise DataError(f"actions must be {n_rows} finite rows, not an array of shape {actions.shape}, or hold NaN.")
    if is_discrete(actions):
        return (actions.reshape(n_rows, 1) == np.unique(actions)).astype(np.float64)
    return actions.reshape(n_rows, -1).astype(np.float64)


def is_discrete(actions: NDArray) -> bool:
    """Return whether actions are integer labels, one per row."""
    return np.issubdtype(actions.dtype, np.integer) and actions.size == len(actions)


def transitions(episode_ids: NDArray, steps: NDArray, split: NDArray) -> tuple[NDArray, NDArray] | None:
    """Return the rows (M, 2) of consecutive steps in train and in test episodes; None if either has none."""
    pairs = runs(episode_ids, steps, 2)
    train, test = (pairs[split[pairs[:, 0]] == part] for part in (0, 2))
    return (train, test) if len(train) and len(test) else None


@metric(
    "inverse",
    better="higher",
    range=(-np.inf, 1.0),
    needs=("actions", "episode_ids", "steps", "split", "seed"),
    shifts=3,
    resample="test",
)
def inverse(
    states: NDArray,
    factors: NDArray,
    *,
    actions: NDArray,
    episode_ids: NDArray,
    steps: NDArray,
    split: NDArray,
    inputs: str = "difference",
    learner: Learner = "ridge",
    seed: int = 0,
) -> dict[str, float]:
    """Action decodability: can a_t be read off two consecutive latents?

    Inputs are [z_t, z_{t+1} - z_t]; with [z_t, z_{t+1}] ("pair") the halves are collinear and a penalty costs
    more. Compare with the ceiling: walls and clipped actions bound what even the true state tells.

    Args:
        states: (N, d) latents.
        factors: (N, K) ground truth (unused).
        actions: (N, a) continuous, or (N,) integers for discrete ones; row t was taken in state t.
        episode_ids: (N,) integers.
        steps: (N,) step within the episode.
        split: (N,) 0 train, 1 validation (unused), 2 test, by whole episodes.
        inputs: "difference" or "pair".
        learner: "ridge" (penalty 1), "gbt" or "mlp" for continuous actions.
        seed: seed of the learner.

    Returns:
        Continuous actions: "r2" pooled over their dimensions. Discrete ones, by logistic regression:
        "balanced_accuracy", and "gain", the share of the labels' cross-entropy that the latents remove.
        Constant latents have R^2 and gain 0.
    """
    states, factors = common.check_inputs(states, factors)
    if inputs not in ("difference", "pair"):
        raise DataError(f"inputs {inputs!r} is unknown; use 'difference' or 'pair'.")
    split = common.check_split(split, len(states))
    columns = action_columns(actions, len(states))
    z = states[:, common.active_dims(states)]
    discrete = is_discrete(np.asarray(actions))
    pairs = transitions(episode_ids, steps, split)
    if pairs is None:
        names = ("balanced_accuracy", "gain") if discrete else ("r2",)
        return dict.fromkeys(names, common.undefined("inverse", NO_TRANSITIONS))
    train, test = pairs
    x_train, x_test = (
        np.hstack([z[rows[:, 0]], z[rows[:, 1]] - (z[rows[:, 0]] if inputs == "difference" else 0)])
        for rows in (train, test)
    )
    if discrete:
        labels = np.asarray(actions).reshape(-1)
        if not z.shape[1]:
            return {"balanced_accuracy": 1 / len(np.unique(labels[test[:, 0]])), "gain": 0.0}
        return classify("inverse", x_train, labels[train[:, 0]], x_test, labels[test[:, 0]])
    a_train, a_test = columns[train[:, 0]], columns[test[:, 0]]
    if not np.ptp(a_test, axis=0).any():
        return {"r2": common.undefined("inverse", "the actions of the test episodes are constant")}
    if not z.shape[1]:
        return {"r2": 0.0}
    return {"r2": common.block_r2(a_test, fit(learner, x_train, a_train, seed)(x_test))}


def classify(name: str, x_train: NDArray, train_labels: NDArray, x_test: NDArray, labels: NDArray) -> dict[str, float]:
    """Return balanced accuracy and information gain of a logistic regression; NaN, with a warning, of one class."""
    if len(np.unique(train_labels)) < 2 or len(np.unique(labels)) < 2:
        reason = "the train or the test episodes hold a single action"
        return dict.fromkeys(("balanced_accuracy", "gain"), common.undefined(name, reason))
    classes, log_p = class_log_probabilities(x_train, train_labels, x_test)
    return {
        "balanced_accuracy": balanced_accuracy(labels, classes[log_p.argmax(axis=1)]),
        "gain": information_gain(train_labels, labels, log_p),
    }


class Prediction(NamedTuple):
    """What was predicted from rows (n,), and summands (n, 2 + C) of its score: error, square, and target if centred."""

    rows: NDArray
    summands: NDArray


def _prediction(rows: NDArray, predicted: NDArray, target: NDArray, origin: NDArray | None = None) -> Prediction:
    """Judge predictions (n, C) of a target (n, C) against its distance to `origin` (n, C), by default to its mean."""
    error = ((predicted - target) ** 2).sum(axis=1)
    deviation = target - (target.mean(axis=0) if origin is None else origin)
    centred = deviation if origin is None else deviation[:, :0]
    return Prediction(rows, np.column_stack([error, (deviation**2).sum(axis=1), centred]))


def _score(totals: NDArray) -> NDArray:
    """Return (R,) 1 - SSE / SST of the number of rows and the sums of summands (R, 3 + C); NaN if SST is 0."""
    n, error, squares = totals[:, :3].T
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = squares - (totals[:, 3:] ** 2).sum(axis=1) / n
        return 1 - error / np.where(spread >= 1e-12, spread, np.nan)


def _predictions(
    states: NDArray,
    factors: NDArray,
    *,
    actions: NDArray,
    episode_ids: NDArray,
    steps: NDArray,
    split: NDArray,
    kinds: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    horizons: Sequence[int] = HORIZONS,
    learner: Learner = "ridge",
    seed: int = 0,
) -> dict[str, Prediction]:
    """Return what each score of `forward` is made of; those that are undefined are left out, with a warning."""
    states, factors = common.check_inputs(states, factors)
    split = common.check_split(split, len(states))
    a = action_columns(actions, len(states))
    truth = common.task_columns(factors, kinds, roles)
    z = common.standardise(states[:, common.active_dims(states)], split == 0)
    pairs = transitions(episode_ids, steps, split)
    if not z.shape[1] or pairs is None:
        common.undefined("forward", "the representation is constant" if not z.shape[1] else NO_TRANSITIONS)
        return {}
    now, later = pairs[0].T
    model = fit(learner, np.hstack([z[now], a[now]]), z[later] - z[now], seed)
    decode = fit("ridge", z[split == 0], truth[split == 0])
    now, later = pairs[1].T
    step = z[now] + model(np.hstack([z[now], a[now]]))
    found = {"skill_1": _prediction(now, step, z[later], z[now]), "r2_1": _prediction(now, step, z[later])}
    for h in sorted(set(horizons)):
        rows = runs(episode_ids, steps, h + 1)
        rows = rows[split[rows[:, 0]] == 2]
        if not len(rows):
            common.undefined(f"forward over {h} steps", f"no test episode lasts {h + 1} steps")
            continue
        predicted = _open_loop(z, a, rows, model)
        start, end = rows[:, 0], rows[:, -1]
        found[f"skill_{h}"] = _prediction(start, predicted, z[end], z[start])
        found[f"state_r2_{h}"] = _prediction(start, decode(predicted), truth[end])
    return found


def _open_loop(z: NDArray, a: NDArray, rows: NDArray, model: Model) -> NDArray:
    """Return (n, d) where the model gets from the first of `rows` (n, h + 1) with the actions of all but the last."""
    predicted, clipped = z[rows[:, 0]], 0
    for column in rows.T[:-1]:
        free = predicted + model(np.hstack([predicted, a[column]]))
        predicted = np.clip(free, -CLIP, CLIP)
        clipped += int((predicted != free).sum())
    if clipped:
        horizon = rows.shape[1] - 1
        warnings.warn(
            f"forward: {clipped} predicted values diverged and were clipped within {horizon} steps", stacklevel=4
        )
    return predicted


def _forward_sums(
    states: NDArray, factors: NDArray, *, episode_ids: NDArray, split: NDArray, **needs: Any
) -> EpisodeSums:
    """Return how errors are summed over test episodes; the models stay as they were fitted."""
    found = _predictions(states, factors, episode_ids=episode_ids, split=split, **needs)
    ids = np.asarray(episode_ids)
    tested = np.unique(ids[np.asarray(split) == 2])
    tables = [sums_by_episode(prediction.summands, ids[prediction.rows], tested) for prediction in found.values()]
    edges = np.cumsum([table.shape[1] for table in tables])[:-1]
    return EpisodeSums(
        np.hstack(tables),
        lambda totals: dict(zip(found, map(_score, np.split(totals, edges, axis=1)), strict=True)),
    )


@metric(
    "forward",
    better="higher",
    range=(-np.inf, 1.0),
    needs=("actions", "episode_ids", "steps", "split", "kinds", "roles", "seed"),
    shifts=3,
    resample=_forward_sums,
)
def forward(
    states: NDArray,
    factors: NDArray,
    *,
    actions: NDArray,
    episode_ids: NDArray,
    steps: NDArray,
    split: NDArray,
    kinds: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    horizons: Sequence[int] = HORIZONS,
    learner: Learner = "ridge",
    seed: int = 0,
) -> dict[str, float]:
    """Latent predictability: one step ahead, and h steps in open loop with the logged actions.

    Latents are standardised over train rows. A model of z_{t+1} - z_t from [z_t, a_t] is iterated from every
    test row. Latent error alone is gamed by latents that forget the world; "state_r2" decodes the prediction
    to the task factors (ridge, penalty 1) and is the one to trust. R^2 is inflated by slowness, so skill
    compares with "nothing moves" instead.

    Args:
        states: (N, d) latents.
        factors: (N, K) ground truth.
        actions: (N, a) continuous, or (N,) integers for discrete ones; row t was taken in state t.
        episode_ids: (N,) integers.
        steps: (N,) step within the episode.
        split: (N,) 0 train, 1 validation (unused), 2 test, by whole episodes.
        kinds: K entries of "continuous", "angular" or "categorical".
        roles: K entries of "task", "distractor" or "nuisance"; only task factors are decoded.
        horizons: numbers h of steps in open loop.
        learner: "ridge" (penalty 1), "gbt" or "mlp" for the model of the latents.
        seed: seed of the learner.

    Returns:
        "skill_1" = 1 - SSE / sum |z_{t+1} - z_t|^2, "r2_1" = 1 - SSE / SST(z_{t+1}), and for each horizon
        "skill_h" and "state_r2_h". NaN, with a warning, for constant latents and for horizons longer than
        all test episodes. Predictions further than 10 deviations from the mean are clipped, with a warning.
    """
    found = _predictions(
        states,
        factors,
        actions=actions,
        episode_ids=episode_ids,
        steps=steps,
        split=split,
        kinds=kinds,
        roles=roles,
        horizons=horizons,
        learner=learner,
        seed=seed,
    )
    names = ("skill_1", "r2_1", *(f"{name}_{h}" for h in sorted(set(horizons)) for name in ("skill", "state_r2")))
    scores = dict.fromkeys(names, float("nan"))
    for name, (_, summands) in found.items():
        scores[name] = float(_score(np.append(len(summands), summands.sum(axis=0))[None])[0])
        if np.isnan(scores[name]):
            common.undefined(f"forward.{name}", "what it predicts does not vary in the test episodes")
    return scores
