"""The command line: `srl-bench COMMAND --help` shows options and an example of each command."""

from __future__ import annotations

import sys
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional, arg

from srl_bench import cli_agents, cli_data, cli_results, cli_suites
from srl_bench.cli_data import Plugins, load_plugins, open_data
from srl_bench.config import TrainConfig
from srl_bench.errors import SrlBenchError

app = tyro.extras.SubcommandApp()
for command in (cli_data.record, cli_data.info, cli_data.pack, cli_data.unpack, cli_data.export, cli_data.play):
    app.command(command)
app.command(name="import")(cli_data.import_)
app.command(cli_results.compare)
app.command(cli_results.correlate)
app.command(cli_results.report)
app.command(cli_results.publish)
app.command(cli_results.push)
app.command(cli_agents.rl)
app.command(cli_agents.enjoy)
app.command(cli_suites.run)
app.command(cli_suites.status)
app.command(cli_suites.retry)
app.command(cli_suites.plan)
app.command(cli_agents.tune)


@app.command
def pretrain(
    data: Positional[Path],
    out: Path,
    config: Annotated[TrainConfig, arg(name="")],
    method: str = "autoencoder",
    seeds_at_once: int = 1,
    plugin: Plugins = (),
) -> None:
    """Train an encoder on recorded rollouts and freeze it.

    Example: srl-bench pretrain data/kuka --method "vae(beta=4)" --steps 8000 --out encoders/vae

    Example: srl-bench pretrain data/kuka --method inverse --seeds-at-once 5 --device cuda --out encoders/inverse

    Args:
        data: folder that `record` wrote.
        out: folder for the encoder, its log and checkpoint; an interrupted training resumes.
        config: settings of the training.
        method: a method, with options in brackets, or an expression such as "inverse + autoencoder[:28]".
        seeds_at_once: train so many seeds, from --seed on, with batched parameters, to OUT/seed_<n>; says how much
            faster it was, which on a CPU it hardly ever is.
        plugin: Python files or modules with plug-ins.
    """
    load_plugins(plugin)
    if seeds_at_once == 1:
        from srl_bench.pretrain import pretrain

        pretrain(method, open_data(data), out=out, config=config)
        print(out / "encoder")
        return
    from srl_bench.seeds import pretrain_seeds

    seeds = range(config.seed, config.seed + seeds_at_once)
    encoders = pretrain_seeds(method, open_data(data), seeds, out=out, config=config)
    for seed in seeds:
        print(out / f"seed_{seed}" / "encoder")
    abouts = [encoder.provenance.get("seeds_at_once", {"gain": None}) for encoder in encoders]
    for place, about in enumerate(abouts):
        if about["gain"] is not None and about not in abouts[:place]:
            together = ", ".join(map(str, about["seeds"]))
            print(f"seeds {together} at once: {about['gain']:.2f} times as fast as one after the other")


@app.command
def score(
    encoder: Positional[str],
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
        encoder: folder of a saved encoder, or hf://user/name[@revision].
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
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT):
            place = f"{error.filename}: " if error.filename else ""
            raise SystemExit(
                f"srl-bench: {place}{error.strerror}; free some, and run the same command again."
            ) from None
        if error.filename is None:
            raise
        raise SystemExit(f"srl-bench: {error.filename}: {error.strerror}") from None
    except KeyboardInterrupt:
        raise SystemExit("srl-bench: interrupted; run the same command again to continue.") from None


if __name__ == "__main__":
    main()
