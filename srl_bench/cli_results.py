"""Commands of the command line that read the results of suites, and share them."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional

from srl_bench.cli_data import Plugins, load_plugins, open_data


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
    from srl_bench.report.html import write_report
    from srl_bench.report.terminal import publish as publish_suite

    load_plugins(plugin)
    out = out or Path("results") / run.name
    publish_suite(run, out)
    write_report(run, out / "report.html")
    (out / "provenance.json").write_text((run / "suite.json").read_text())


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
