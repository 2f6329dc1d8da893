"""The command line: `srl-bench COMMAND --help` shows options and an example of each command."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.conf import Positional, arg

from srl_bench import cli_agents, cli_data, cli_results
from srl_bench.cli_data import Plugins, Settings, load_plugins, open_data, settings
from srl_bench.config import TrainConfig, load_suite
from srl_bench.errors import SrlBenchError

if TYPE_CHECKING:
    from srl_bench.config import Suite

app = tyro.extras.SubcommandApp()
for command in (cli_data.record, cli_data.info, cli_data.pack, cli_data.unpack, cli_data.export, cli_data.play):
    app.command(command)
app.command(name="import")(cli_data.import_)
app.command(cli_results.correlate)
app.command(cli_results.report)
app.command(cli_results.publish)
app.command(cli_agents.rl)
app.command(cli_agents.enjoy)


@app.command
def pretrain(
    data: Positional[Path],
    out: Path,
    config: Annotated[TrainConfig, arg(name="")],
    method: str = "autoencoder",
    plugin: Plugins = (),
) -> None:
    """Train an encoder on recorded rollouts and freeze it.

    Example: srl-bench pretrain data/kuka --method "vae(beta=4)" --steps 8000 --out encoders/vae

    Args:
        data: folder that `record` wrote.
        out: folder for the encoder, its log and checkpoint; an interrupted training resumes.
        config: settings of the training.
        method: a method, with options in brackets, or an expression such as "inverse + autoencoder[:28]".
        plugin: Python files or modules with plug-ins.
    """
    from srl_bench.pretrain import pretrain

    load_plugins(plugin)
    pretrain(method, open_data(data), out=out, config=config)
    print(out / "encoder")


@app.command
def score(
    encoder: Positional[Path],
    data: Positional[Path],
    metrics: tuple[str, ...] | None = None,
    seed: int = 0,
    allow_overlap: bool = False,
    shifted: Path | None = None,
    intervals: bool = True,
    plugin: Plugins = (),
) -> None:
    """Score a frozen encoder on the held-out episodes of a data set.

    Example: srl-bench score encoders/vae/encoder data/kuka --metrics ridge_r2 knn_mse_norm

    Args:
        encoder: folder of a saved encoder.
        data: folder that `record` wrote.
        metrics: metrics to compute (default: all core ones; `srl-bench list metrics` names every one).
        seed: seed of the probes.
        allow_overlap: score even on episodes that the encoder was trained on.
        shifted: the same episodes recorded in another domain, to score how much the look matters.
        intervals: whether to draw episodes again for 95 % intervals.
        plugin: Python files or modules with plug-ins.
    """
    from rich.table import Table

    from srl_bench.encoder import load_encoder
    from srl_bench.report.terminal import print_table
    from srl_bench.score import score_records

    load_plugins(plugin)
    records = score_records(
        load_encoder(encoder),
        open_data(data),
        metrics=metrics,
        seed=seed,
        allow_overlap=allow_overlap,
        shifted=open_data(shifted) if shifted is not None else None,
        intervals=intervals,
    )
    table = Table("metric", "value", "95 %", "ceiling", "floor", "noise", "better", title=f"{encoder} on {data}")
    for name, record in records.items():
        interval = f"[{record['low']:.3g}, {record['high']:.3g}]" if record["low"] == record["low"] else ""
        references = (f"{record[key]:.4g}" for key in ("ceiling", "floor", "noise"))
        table.add_row(name, f"{record['value']:.4g}", interval, *references, record["better"])
    print_table(table)
    for note in sorted({note for record in records.values() for note in record["warnings"]}):
        print(f"note: {note}", file=sys.stderr)


@app.command
def run(
    suite: Positional[str] = "quick",
    jobs: int = 1,
    root: Path = Path("runs"),
    method: tuple[str, ...] = (),
    against: str = "zoo",
    plugin: Plugins = (),
) -> None:
    """Run a suite: record, pretrain, score, train agents, and write the table and the figures.

    Example: srl-bench run quick --jobs 2
    Example: srl-bench run quick --plugin my_loss.py --method "MyLoss + autoencoder[:28]" --against zoo

    Args:
        suite: a built-in suite (quick), or a YAML file.
        jobs: cells that run at once, one thread each.
        root: results go to ROOT/<suite>.
        method: your methods or expressions, added to the comparison.
        against: whom to compare them with: zoo (the methods of the suite), or a comma-separated list.
        plugin: Python files or modules with plug-ins.
    """
    from srl_bench.report.terminal import publish as publish_suite
    from srl_bench.results import suite_cells

    load_plugins(plugin)
    chosen = load_suite(suite)
    if method:
        # Commas inside brackets separate the options of one method.
        named = tuple(name.strip() for name in re.split(r",(?![^(]*\))", against))
        zoo = chosen.methods if against == "zoo" else named
        chosen = replace(chosen, methods=(*method, *(name for name in zoo if name not in method)))
    ran, failed = _run_cells(chosen, jobs, root, plugin)
    folder = root / chosen.name
    message = f"srl-bench: {failed} cell(s) failed; see error.txt in their folders. Run again to retry them."
    if failed and not any((cell / "done").exists() for cell in suite_cells(folder)):
        raise SystemExit(message)
    # The figures on disk may be of a run with other methods, or of one that was killed while drawing.
    drawn, cells = folder / "figures" / "cells.txt", "\n".join(cell.name for cell in suite_cells(folder))
    publish_suite(folder, folder, figures=ran > 0 or not drawn.exists() or drawn.read_text() != cells)
    drawn.write_text(cells)
    if failed:
        raise SystemExit(message)


def _run_cells(suite: Suite, jobs: int, root: Path, plugin: tuple[str, ...]) -> tuple[int, int]:
    """Run the cells of a suite behind a progress bar; return how many ran and how many of them failed."""
    from srl_bench.benchmark import Cell
    from srl_bench.benchmark import run as run_suite
    from srl_bench.progress import progress

    ran = failed = 0
    with progress() as bar:
        task = bar.add_task("cells", total=None, status="")

        def on_start(todo: int, finished: int) -> None:
            bar.update(task, total=todo + finished, completed=finished)

        def on_done(cell: Cell, error: str) -> None:
            nonlocal ran, failed
            ran += 1
            failed += bool(error)
            bar.advance(task)
            mark = f"[red]failed[/red] {error.strip().splitlines()[0]}" if error else "[green]done[/green]"
            bar.console.print(f"{cell.environment} {cell.method} seed {cell.seed}: {mark}", highlight=False)

        run_suite(suite, jobs=jobs, root=root, plugins=plugin, on_start=on_start, on_done=on_done)
    return ran, failed


@app.command
def table(
    run: Positional[Path],
    form: Literal["terminal", "md", "tex", "csv"] = "terminal",
    metric: str | None = None,
) -> None:
    """Show the comparison table of a suite.

    Example: srl-bench table runs/quick --form tex
    Example: srl-bench table runs/quick --metric ridge_r2

    Args:
        run: folder of the suite's results.
        form: terminal, or text to paste: md, tex (booktabs), csv.
        metric: show the values per factor of this metric instead (gtc, ridge_r2, mlp_r2).
    """
    from srl_bench.report.terminal import print_table, rich_table
    from srl_bench.results import load_results, per_factor, render

    results = load_results(run)
    for environment in results["environment"].unique():
        if metric is not None:
            print(f"{environment}: {metric}\n{per_factor(results, environment, metric).round(3).to_string()}\n")
        elif form == "terminal":
            print_table(rich_table(results, environment))
        else:
            print(render(results, environment, form))


@app.command
def explain(
    method: Positional[str],
    config: Annotated[TrainConfig, arg(name="")],
    plugin: Plugins = (),
) -> None:
    """Explain a method: equation, terms and weights, what it needs, what it hands on, its source and its budget.

    Example: srl-bench explain e2c
    Example: srl-bench explain "2*inverse + autoencoder[:28]" --latent-dim 32

    Args:
        method: a method, with options in brackets, or an expression.
        config: settings of a training.
        plugin: Python files or modules with plug-ins.
    """
    from srl_bench.report.explain import explain

    load_plugins(plugin)
    print(explain(method, config))


@app.command
def tune(
    method: Positional[str],
    data: tuple[Path, ...],
    out: Path,
    config: Annotated[TrainConfig, arg(name="")],
    trials: int = 10,
    metric: str = "ridge_r2",
    search: Settings = (),
    plugin: Plugins = (),
) -> None:
    """Search a method's options on validation episodes; an interrupted search continues.

    Example: srl-bench tune vae --data data/mobile data/kuka --trials 12 --steps 1500 --out tuning/vae
    Example: srl-bench tune forward --data data/mobile --search "weight=(0.1, 9.0)" "kind=['linear', 'mlp']" --out tuned

    Args:
        method: its name, with options that stay fixed in brackets.
        data: data sets; a trial is worth the mean over them.
        out: folder of the journal, the trials and the best one.
        config: settings of the trainings.
        trials: trials in all, the first one with the method's defaults.
        metric: the metric to optimise.
        search: ranges (low, high) or lists of values of options (default: those that the method names).
        plugin: Python files or modules with plug-ins.
    """
    from srl_bench.tune import tune

    load_plugins(plugin)
    sets = [open_data(path) for path in data]
    table = tune(method, sets, out, trials=trials, search=settings(search) or None, metric=metric, config=config)
    print(table.sort_values("value", ascending=False).to_string(index=False))


@app.command(name="list")
def list_(
    kind: Positional[Literal["methods", "losses", "metrics", "environments", "bodies", "suites", "algos"]],
    plugin: Plugins = (),
) -> None:
    """List what is registered.

    Example: srl-bench list methods

    Args:
        kind: methods, losses, metrics, environments, bodies, suites or algos.
        plugin: Python files or modules with plug-ins.
    """
    load_plugins(plugin)
    entries = _entries(kind)
    width = max(len(name) for name, _ in entries) + 2
    for name, summary in entries:
        print(f"{name:{width}}{summary}")


def _entries(kind: str) -> list[tuple[str, str]]:
    from srl_bench import registry
    from srl_bench.config import SUITES

    if kind == "environments":
        from srl_bench.environments import environment_class, environment_ids

        return [(name, (environment_class(name).__doc__ or "").strip().splitlines()[0]) for name in environment_ids()]
    if kind == "suites":
        return [(file.stem, file.read_text().splitlines()[0].lstrip("# ")) for file in sorted(SUITES.glob("*.yaml"))]
    if kind == "algos":
        from srl_bench.algorithms import ALGORITHMS

        return [(name, f"{entry.summary}; {' or '.join(entry.actions)}") for name, entry in ALGORITHMS.items()]
    chosen = {
        "methods": registry.METHODS,
        "losses": registry.LOSSES,
        "metrics": registry.METRICS,
        "bodies": registry.BODIES,
    }[kind]

    def first_line(entry: object) -> str:
        documented = getattr(entry, "function", entry)
        module = sys.modules[documented.__module__].__doc__ if kind == "methods" else documented.__doc__
        return (module or "").strip().splitlines()[0] if module else ""

    return [(name, first_line(chosen[name])) for name in chosen]


def _suite_first(words: list[str]) -> list[str]:
    """Return the words of `run --suite quick` or `run --suite=quick` as those of `run quick`."""
    if words[:1] != ["run"]:
        return words
    words = [part for word in words for part in (word.split("=", 1) if word.startswith("--suite=") else [word])]
    if "--suite" not in words[:-1]:
        return words
    at = words.index("--suite")
    return ["run", words[at + 1], *words[1:at], *words[at + 2 :]]


def main() -> None:
    """Run the command line; errors a user can act on are one line, without traceback."""
    try:
        app.cli(
            prog="srl-bench",
            description="Benchmark state representation learning for robot control.",
            args=_suite_first(sys.argv[1:]),
        )
    except SrlBenchError as error:
        raise SystemExit(f"srl-bench: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("srl-bench: interrupted; run the same command again to continue.") from None


if __name__ == "__main__":
    main()
