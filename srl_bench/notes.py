"""What a reader of a suite's table should know beside its numbers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from srl_bench.files import failure, read_json, suite_cells, suite_index
from srl_bench.runs import machines_of


def notes(run: str | Path) -> list[str]:
    """Return notes on the table of a suite.

    They are about cells that are not finished, tasks, machines and versions that differ between cells, failed cells,
    and undefined values with their reasons.
    """
    cells = suite_cells(run)
    abouts = {cell: about for cell in cells if (about := read_json(cell / "cell.json"))}
    found: dict[str, list[str]] = {}
    for cell, about in abouts.items():
        for remark in _remarks(cell):
            found.setdefault(remark, []).append(about["method"])
    suite = suite_index(run).get("suite", {})
    tasks = [
        f"the task of agents in {name}, beside the recording's: {', '.join(f'{key}={task[key]}' for key in task)}"
        for name, task in suite.get("tasks", {}).items()
        if task
    ]
    return [
        *_unfinished(cells),
        *tasks,
        *_differences(list(abouts.values())),
        *(
            remark if len(methods) > len(cells) / 2 else f"{', '.join(sorted(set(methods)))}: {remark}"
            for remark, methods in sorted(found.items())
        ),
    ]


def _unfinished(cells: Sequence[Path]) -> list[str]:
    count = sum(not (cell / "done").exists() and not failure(cell) for cell in cells)
    verb = "is" if count == 1 else "are"
    return [f"{count} of {len(cells)} cells {verb} not finished: means are over the seeds that are"] if count else []


def _differences(abouts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return in what the machines and libraries of cells differ."""
    used = {"machine": Counter(machine for about in abouts for machine in machines_of(about))}
    for library in sorted({name for about in abouts for name in about.get("versions", {})}):
        used[f"version of {library}"] = Counter(str(about.get("versions", {}).get(library)) for about in abouts)
    return [
        f"not all cells have the same {what}: "
        + "; ".join(f"{name} in {cells}" for name, cells in sorted(known.items()))
        for what, known in used.items()
        if len(known) > 1
    ]


def _remarks(cell: Path) -> set[str]:
    """Return why a cell failed, and what its metrics warn of."""
    remarks = {f"failed: {error.splitlines()[-1]}"} if (error := failure(cell)) else set()
    if (cell / "scores.json").exists():
        for metric, record in json.loads((cell / "scores.json").read_text()).items():
            remarks |= set(record["warnings"])
            if record["skipped"]:
                remarks.add(f"{metric.split('.')[0]} leaves out constant factors: {', '.join(record['skipped'])}")
    return remarks
