"""Runs of suites as they lie on disk, just run or published: where, what they hold, and in what two of them differ."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from srl_bench.errors import DataError, UnknownNameError
from srl_bench.files import read_json, suite_cells, suite_index
from srl_bench.results import COLUMNS, load_results

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
        return Run(str(folder), load_results(folder), _conditions(origins(folder)))
    try:
        results = pd.read_csv(folder / "results.csv", dtype={"method": str}, keep_default_na=False, na_values=[""])
    except ValueError as error:
        raise DataError(f"{folder / 'results.csv'} is damaged: {error}; publish the suite again.") from error
    lacking = [name for name in COLUMNS if name not in results]
    if lacking or results.empty:
        raise DataError(f"{folder / 'results.csv'} lacks {', '.join(lacking) or 'rows'}; publish the suite again.")
    file = folder / "provenance.json"
    try:
        about = json.loads(file.read_text()) if file.is_file() else {}
    except ValueError as error:
        raise DataError(f"{file} is not valid JSON: {error}.") from error
    return Run(str(folder), results, _conditions(about))


def origins(run: str | Path) -> dict[str, Any]:
    """Return where the results of a run come from: what was asked for, and what its cells say of themselves.

    Returns:
        suite and cells; code_version, plugin_hash, versions by library and data_hashes by environment, each a text that
        lists what occurs; machines; devices by stage. What no cell tells is left out.

    Raises:
        DataError: the folder is not one of a suite.
    """
    index = suite_index(run)
    abouts = [about for about in (read_json(cell / "cell.json") for cell in suite_cells(run)) if about]
    libraries = sorted({name for about in abouts for name in about.get("versions", {})})
    stages = [(stage, used) for about in abouts for stage, used in about.get("machines", {}).items()]
    recorded = sorted({about["environment"] for about in abouts if about.get("data_hash")})
    found = {
        "suite": index.get("suite"),
        "cells": index["cells"],
        "code_version": _listed(about.get("code_version") for about in abouts),
        "plugin_hash": _listed(about.get("plugin_hash") for about in abouts),
        "versions": {name: _listed(about.get("versions", {}).get(name) for about in abouts) for name in libraries},
        "machines": sorted({machine for about in abouts for machine in machines_of(about)}),
        "devices": {stage: sorted({_device(used) for at, used in stages if at == stage}) for stage, _ in stages},
        "data_hashes": {
            name: _listed(about.get("data_hash") or None for about in abouts if about["environment"] == name)
            for name in recorded
        },
    }
    return {key: value for key, value in found.items() if value not in (None, [], {})}


def machines_of(about: Mapping[str, Any]) -> list[str]:
    """Return on which machines the stages of a cell ran, out of its `cell.json`; older ones tell the kind only."""
    used = about.get("machines", {}).values()
    known = {f"{each['cpu']}, {each['cores']} cores, {each['memory_gib']} GiB" for each in used}
    if known:
        return sorted(known)
    return [about["machine"]] if "machine" in about else []


def _device(used: Mapping[str, Any]) -> str:
    return f"{used['device']} ({used['gpu']})" if used["gpu"] else used["device"]


def _listed(values: Iterable[str | None]) -> str | None:
    found = sorted({value for value in values if value is not None})
    return ", ".join(found) if found else None


def _conditions(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return budgets, settings, data, code and libraries of a run, each under a name to show."""
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
    for name, hashes in about.get("data_hashes", {}).items():
        found[_hash_key(name)] = ", ".join(value[:12] for value in hashes.split(", "))
    return found | ({"plug-ins, hash": about["plugin_hash"]} if "plugin_hash" in about else {})


def disagreements(a: Run, b: Run) -> list[str]:
    """Return in what the data, budgets, settings, code and libraries of two runs differ, a line each.

    Data of environments that only one has do not count. Data whose hash is not known may differ, which is told, too.
    """
    if a is b:
        return []
    unknown = [run.name for run in (a, b) if not run.conditions]
    found = [f"nothing is known of data, budgets and code of {name}: it has no provenance.json" for name in unknown]
    for key, ours in a.conditions.items():
        theirs = b.conditions.get(key, ours)
        if ours != theirs:
            found.append(f"{key}: {ours} in A, {theirs} in B")
    environments = set(a.results["environment"]) & set(b.results["environment"])
    for environment in sorted(environments if not unknown else ()):
        lacking = [side for side, run in (("A", a), ("B", b)) if _hash_key(environment) not in run.conditions]
        if lacking:
            found.append(f"data of {environment}, perhaps: data hash not known in {' and '.join(lacking)}")
    return found


def _hash_key(environment: str) -> str:
    return f"data of {environment}, hash"
