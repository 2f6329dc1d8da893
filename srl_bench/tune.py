"""The search for what a method and its agent should be set to, with the same small budget for every method.

A trial trains the method on each data set. It is worth the mean of a metric on validation episodes, or the mean return
of agents on the encoders; neither test episodes nor the evaluation episodes of other runs are touched. Trials are kept
in a journal or data base, so that a search continues where it was stopped, and many machines can share it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from srl_bench.config import RLConfig, TrainConfig
from srl_bench.errors import ConfigError, TrainingError
from srl_bench.method import Method, resolve
from srl_bench.progress import progress
from srl_bench.provenance import provenance
from srl_bench.rollouts import Rollouts
from srl_bench.seeding import derive_seed
from srl_bench.sources import Source, as_source, is_method, split_source, weights_hash
from srl_bench.space import Choice, candidate, check_space, default_space, first_trial, present_values, suggest
from srl_bench.trials import RETURN, MetricTrial, ReturnTrial

STARTUP = 5
"""Trials before the search draws on results, and before it prunes."""
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


def tune(
    method: str,
    data: Sequence[Rollouts],
    out: str | Path,
    *,
    objective: str = "ridge_r2",
    trials: int = 10,
    search: Mapping[str, Choice] | None = None,
    config: TrainConfig | None = None,
    rl: RLConfig | None = None,
    storage: str | None = None,
) -> pd.DataFrame:
    """Search options, weights and settings; write the trials, the best one, what matters, and what led to it.

    Args:
        method: its name, with options that stay fixed in brackets, or an expression; for the return, any source of
            observations: see `srl_bench.sources`.
        data: data sets; a trial is worth the mean over them.
        out: folder of the journal, `trials.csv`, `importance.csv` and `best.json`; the search in it continues.
        objective: name of a metric, or "return" for that of an agent's last evaluation, whose episodes are others
            than those of `train_agent`. Agents that fall behind are pruned.
        trials: trials in all. The first one is the method as it is, or as near to that as the ranges are.
        search: names and ranges, in place of those that the method and `hyperparameters.yaml` name: options,
            `weight.TERM` of an expression, `latent_dim`, `learning_rate`, and `rl.NAME` of the agent.
        config: settings of the trainings.
        rl: settings of the agents.
        storage: data base that Optuna keeps the trials in, such as postgresql://host/name; processes with the same
            request share the search. By default a journal in `out`, which machines with a common disk can share.

    Returns:
        One row per trial: number, state (complete, pruned, diverged, failed or running), value, seconds and what was
        drawn.

    Raises:
        ConfigError, UnknownNameError: a name or range is wrong, or `out` holds another search.
        TrainingError: no trial came to an end.
    """
    config, agent = config or TrainConfig(), (rl or RLConfig()) if objective == RETURN else None
    if trials < 1:
        raise ConfigError(f"trials must be at least 1, not {trials}.")
    if not data:
        raise ConfigError("a search needs at least one data set.")
    if rl is not None and agent is None:
        raise ConfigError(f"settings of agents are for objective={RETURN!r}, not {objective!r}.")
    base, fixed, beside = _subject(method, objective)
    value: MetricTrial | ReturnTrial
    value = MetricTrial(objective, data) if agent is None else ReturnTrial(data, agent, fixed, beside)
    present = present_values(base, config, agent, data[0].environment)
    space = dict(search) if search is not None else default_space(base, present, agent)
    check_space(space, present, base, config)
    folder = Path(out)
    request = {
        "method": method if base is None else "+".join(part for part in (str(base), beside) if part),
        "encoder_sha256": weights_hash(fixed) if fixed is not None else "",
        "search": {name: _described(choice) for name, choice in space.items()},
        "objective": objective,
        "direction": value.direction,
        "train": asdict(config),
        "rl": asdict(agent) if agent is not None else None,
        "data": [rollouts.data_hash for rollouts in data],
    }
    study = _study(folder, request, storage, trials)
    if all(trial.state is TrialState.FAIL for trial in study.trials):
        study.enqueue_trial(first_trial(space, present))

    def run(trial: optuna.Trial) -> float:
        # One seed per trial: neither an interruption nor other machines change or repeat what is drawn.
        seed = derive_seed(config.seed, "trial", trial.number) % 2**32
        study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP)
        drawn = {name: suggest(trial, name, choice, present[name]) for name, choice in space.items()}
        try:
            return value(trial, *candidate(base, config, drawn))
        except TrainingError as error:
            # A pruned trial counts as a bad one in what the sampler learns, a failed one does not count.
            trial.set_user_attr("error", str(error))
            raise optuna.TrialPruned from error

    with progress() as bar:
        task = bar.add_task(f"tune {request['method']}", total=trials, status="")
        while (done := sum(trial.state in ENDED for trial in study.trials)) < trials:
            bar.update(task, completed=done, status=f"best {study.best_value:.4g}" if _complete(study) else "")
            study.optimize(run, n_trials=1)
    return _write(study, folder, request, base, config)


def _subject(method: str, objective: str) -> tuple[Method | None, Source | None, str]:
    """Return the method to train, or what an agent observes without any training, and the factors beside states."""
    if objective != RETURN:
        return resolve(method), None, ""
    if not is_method(method):
        return None, as_source(method), ""
    base, beside = split_source(method)
    return resolve(base), None, beside


def _described(choice: Choice) -> Any:
    return {"low": choice[0], "high": choice[1]} if isinstance(choice, tuple) else list(choice)


def _study(folder: Path, request: dict[str, Any], storage: str | None, trials: int) -> optuna.Study:
    """Open the search of a request, and write what it is to its folder."""
    text, path = json.dumps(request, indent=1), folder / "search.json"
    if path.exists() and path.read_text() != text:
        raise ConfigError(f"{folder} holds another search; give another folder.")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    backend = _database(storage) if storage is not None else None
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP) if trials > STARTUP else optuna.pruners.NopPruner()
    return optuna.create_study(
        study_name=f"{request['method'][:60]}-{hashlib.sha256(text.encode()).hexdigest()[:12]}",
        storage=backend or JournalStorage(JournalFileBackend(str(folder / "journal.log"))),
        pruner=pruner,
        direction=request["direction"],
        load_if_exists=True,
    )


def _database(url: str) -> BaseStorage:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return optuna.storages.RDBStorage(url)
    except (SQLAlchemyError, ImportError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"storage {url!r} cannot be opened ({reason}); give the URL of a data base, such as sqlite:///trials.db or "
            "postgresql://user@host/name, whose driver is installed, or none for a journal in the folder."
        ) from error


def _complete(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _write(
    study: optuna.Study, folder: Path, request: dict[str, Any], base: Method | None, config: TrainConfig
) -> pd.DataFrame:
    rows = [
        {
            "trial": trial.number,
            "state": _state(trial),
            "value": trial.value,
            "seconds": None if trial.duration is None else trial.duration.total_seconds(),
            **trial.params,
        }
        for trial in study.trials
    ]
    table = pd.DataFrame(rows)
    table.to_csv(folder / "trials.csv", index=False)
    if not _complete(study):
        errors = {trial.user_attrs.get("error", "pruned") for trial in study.trials}
        raise TrainingError(f"no trial in {folder} came to an end: {'; '.join(sorted(errors))}")
    _write_importance(study, folder)
    chosen, settings, agent = candidate(base, config, study.best_params)
    best = {
        "trial": study.best_trial.number,
        "value": study.best_value,
        "options": study.best_params,
        "method": request["method"] if chosen is None else str(chosen),
        "latent_dim": settings.latent_dim,
        "learning_rate": settings.learning_rate,
        "hyperparameters": agent,
    }
    (folder / "best.json").write_text(json.dumps(provenance(**request, trials=len(rows), best=best), indent=1))
    return table


def _write_importance(study: optuna.Study, folder: Path) -> None:
    """Write which share of the differences between trials each option explains (PED-ANOVA, arXiv 2304.10255)."""
    file = folder / "importance.csv"
    file.unlink(missing_ok=True)
    if len({trial.value for trial in _complete(study)}) < 2:
        return
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    pd.Series(shares, name="importance", dtype=float).rename_axis("option").to_csv(file)


def _state(trial: optuna.trial.FrozenTrial) -> str:
    if trial.state is TrialState.PRUNED and "error" in trial.user_attrs:
        return "diverged"
    return {TrialState.FAIL: "failed"}.get(trial.state, trial.state.name.lower())
