"""Runs of suites as they lie on disk, just run or published: where, what they hold, and in what two of them differ."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from srl_bench.errors import DataError, UnknownNameError
from srl_bench.results import COLUMNS, load_results, suite_cells

CHECKOUT = Path(__file__).parent.parent
# They do not change a result, or every cell has its own.
IGNORED = ("seed", "threads", "tensorboard", "wandb")


@dataclass(frozen=True)
class Run:
    """A run of a suite.

    Attributes:
        name: its folder, as it was given.
        results: what `load_results` returns.
        conditions: what its results depend on besides method and seed, by a name to show; without what is not known.
    """

    name: str
    results: pd.DataFrame
    conditions: dict[str, Any]


def find_run(name: str, root: Path = Path("runs")) -> Path:
    """Return the folder of a suite's results, given itself or by the suite's name.

    A name is looked up among published suites first, in ./results and in the checkout's results, then in `root`.

    Raises:
        UnknownNameError: there is none.
    """
    rooms = (Path("results"), CHECKOUT / "results", root)
    for folder in (Path(name), *(room / name for room in rooms)):
        if _holds_results(folder):
            return folder
    known = {folder.name for room in rooms if room.is_dir() for folder in room.iterdir() if _holds_results(folder)}
    raise UnknownNameError("folder or published suite", name, known)


def _holds_results(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("suite.json", "results.csv"))


def open_run(folder: str | Path) -> Run:
    """Read a run of a suite, or what `srl-bench publish` wrote of one.

    Raises:
        DataError: the folder is neither, holds no finished cell, or is damaged.
    """
    folder = Path(folder)
    if not _holds_results(folder):
        raise DataError(f"{folder} holds no results: neither suite.json, as of a run, nor results.csv, as published.")
    if (folder / "suite.json").is_file():
        return Run(str(folder), load_results(folder), _conditions(folder / "suite.json") | _of_cells(folder))
    results = pd.read_csv(folder / "results.csv", dtype={"method": str}, keep_default_na=False, na_values=[""])
    lacking = [name for name in COLUMNS if name not in results]
    if lacking or results.empty:
        raise DataError(f"{folder / 'results.csv'} lacks {', '.join(lacking) or 'rows'}; publish the suite again.")
    about = folder / "provenance.json"
    return Run(str(folder), results, _conditions(about) if about.is_file() else {})


def _conditions(file: Path) -> dict[str, Any]:
    """Return budgets, settings, code and libraries of a run, each under a name to show."""
    try:
        about = json.loads(file.read_text())
    except ValueError as error:
        raise DataError(f"{file} is not valid JSON: {error}.") from error
    found: dict[str, Any] = {"code": about["code_version"]} if "code_version" in about else {}
    found |= {f"version of {name}": version for name, version in about.get("versions", {}).items()}
    suite = about.get("suite", {})
    blocks = {"pretraining": suite.get("train"), "agent": suite.get("rl")}
    blocks |= {f"data of {config['environment']}": config for config in suite.get("environments", ())}
    for block, settings in blocks.items():
        data = block.startswith("data")
        kept = {key: value for key, value in (settings or {}).items() if data or key not in IGNORED}
        if block == "pretraining":
            kept.setdefault("frame_stack", 1)  # older runs do not name it
        found |= {f"{block}, {key}": value for key, value in kept.items() if key != "environment"}
    return found


def _of_cells(run: Path) -> dict[str, Any]:
    """Return what only cells know: the hashes of data and plug-ins."""
    found: dict[str, set[str]] = {}
    for cell in suite_cells(run):
        if (cell / "cell.json").is_file():
            about = json.loads((cell / "cell.json").read_text())
            found.setdefault(f"data of {about['environment']}, hash", set()).add(about.get("data_hash", "")[:12])
            found.setdefault("plug-ins, hash", set()).add(about.get("plugin_hash", ""))
    return {key: ", ".join(sorted(hashes)) for key, hashes in found.items()}


def disagreements(a: Run, b: Run) -> list[str]:
    """Return in what the data, budgets, settings, code and libraries of two runs differ, a line each.

    Data of environments that only one has do not count.
    """
    unknown = [run.name for run in (a, b) if not run.conditions]
    found = [f"nothing is known of data, budgets and code of {name}: it has no provenance.json" for name in unknown]
    for key, ours in a.conditions.items():
        theirs = b.conditions.get(key, ours)
        if ours != theirs:
            found.append(f"{key}: {ours} in A, {theirs} in B")
    return found
