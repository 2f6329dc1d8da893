"""The search for a method's options, with the same small budget for every method.

A trial trains the method on each data set and is worth the mean of a metric on validation episodes; the test episodes
are not touched. Trials are kept in a journal, so that a search continues where it was stopped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from srl_bench.config import TrainConfig
from srl_bench.errors import ConfigError, DataError, TrainingError, UnknownNameError
from srl_bench.method import Composed, Method, resolve
from srl_bench.pretrain import pretrain
from srl_bench.progress import progress
from srl_bench.provenance import provenance
from srl_bench.registry import METRICS
from srl_bench.rollouts import Rollouts
from srl_bench.score import score_records

Choice = tuple[float, float] | Sequence[Any]
"""(low, high) of a number that is searched on a logarithmic scale, or the list of the values to try."""
LEARNING_RATE = (3e-4, 3e-3)


def tune(
    method: str,
    data: Sequence[Rollouts],
    out: str | Path,
    *,
    trials: int = 10,
    search: Mapping[str, Choice] | None = None,
    metric: str = "ridge_r2",
    config: TrainConfig | None = None,
) -> pd.DataFrame:
    """Search a method's options and step size; write the trials, the best one and what led to it.

    Args:
        method: its name, with options that stay fixed in brackets.
        data: data sets; a trial is worth the mean over them.
        out: folder of the journal, `trials.csv` and `best.json`; the search in it continues.
        trials: trials in all. The first one is the method as it is.
        search: options and their ranges; by default what the method's `search` names, and the step size.
        metric: name of the metric to be optimised.
        config: settings of the trainings.

    Returns:
        One row per trial: number, value, seconds and the options.

    Raises:
        ConfigError, UnknownNameError: an option or range is wrong, or `out` holds another search.
    """
    config = config or TrainConfig()
    base = resolve(method)
    space = dict(search if search is not None else {**type(base).search, "learning_rate": LEARNING_RATE})
    check_space(base, space)
    if trials < 1:
        raise ConfigError(f"trials must be at least 1, not {trials}.")
    better = METRICS[metric].better
    folder = Path(out)
    request = {
        "method": str(base),
        "search": space,
        "metric": metric,
        "train": asdict(config),
        "data": [rollouts.data_hash for rollouts in data],
    }
    _claim(folder, request)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        study_name=base.name,
        storage=JournalStorage(JournalFileBackend(str(folder / "journal.log"))),
        sampler=optuna.samplers.TPESampler(seed=config.seed, n_startup_trials=min(5, trials)),
        direction="maximize" if better == "higher" else "minimize",
        load_if_exists=True,
    )
    if not study.trials:
        known = {name: getattr(base, name, config.learning_rate or base.learning_rate) for name in space}
        study.enqueue_trial(known)

    def value(trial: optuna.Trial) -> float:
        drawn = {name: _suggest(trial, name, choice) for name, choice in space.items()}
        settings = replace(config, learning_rate=drawn.pop("learning_rate", config.learning_rate))
        candidate = replace(base, **drawn)
        return float(np.mean([_validate(candidate, rollouts, settings, metric) for rollouts in data]))

    with progress() as bar:
        done = sum(trial.state.is_finished() for trial in study.trials)
        task = bar.add_task(f"tune {base.name}", total=trials, completed=done, status="")
        for _ in range(done, trials):
            # A diverging setting is a bad one; TPE learns from it.
            study.optimize(value, n_trials=1, catch=(TrainingError,))
            finished = [trial for trial in study.trials if trial.value is not None]
            bar.update(task, advance=1, status=f"best {study.best_value:.4g}" if finished else "")
    return _write(study, folder, request)


def check_space(method: Method, space: Mapping[str, Choice]) -> None:
    """Raise an error for the first option that the method does not have, or range that is none.

    Raises:
        UnknownNameError, ConfigError: it names the option.
    """
    known = [] if isinstance(method, Composed) else [field.name for field in fields(method)]
    for name, choice in space.items():
        if name not in (*known, "learning_rate"):
            raise UnknownNameError(f"option of {method.name}", name, [*known, "learning_rate"])
        if isinstance(choice, tuple) and not (len(choice) == 2 and 0 < choice[0] < choice[1]):
            raise ConfigError(f"the range of {name} must be (low, high) with 0 < low < high, not {choice}.")
        if not len(choice):
            raise ConfigError(f"{name} has no values to try.")


def _suggest(trial: optuna.Trial, name: str, choice: Choice) -> Any:
    if isinstance(choice, tuple):
        return trial.suggest_float(name, *choice, log=True)
    return trial.suggest_categorical(name, list(choice))


def _validate(method: Method, rollouts: Rollouts, config: TrainConfig, metric: str) -> float:
    """Return the metric of an encoder, probes chosen on one half of the validation episodes, scored on the other."""
    episodes = rollouts.info["split"]["val"]
    halves = {**rollouts.info["split"], "val": episodes[::2], "test": episodes[1::2]}
    view = replace(rollouts, info={**rollouts.info, "split": halves})
    encoder = pretrain(method, rollouts, config=config)
    record = score_records(encoder, view, metrics=[metric], seed=config.seed, intervals=False)[metric]
    if record["error"]:
        raise DataError(f"{record['error']} Tune by another metric, or on more data.")
    return float(record["value"])


def _claim(folder: Path, request: dict[str, Any]) -> None:
    """Write what is searched for, or make sure that the folder is of the same search."""
    folder.mkdir(parents=True, exist_ok=True)
    text, path = json.dumps(request, indent=1), folder / "search.json"
    if path.exists() and path.read_text() != text:
        raise ConfigError(f"{folder} holds another search; give another folder.")
    path.write_text(text)


def _write(study: optuna.Study, folder: Path, request: dict[str, Any]) -> pd.DataFrame:
    rows = [
        {"trial": trial.number, "value": trial.value, "seconds": _seconds(trial), **trial.params}
        for trial in study.trials
    ]
    table = pd.DataFrame(rows)
    table.to_csv(folder / "trials.csv", index=False)
    best = {"value": study.best_value, "options": study.best_params}
    (folder / "best.json").write_text(json.dumps(provenance(**request, trials=len(rows), best=best), indent=1))
    return table


def _seconds(trial: optuna.trial.FrozenTrial) -> float | None:
    return None if trial.duration is None else trial.duration.total_seconds()
