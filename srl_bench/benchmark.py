"""Suites: every environment x method x seed is a cell, run by processes of this machine or by a cluster.

What exists on disk is skipped, so running a suite again continues it, whatever stopped it.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import gymnasium
from filelock import FileLock

from srl_bench.algorithms import check_algorithm
from srl_bench.cells import STAGES, Cell, Ended, note_failure, run_cell
from srl_bench.config import RAW_PIXELS, RecordConfig, Suite
from srl_bench.environments import factor_table, make_environment
from srl_bench.episodes import arguments_in, make_environments, widest_domain
from srl_bench.errors import ConfigError, UnknownNameError
from srl_bench.files import failure, suite_cells, write_json
from srl_bench.launch import run_all, run_on_dask
from srl_bench.method import as_objective, check_stack, resolve
from srl_bench.provenance import code_version, provenance
from srl_bench.record import record, recording_name
from srl_bench.registry import BODIES, METRICS, load_plugin, plugin_version
from srl_bench.rollouts import open_rollouts
from srl_bench.tracking import check_tracking

# arguments that change pictures, but not their shape
LOOKS = {"views", "domain", "randomise"}
KILLED = "its worker process was killed again when no other cell was to blame; probably out of memory"


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
        only_failed: run only the cells that failed in the last run.
        on_start: called with all cells and those to do, after the data were recorded. Where recording failed, the
            cells of that environment are among those to do, and end at once.
        on_done: called for every cell that ended, with its error or "".

    Returns:
        The folders of all cells. One that failed holds `error.txt`.

    Raises:
        ConfigError: a name in the suite is not known or an option is wrong; found before any cell runs.
        DataError: only failed cells shall run, and there was no last run.
    """
    check_jobs(jobs)
    if resources and address is None:
        raise ConfigError("resources are those of Dask workers; give the address of a scheduler, too.")
    parts = _parts(resources or {})
    for plugin in plugins:
        load_plugin(plugin)
    check_names(suite)
    folder = Path(root) / suite.name
    failed = {_key(path): text for path in suite_cells(folder) if (text := failure(path))} if only_failed else {}
    data_hashes, problems = record_all(suite, root, plugins)
    cells = cells_of(suite, root, plugins, data_hashes)
    paths = [folder / cell.folder_name for cell in cells]
    folder.mkdir(parents=True, exist_ok=True)
    for cell, path in zip(cells, paths, strict=True):
        if _key(path) in failed and not (path / "error.txt").exists() and not (path / "done").exists():
            # it has another folder since, and has to be known there if this run is interrupted
            note_failure(cell, folder, failed[_key(path)])
    index = {"suite": asdict(suite), "plugins": _absolute(plugins), "cells": [path.name for path in paths]}
    write_json(folder / "suite.json", provenance(**index))
    todo = [
        cell
        for cell, path in zip(cells, paths, strict=True)
        if not (path / "done").exists() and (not only_failed or _key(path) in failed or cell.environment in problems)
    ]
    on_start(cells, todo)
    for cell in todo:
        if cell.environment in problems:
            note_failure(cell, folder, problems[cell.environment])
            on_done(cell, problems[cell.environment].strip().splitlines()[-1])
    todo = [cell for cell in todo if cell.environment not in problems]

    def killed(cell: Cell) -> Ended:
        note_failure(cell, folder, f"{KILLED}\n")
        return cell, KILLED

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


def check_jobs(jobs: int) -> None:
    """Raise `ConfigError` unless cells can be so many at once."""
    if jobs < 1:
        raise ConfigError(f"jobs must be at least 1, not {jobs}.")


def _key(path: Path) -> str:
    """Return the name of a cell's folder without the hash, which changes with its data, plug-ins and code."""
    return path.name.rpartition("__")[0]


