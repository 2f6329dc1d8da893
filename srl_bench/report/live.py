"""What a running suite shows: cells done, running and failed, and the time left for each stage and in all."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from types import TracebackType

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from srl_bench.cells import STAGES, Cell
from srl_bench.status import estimate, measured_costs, stages_left, stages_of

SECONDS_BETWEEN_LOOKS = 5.0


class SuiteDisplay:
    """A live view on stderr of the cells of a suite; where there is no terminal, a line for each cell that ends.

    Args:
        folder: of the suite's results.
        jobs: cells that run at once.
    """

    def __init__(self, folder: Path, jobs: int) -> None:
        self._folder, self._jobs = folder, jobs
        self._cells: list[Cell] = []
        self._todo: list[Cell] = []
        self._ended: set[str] = set()
        self._finished = 0
        self.failed = 0
        self._view: RenderableType = Text("recording")
        self._console = Console(stderr=True)
        self._live = Live(
            get_renderable=lambda: self._view, console=self._console, transient=True, refresh_per_second=2
        )
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> SuiteDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._watcher.is_alive():
            self._watcher.join()
        self._live.stop()

    @property
    def ran(self) -> int:
        """Cells that ended."""
        return len(self._ended)

    def start(self, cells: list[Cell], todo: list[Cell]) -> None:
        """Take note of all cells and of those to do."""
        self._cells, self._todo = cells, todo
        self._finished = sum((self._folder / cell.folder_name / "done").exists() for cell in cells)
        self._console.print(f"{len(cells)} cells, {self._finished} of them finished", highlight=False)
        if self._console.is_terminal and todo:
            self._live.start()
            self._watcher.start()

    def done(self, cell: Cell, error: str) -> None:
        """Print how a cell ended."""
        self._ended.add(cell.folder_name)
        self.failed += bool(error)
        mark = Text("failed ", "red") + Text(error.strip().splitlines()[0]) if error else Text("done", "green")
        self._console.print(Text(f"{cell.environment} {cell.method} seed {cell.seed}: ") + mark)

    def _watch(self) -> None:
        while True:
            self._view = self.render()
            if self._stop.wait(SECONDS_BETWEEN_LOOKS):
                return

    def render(self) -> RenderableType:
        """Return the present state, read from the folders of the cells."""
        costs = measured_costs(self._folder.parent)
        total, missing, left = (Counter[str]() for _ in range(3))
        seconds = dict.fromkeys(STAGES, 0.0)
        expected = {cell.folder_name for cell in self._todo} - self._ended
        for cell in self._cells:
            stages = stages_left(cell, self._folder)
            total.update(stages_of(cell))
            missing.update(stages)
            if cell.folder_name in expected:
                left.update(stages)
                for stage, time in estimate(cell, stages, costs).items():
                    seconds[stage] += time / self._jobs
        unfinished = len(self._todo) - len(self._ended)
        done = self._finished + len(self._ended) - self.failed
        table = Table("", "", "done", "left", "time left", box=None)
        table.add_row(
            "cells",
            ProgressBar(len(self._cells), done + self.failed, width=24),
            f"{done} ({self.failed} failed)",
            f"{unfinished} ({min(self._jobs, unfinished)} running)",
            duration(sum(seconds.values())),
        )
        for stage in STAGES:
            if total[stage]:
                done = total[stage] - missing[stage]
                bar = ProgressBar(total[stage], done, width=24)
                table.add_row(stage, bar, str(done), str(left[stage]), duration(seconds[stage]))
        return Group(table)


def duration(seconds: float) -> str:
    """Return hours and minutes, or minutes and seconds; "unknown" for NaN."""
    if np.isnan(seconds):
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
