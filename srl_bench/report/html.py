"""`srl-bench report`: everything about a suite on one page, a single HTML file that needs nothing else."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from srl_bench.cells import STAGES
from srl_bench.correlate import ALL, correlation_table, encoders_of
from srl_bench.device import cpu_threads
from srl_bench.errors import ConfigError, SrlBenchError
from srl_bench.notes import notes
from srl_bench.rank_correlation import noise_ceiling
from srl_bench.report.agents import duels, enough, final_returns
from srl_bench.report.cells import directions, first_cells
from srl_bench.report.charts import page_style, profiles, svg
from srl_bench.report.correlation import correlation_intervals, encoder_scatter
from srl_bench.report.figures import learning_curves, line_styles
from srl_bench.report.sections import Scene, encoder_view, explanation, gallery, open_scene, plot_data, training_curves
from srl_bench.report.sheet import COLUMNS
from srl_bench.report.tables import TRACKS, Comparison, comparison, is_reference, metric_groups
from srl_bench.results import load_results
from srl_bench.runs import origins
from srl_bench.statistics import MIN_SEEDS
from srl_bench.status import CellState, cell_states

PAGE = Path(__file__).parent / "page"
PICTURE_BYTES = 4_500_000
RESAMPLES = 2_000


def write_report(run: Path, out: Path) -> Path:
    """Write the report of what is finished of a suite, and return its file.

    Pictures come from the data sets that the cells were trained on; where one is gone, the report says so instead.

    Args:
        run: folder of the suite's results.
        out: an HTML file; it is replaced.

    Raises:
        ConfigError: the file has another ending.
        DataError: the folder is not one of a suite, or no cell is finished.
    """
    if out.suffix != ".html":
        raise ConfigError(f"a report is written as .html, not as {out.name!r}.")
    results = load_results(run)
    cells = cell_states(run)
    # States of a few frames: a second thread costs more than it brings.
    with page_style(), cpu_threads(1):
        content = _content(run, results, cells)
    env = Environment(
        loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    env.filters["breakable"] = breakable
    style, script = (Markup((PAGE / name).read_text()) for name in ("page.css", "page.js"))
    page = env.get_template("page.html").render(style=style, script=script, **content)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.tmp")
    temporary.write_text(page, encoding="utf-8")
    temporary.replace(out)
    return out


def breakable(name: str) -> Markup:
    """Return a name that may be broken into lines behind its underscores."""
    return escape(name).replace("_", Markup("_<wbr>"))


def _content(run: Path, results: pd.DataFrame, cells: list[CellState]) -> dict[str, Any]:
    origin = origins(run)
    names = list(dict.fromkeys(results["environment"]))
    scenes = [open_scene(index, name, cells) for index, name in enumerate(names)]
    better = directions(cells)
    environments = [_environment(scene, results, better) for scene in scenes]
    methods = _methods(results, cells, scenes)
    # Every frame is on its sheet by now.
    shared = [plot_data(scene) for scene in scenes]
    budget = PICTURE_BYTES // len(scenes)
    sheets = [
        {"index": scene.index, "uri": scene.sheet.data_uri(budget), "ratio": scene.sheet.ratio, "columns": COLUMNS}
        for scene in scenes
        if scene.sheet is not None
    ]
    return {
        "title": origin["suite"]["name"],
        "states": dict(Counter(cell.state for cell in cells)),
        "seeds": int(results["seed"].nunique()),
        "min_seeds": MIN_SEEDS,
        "environments": environments,
        "methods": methods,
        "anchors": {method["name"]: method["anchor"] for method in methods},
        "shared": shared,
        "sheets": sheets,
        "correlation": _correlation(results),
        "remarks": notes(run),
        "failed": [cell for cell in cells if cell.state == "failed"],
        "cells": cells,
        "stages": STAGES,
        "origin": origin,
        "suite_yaml": yaml.safe_dump(origin["suite"], sort_keys=False),
    }


def _environment(scene: Scene, results: pd.DataFrame, better: dict[str, str]) -> dict[str, Any]:
    name = scene.environment
    of_environment = results[results["environment"] == name]
    finished = of_environment["track"].isin(TRACKS).any()
    groups = metric_groups(results, name) if finished else {}
    tables: dict[str, Comparison] = {
        title: comparison(results, name, metrics, better) for title, metrics in groups.items()
    }
    return {
        "index": scene.index,
        "name": name,
        "problem": scene.problem,
        "seeds": int(of_environment["seed"].nunique()),
        "tables": tables,
        "gallery": gallery(scene),
        "agents": _agents(of_environment, name),
    }


def _agents(results: pd.DataFrame, name: str) -> dict[str, Any] | None:
    """Return figures and comparisons of the agents of one environment, None if there are none."""
    if not (results["track"] == "rl").any():
        return None
    several = enough(final_returns(results, name))
    styles = line_styles([str(method) for method in results["method"].unique()])
    return {
        "curves": svg(learning_curves(results), f"learning curves on {name}"),
        "profiles": profiles(several, styles, f"performance profiles on {name}") if several else None,
        "duels": duels(several) if len(several) > 1 else None,
    }


def _methods(results: pd.DataFrame, cells: list[CellState], scenes: list[Scene]) -> list[dict[str, Any]]:
    first = first_cells(cells)
    sections = []
    for index, method in enumerate(dict.fromkeys(results["method"])):
        of_method = [cell for cell in cells if cell.method == method]
        shown = next((scene for scene in scenes if (scene.environment, method) in first and scene.rollouts), None)
        n_factors = shown.rollouts.factors.shape[1] if shown and shown.rollouts else 4
        views = []
        for scene in scenes:
            own = [cell for cell in of_method if cell.environment == scene.environment]
            cell = first.get((scene.environment, method))
            if cell is not None:
                view = encoder_view(scene, cell) | {"seed": cell.about["seed"], "curves": training_curves(own)}
                views.append(view | {"index": scene.index, "environment": scene.environment})
        sections.append(
            {
                "name": method,
                "anchor": f"method-{index}",
                "reference": is_reference(method),
                "explained": explanation(method, of_method[0], n_factors),
                "views": views,
            }
        )
    return sections


def _correlation(results: pd.DataFrame) -> dict[str, Any]:
    """Return table and figures of which metric predicts the return, or the "problem" of finding out."""
    try:
        groups, remarks = encoders_of(results)
    except SrlBenchError as error:
        return {"problem": str(error)}
    table = correlation_table(groups, replicates=RESAMPLES, permutations=RESAMPLES)
    over_all = table[(table["environment"] == ALL) & table["spearman"].notna()]
    return {
        "problem": "",
        "remarks": remarks,
        "rows": over_all.replace({np.nan: None}).to_dict("records"),
        "intervals": svg(correlation_intervals(table, noise_ceiling(groups)[1]), "rank correlations of metrics"),
        "scatter": svg(encoder_scatter(groups, table), "returns over the leading metrics"),
    }
