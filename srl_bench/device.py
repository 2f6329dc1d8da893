"""Where and how to compute: device, precision, CPU threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits

from srl_bench.errors import ConfigError


def resolve_device(name: str) -> torch.device:
    """Return the device of a name that `check_device` has accepted; "auto" is the GPU if there is one.

    Raises:
        ConfigError: CUDA is asked for and not available.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device 'cuda' was asked for, but torch finds no GPU; use 'cpu' or 'auto'.")
    return device


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the precision of convolutions; "auto" is bfloat16 on GPUs and on CPUs that compute it natively."""
    if name == "auto":
        on_cpu = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        native = device.type == "cuda" or on_cpu()
        return torch.bfloat16 if native else torch.float32
    return torch.bfloat16 if name == "bfloat16" else torch.float32


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Run a block with `count` CPU threads, of torch as of BLAS and OpenMP."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(limits=count):
            yield
    finally:
        torch.set_num_threads(before)
