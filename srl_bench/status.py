"""Where the cells of a suite stand, what their stages took, and what is left to pay."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

from srl_bench.cells import STAGES, Cell
from srl_bench.config import RAW_PIXELS
from srl_bench.files import failure, read_json, suite_cells

OUTCOMES = {"pretrain": "encoder/config.json", "score": "scores.json", "rl": "rl/evaluations.csv"}


@dataclass(frozen=True)
class CellState:
    """Where a cell stands.

    Attributes:
        folder: where it lies.
        about: the content of `cell.json`, empty if the cell was never started.
        state: "done", "failed", "running" or "waiting".
        stage: the one that is not there yet, "" if all are.
        error: the traceback of a failed one.
        seconds: what the stages took that are there.
    """

    folder: Path
    about: dict[str, Any]
    state: str
    stage: str
    error: str
    seconds: dict[str, float]

    @property
    def environment(self) -> str:
        """The environment's Gymnasium id; as far as the folder's name tells it, if the cell was never started."""
        return self.about.get("environment", self.folder.name.split("__")[0])

    @property
    def method(self) -> str:
        """The method as the suite spells it; as far as the folder's name tells it, if the cell was never started."""
        return self.about.get("method", self.folder.name.split("__")[1])

    @property
    def seed(self) -> int:
        """The seed."""
        return int(self.folder.name.split("__")[2])


def cell_states(run: str | Path) -> list[CellState]:
    """Return where the cells of the last run of a suite stand; unfinished ones with the stage that is not there yet.

    Raises:
        DataError: the folder is not one of a suite.
    """
    return [_cell_state(path) for path in suite_cells(run)]


def _cell_state(path: Path) -> CellState:
    about, seconds = (read_json(path / name) for name in ("cell.json", "stages.json"))
    state = _state(path)
    own = _stages(about["method"], about.get("rl")) if about else STAGES[:1]
    stage = "" if state == "done" else next((name for name in own if not (path / OUTCOMES[name]).exists()), "")
    error = failure(path) if state == "failed" else ""
    return CellState(path, about, state, stage, error, seconds)


def _state(path: Path) -> str:
    if (path / "done").exists():
        return "done"
    if (path / ".lock").exists():
        try:
            with FileLock(path / ".lock", timeout=0):
                pass
        except Timeout:
            return "running"
    return "failed" if (path / "error.txt").exists() else "waiting"


def stages_of(cell: Cell) -> list[str]:
    """Return the stages that a cell consists of."""
    return _stages(cell.method, cell.rl)


def _stages(method: str, rl: Any) -> list[str]:
    has = {"pretrain": method != RAW_PIXELS, "score": method != RAW_PIXELS, "rl": rl is not None}
    return [stage for stage in STAGES if has[stage]]


def stages_left(cell: Cell, folder: str | Path) -> list[str]:
    """Return the stages of a cell whose outcome is not there."""
    path = Path(folder) / cell.folder_name
    if (path / "done").exists():
        return []
    return [stage for stage in stages_of(cell) if not (path / OUTCOMES[stage]).exists()]


def measured_costs(root: str | Path) -> pd.DataFrame:
    """Return what the stages of all cells under a folder of suites took.

    Returns:
        Columns environment, method, stage and seconds; of pretraining and agents, seconds of 1,000 steps.
    """
    rows = []
    for file in Path(root).glob("*/*/stages.json"):
        about = read_json(file.parent / "cell.json")
        for stage, seconds in read_json(file).items():
            if about and (file.parent / OUTCOMES[stage]).exists():
                unit = _units(stage, about["train"], about["rl"])
                rows.append([about["environment"], about["method"], stage, seconds / unit])
    return pd.DataFrame(rows, columns=["environment", "method", "stage", "seconds"])


def _units(stage: str, train: dict[str, Any], rl: dict[str, Any] | None) -> float:
    """Return the thousands of steps in a stage, 1 for one that has none."""
    if stage == "pretrain":
        return train["steps"] * train["batch_size"] / 64_000
    return rl["steps"] / 1000 if stage == "rl" and rl is not None else 1.0


def estimate(cell: Cell, stages: Iterable[str], costs: pd.DataFrame) -> dict[str, float]:
    """Return the seconds that stages of a cell will take, from the median of the most similar ones measured.

    These are the same method on the same environment, on others, other methods on it, or anything; NaN without any.
    """
    found = {}
    for stage in stages:
        known = costs[costs["stage"] == stage]
        same_method, same_place = known["method"] == cell.method, known["environment"] == cell.environment
        choices: Sequence[pd.DataFrame] = (
            known[same_method & same_place],
            known[same_method],
            known[same_place],
            known,
        )
        similar = next((choice for choice in choices if len(choice)), None)
        train, rl = vars(cell.train), vars(cell.rl) if cell.rl is not None else None
        found[stage] = np.nan if similar is None else float(similar["seconds"].median()) * _units(stage, train, rl)
    return found


def plan(cells: Sequence[Cell], root: str | Path, suite: str) -> pd.DataFrame:
    """Return what running a suite's cells would take.

    Returns:
        One row per environment and stage: cells, those to do, and the estimated seconds of those (NaN: never measured).
    """
    costs = measured_costs(root)
    rows: dict[tuple[str, str], list[float]] = {}
    for cell in cells:
        left = stages_left(cell, Path(root) / suite)
        seconds = estimate(cell, left, costs)
        for stage in stages_of(cell):
            row = rows.setdefault((cell.environment, stage), [0, 0, 0.0])
            for i, value in enumerate((1, stage in left, seconds.get(stage, 0.0))):
                row[i] += value
    table = pd.DataFrame([[*key, *row] for key, row in rows.items()])
    return table.set_axis(["environment", "stage", "cells", "to do", "seconds"], axis=1)
