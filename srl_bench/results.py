"""The results store: one folder per cell, read back as one long table, and shown in the forms papers need."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from srl_bench.curves import agents_table
from srl_bench.errors import ConfigError, DataError
from srl_bench.files import read_json, suite_cells, write_json
from srl_bench.registry import METRICS
from srl_bench.statistics import MIN_SEEDS

HEADLINE = {
    "ridge_r2": "ridge R²",
    "mlp_r2": "MLP R²",
    "knn_mse": "KNN-MSE",
    "knn_mse_norm": "KNN-MSE norm",
    "gtc": "GTC",
    "mig": "MIG",
    "sap": "SAP",
    "dci.D": "DCI D",
    "dci.C": "DCI C",
    "dci.I": "DCI I",
    "dimension.erank_cov": "effective rank",
    "return": "return",
}
FAILED = "failed"
AGENTS_NOTE = (
    "* area: mean return over the steps of training, with its 95 % bootstrap interval; steps_to_95: steps until the\n"
    "  mean of three evaluations in a row is within 5 % of the return on the ground truth, or all if it never is;\n"
    "  reached: the share of seeds where it is"
)
# Tracks that have tables of their own.
ASIDE = (FAILED, "cost", "agent")
COLUMNS = ["environment", "method", "seed", "track", "metric", "step", "value", "ceiling", "floor", "noise"]


def load_results(run: str | Path) -> pd.DataFrame:
    """Read what is finished of the last run of a suite.

    Returns:
        Long format with the columns of `COLUMNS`: the track is "score", "rl" (returns), "agent" (what else is known of
        agents) or "cost", step is the environment steps of an agent's evaluation. Values of an agent are means over
        evaluation episodes. A cell that failed has a row of the track "failed" for "score" and "rl" each that it
        lacks, without a value.

    Raises:
        DataError: the folder holds no results.
    """
    rows: list[dict[str, Any]] = []
    for cell in suite_cells(run):
        about = read_json(cell / "cell.json")
        if not about:
            continue
        head = {"environment": about["environment"], "method": about["method"], "seed": about["seed"]}
        scores = cell / "scores.json"
        if scores.exists():
            for metric, record in json.loads(scores.read_text()).items():
                values = {key: _number(record.get(key)) for key in ("value", "ceiling", "floor", "noise")}
                rows.append({**head, "track": "score", "metric": metric, "step": 0, **values})
        for metric, value in _cost(cell).items():
            rows.append({**head, "track": "cost", "metric": metric, "step": 0, "value": value})
        evaluations = cell / "rl" / "evaluations.csv"
        if evaluations.exists():
            rows += [{**head, **row} for row in _agent_rows(cell / "rl")]
        if (cell / "error.txt").exists():
            scored = scores.exists() or about["method"] == "raw_pixels"
            lacking = {"score": not scored, "rl": not evaluations.exists()}
            rows += [{**head, "track": FAILED, "metric": track, "step": 0} for track in lacking if lacking[track]]
    if all(row["track"] == FAILED for row in rows):
        raise DataError(f"{run} holds no finished cell yet.")
    return pd.DataFrame(rows, columns=COLUMNS)


def _agent_rows(folder: Path) -> list[dict[str, Any]]:
    """Return what an agent's evaluations give: returns in the track "rl", all else in the track "agent"."""
    table = pd.read_csv(folder / "evaluations.csv")
    means = table.groupby("step")[[name for name in ("return", "success", "length") if name in table]].mean()
    rows: list[dict[str, Any]] = [
        {"track": "rl" if metric == "return" else "agent", "metric": metric, "step": step, "value": value}
        for metric in means
        for step, value in means[metric].dropna().items()
    ]
    if (folder / "config.json").exists():
        speed = json.loads((folder / "config.json").read_text())["steps_per_second"]
        rows.append({"track": "agent", "metric": "steps_per_second", "step": means.index[-1], "value": speed})
    return rows


def _cost(cell: Path) -> dict[str, float]:
    """Return what an encoder took: parameters, seconds of training, and images per second if it was trained."""
    config, log = cell / "encoder" / "config.json", cell / "train.csv"
    if not config.exists():
        return {}
    about = json.loads(config.read_text())["provenance"]
    cost = {name: float(about[name]) for name in ("parameters", "seconds") if name in about}
    if log.exists():
        cost["images_per_second"] = float(pd.read_csv(log)["images_per_second"].median())
    return cost


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def save_scores(records: dict[str, dict[str, Any]], folder: Path) -> None:
    """Write `scores.json` (NaN as null) in one step, and the seconds each took apart from it, in `timing.json`.

    Scores of equal cells are then equal files, whoever computed them.
    """

    def plain(value: Any) -> Any:
        if isinstance(value, float) and not np.isfinite(value):
            return None if np.isnan(value) else repr(value)
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, list) else value

    timing = {name: record.get("seconds") for name, record in records.items()}
    write_json(folder / "timing.json", timing)
    scores = {name: {key: value for key, value in row.items() if key != "seconds"} for name, row in records.items()}
    write_json(folder / "scores.json", plain(scores))


