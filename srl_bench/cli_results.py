"""Commands of the command line that read the results of suites, and share them."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional

from srl_bench.cli_data import Plugins, load_plugins, open_data
from srl_bench.errors import ConfigError


def correlate(
    run: Positional[Path],
    out: Path | None = None,
    replicates: int = 5_000,
    permutations: int = 10_000,
    seed: int = 0,
    plugin: Plugins = (),
) -> None:
    """Show which metric predicts the return of agents, over the encoders of a suite.

    Example: srl-bench correlate runs/quick

    Args:
        run: folder of the suite's results.
        out: folder for correlation.csv and the figures (default: the one of the suite).
        replicates: bootstrap draws for the intervals.
        permutations: permutations for the p values.
        seed: seed of both.
        plugin: Python files or modules with plug-ins.
    """
    from srl_bench.correlate import correlation_table, encoders_of
    from srl_bench.report.correlation import print_correlations, write_correlation_figures
    from srl_bench.results import load_results

    load_plugins(plugin)
    groups, remarks = encoders_of(load_results(run))
    table = correlation_table(groups, replicates=replicates, permutations=permutations, seed=seed)
    folder = out or run
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "correlation.csv", index=False)
    print_correlations(table)
    for remark in remarks:
        print(f"note: {remark}")
    write_correlation_figures(groups, table, folder / "figures")
    print(f"table in {folder / 'correlation.csv'}, figures in {folder / 'figures'}")


def compare(
    run: Positional[Path],
    other: Positional[Path | None] = None,
    against: str | None = None,
    method: tuple[str, str] | None = None,
    baseline: str | None = None,
    metric: tuple[str, ...] = (),
    out: Path | None = None,
    plugin: Plugins = (),
) -> None:
    """Say whether one run of a suite is better than another, or one method than another: paired differences over seeds.

    A is the run, B the other one; by default the methods that both have are compared, each with itself.

    Example: srl-bench compare runs/mine runs/quick

    Example: srl-bench compare runs/mine --against zoo

    Example: srl-bench compare runs/quick --method splits autoencoder

    Example: srl-bench compare runs/quick --baseline random --metric ridge_r2 return

    Args:
        run: folder of a suite's results, as `run` or `publish` wrote it.
        other: another one.
        against: in place of the other one: the name of a published suite, of one in runs, or a folder. A method that
            only the run has is compared with all of its methods.
        method: a method of A and one of B (of the same run, if there is no other) to compare.
        baseline: a method of B (of the same run, if there is no other) to compare every method of A with.
        metric: what to compare (default: the metrics of the suite's table, and the return).
        out: folder for compare.csv, compare.md and the figures (default: the one of the run).
        plugin: Python files or modules with plug-ins.
    """
    from srl_bench.compare import caveats, choose_metrics, choose_pairs, differences, directions, pair_up
    from srl_bench.report.comparison import print_comparison, write_comparison
    from srl_bench.runs import disagreements, find_run, open_run

    if other is not None and against is not None:
        raise ConfigError(f"give {other} or --against {against}, not both.")
    if method is not None and baseline is not None:
        raise ConfigError("give --method or --baseline, not both.")
    load_plugins(plugin)
    theirs = other if against is None else find_run(against)
    if theirs is None and method is None and baseline is None:
        raise ConfigError("give another run, --against, --method or --baseline: what is the run to be compared with?")
    a = open_run(run)
    b = a if theirs is None else open_run(theirs)
    pairs, notes = choose_pairs(
        a.results, b.results, method=method, baseline=baseline, new_with_all=against is not None
    )
    metrics, lone = choose_metrics(a.results, b.results, metric)
    better, undirected = directions(metrics)
    paired, unpaired = pair_up(a.results, b.results, pairs, metrics)
    table = differences(paired, better)
    notes += [*lone, *undirected, *unpaired, *caveats(table)]
    warnings = disagreements(a, b)
    title = f"A and B: {a.name}" if a is b else f"A: {a.name}, B: {b.name}"
    print_comparison(table, title)
    for warning in warnings:
        print(f"warning: A and B also differ in {warning}")
    for note in notes:
        print(f"note: {note}")
    folder = out or run
    write_comparison(table, paired, title, warnings, notes, folder)
    print(f"compare.csv and compare.md in {folder}, figures in {folder / 'figures'}")


def report(run: Positional[Path], out: Path | None = None, plugin: Plugins = ()) -> None:
    """Write everything about a suite on one page: a single HTML file that needs no network.

    Tables that can be sorted, learning curves, which metric predicts the return; of every method its equation, losses,
    nearest neighbours and a plot of its states; data, provenance and failed cells.

    Example: srl-bench report runs/quick

    Args:
        run: folder of the suite's results.
        out: the file (default: report.html in the suite's folder).
        plugin: Python files or modules with plug-ins.
    """
    from srl_bench.report.html import write_report

    load_plugins(plugin)
    file = write_report(run, out or run / "report.html")
    print(f"{file}, {file.stat().st_size / 1e6:.1f} MB")


def publish(run: Positional[Path], out: Path | None = None, plugin: Plugins = ()) -> None:
    """Write tables, figures, report and provenance of a suite, without its encoders, to where they can be committed.

    Example: srl-bench publish runs/quick --out results/quick

    Args:
        run: folder of the suite's results.
        out: where to write (default: results/<suite>).
        plugin: Python files or modules with plug-ins.
    """
    from srl_bench.files import write_json
    from srl_bench.report.html import write_report
    from srl_bench.report.terminal import publish as publish_suite
    from srl_bench.runs import origins

    load_plugins(plugin)
    out = out or Path("results") / run.name
    publish_suite(run, out)
    write_report(run, out / "report.html")
    write_json(out / "provenance.json", origins(run))


def push(
    encoder: Positional[str],
    repo: Positional[str],
    private: bool = False,
    scores: Path | None = None,
    data: Path | None = None,
    license: str | None = None,
    plugin: Plugins = (),
) -> None:
    """Put an encoder on the Hugging Face Hub (pip install 'srl-bench[hub]'), with a page that says what it is.

    It needs the token of `hf auth login`, or HF_TOKEN. All commands that take an encoder then take hf://user/name.

    Example: srl-bench push runs/quick/.../encoder user/name --license mit

    Args:
        encoder: folder of a saved encoder.
        repo: user/name of a repository, which is made if it is not there.
        private: whether only the user may see it.
        scores: scores.json of a cell, for the page (default: the one beside the encoder of a cell).
        data: data set that the encoder was trained on, for the page (default: the one of the cell).
        license: an identifier of the Hub, such as mit (default: the page names none).
        plugin: Python files or modules with plug-ins.
    """
    from srl_bench.push import push_encoder, read_scores

    load_plugins(plugin)
    page = push_encoder(
        encoder,
        repo,
        private=private,
        scores=read_scores(scores) if scores is not None else None,
        rollouts=open_data(data) if data is not None else None,
        license=license,
    )
    print(f"{page}\nsrl.load_encoder({f'hf://{repo}'!r})")
