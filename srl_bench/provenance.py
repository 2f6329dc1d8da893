"""Where a result comes from: code version, library versions, machine."""

from __future__ import annotations

import hashlib
import importlib
import os
import platform
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = ("gymnasium", "numpy", "pybullet", "scikit-learn", "stable-baselines3", "torch")
# Code that only presents results, carries data elsewhere, or only starts the rest, does not change them.
PRESENTATION = {
    "report", "convert", "cli.py", "cli_agents.py", "cli_data.py", "cli_results.py", "cli_suites.py", "archive.py",
    "compare.py", "correlate.py", "curves.py", "files.py", "hub.py", "intervene.py", "launch.py", "notes.py", "play.py",
    "progress.py", "push.py", "rank_correlation.py", "results.py", "runs.py", "space.py", "statistics.py", "status.py",
    "tracking.py", "trials.py", "tune.py",
}  # fmt: skip


@cache
def code_version(*parts: str) -> str:
    """Return 12 hex digits of the hash of all files that can change a result: sources and hyperparameters.

    `parts` narrows it to some files and folders of the package.
    """
    root = Path(__file__).parent
    # In a checkout the rooms are symbolic links, which rglob does not follow.
    folders = (root, *(root / room for room in ("environments", "baselines", "metrics")))
    files = {file.relative_to(root): file for folder in folders for file in folder.rglob("*.py")}
    files[Path("hyperparameters.yaml")] = root / "hyperparameters.yaml"
    digest = hashlib.sha256()
    for relative, file in sorted(files.items()):
        if relative.parts[0] in parts or not (parts or relative.parts[0] in PRESENTATION):
            digest.update(relative.as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def source_version(modules: Iterable[str]) -> str:
    """Return 12 hex digits of the hash of the source files of third parties' modules; "" if there are none.

    All files of a package count, because a module imports its neighbours. What was typed into a notebook has no file.
    """
    foreign = {name.partition(".")[0] for name in modules} - {"srl_bench"}
    digests = sorted(_source_digest(name) for name in foreign)
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:12] if digests else ""


@cache  # a file that is edited later is not what this process runs
def _source_digest(name: str) -> str:
    module = importlib.import_module(name)
    folders = [Path(folder) for folder in getattr(module, "__path__", ())]
    files = sorted(file for folder in folders for file in folder.rglob("*.py"))
    if not folders and getattr(module, "__file__", None):
        files = [Path(str(module.__file__))]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def provenance(**facts: Any) -> dict[str, Any]:
    """Return `facts` with the versions of code, libraries and Python, and the kind of machine."""
    return {
        **facts,
        "code_version": code_version(),
        "versions": {name: _version(name) for name in ("srl-bench", *LIBRARIES)}
        | {"python": platform.python_version()},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def machine(device: str) -> dict[str, Any]:
    """Return on what this process computes: processor, cores, memory in GiB, device, and the GPU if that is one."""
    gpu = None
    if device.startswith("cuda"):
        import torch

        gpu = torch.cuda.get_device_name(device)
    return {
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": _memory_gib(),
        "device": device,
        "gpu": gpu,
    }


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory_gib() -> int | None:
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30)
    except (AttributeError, ValueError, OSError):
        return None  # not told on Windows