def summary(results: pd.DataFrame, environment: str) -> pd.DataFrame:
    """Return one row per method and one column per headline metric: the mean over seeds.

    An agent counts with its last evaluation. The first column orders the rows, the best one first. The last
    rows are "floor", the mean score of the same states paired with the wrong moments, and "noise", that of
    independent draws. A method whose cells all
    failed has a row without values.
    """
    of_environment = results[results["environment"] == environment]
    ended = of_environment[~of_environment["track"].isin(ASIDE)]
    table = ended.loc[ended.groupby(["method", "seed", "metric"])["step"].idxmax()]
    wide = table.groupby(["method", "metric"], sort=False)["value"].mean().unstack()
    # Headline metrics first, then those of plug-ins; values per factor have tables of their own.
    known = results.loc[~results["track"].isin(ASIDE), "metric"].unique()
    columns = [name for name in HEADLINE if name in known]
    columns += [
        str(name) for name in known if "." not in str(name) and not (name in HEADLINE or _is_built_in(str(name)))
    ]
    wide = wide.reindex(index=of_environment["method"].unique(), columns=columns)
    first = list(wide.columns[:1])
    wide = wide.sort_values(first, ascending=first[:1] in (["knn_mse"], ["knn_mse_norm"]), na_position="last")
    for reference in ("floor", "noise"):
        if reference == "noise" and ("noise" not in table or table["noise"].isna().all()):
            continue
        wide.loc[reference] = table.groupby("metric")[reference].mean().reindex(wide.columns)
    return wide


def _is_built_in(metric: str) -> bool:
    return metric in METRICS and METRICS[metric].function.__module__.startswith("srl_bench.metrics.")


def per_factor(results: pd.DataFrame, environment: str, metric: str) -> pd.DataFrame:
    """Return one row per method and one column per factor of a metric such as "ridge_r2", the mean over seeds."""
    chosen = results[(results["environment"] == environment) & results["metric"].str.startswith(f"{metric}.")]
    if chosen.empty:
        raise ConfigError(f"no values per factor of metric {metric!r}; gtc, ridge_r2 and mlp_r2 have them.")
    wide = chosen.pivot_table(index="method", columns="metric", values="value", aggfunc="mean", sort=False)
    return wide.rename(columns=lambda name: name.split(".", 1)[1])


def intervals(results: pd.DataFrame) -> pd.DataFrame:
    """Return mean, low, high and number of seeds of every environment, method, metric and step.

    The interval is Student's at 95 % over seeds; NaN below five of them, where it would say little.
    """

    def interval(values: pd.Series) -> pd.Series:
        values = values.dropna()
        mean = values.mean() if len(values) else np.nan
        half = np.nan
        if len(values) >= MIN_SEEDS:
            half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
        return pd.Series({"mean": mean, "low": mean - half, "high": mean + half, "seeds": len(values)})

    keys = ["environment", "method", "track", "metric", "step"]
    return results.groupby(keys, sort=False)["value"].apply(interval).unstack().reset_index()


def formatted(results: pd.DataFrame, environment: str) -> pd.DataFrame:
    """Return the summary as text: three digits, and ± half the 95 % interval where there are five seeds.

    A value is "failed" if no cell of the method came to it, "–" if it is not defined.
    """
    wide = summary(results, environment)
    of_environment = results[results["environment"] == environment]
    known = intervals(of_environment)
    failed = of_environment[of_environment["track"] == FAILED]
    tracks = set(zip(failed["method"], failed["metric"], strict=True))
    there = set(zip(of_environment["method"], of_environment["metric"], strict=True))
    last = known.loc[known.groupby(["method", "metric"])["step"].idxmax()].set_index(["method", "metric"])
    halves: dict[Any, float] = (last["high"] - last["mean"]).to_dict()

    def cell(method: str, metric: str) -> str:
        value = float(wide.at[method, metric])  # type: ignore[arg-type]
        if np.isnan(value):
            lacking = (method, "rl" if metric == "return" else "score") in tracks and (method, metric) not in there
            return "failed" if lacking else "–"
        text = f"{value:.1f}" if metric == "return" else f"{value:.3f}"
        half = halves.get((method, metric), np.nan)
        # what is left of equal values is rounding
        return text if np.isnan(half) else f"{text} ± {half if half > 1e-12 else 0:.2g}"

    names = {metric: HEADLINE.get(metric, metric) for metric in map(str, wide.columns)}
    columns = {name: [cell(method, metric) for method in wide.index] for metric, name in names.items()}
    return pd.DataFrame({"method": list(wide.index), **columns})


