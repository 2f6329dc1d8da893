"""Commands of the command line that read the results of suites."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional

from srl_bench.cli_data import Plugins, load_plugins


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
