"""Suites and cells. A cell is one environment x method x seed: encoder, scores, agent, each a resumable stage.

What exists on disk is skipped, so running a suite again continues it, whatever stopped it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import gymnasium
from filelock import FileLock, Timeout

from srl_bench.algorithms import check_algorithm
from srl_bench.config import RAW_PIXELS, RecordConfig, RLConfig, Suite, TrainConfig
from srl_bench.environments import factor_table, make_environment
from srl_bench.errors import ConfigError, UnknownNameError
from srl_bench.launch import run_all, run_on_dask
from srl_bench.method import as_objective, check_stack, resolve
from srl_bench.pretrain import pretrain
from srl_bench.provenance import code_version, provenance
from srl_bench.record import record, recording_name
from srl_bench.registry import BODIES, METRICS, load_plugin, plugin_version
from srl_bench.results import save_scores
from srl_bench.rollouts import open_rollouts
from srl_bench.score import score_records
from srl_bench.tracking import check_tracking

STAGES = ("pretrain", "score", "rl")
# arguments that change pictures, but not their shape
LOOKS = {"views", "domain", "randomise"}
Ended = tuple["Cell", str | None]
"""A cell and its error: "" if there is none, None if another process is at work on it."""


@dataclass(frozen=True)
class Cell:
    """Everything that determines one result, as plain values, so that it can be sent to any worker."""

    environment: str
    method: str
    seed: int
    rollouts: str
    data_hash: str
    train: TrainConfig
    metrics: tuple[str, ...] | None
    rl: RLConfig | None
    plugins: tuple[str, ...]
    plugin_hash: str
    code: str
    task: dict[str, Any] = field(default_factory=dict)

    @property
    def folder_name(self) -> str:
        """environment__method__seed, and 12 hex digits of the hash of all that determines the outcome."""
        facts = {key: value for key, value in asdict(self).items() if key not in ("rollouts", "plugins")}
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
        words = (re.sub(r"[^A-Za-z0-9.+-]+", "_", word)[:60] for word in (self.environment, self.method))
        return "__".join([*words, str(self.seed), digest])


def run(
    suite: Suite,
    *,
    jobs: int = 1,
    root: str | Path = "runs",
    plugins: Sequence[str] = (),
    address: str | None = None,
    resources: Mapping[str, float] | None = None,
    only_failed: bool = False,
    on_done: Callable[[Cell, str], None] = lambda cell, error: None,
    on_start: Callable[[list[Cell], list[Cell]], None] = lambda cells, todo: None,
) -> list[Path]:
    """Run all cells of a suite that are not finished.

    Several runs of a suite, also on machines that share the folder, share the work.

    Args:
        suite: what to run.
        jobs: cells that run at once, one thread each. With more than one, cells survive that the system kills a worker.
        root: results go to root/<suite name>, one folder per cell.
        plugins: plug-ins that every worker loads.
        address: of a Dask scheduler, whose workers then run the cells, such as "tls://host:8786".
        resources: what a stage takes of a Dask worker's resources, such as {"pretrain.GPU": 1}.
        only_failed: run only the cells that failed before.
        on_start: called with all cells and those to do, after the data were recorded.
        on_done: called for every cell that ended, with its error or "".

    Returns:
        The folders of all cells. One that failed holds `error.txt`.

    Raises:
        ConfigError: a name in the suite is not known or an option is wrong; found before anything runs.
    """
    if jobs < 1:
        raise ConfigError(f"jobs must be at least 1, not {jobs}.")
    if resources and address is None:
        raise ConfigError("resources are those of Dask workers; give the address of a scheduler, too.")
    parts = _parts(resources or {})
    for plugin in plugins:
        load_plugin(plugin)
    check_names(suite)
    folder = Path(root) / suite.name
    cells = cells_of(suite, root, plugins, record_missing=True)
    paths = [folder / cell.folder_name for cell in cells]
    folder.mkdir(parents=True, exist_ok=True)
    resolved = {"suite": asdict(suite), "cells": [path.name for path in paths]}
    (folder / "suite.json").write_text(json.dumps(provenance(**resolved), indent=1))
    todo = [
        cell
        for cell, path in zip(cells, paths, strict=True)
        if not (path / "done").exists() and (not only_failed or (path / "error.txt").exists())
    ]
    on_start(cells, todo)

    def killed(cell: Cell) -> Ended:
        return _killed(cell, folder)

    wait = False
    while todo:
        if address is None:
            ended = run_all(run_cell, todo, str(folder.resolve()), wait, jobs=jobs, killed=killed)
        else:
            ended = run_on_dask(
                run_cell, todo, str(folder.resolve()), wait, parts=parts, address=address, killed=killed
            )
        busy = []
        for cell, error in ended:
            if error is None:
                busy.append(cell)
            else:
                on_done(cell, error)
        # Nothing is left but what others are at work on: wait for it, in case they do not end it.
        wait = len(busy) == len(todo)
        todo = busy
    return paths


def _parts(resources: Mapping[str, float]) -> list[tuple[tuple[str, ...], dict[str, float]]]:
    """Return runs of stages that take the same resources, and what they take."""
    taken: dict[str, dict[str, float]] = {stage: {} for stage in STAGES}
    for key, amount in resources.items():
        stage, dot, name = key.partition(".")
        if stage not in STAGES or not (dot and name):
            raise ConfigError(f"resources are given as STAGE.NAME, a stage being {', '.join(STAGES)}, not {key!r}.")
        if not isinstance(amount, int | float) or amount <= 0:
            raise ConfigError(f"{key} must be a positive number, not {amount!r}.")
        taken[stage][name] = amount
    return [(tuple(stages), taken_together) for taken_together, stages in groupby(STAGES, key=taken.__getitem__)]


def check_names(suite: Suite) -> None:
    """Raise an error for the first name, option or slice in a suite that cannot work."""
    for name in suite.metrics or ():
        if name not in METRICS:
            raise UnknownNameError("metric", name, METRICS)
    if suite.train.body not in BODIES:
        raise UnknownNameError("network body", suite.train.body, BODIES)
    if suite.rl is not None:
        check_tracking(suite.rl, Path(suite.name))
    methods = [resolve(text) for text in suite.methods if text != RAW_PIXELS]
    for config in suite.environments:
        env = make_environment(config.environment, config.environment_kwargs)
        n_factors = len(factor_table(env))
        if suite.rl is not None:
            own_network = RAW_PIXELS in suite.methods or suite.rl.encoder_mode != "frozen"
            agents = _agents_environment(config, suite.tasks.get(config.environment, {}), env)
            check_algorithm(suite.rl.algorithm, agents, images=own_network)
            agents.close()
        env.close()
        for method in methods:
            state_dim = method.state_dim(suite.train.latent_dim, n_factors)
            check_stack(method, suite.train.frame_stack, state_dim)
            for term in as_objective(method, state_dim) or ():
                term.bounds(state_dim)


def _agents_environment(config: RecordConfig, task: dict[str, Any], recorded: gymnasium.Env) -> gymnasium.Env:
    """Return the environment of a task; raise `ConfigError` if agents would not observe there what was recorded."""
    env = make_environment(config.environment, config.environment_kwargs | task)
    names = [[factor.name for factor in factor_table(each)] for each in (env, recorded)]
    if env.observation_space != recorded.observation_space or names[0] != names[1] or not LOOKS.isdisjoint(task):
        env.close()
        raise ConfigError(
            f"the task {task} of {config.environment} changes what is observed; a task may change rewards, endings, "
            "actions and starts, all else is an argument of the recording."
        )
    return env


def cells_of(
    suite: Suite, root: str | Path, plugins: Sequence[str] = (), *, record_missing: bool = False
) -> list[Cell]:
    """Return the cells of a suite, the first seed of everything first, so that half a run is a comparison already.

    Without `record_missing`, cells whose data are not recorded have an empty `data_hash`, and nothing is written.
    """
    cells = [
        cell
        for config in suite.environments
        for cell in _cells(suite, config, Path(root) / "data", plugins, record_missing)
    ]
    return sorted(cells, key=lambda cell: suite.seeds.index(cell.seed))


def _cells(
    suite: Suite, config: RecordConfig, data: Path, plugins: Sequence[str], record_missing: bool
) -> Iterator[Cell]:
    path = data / recording_name(config, plugins)
    data_hash = ""
    if record_missing:
        data.mkdir(parents=True, exist_ok=True)
        with FileLock(data / f".{path.name}.lock"):
            data_hash = record(out=path, plugins=tuple(plugins), **asdict(config)).data_hash
    elif (path / "rollouts.json").exists():
        data_hash = open_rollouts(path).data_hash
    for seed in suite.seeds:
        for method in suite.methods:
            yield Cell(
                environment=config.environment,
                method=method,
                seed=seed,
                rollouts=str(path.resolve()),
                data_hash=data_hash,
                train=replace(suite.train, seed=seed),
                metrics=suite.metrics,
                rl=replace(suite.rl, seed=seed) if suite.rl is not None else None,
                plugins=tuple(str(Path(plugin).resolve()) if plugin.endswith(".py") else plugin for plugin in plugins),
                plugin_hash=plugin_version(plugins),
                code=code_version(),
                task=suite.tasks.get(config.environment, {}),
            )


def run_cell(
    cell: Cell, folder: str, wait: bool = True, stages: Sequence[str] = STAGES, before: Ended | None = None
) -> Ended:
    """Run what is missing of some stages of a cell; return it with the last line of its error, or "".

    Whatever a plug-in raises is written to `error.txt` with its traceback, so that the other cells go on.

    Args:
        cell: the cell.
        folder: of the suite's results.
        wait: for another process that is at work on the cell; else the error is None then.
        stages: what to run of it.
        before: how the stages before these ended; after an error, nothing is run.
    """
    if before is not None and before[1] != "":
        return before
    path = Path(folder) / cell.folder_name
    os.environ["SRL_BENCH_QUIET"] = "1"
    try:
        path.mkdir(parents=True, exist_ok=True)
        # Workers outlive a killed parent for a while; whoever comes second finds the work done.
        with FileLock(path / ".lock", timeout=-1 if wait else 0):
            (path / "error.txt").unlink(missing_ok=True)
            if not (path / "done").exists():
                _run_stages(cell, path, stages)
    except Timeout:
        return cell, None
    except Exception as error:
        (path / "error.txt").write_text(traceback.format_exc())
        return cell, f"{type(error).__name__}: {error}"
    finally:
        del os.environ["SRL_BENCH_QUIET"]
    return cell, ""


def _killed(cell: Cell, folder: Path) -> Ended:
    error = "its worker process was killed again when no other cell was to blame; probably out of memory"
    path = folder / cell.folder_name
    path.mkdir(parents=True, exist_ok=True)
    (path / "error.txt").write_text(f"{error}\n")
    return cell, error


def _run_stages(cell: Cell, path: Path, stages: Sequence[str]) -> None:
    if code_version() != cell.code:
        raise ConfigError(f"this worker has srl_bench {code_version()}, the suite is of {cell.code}; install the same.")
    (path / "cell.json").write_text(json.dumps(provenance(**asdict(cell)), indent=1))
    for plugin in cell.plugins:
        load_plugin(plugin)
    rollouts = open_rollouts(cell.rollouts)
    source: Any = RAW_PIXELS
    if cell.method != RAW_PIXELS:
        with _timed(path, "pretrain", path / "encoder" / "config.json"):
            source = pretrain(cell.method, rollouts, out=path, config=cell.train)
        if "score" in stages and not (path / "scores.json").exists():
            with _timed(path, "score", path / "scores.json"):
                save_scores(score_records(source, rollouts, metrics=cell.metrics, seed=cell.seed), path)
    if "rl" in stages and cell.rl is not None:
        from srl_bench.rl import train_agent

        kwargs = rollouts.environment_kwargs | cell.task
        with _timed(path, "rl", path / "rl" / "evaluations.csv"):
            train_agent(cell.environment, source, environment_kwargs=kwargs, out=path / "rl", config=cell.rl)
    if stages[-1] == STAGES[-1]:
        (path / "done").touch()


@contextmanager
def _timed(path: Path, stage: str, outcome: Path) -> Iterator[None]:
    """Add to `stages.json` how many seconds a stage took, unless its outcome is there already."""
    if outcome.exists():
        yield
        return
    start = time.perf_counter()
    try:
        yield
    finally:
        file = path / "stages.json"
        seconds = json.loads(file.read_text()) if file.exists() else {}
        seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start
        file.write_text(json.dumps(seconds, indent=1))
