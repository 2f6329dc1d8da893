"""What a report picks out of the cells of a suite."""

from __future__ import annotations

import json
from collections.abc import Sequence

from srl_bench.status import CellState


def first_cells(cells: Sequence[CellState]) -> dict[tuple[str, str], CellState]:
    """Return the cell with the lowest seed that has an encoder, for each environment and method."""
    found: dict[tuple[str, str], CellState] = {}
    for cell in cells:
        if (cell.folder / "encoder" / "config.json").is_file():
            key = (cell.environment, cell.method)
            if key not in found or cell.seed < found[key].seed:
                found[key] = cell
    return found


def directions(cells: Sequence[CellState]) -> dict[str, str]:
    """Return "higher", "lower" or "neither" for every metric that a cell was scored with, and for the return."""
    found = {"return": "higher"}
    for cell in cells:
        scores = cell.folder / "scores.json"
        if scores.is_file():
            found |= {name: record.get("better", "neither") for name, record in json.loads(scores.read_text()).items()}
    return found
