"""The one progress bar, on stderr so that tables on stdout can be piped."""

from __future__ import annotations

import os

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)


def progress() -> Progress:
    """Return a bar with description, count, free text (`status` field) and time left.

    It is silent inside workers (`SRL_BENCH_QUIET`), whose parent draws its own.
    """
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
        console=Console(stderr=True),
        disable=bool(os.environ.get("SRL_BENCH_QUIET")),
        transient=True,
        refresh_per_second=2,
    )
