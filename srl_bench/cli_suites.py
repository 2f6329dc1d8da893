"""Commands of the command line that run suites and tell where they stand."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from srl_bench.cli_data import Plugins, load_plugins, settings
from srl_bench.config import as_suite, load_suite
from srl_bench.errors import ConfigError
from srl_bench.files import suite_cells, suite_index

if TYPE_CHECKING:
    from srl_bench.config import Suite

Launcher = Literal["local", "dask"]
Resources = Annotated[tuple[str, ...], arg(metavar="STAGE.NAME=AMOUNT")]


def run(
    suite: Positional[str] = "quick",
    jobs: int = 1,
    root: Path = Path("runs"),
    method: tuple[str, ...] = (),
    against: str = "zoo",
    launcher: Launcher = "local",
    address: str | None = None,
    resources: Resources = (),
    plugin: Plugins = (),
) -> None:
    """Run a suite: record, pretrain, score, train agents, and write the table and the figures.

    Example: srl-bench run quick --jobs 2

    Example: srl-bench run quick --plugin my_loss.py --method "MyLoss + autoencoder[:28]" --against zoo

    Example: srl-bench run full --launcher dask --address tls://10.0.0.1:8786 --resources pretrain.GPU=1

    Args:
        suite: a built-in suite (`srl-bench list suites`), or a YAML file.
        jobs: cells that run at once on this machine, one thread each.
        root: results go to ROOT/<suite>.
        method: your methods or expressions, added to the comparison.
        against: whom to compare them with: zoo (the methods of the suite), or a comma-separated list.
        launcher: local, processes on this machine; or dask, the workers of a Dask scheduler.
        address: of the Dask scheduler.
        resources: what a stage (pretrain, score, rl) takes of a Dask worker's resources.
        plugin: Python files or modules with plug-ins.
    """
    _check_launcher(launcher, address, jobs)
    if against != "zoo" and not method:
        raise ConfigError(f"--against {against} says whom to compare --method with; give your method, too.")
    load_plugins(plugin)
    chosen = load_suite(suite)
    if method:
        # Commas inside brackets separate the options of one method.
        named = tuple(name.strip() for name in re.split(r",(?![^(]*\))", against))
        zoo = chosen.methods if against == "zoo" else named
        chosen = replace(chosen, methods=(*method, *(name for name in zoo if name not in method)))
    _run(chosen, root, plugin, jobs=jobs, address=address, resources=settings(resources))


def retry(
    suite: Positional[str],
    jobs: int = 1,
    root: Path = Path("runs"),
    launcher: Launcher = "local",
    address: str | None = None,
    resources: Resources = (),
    plugin: Plugins = (),
) -> None:
    """Run the failed cells of a suite again, and nothing else, with the methods and plug-ins of its last run.

    Example: srl-bench retry quick --jobs 2

    Args:
        suite: its name, or the YAML file that it was read from.
        jobs: cells that run at once on this machine, one thread each.
        root: where its results are: ROOT/<suite>.
        launcher: local, processes on this machine; or dask, the workers of a Dask scheduler.
        address: of the Dask scheduler.
        resources: what a stage (pretrain, score, rl) takes of a Dask worker's resources.
        plugin: Python files or modules with plug-ins (default: those of the last run).
    """
    _check_launcher(launcher, address, jobs)
    folder = root / suite
    if not (folder / "suite.json").is_file():
        folder = root / load_suite(suite).name
    index = suite_index(folder)
    plugins = plugin or tuple(index.get("plugins", ()))
    load_plugins(plugins)
    # the folder may have been renamed
    chosen = replace(as_suite(index.get("suite"), f"{folder / 'suite.json'}: suite"), name=folder.name)
    _run(
        chosen,
        folder.parent,
        plugins,
        jobs=jobs,
        address=address,
        resources=settings(resources),
        only_failed=True,
    )


def _check_launcher(launcher: Launcher, address: str | None, jobs: int) -> None:
    if (launcher == "dask") != (address is not None):
        raise ConfigError("--launcher dask and --address go together.")
    if launcher == "dask" and jobs > 1:
        raise ConfigError("--jobs is for this machine; on Dask, every worker runs one cell at a time.")


def _run(
    suite: Suite,
    root: Path,
    plugin: Sequence[str],
    *,
    jobs: int,
    address: str | None = None,
    resources: dict[str, float] | None = None,
    only_failed: bool = False,
) -> None:
    """Run the cells of a suite behind a live view, and write its tables and figures."""
    from srl_bench.benchmark import run as run_suite
    from srl_bench.launch import count_workers
    from srl_bench.report.live import SuiteDisplay
    from srl_bench.report.terminal import publish

    folder = root / suite.name
    at_once = jobs if address is None else max(1, count_workers(address))
    with SuiteDisplay(folder, at_once) as display:
        run_suite(
            suite,
            jobs=jobs,
            root=root,
            plugins=plugin,
            address=address,
            resources=resources,
            only_failed=only_failed,
            on_start=display.start,
            on_done=display.done,
        )
    message = f"srl-bench: {display.failed} cell(s) failed; see `srl-bench status {folder}`. Run again to retry them."
    if display.failed and not any((cell / "done").exists() for cell in suite_cells(folder)):
        raise SystemExit(message)
    # The figures on disk may be of a run with other methods, or of one that was killed while drawing.
    drawn, cells = folder / "figures" / "cells.txt", "\n".join(cell.name for cell in suite_cells(folder))
    publish(folder, folder, figures=display.ran > 0 or not drawn.exists() or drawn.read_text() != cells)
    drawn.write_text(cells)
    if display.failed:
        raise SystemExit(message)


def status(run: Positional[Path]) -> None:
    """Show where the cells of a suite stand.

    Example: srl-bench status runs/quick

    Args:
        run: folder of the suite's results.
    """
    from rich.table import Table

    from srl_bench.report.terminal import print_table
    from srl_bench.status import cell_states

    states = cell_states(run)
    seeds = sorted({cell.seed for cell in states})
    rows: dict[tuple[str, str], dict[int, str]] = {}
    for cell in states:
        at = f": {cell.stage}" if cell.state in ("running", "failed") and cell.stage else ""
        rows.setdefault((cell.environment, cell.method), {})[cell.seed] = cell.state + at
    table = Table("environment", "method", *(f"seed {seed}" for seed in seeds), title=str(run))
    for names, shown in rows.items():
        table.add_row(*names, *(shown.get(seed, "–") for seed in seeds))
    print_table(table)
    counts = Counter(cell.state for cell in states)
    print(", ".join(f"{counts[name]} {name}" for name in ("done", "running", "waiting", "failed")))
    for cell in states:
        if cell.error:
            print(f"failed: {cell.environment} {cell.method} seed {cell.seed}: {cell.error.strip().splitlines()[-1]}")


def plan(suite: Positional[str] = "quick", jobs: int = 1, root: Path = Path("runs"), plugin: Plugins = ()) -> None:
    """Show what a suite would run and what that would take, without running or writing anything.

    The estimate is from the stages of cells under ROOT, most similar ones first: run one seed to make it a good one.

    Example: srl-bench plan core --jobs 2

    Args:
        suite: a built-in suite, or a YAML file.
        jobs: cells that would run at once.
        root: where results would be.
        plugin: Python files or modules with plug-ins.
    """
    from rich.table import Table

    from srl_bench.benchmark import cells_of, check_jobs, check_names
    from srl_bench.report.live import duration
    from srl_bench.report.terminal import print_table
    from srl_bench.status import plan as plan_of

    check_jobs(jobs)
    load_plugins(plugin)
    chosen = load_suite(suite)
    check_names(chosen)
    cells = cells_of(chosen, root, plugin)
    stages = plan_of(cells, root, chosen.name)
    table = Table("environment", "stage", "cells", "to do", "CPU time", title=f"{chosen.name}: {len(cells)} cells")
    for environment, stage, total, todo, seconds in stages.to_numpy().tolist():
        table.add_row(environment, stage, str(total), str(todo), duration(seconds))
    print_table(table)
    missing = {cell.environment for cell in cells if not cell.data_hash}
    if missing:
        print(f"to be recorded first: {', '.join(sorted(missing))}")
    print(f"in all {duration(float(stages['seconds'].sum(skipna=False)) / jobs)} with {jobs} job(s)")
