"""Tables for the terminal, and the files of a finished suite."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from srl_bench.notes import notes
from srl_bench.results import formatted, load_results, over_seeds, write_tables


def publish(run: Path, out: Path, *, figures: bool = True) -> None:
    """Print the table of a suite, and write tables and, if wanted, figures to `out`."""
    results, remarks = load_results(run), notes(run)
    write_tables(results, out, remarks)
    for environment in results["environment"].unique():
        print_table(rich_table(results, environment))
    for remark in remarks:
        print(f"note: {remark}")
    if figures:
        from srl_bench.report.figures import write_figures

        write_figures(run, results, out / "figures")
    print(f"tables in {out}, figures in {out / 'figures'}")


def rich_table(results: pd.DataFrame, environment: str) -> Table:
    """Return the summary of one environment for the terminal."""
    text = formatted(results, environment)
    table = Table(title=f"{environment}, held-out episodes, {over_seeds(results, environment)}")
    for column in text.columns:
        table.add_column(str(column), justify="left" if column == "method" else "right", no_wrap=column == "method")
    for row in text.itertuples(index=False):
        table.add_row(*map(str, row))
    return table


def print_table(table: Table) -> None:
    """Print a table to stdout."""
    console = Console()
    # A table in a file should not be squeezed into the 80 columns of an absent terminal.
    (console if console.is_terminal else Console(width=160)).print(table)
