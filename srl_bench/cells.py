"""One cell of a suite, environment x method x seed: encoder, scores, agent, each a stage that leaves a file.

What exists on disk is skipped, so running a cell again continues it, whatever stopped it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from srl_bench.config import RAW_PIXELS, RLConfig, TrainConfig
from srl_bench.device import resolve_device
from srl_bench.encoder import Encoder
from srl_bench.errors import ConfigError
from srl_bench.files import read_json, write_json, write_text
from srl_bench.method import as_objective, resolve
from srl_bench.pretrain import pretrain
from srl_bench.provenance import code_version, machine, provenance
from srl_bench.registry import load_plugin
from srl_bench.results import save_scores
from srl_bench.rollouts import Rollouts, open_rollouts
from srl_bench.score import score_records

STAGES = ("pretrain", "score", "rl")
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
            if not (path / "done").exists():
                _run_stages(cell, path, stages)
            (path / "error.txt").unlink(missing_ok=True)
    except Timeout:
        return cell, None
    except Exception as error:
        note_failure(cell, Path(folder), traceback.format_exc())
        return cell, f"{type(error).__name__}: {error}"
    finally:
        del os.environ["SRL_BENCH_QUIET"]
    return cell, ""


def note_failure(cell: Cell, folder: Path, text: str) -> None:
    """Write `error.txt`, and `cell.json` if the cell was never started.

    On a full disk that fails as well, which is no reason to stop the other cells.
    """
    path = folder / cell.folder_name
    with suppress(OSError):
        path.mkdir(parents=True, exist_ok=True)
        write_text(path / "error.txt", text)
        if not read_json(path / "cell.json"):
            write_json(path / "cell.json", provenance(**asdict(cell)))


def _run_stages(cell: Cell, path: Path, stages: Sequence[str]) -> None:
    if code_version() != cell.code:
        raise ConfigError(f"this worker has srl_bench {code_version()}, the suite is of {cell.code}; install the same.")
    known = read_json(path / "cell.json").get("machines", {})
    write_json(path / "cell.json", provenance(**asdict(cell), machines=known))
    for plugin in cell.plugins:
        load_plugin(plugin)
    rollouts = open_rollouts(cell.rollouts)
    source: Any = RAW_PIXELS
    if cell.method != RAW_PIXELS:
        with _noted(path, "pretrain", path / "encoder" / "config.json", lambda: _training_device(cell, rollouts)):
            source = pretrain(cell.method, rollouts, out=path, config=cell.train)
        if "score" in stages and not (path / "scores.json").exists():
            with _noted(path, "score", path / "scores.json", lambda: "cpu"):
                save_scores(score_records(source, rollouts, metrics=cell.metrics, seed=cell.seed), path)
    if "rl" in stages and cell.rl is not None:
        from srl_bench.rl import train_agent

        config, kwargs = cell.rl, rollouts.environment_kwargs | cell.task
        with _noted(path, "rl", path / "rl" / "evaluations.csv", lambda: _agent_device(config, source)):
            train_agent(cell.environment, source, environment_kwargs=kwargs, out=path / "rl", config=config)
    if stages[-1] == STAGES[-1]:
        (path / "done").touch()


def _training_device(cell: Cell, rollouts: Rollouts) -> str:
    method = resolve(cell.method)
    state_dim = method.state_dim(cell.train.latent_dim, rollouts.factors.shape[1])
    return "cpu" if as_objective(method, state_dim) is None else str(resolve_device(cell.train.device))


def _agent_device(config: RLConfig, source: Encoder | str) -> str:
    own_network = isinstance(source, str) or (config.encoder_mode != "frozen" and source.observation == "pixels")
    return str(resolve_device(config.device)) if own_network or config.device != "auto" else "cpu"


@contextmanager
def _noted(path: Path, stage: str, outcome: Path, device: Callable[[], str]) -> Iterator[None]:
    """Add to `cell.json` where a stage runs, and to `stages.json` how many seconds it took.

    If its outcome is there already, nothing is added; nor is the device asked for, which another worker had.
    """
    if outcome.exists():
        yield
        return
    about = read_json(path / "cell.json")
    about["machines"] = about.get("machines", {}) | {stage: machine(device())}
    write_json(path / "cell.json", about)
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds = read_json(path / "stages.json")
        seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start
        write_json(path / "stages.json", seconds)
