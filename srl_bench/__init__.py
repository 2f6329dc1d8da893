"""srl_bench: benchmark state representation learning for robot control.

Record rollouts of simulated robots, pretrain encoders on them, score what the frozen encoders know, and hand
them to Stable-Baselines3. Everything a user needs is here; it is imported when first used.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Checkouts on file systems without symbolic links find the rooms beside this folder.
if not (Path(__file__).parent / "environments").is_dir():
    __path__.append(str(Path(__file__).parent.parent))

_HOMES = {
    "Encoder": "encoder",
    "Factor": "factors",
    "Loss": "objective",
    "Method": "method",
    "Objective": "objective",
    "Rollouts": "rollouts",
    "RLConfig": "config",
    "RecordConfig": "config",
    "Suite": "config",
    "TrainConfig": "config",
    "Warmup": "objective",
    "body": "registry",
    "encode": "vecenv",
    "load_decoder": "decoder",
    "load_encoder": "encoder",
    "load_suite": "config",
    "load_plugin": "registry",
    "make_vec_env": "vecenv",
    "method": "registry",
    "metric": "registry",
    "open_rollouts": "rollouts",
    "pack": "archive",
    "parse": "grammar",
    "pretrain": "pretrain",
    "push_encoder": "push",
    "record": "record",
    "run": "benchmark",
    "score": "score",
    "train_agent": "rl",
    "unpack": "archive",
}
__all__ = sorted([*_HOMES, "__version__"])

if TYPE_CHECKING:
    from srl_bench.archive import pack, unpack
    from srl_bench.config import RecordConfig, RLConfig, Suite, TrainConfig
    from srl_bench.decoder import load_decoder
    from srl_bench.encoder import Encoder, load_encoder
    from srl_bench.factors import Factor
    from srl_bench.grammar import parse
    from srl_bench.method import Method
    from srl_bench.objective import Loss, Objective, Warmup
    from srl_bench.pretrain import pretrain
    from srl_bench.push import push_encoder
    from srl_bench.record import record
    from srl_bench.registry import body, load_plugin, method, metric
    from srl_bench.rollouts import Rollouts, open_rollouts


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'srl_bench' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"srl_bench.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


class _Package(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        # `srl.record` is the function; importing the submodule of that name must not hide it.
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
importlib.import_module("srl_bench.environments")  # registers the Gymnasium ids
