"""The cells of a suite as a report shows them: what they are, how far they came, how long they took."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from srl_bench.results import suite_cells

STAGES = ("encoder", "scores", "agent")


@dataclass(frozen=True)
class CellRecord:
    """One cell of a suite.

    Attributes:
        folder: where it lies.
        about: the content of `cell.json`, empty if the cell was never started.
        state: "finished", "failed", "unfinished" or "not started".
        error: the traceback of a failed one.
        seconds: wall time of the stages in `STAGES` that are done.
    """

    folder: Path
    about: dict[str, Any]
    state: str
    error: str
    seconds: dict[str, float]

    @property
    def environment(self) -> str:
        """The environment's Gymnasium id, "" for a cell that was never started."""
        return self.about.get("environment", "")

    @property
    def method(self) -> str:
        """The method as the suite spells it, "" for a cell that was never started."""
        return self.about.get("method", "")


def read_cells(run: Path) -> list[CellRecord]:
    """Read what is known of every cell of the last run of a suite.

    Raises:
        DataError: the folder is not one of a suite.
    """
    return [_read(folder) for folder in suite_cells(run)]


def _read(folder: Path) -> CellRecord:
    if not (folder / "cell.json").is_file():
        return CellRecord(folder, {}, "not started", "", {})
    error = (folder / "error.txt").read_text() if (folder / "error.txt").is_file() else ""
    finished = (folder / "done").exists()
    state = "failed" if error else "finished" if finished else "unfinished"
    return CellRecord(folder, json.loads((folder / "cell.json").read_text()), state, error, _seconds(folder))


def _seconds(folder: Path) -> dict[str, float]:
    config, timing = folder / "encoder" / "config.json", folder / "timing.json"
    evaluations = folder / "rl" / "evaluations.csv"
    found: dict[str, float] = {}
    if config.is_file():
        provenance = json.loads(config.read_text())["provenance"]
        found |= {"encoder": provenance["seconds"]} if "seconds" in provenance else {}
    if timing.is_file():
        # All values that one metric gives carry the seconds that it took.
        by_metric = {name.split(".")[0]: value for name, value in json.loads(timing.read_text()).items()}
        found["scores"] = sum(value for value in by_metric.values() if value is not None)
    if evaluations.is_file():
        table = pd.read_csv(evaluations)
        found |= {"agent": float(table["seconds"].max())} if "seconds" in table else {}
    return found


def first_cells(cells: list[CellRecord]) -> dict[tuple[str, str], CellRecord]:
    """Return the cell with the lowest seed that has an encoder, for each environment and method."""
    found: dict[tuple[str, str], CellRecord] = {}
    for cell in cells:
        if (cell.folder / "encoder" / "config.json").is_file():
            key = (cell.environment, cell.method)
            if key not in found or cell.about["seed"] < found[key].about["seed"]:
                found[key] = cell
    return found


def directions(cells: list[CellRecord]) -> dict[str, str]:
    """Return "higher", "lower" or "neither" for every metric that a cell was scored with, and for the return."""
    found = {"return": "higher"}
    for cell in cells:
        scores = cell.folder / "scores.json"
        if scores.is_file():
            found |= {name: record.get("better", "neither") for name, record in json.loads(scores.read_text()).items()}
    return found
