"""The small files of suites: YAML to read, JSON that is there whole or not at all, and what a run says of itself."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from srl_bench.errors import ConfigError, DataError

MAX_VALUES = 100_000


def write_text(file: Path, text: str) -> None:
    """Write a file in one step: whoever reads it meanwhile, or after a crash, finds the old content or the new one.

    Raises:
        OSError: it cannot be written; the old file is still there.
    """
    # of its own, because runs on several machines may share the folder
    temporary = file.with_name(f".{file.name}.{uuid4().hex}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(file)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        # a full disk does not say which file it refused
        raise OSError(error.errno, error.strerror, str(file)) from error


def write_json(file: Path, content: Any) -> None:
    """Write a JSON file in one step, as `write_text` does; raise `ValueError` for a number that is not finite."""
    write_text(file, json.dumps(content, indent=1, allow_nan=False))


def read_json(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file; {} if there is no file, or what was left of one by a crash."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def read_yaml(file: Path) -> Any:
    """Return the content of a YAML file.

    Raises:
        ConfigError: it is not valid, or holds more than `MAX_VALUES` values once its aliases are written out.
    """
    import yaml

    try:
        text = file.read_text(encoding="utf-8")
        size = _size(yaml.compose(text, yaml.SafeLoader), {})
        content = yaml.safe_load(text) if size <= MAX_VALUES else None
    except RecursionError:
        raise ConfigError(f"{file} is not valid YAML: it is nested too deeply.") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{file} is not valid YAML: {error}.") from error
    if size > MAX_VALUES:
        raise ConfigError(f"{file} holds more than {MAX_VALUES:,} values with its aliases (*name) written out.")
    return content


def _size(node: Any, known: dict[int, float]) -> float:
    """Return how many values a node of YAML has with all that it refers to; infinity if it refers to itself."""
    if node is None or isinstance(node.value, str):
        return 1
    if id(node) not in known:
        known[id(node)] = float("inf")
        parts = [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]


def suite_index(run: str | Path) -> dict[str, Any]:
    """Return the content of `suite.json`, which the last run of a suite wrote: suite, folders of its cells, plug-ins.

    Raises:
        DataError: the folder is not one of a suite, or the file is damaged.
    """
    file = Path(run) / "suite.json"
    if not file.is_file():
        raise DataError(f"{run} holds no suite.json; run `srl-bench run` first, or give the folder of a suite.")
    index = read_json(file)
    if "cells" not in index:
        raise DataError(f"{file} is damaged; run the suite again, which keeps all cells that are finished.")
    return index


def suite_cells(run: str | Path) -> list[Path]:
    """Return the folders of the cells that the last run of a suite consists of, whether finished or not.

    Cells of earlier configurations or code versions may lie beside them.

    Raises:
        DataError: the folder is not one of a suite.
    """
    return [Path(run) / name for name in suite_index(run)["cells"]]


def failure(cell: Path) -> str:
    """Return the traceback of a cell that failed, "" of any other."""
    try:
        return (cell / "error.txt").read_text(encoding="utf-8").strip() or "error.txt is empty"
    except OSError:
        return ""
