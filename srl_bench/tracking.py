"""Where a training is reported to as it goes: TensorBoard, and Weights & Biases if it is installed."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from srl_bench.config import RLConfig
from srl_bench.errors import ConfigError


def check_tracking(config: RLConfig, folder: Path | None) -> None:
    """Raise `ConfigError` unless an agent in a folder can be reported to where the configuration says."""
    if config.wandb and importlib.util.find_spec("wandb") is None:
        raise ConfigError("wandb is not installed; run pip install 'srl-bench[wandb]', or leave wandb (--wandb) out.")
    for name in ("tensorboard", "wandb"):
        if getattr(config, name) and folder is None:
            raise ConfigError(f"{name} writes files of the training; give it a folder (out), or leave {name} out.")


def tensorboard_folder(config: RLConfig, folder: Path | None) -> str | None:
    """Return the folder of TensorBoard's log, which Weights & Biases reads, too; None for none."""
    return str(folder / "tensorboard") if folder is not None and (config.tensorboard or config.wandb) else None


@contextmanager
def tracked(config: RLConfig, request: dict[str, Any], folder: Path | None) -> Iterator[list[BaseCallback]]:
    """Yield the callbacks that report a training; a training that goes on is the same run.

    Args:
        config: whose `wandb` names the project.
        request: what the run is, shown beside it.
        folder: of the training.
    """
    if not config.wandb:
        yield []
        return
    import wandb
    from wandb.integration.sb3 import WandbCallback

    identity = json.dumps([str(Path(folder or ".").resolve()), request], sort_keys=True)
    run = wandb.init(
        project=config.wandb,
        name=f"{request['source']} {config.algorithm} {config.seed}",
        id=hashlib.sha256(identity.encode()).hexdigest()[:16],
        resume="allow",
        config=request,
        dir=str(folder),
        sync_tensorboard=True,
    )
    with run:
        yield [WandbCallback()]
