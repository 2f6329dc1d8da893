"""Suites and cells. A cell is one environment x method x seed: encoder, scores, agent, each a resumable stage.

What exists on disk is skipped, so running a suite again continues it, whatever stopped it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from srl_bench.algorithms import check_algorithm
from srl_bench.config import RAW_PIXELS, RecordConfig, RLConfig, Suite, TrainConfig
from srl_bench.environments import factor_table, make_environment
from srl_bench.errors import ConfigError, UnknownNameError
from srl_bench.launch import run_all
from srl_bench.method import as_objective, resolve
from srl_bench.pretrain import pretrain
from srl_bench.provenance import code_version, provenance
from srl_bench.record import record, recording_name
from srl_bench.registry import BODIES, METRICS, load_plugin, plugin_version
from srl_bench.results import save_scores
from srl_bench.rollouts import open_rollouts
from srl_bench.score import score_records
from srl_bench.tracking import check_tracking


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
    on_done: Callable[[Cell, str], None] = lambda cell, error: None,
    on_start: Callable[[int, int], None] = lambda todo, finished: None,
) -> list[Path]:
    """Run all cells of a suite that are not finished.

    Args:
        suite: what to run.
        jobs: cells that run at once, one thread each. With more than one, cells survive that the system kills a worker.
        root: results go to root/<suite name>, one folder per cell.
        plugins: plug-ins that every worker loads.
        on_start: called with the number of cells to do and of finished ones, after the data were recorded.
        on_done: called for every cell that ended, with its error or "".

    Returns:
        The folders of all cells. One that failed holds `error.txt`.

    Raises:
        ConfigError: a name in the suite is not known or an option is wrong; found before anything runs.
    """
    if jobs < 1:
        raise ConfigError(f"jobs must be at least 1, not {jobs}.")
    for plugin in plugins:
        load_plugin(plugin)
    check_names(suite)
    folder = Path(root) / suite.name
    cells = [cell for config in suite.environments for cell in _cells(suite, config, Path(root) / "data", plugins)]
    # The first seed of everything comes first, so that half a run is a comparison already.
    cells.sort(key=lambda cell: suite.seeds.index(cell.seed))
    paths = [folder / cell.folder_name for cell in cells]
    folder.mkdir(parents=True, exist_ok=True)
    resolved = {"suite": asdict(suite), "cells": [path.name for path in paths]}
    (folder / "suite.json").write_text(json.dumps(provenance(**resolved), indent=1))
    todo = [cell for cell, path in zip(cells, paths, strict=True) if not (path / "done").exists()]
    on_start(len(todo), len(cells) - len(todo))
    for cell, error in run_all(run_cell, todo, str(folder), jobs=jobs, killed=lambda cell: _killed(cell, folder)):
        on_done(cell, error)
    return paths


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
            check_algorithm(suite.rl.algorithm, env, images=own_network)
        env.close()
        for method in methods:
            state_dim = method.state_dim(suite.train.latent_dim, n_factors)
            for term in as_objective(method, state_dim) or ():
                term.bounds(state_dim)


def _cells(suite: Suite, config: RecordConfig, data: Path, plugins: Sequence[str]) -> list[Cell]:
    """Record the data of one environment, if they are not there, and return its cells."""
    path = data / recording_name(config, plugins)
    data.mkdir(parents=True, exist_ok=True)
    with FileLock(data / f".{path.name}.lock"):
        rollouts = record(out=path, plugins=tuple(plugins), **asdict(config))
    return [
        Cell(
            environment=config.environment,
            method=method,
            seed=seed,
            rollouts=str(rollouts.path.resolve()),
            data_hash=rollouts.data_hash,
            train=replace(suite.train, seed=seed),
            metrics=suite.metrics,
            rl=replace(suite.rl, seed=seed) if suite.rl is not None else None,
            plugins=tuple(str(Path(plugin).resolve()) if plugin.endswith(".py") else plugin for plugin in plugins),
            plugin_hash=plugin_version(plugins),
            code=code_version(),
        )
        for seed in suite.seeds
        for method in suite.methods
    ]


def run_cell(cell: Cell, folder: str) -> tuple[Cell, str]:
    """Run what is missing of one cell; return it with the last line of its error, or "".

    Whatever a plug-in raises is written to `error.txt` with its traceback, so that the other cells go on.
    """
    path = Path(folder) / cell.folder_name
    os.environ["SRL_BENCH_QUIET"] = "1"
    try:
        path.mkdir(parents=True, exist_ok=True)
        # Workers outlive a killed parent for a while; whoever comes second finds the work done.
        with FileLock(path / ".lock"):
            (path / "error.txt").unlink(missing_ok=True)
            if not (path / "done").exists():
                _run_stages(cell, path)
    except Exception as error:
        (path / "error.txt").write_text(traceback.format_exc())
        return cell, f"{type(error).__name__}: {error}"
    finally:
        del os.environ["SRL_BENCH_QUIET"]
    return cell, ""


def _killed(cell: Cell, folder: Path) -> tuple[Cell, str]:
    error = "its worker process was killed twice, the second time with no other cell beside it; probably out of memory"
    path = folder / cell.folder_name
    path.mkdir(parents=True, exist_ok=True)
    (path / "error.txt").write_text(f"{error}\n")
    return cell, error


def _run_stages(cell: Cell, path: Path) -> None:
    (path / "cell.json").write_text(json.dumps(provenance(**asdict(cell)), indent=1))
    for plugin in cell.plugins:
        load_plugin(plugin)
    rollouts = open_rollouts(cell.rollouts)
    source: Any = RAW_PIXELS
    if cell.method != RAW_PIXELS:
        source = pretrain(cell.method, rollouts, out=path, config=cell.train)
        if not (path / "scores.json").exists():
            save_scores(score_records(source, rollouts, metrics=cell.metrics, seed=cell.seed), path)
    if cell.rl is not None:
        from srl_bench.rl import train_agent

        kwargs = rollouts.environment_kwargs
        train_agent(cell.environment, source, environment_kwargs=kwargs, out=path / "rl", config=cell.rl)
    (path / "done").touch()
