"""One seed per cell; every random number comes from a generator derived from it by name."""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(seed: int, *keys: str | int) -> int:
    """Return a 63-bit seed that depends on `seed` and on every key, stable across processes and versions."""
    text = "/".join(str(key) for key in (seed, *keys))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *keys: str | int) -> np.random.Generator:
    """Return a numpy generator seeded by `derive_seed(seed, *keys)`."""
    return np.random.default_rng(derive_seed(seed, *keys))
