"""A page for every method, metric and environment, made from the objects themselves. MkDocs calls it as a hook.

`pages()` needs no MkDocs: it returns what `on_files` adds to the site. Nothing of it is written into docs/.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import docstring_parser
import pandas as pd
from environment_pages import environment_pages
from odd_data import odd_scores
from writing import code, commands, default, described, equation, escaped, prose, table, value_range

from srl_bench.config import TrainConfig
from srl_bench.device import cpu_threads
from srl_bench.method import resolve
from srl_bench.registry import METHODS, METRICS, Metric, Registry
from srl_bench.report.explain import facts
from srl_bench.results import formatted

RESULTS = Path(__file__).parent.parent / "results"
REFERENCES = ("ground_truth", "random", "floor")
Told = Mapping[str, Mapping[str, str]]
"""What `explain` knows of each method."""
METHODS_INTRO = (
    "Each page is made from the method itself: its equation, what is minimised by default, its options with the "
    "ranges that `srl-bench tune` searches, what it reads and what it hands on. `srl-bench explain NAME` prints the "
    "same, also for an expression such as `2*inverse + autoencoder[:28]`. All methods have the same budget: see "
    "[Protocol](../../protocol.md)."
)
METRICS_INTRO = (
    "A metric compares the states of an encoder with the ground truth, on test episodes. Those with a yes are computed "
    "unless others are named (`srl-bench score --metrics`). Splits, ceiling, floor, noise and intervals are explained "
    "in [Protocol](../../protocol.md), what metrics may need in [Add a metric](../../add-a-metric.md)."
)
INTERVALS = {
    None: "none",
    "rows": "95 %, bootstrap over episodes: the metric is computed again on the rows of the drawn ones",
    "test": "95 %, bootstrap over test episodes; all others stay",
}
KEPT = "95 %, bootstrap over episodes: learners and neighbours stay, errors of the drawn episodes are summed"


@cache
def pages() -> dict[str, str | bytes]:
    """Return Markdown and pictures by their path below docs/."""
    told = {name: facts(name, TrainConfig()) for name in builtin(METHODS)}
    metrics = builtin(METRICS)
    made: dict[str, str | bytes] = {"reference/methods/index.md": methods_index(told)}
    made |= {f"reference/methods/{name}.md": method_page(name, told) for name in told}
    made["reference/metrics/index.md"] = metrics_index(metrics)
    with cpu_threads(1):
        made |= {f"reference/metrics/{name}.md": metric_page(METRICS[name], metrics) for name in metrics}
    return made | {f"reference/environments/{path}": content for path, content in environment_pages().items()}


def builtin(registry: Registry[Any]) -> list[str]:
    """Return the registered names that are not of plug-ins."""
    modules = {name: getattr(registry[name], "function", registry[name]).__module__ for name in registry}
    return [name for name, module in modules.items() if module.startswith("srl_bench.")]


def methods_index(told: Told) -> str:
    """Return the table of all methods."""
    rows = [
        [f"[`{name}`]({name}.md)", prose(about["About"].splitlines()[0]), about.get("Needs", "–").split(";")[0]]
        for name, about in told.items()
    ]
    return f"# Methods\n\n{METHODS_INTRO}\n\n{table(['method', 'what it is', 'trained on'], rows)}\n"


def method_page(name: str, told: Told) -> str:
    """Return what `explain` knows of a method, as a page."""
    about, method, others = told[name], resolve(name), set(told) - {name}
    parts = [f"# {name}", described(about["About"], others), "## Objective"]
    if "LaTeX" in about:
        parts += [
            "What is minimised by default:",
            equation(about["LaTeX"]),
            f"As an expression: `{about['Objective']}`",
        ]
        lines = about["Terms"].splitlines()
        terms = zip(map(code, lines[::2]), map(prose, lines[1::2]), strict=True)
        parts.append(table(["term, with its weight", "what it is"], terms))
        if "warmup(" in about["Objective"]:
            parts.append("`warmup(w, f)` is a weight that rises from 0 to w in the first share f of the training.")
    else:
        parts.append(f"{about['Objective'].capitalize()}.")
    options = dataclasses.fields(method)
    if options:
        searched = type(method).search
        rows = [
            [code(it.name), code(repr(it.default)), code(str(searched[it.name])) if it.name in searched else "–"]
            for it in options
        ]
        explained = (inspect.getdoc(type(method)) or "").removeprefix("Options: ")
        parts += ["## Options", described(explained[0].upper() + explained[1:], others)]
        parts.append(table(["option", "default", "searched by `srl-bench tune`"], rows))
    rows = [[title, prose(about[title])] for title in ("Needs", "Read-out", "Budget") if title in about]
    chosen = f"{name}({options[0].name}={options[0].default!r})" if options else name
    used = commands(
        f'srl-bench pretrain data/mobile --method "{chosen}" --out encoders/{name}',
        f"srl-bench score encoders/{name}/encoder data/mobile",
    )
    parts += ["## Data, state and budget", table(["", ""], rows), "## Use", used]
    if scores := published(name):
        parts += ["## Published scores", *scores]
    return "\n\n".join([*parts, f"Source: `baselines/{type(method).__module__.split('.')[-1]}.py`"]) + "\n"


def published(name: str) -> list[str]:
    """Return what the tables of results/ say of a method, beside the references, each table below its title."""
    parts = []
    for file in sorted(RESULTS.glob("*/results.csv")):
        results = pd.read_csv(file)
        for environment, of_environment in results.groupby("environment"):
            if name in set(of_environment["method"]):
                lines = formatted(results, environment).set_index("method", drop=False)
                shown = lines.loc[list(dict.fromkeys(it for it in (name, *REFERENCES) if it in lines.index))]
                seeds = of_environment.loc[of_environment["method"] == name, "seed"].nunique()
                parts.append(f"Suite `{file.parent.name}`, `{environment}`, {seeds} seed{'s' * (seeds > 1)}:")
                parts.append(
                    table(["", *map(code, shown.index)], shown.drop(columns="method").T.reset_index().to_numpy())
                )
    return parts


def metrics_index(names: list[str]) -> str:
    """Return the table of all metrics."""
    rows = [
        [
            f"[`{name}`]({name}.md)",
            prose((inspect.getdoc(METRICS[name].function) or "").splitlines()[0], names),
            METRICS[name].better,
            value_range(*METRICS[name].range),
            "yes" if METRICS[name].core else "",
        ]
        for name in names
    ]
    return f"# Metrics\n\n{METRICS_INTRO}\n\n{table(['metric', 'what it is', 'better', 'range', 'by default'], rows)}\n"


def metric_page(metric: Metric, names: list[str]) -> str:
    """Return definition, direction, range, needs, and what a metric makes of odd data."""
    doc = docstring_parser.google.parse(inspect.getdoc(metric.function) or "")
    others = set(names) - {metric.name}
    rows = [
        ["better", metric.better],
        ["range", value_range(*metric.range)],
        ["computed", "by default" if metric.core else "when it is named"],
        ["needs", ", ".join(map(code, ("states", "factors", *metric.needs)))],
        ["interval", KEPT if callable(metric.resample) else INTERVALS[metric.resample]],
        ["floor", f"mean over {metric.shifts} shift{'s' * (metric.shifts > 1)} of the states in time"],
        ["version", metric.version],
    ]
    parts = [f"# {metric.name}", described(doc.description or "", others), table(["", ""], rows)]
    if doc.returns:
        # the parser takes what stands before a colon for a type
        value = ": ".join(part for part in (doc.returns.type_name, doc.returns.description) if part)
        parts += ["## Values", prose(value, others)]
    if doc.params:
        given = inspect.signature(metric.function).parameters
        rows = [
            [code(it.arg_name), default(given[it.arg_name]), prose(it.description or "", others)] for it in doc.params
        ]
        parts += ["## Arguments", table(["argument", "default", "what it is"], rows)]
    rows = [[what, escaped(found)] for what, found in odd_scores(metric).items()]
    if rows:
        parts += ["## On odd data", "What it comes to on made-up data of 360 rows:", table(["data", "value"], rows)]
    used = commands(f"srl-bench score encoders/vae/encoder data/mobile --metrics {metric.name}")
    source = metric.function.__module__.split(".")[-1]
    arrays = f"On arrays: `from srl_bench.metrics import {metric.name}`. Source: `metrics/{source}.py`"
    return "\n\n".join([*parts, "## Use", used, arrays]) + "\n"


def on_config(config: Any) -> Any:
    """Add the pages to the navigation that mkdocs.yml gives."""
    for title in ("Methods", "Metrics", "Environments"):
        folder = f"reference/{title.lower()}/"
        config.nav.append({title: [path for path in pages() if path.startswith(folder) and path.endswith(".md")]})
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages to the site."""
    from mkdocs.structure.files import File

    for path, content in pages().items():
        files.append(File.generated(config, path, content=content))
    return files
