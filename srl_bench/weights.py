"""Weights from files: names, types and shapes are compared with those of the module before anything is read."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import nn

from srl_bench.errors import DataError

MAX_PARAMETERS = 500_000_000


def load_weights(module: nn.Module, file: Path) -> None:
    """Give a module, which may be on the meta device, the weights of a safetensors file.

    Raises:
        DataError: the file is damaged or holds other tensors, or the module is too large.
    """
    expected = module.state_dict()
    if sum(value.numel() for value in expected.values()) > MAX_PARAMETERS:
        raise DataError(f"{file.parent}/config.json asks for more than {MAX_PARAMETERS:,} parameters.")
    try:
        with safe_open(file, framework="pt") as stream:
            slices = {name: stream.get_slice(name) for name in stream.keys()}  # noqa: SIM118
            found = {name: (part.get_dtype() == "F32", tuple(part.get_shape())) for name, part in slices.items()}
            wanted = {name: (True, tuple(value.shape)) for name, value in expected.items()}
            if found != wanted:
                wrong = sorted(name for name in found | wanted if found.get(name) != wanted.get(name))
                raise DataError(f"{file} does not fit config.json; these tensors differ: {', '.join(wrong)}.")
            weights = {name: stream.get_tensor(name) for name in found}
    except SafetensorError as error:
        raise DataError(f"{file} is damaged: {error}.") from error
    module.load_state_dict(weights, assign=True)