def over_seeds(results: pd.DataFrame, environment: str) -> str:
    """Return over which seeds the means of an environment's table are, and which methods have other ones."""
    ended = results[(results["environment"] == environment) & ~results["track"].isin(ASIDE)]
    seeds = {str(method): sorted(set(of_method["seed"])) for method, of_method in ended.groupby("method", sort=False)}

    def listed(found: Sequence[int]) -> str:
        return f"{len(found)} seed{'' if len(found) == 1 else 's'}: {', '.join(map(str, found))}"

    most = max(seeds.values(), key=len, default=[])
    others = [f"{method} over {listed(found)}" for method, found in seeds.items() if found != most]
    return "; ".join([f"means over {listed(most)}" if most else "no cell is finished", *others])


def costs(results: pd.DataFrame, environment: str) -> pd.DataFrame:
    """Return one row per method: parameters of the encoder, images per second and seconds of training, means."""
    chosen = results[(results["environment"] == environment) & (results["track"] == "cost")]
    wide = chosen.pivot_table(index="method", columns="metric", values="value", aggfunc="mean", sort=False)
    return wide.reindex(columns=["parameters", "images_per_second", "seconds"]).round(0)


def write_tables(results: pd.DataFrame, folder: Path, remarks: Sequence[str] = ()) -> None:
    """Write `results.csv` (long) and the summary as `table.csv`, `table.md` (with remarks) and `table.tex`.

    `factors.md` has the values per factor, `cost.md` what training took, `agents.md` how agents learned.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results.to_csv(folder / "results.csv", index=False)
    environments = list(results["environment"].unique())
    wide = pd.concat({name: summary(results, name) for name in environments}, names=["environment", "method"])
    wide.to_csv(folder / "table.csv")
    tables = [render(results, name, "md") for name in environments]
    (folder / "table.md").write_text("\n\n".join([*tables, *(f"* {remark}" for remark in remarks)]) + "\n")
    by_factor = [
        f"### {name}: {metric}\n\n{per_factor(results, name, metric).round(3).to_markdown()}"
        for name in environments
        for metric in ("ridge_r2", "mlp_r2", "gtc")
        if results.loc[results["environment"] == name, "metric"].str.startswith(f"{metric}.").any()
    ]
    (folder / "factors.md").write_text("\n\n".join(by_factor) + "\n")
    cost = [
        f"### {name}\n\n{costs(results, name).to_markdown(floatfmt='.0f', missingval='–')}" for name in environments
    ]
    (folder / "cost.md").write_text("\n\n".join(cost) + "\n")
    trained = results.loc[results["track"] == "rl", "environment"].unique()
    if len(trained):
        forms = ("", ".1f", ".2f", ".1f", ".1f", ".1f", ".0f", ".2f", ".0f")
        tables = [
            f"### {name}\n\n{agents_table(results, name).to_markdown(floatfmt=forms, missingval='–')}"
            for name in trained
        ]
        (folder / "agents.md").write_text("\n\n".join([*tables, AGENTS_NOTE]) + "\n")
    (folder / "table.tex").write_text("\n\n".join(render(results, name, "tex") for name in environments) + "\n")


def render(results: pd.DataFrame, environment: str, form: str) -> str:
    """Return the summary of one environment as "md", "tex" (booktabs) or "csv"."""
    text = formatted(results, environment)
    if form == "md":
        table = text.to_markdown(index=False, disable_numparse=True)
        return f"### {environment}\n\n{table}\n\n{over_seeds(results, environment)}"
    if form == "tex":
        escaped = text.rename(columns=lambda name: name.replace("R²", "$R^2$")).map(
            lambda value: value.replace("±", r"$\pm$").replace("–", "--").replace("_", r"\_")
        )
        align = "l" + "r" * (len(text.columns) - 1)
        return escaped.style.hide(axis="index").to_latex(
            hrules=True, column_format=align, caption=environment.replace("_", r"\_")
        )
    if form == "csv":
        return summary(results, environment).to_csv()
    raise ConfigError(f"a table is written as md, tex or csv, not {form!r}.")
