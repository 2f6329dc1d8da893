"""Metrics of state representations: pure functions `(states (N, d), factors (N, K), ...)` on numpy arrays.

Every registered metric can be imported from here by its name, e.g. `from srl_bench.metrics import knn_mse`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from srl_bench.registry import METRICS

if __name__ == "metrics":
    raise ImportError("this folder is the package srl_bench.metrics; import it by that name")


def __getattr__(name: str) -> Callable[..., Any]:
    # `from srl_bench.metrics import common` asks here first; a module must not wait for all of them
    is_module = (Path(__file__).parent / f"{name}.py").exists()
    if not name.startswith("_") and not is_module and name in METRICS:
        return METRICS[name].function
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *METRICS])
