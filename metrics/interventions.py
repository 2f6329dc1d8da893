"""States under true interventions: a simulator gives one factor a common value and all others new ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from srl_bench.errors import DataError

MAX_REJECTED = 0.99


class Interventions(NamedTuple):
    """States (N, d), labels (N, K) for `factor_vae_from_labels` and `beta_vae_from_labels`, and what was refused."""

    states: NDArray
    labels: NDArray
    rejected: float


def paired_interventions(
    draw: Callable[[np.random.Generator], NDArray],
    possible: Callable[[NDArray], bool],
    encode: Callable[[NDArray], NDArray],
    *,
    intervened: NDArray,
    groups: int = 40,
    size: int = 64,
    seed: int = 0,
) -> Interventions:
    """Render groups of states that share exactly one factor.

    Args:
        draw: returns factors (K,) of a random state, independent of each other as far as that is possible.
        possible: whether there is a state with these factors (K,).
        encode: renders factors (n, K) and returns their states (n, d).
        intervened: (K,) mask of the factors that can be set.
        groups: groups per factor, each with a value of its own.
        size: states per group; K * groups * size states are rendered.
        seed: seed of the draws.

    Returns:
        States, labels (the group where the row belongs to one of that factor, else -1), and the share of draws
        that were impossible.

    Raises:
        DataError: hardly any draw is possible.
    """
    random = np.random.default_rng(seed)
    rows: list[NDArray] = []
    labels = np.full((int(np.sum(intervened)) * groups * size, len(intervened)), -1)
    tried = 0
    for k in np.flatnonzero(intervened):
        for group in range(groups):
            shared = draw(random)[k]
            members = 0
            while members < size:
                tried += 1
                factors = np.array(draw(random), dtype=np.float64)
                factors[k] = shared
                if possible(factors):
                    labels[len(rows), k] = group
                    rows.append(factors)
                    members += 1
                elif tried > 1_000 and len(rows) < (1 - MAX_REJECTED) * tried:
                    raise DataError(f"only {len(rows)} of {tried} states with drawn factors are possible.")
    states = encode(np.array(rows))
    return Interventions(states, labels, 1 - len(rows) / tried)
