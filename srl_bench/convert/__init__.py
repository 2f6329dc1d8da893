"""Converters between rollouts and the data sets of other toolboxes, in both directions.

Each format is a module of its own, `minari`, `lerobot` and `srl_zoo`, which imports what it needs when it is
called: `pip install 'srl-bench[formats]'`. What others wrote is never executed or unpickled.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from srl_bench.convert.lerobot import from_lerobot, to_lerobot
    from srl_bench.convert.minari import from_minari, to_minari
    from srl_bench.convert.srl_zoo import from_srl_zoo, to_srl_zoo

__all__ = ["from_lerobot", "from_minari", "from_srl_zoo", "to_lerobot", "to_minari", "to_srl_zoo"]


def __getattr__(name: str) -> Any:
    """Import a converter from the module of its format on first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{name.partition('_')[2]}"), name)


def __dir__() -> list[str]:
    return __all__
