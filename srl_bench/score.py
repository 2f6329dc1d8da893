"""Score a frozen encoder on held-out episodes with the registered metrics.

Probes are fitted on training episodes, chosen on validation episodes and reported on test episodes; all other
metrics see test episodes only. Every value comes with its ceiling (the ground truth as the representation)
its floor (states paired with the wrong moments), and what noise scores, computed on the same rows.

Large data are thinned to evenly spaced rows, because neighbouring frames say the same; for metrics that need
steps, to evenly spaced whole episodes.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd

from srl_bench.device import cpu_threads
from srl_bench.encoder import Encoder, encode_rows
from srl_bench.errors import DataError
from srl_bench.expert import expert_actions, expert_returns, has_expert
from srl_bench.metrics import bounds, common
from srl_bench.metrics.resampling import MIN_EPISODES, limits, resampled_scores
from srl_bench.progress import progress
from srl_bench.registry import METRICS, Metric
from srl_bench.rollouts import Rollouts

FEW_EPISODES = 100
LOGGED = ("episode_ids", "steps", "split", "actions", "rewards")
EXPERT = {"expert_actions": expert_actions, "expert_returns": expert_returns}
DESCRIBED = ("kinds", "roles", "names", "seed", "shared")


def score(
    encoder: Encoder,
    rollouts: Rollouts,
    *,
    metrics: Iterable[str] | None = None,
    max_rows: int = 10_000,
    seed: int = 0,
    allow_overlap: bool = False,
    shifted: Rollouts | None = None,
) -> pd.Series:
    """Return one value per metric, by name; "ridge_r2.robot_x" is the value of a single factor.

    The arguments and errors are those of `score_records`.
    """
    records = score_records(
        encoder, rollouts, metrics=metrics, max_rows=max_rows, seed=seed, allow_overlap=allow_overlap, shifted=shifted
    )
    return pd.Series({name: record["value"] for name, record in records.items()}, dtype=float, name="value")


def score_records(
    encoder: Encoder,
    rollouts: Rollouts,
    *,
    metrics: Iterable[str] | None = None,
    max_rows: int = 10_000,
    seed: int = 0,
    allow_overlap: bool = False,
    shifted: Rollouts | None = None,
    intervals: bool = True,
) -> dict[str, dict[str, Any]]:
    """Score an encoder and return a record per value.

    Args:
        encoder: what to score.
        rollouts: data whose validation and test episodes the encoder has not seen.
        metrics: names of metrics; by default all core metrics (see `srl_bench.metric`) that have what they need.
        max_rows: larger data are thinned to about this many rows.
        seed: seed of probes and of random tie breaking.
        allow_overlap: score even if the encoder was trained on test episodes of these data.
        shifted: the same states with another look, for metrics that compare the two: a recording of the same
            policy and seed in another domain of the environment.
        intervals: whether to draw test episodes again for 95 % intervals, which takes half of the time.

    Returns:
        By name: value, low and high (95 % bootstrap interval over episodes, see `srl_bench.metrics.resampling`, NaN
        for metrics without one and below five episodes), ceiling, floor, noise (see `srl_bench.metrics.bounds`),
        normalised = (value - floor) / (ceiling - floor), better, range, version, n_rows and n_episodes (of the test
        split), skipped (constant factors), warnings, error and seconds. A metric that these data do not allow, say
        because one episode holds nearly all of them, is NaN, and "error" says why (else it is ""); the others go on.

    Raises:
        UnknownNameError: a metric is not registered.
        DataError: the data do not fit the encoder, are too few for any metric, or were used to train it, states are
            not finite, a metric lacks what it needs, or the shifted data hold other states.
    """
    asked = None if metrics is None else [METRICS[name] for name in metrics]
    given = {*LOGGED, *DESCRIBED, *(["shifted_states"] if shifted is not None else [])}
    chosen = _with_needs(asked, given | (set(EXPERT) if has_expert(rollouts) else set()))
    _check_overlap(encoder, rollouts, allow_overlap)
    # A metric that needs steps gets whole episodes (True), any other evenly spaced rows (False).
    kept = {whole: thin(rollouts, max_rows) for whole, thin in ((False, _spread_rows), (True, _whole_episodes))}
    kept = {whole: kept[whole] for whole in {"steps" in item.needs for item in chosen}}
    for rows in kept.values():
        common.check_rows(rows[rollouts.split[rows] == 2], rollouts.episode_ids[rows][rollouts.split[rows] == 2])
    with cpu_threads(1):
        needed = np.unique(np.concatenate(list(kept.values())))
        encoded = encode_rows(encoder, rollouts, needed).astype(np.float64)
    common.check_inputs(encoded, rollouts.factors[needed])
    table = rollouts.factor_table
    described = {
        "kinds": [factor.kind for factor in table],
        "roles": [factor.role for factor in table],
        "names": [factor.name for factor in table],
        "seed": seed,
        "shared": True,  # a network per factor takes longer than all other metrics together
    }
    logged = {name: getattr(rollouts, name) for name in ("factors", *LOGGED)}
    moved = None if shifted is None else _shifted_states(encoder, rollouts, shifted, needed)
    records: dict[str, dict[str, Any]] = {}
    with cpu_threads(1), progress() as bar:
        task = bar.add_task("score", total=len(chosen), status="")
        for item in chosen:
            bar.update(task, status=item.name)
            rows = kept["steps" in item.needs]
            test = rollouts.split[rows] == 2
            if "split" not in item.needs:  # a metric that splits the rows itself gets all of them
                rows = rows[test]
            place = np.searchsorted(needed, rows)
            states = encoded[place]
            arrays = {name: logged[name][rows] for name in ("factors", *item.needs) if name in logged}
            if moved is not None:
                arrays["shifted_states"] = moved[place]
            arrays |= {name: ask(rollouts, rows) for name, ask in EXPERT.items() if name in item.needs}
            needs = {name: value for name, value in (arrays | described).items() if name in item.needs}
            episodes = rollouts.episode_ids[rows] if intervals else None
            scored = kept["steps" in item.needs][test]
            records |= _score_one(item, states, arrays["factors"], needs, scored, rollouts, episodes)
            bar.advance(task)
    return records


def _spread_rows(rollouts: Rollouts, limit: int) -> np.ndarray:
    rows = np.flatnonzero(rollouts.split >= 0)
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(limit, len(rows))).astype(np.int64))]


def _whole_episodes(rollouts: Rollouts, limit: int) -> np.ndarray:
    """Return the rows of evenly spaced episodes, about `limit` in all, but of four episodes of each split at least."""
    if len(rollouts) <= limit:
        return np.flatnonzero(rollouts.split >= 0)
    by_episode = rollouts.split[rollouts.episodes[:-1]]
    chosen = np.zeros(rollouts.n_episodes, dtype=bool)
    for part in range(3):
        members = np.flatnonzero(by_episode == part)
        wanted = max(4, round(len(members) * limit / len(rollouts)))
        chosen[members[common.spread_rows(len(members), wanted)]] = True
    return np.flatnonzero(chosen[rollouts.episode_ids])


def _with_needs(asked: list[Metric] | None, given: set[str]) -> list[Metric]:
    """Return the metrics that were asked for, by default the core ones whose needs are met.

    Raises:
        DataError: one that was asked for lacks something.
    """
    if asked is None:
        return [item for item in map(METRICS.__getitem__, METRICS) if item.core and set(item.needs) <= given]
    for item in asked:
        lacking = sorted(set(item.needs) - given)
        if lacking:
            hint = "; give the same states in another domain as `shifted`" if "shifted_states" in lacking else ""
            raise DataError(f"metric {item.name!r} needs {', '.join(lacking)}{hint}.")
    return asked


def _shifted_states(encoder: Encoder, rollouts: Rollouts, shifted: Rollouts, kept: np.ndarray) -> np.ndarray:
    """Encode the rows `kept` of the shifted data.

    Raises:
        DataError: their task factors are not those of `rollouts`, row by row.
    """
    tasks = [[factor.role == "task" for factor in data.factor_table] for data in (rollouts, shifted)]
    names = [[factor.name for factor in data.factor_table if factor.role == "task"] for data in (rollouts, shifted)]
    same = names[0] == names[1] and len(rollouts) == len(shifted)
    if not same or np.abs(rollouts.factors[:, tasks[0]] - shifted.factors[:, tasks[1]]).max() > 1e-6:
        raise DataError(
            f"{shifted.path} does not hold the states of {rollouts.path} row by row; record both with the same "
            "policy, seed and frames, in two domains of one environment."
        )
    with cpu_threads(1):
        return encode_rows(encoder, shifted, kept).astype(np.float64)


def _score_one(
    item: Metric,
    states: np.ndarray,
    factors: np.ndarray,
    needs: dict[str, Any],
    test: np.ndarray,
    rollouts: Rollouts,
    episodes: np.ndarray | None,
) -> dict[str, dict[str, Any]]:
    started = time.perf_counter()
    kinds = needs.get("kinds")
    other = {name: value for name, value in needs.items() if name != "kinds"}
    bounded = {
        "ceiling": lambda: bounds.ceiling(item.function, factors, kinds, **other),
        "floor": lambda: bounds.floor(item.function, states, factors, item.shifts, **needs),
        "noise": lambda: bounds.noise(item.function, states, factors, **needs),
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        values, error = _tried(item.name, item.name, lambda: item.function(states, factors, **needs))
        found = {
            key: {} if error else _tried(item.name, f"the {key} of {item.name}", call)[0]
            for key, call in bounded.items()
        }
    intervals = {} if error or episodes is None else _limits(item, values, states, factors, needs, episodes)
    seconds = time.perf_counter() - started
    n_episodes = len(np.unique(rollouts.episode_ids[test]))
    notes = sorted({str(warning.message) for warning in caught})
    if n_episodes < FEW_EPISODES and any(factor.scope == "episode" for factor in rollouts.factor_table):
        notes.append(f"factors that are constant within an episode have only {n_episodes} test samples")
    names = [factor.name for factor in rollouts.factor_table]
    constant = [name for name, varies in zip(names, common.varying_factors(factors), strict=True) if not varies]
    records: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        low, high = intervals.get(name, (float("nan"), float("nan")))
        ceiling, floor, noise = (of_kind.get(name, float("nan")) for of_kind in found.values())
        records[name] = {
            "value": value,
            "low": low,
            "high": high,
            "ceiling": ceiling,
            "floor": floor,
            "noise": noise,
            "normalised": _normalise(value, floor, ceiling),
            "better": item.better,
            "range": list(item.range),
            "version": item.version,
            "shifts": item.shifts,
            "n_rows": len(test),
            "n_episodes": n_episodes,
            "skipped": constant,
            "warnings": notes,
            "error": error,
            "seconds": seconds,
        }
    return records


def _tried(name: str, what: str, call: Callable[[], Any]) -> tuple[dict[str, float], str]:
    """Return the values that a call comes to, by name, and ""; or NaN, and why these data do not allow it."""
    try:
        return _flatten(name, call()), ""
    except DataError as error:
        reason = f"{what} cannot be computed: {error}"
        warnings.warn(reason, stacklevel=2)
        return {name: float("nan")}, reason


def _limits(
    item: Metric,
    values: dict[str, float],
    states: np.ndarray,
    factors: np.ndarray,
    needs: dict[str, Any],
    episodes: np.ndarray,
) -> dict[str, tuple[float, float]]:
    """Return the 95 % interval of each value, by name; nothing for metrics that have none."""
    drawn = episodes[needs["split"] == 2] if "split" in needs else episodes
    if item.resample is None or len(np.unique(drawn)) < MIN_EPISODES or not np.isfinite([*values.values()]).any():
        return {}
    scores = resampled_scores(item, states, factors, needs, episode_ids=episodes)
    names = {key: item.name if key == "mean" else f"{item.name}.{key}" for key in scores}
    return {
        names[key]: np.clip(limits(values[names[key]], draws), *item.range).tolist() for key, draws in scores.items()
    }


def _flatten(name: str, result: float | dict[str, float]) -> dict[str, float]:
    if isinstance(result, dict):
        return {name if key == "mean" else f"{name}.{key}": float(value) for key, value in result.items()}
    return {name: float(result)}


def _normalise(value: float, floor: float, ceiling: float) -> float:
    """Return the position between floor and ceiling; NaN where the two are too close to tell."""
    return (value - floor) / (ceiling - floor) if abs(ceiling - floor) > 0.05 else float("nan")


def _check_overlap(encoder: Encoder, rollouts: Rollouts, allow_overlap: bool) -> None:
    if allow_overlap:
        return
    if encoder.provenance.get("data_hash") == rollouts.data_hash:
        held_out = [*rollouts.info["split"]["val"], *rollouts.info["split"]["test"]]
        trained = set(encoder.provenance.get("training_episodes", ()))
    else:  # recordings of one seed begin with the same episodes, whatever their length
        held_out = rollouts.episode_hashes("val", "test")
        trained = set(encoder.provenance.get("training_hashes", ()))
    seen = sum(episode in trained for episode in held_out)
    if seen:
        raise DataError(
            f"the encoder was trained on {seen} of the {len(held_out)} episodes it would be scored on; score it on "
            "other data, or pass allow_overlap=True for an in-sample score."
        )