def _absolute(plugins: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(Path(plugin).resolve()) if plugin.endswith(".py") else plugin for plugin in plugins)


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
        environments = make_environments(config)
        domain = widest_domain(environments)
        n_factors = len(factor_table(environments[domain]))
        if suite.rl is not None:
            own_network = RAW_PIXELS in suite.methods or suite.rl.encoder_mode != "frozen"
            arguments, task = arguments_in(config, domain), suite.tasks.get(config.environment, {})
            agents = _agents_environment(config.environment, arguments, task, environments[domain])
            check_algorithm(suite.rl.algorithm, agents, images=own_network)
            agents.close()
        for env in environments.values():
            env.close()
        for method in methods:
            state_dim = method.state_dim(suite.train.latent_dim, n_factors)
            check_stack(method, suite.train.frame_stack, state_dim)
            for term in as_objective(method, state_dim) or ():
                term.bounds(state_dim)


def _agents_environment(
    name: str, arguments: dict[str, Any], task: dict[str, Any], recorded: gymnasium.Env
) -> gymnasium.Env:
    """Return the environment of a task; raise `ConfigError` if agents would not observe there what was recorded."""
    env = make_environment(name, arguments | task)
    names = [[factor.name for factor in factor_table(each)] for each in (env, recorded)]
    if env.observation_space != recorded.observation_space or names[0] != names[1] or not LOOKS.isdisjoint(task):
        env.close()
        raise ConfigError(
            f"the task {task} of {name} changes what is observed; a task may change rewards, endings, "
            "actions and starts, all else is an argument of the recording."
        )
    return env


def record_all(suite: Suite, root: str | Path, plugins: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Record what is missing of the data of a suite.

    Returns:
        The hash of the data of each environment, and the traceback of each that there are none of.

    Raises:
        ConfigError: an option of a recording is wrong.
    """
    data = Path(root) / "data"
    data.mkdir(parents=True, exist_ok=True)
    hashes, problems = {}, {}
    for config in suite.environments:
        path = data / recording_name(config, plugins)
        try:
            with FileLock(data / f".{path.name}.lock"):
                hashes[config.environment] = record(out=path, plugins=tuple(plugins), **asdict(config)).data_hash
        except ConfigError:
            raise
        except Exception:
            problems[config.environment] = traceback.format_exc()
    return hashes, problems


def recorded(suite: Suite, root: str | Path, plugins: Sequence[str]) -> dict[str, str]:
    """Return the hash of the data of each environment that is recorded already; nothing is written."""
    paths = {config.environment: Path(root) / "data" / recording_name(config, plugins) for config in suite.environments}
    return {name: open_rollouts(path).data_hash for name, path in paths.items() if (path / "rollouts.json").exists()}


def cells_of(
    suite: Suite, root: str | Path, plugins: Sequence[str] = (), data_hashes: Mapping[str, str] | None = None
) -> list[Cell]:
    """Return the cells of a suite, the first seed of everything first, so that half a run is a comparison already.

    Args:
        suite: what consists of them.
        root: where its data are.
        plugins: of the suite.
        data_hashes: by environment (default: of what is recorded); cells of others have an empty `data_hash`.
    """
    hashes = recorded(suite, root, plugins) if data_hashes is None else data_hashes
    cells = [cell for config in suite.environments for cell in _cells(suite, config, root, plugins, hashes)]
    return sorted(cells, key=lambda cell: suite.seeds.index(cell.seed))


def _cells(
    suite: Suite, config: RecordConfig, root: str | Path, plugins: Sequence[str], hashes: Mapping[str, str]
) -> Iterator[Cell]:
    path = Path(root) / "data" / recording_name(config, plugins)
    for seed in suite.seeds:
        for method in suite.methods:
            yield Cell(
                environment=config.environment,
                method=method,
                seed=seed,
                rollouts=str(path.resolve()),
                data_hash=hashes.get(config.environment, ""),
                train=replace(suite.train, seed=seed),
                metrics=suite.metrics,
                rl=replace(suite.rl, seed=seed) if suite.rl is not None else None,
                plugins=_absolute(plugins),
                plugin_hash=plugin_version(plugins),
                code=code_version(),
                task=suite.tasks.get(config.environment, {}),
            )
