"""What a report says of agents: who beats whom, and how their final returns are spread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from srl_bench.curves import curves_of
from srl_bench.statistics import MIN_SEEDS, Estimate, final_scores, probability_of_improvement


def final_returns(results: pd.DataFrame, environment: str) -> dict[str, NDArray[np.float64]]:
    """Return the final returns (seeds,) of each method's agents, the best mean first.

    A final return is the mean of the last three evaluations.
    """
    chosen = results[(results["environment"] == environment) & (results["track"] == "rl")]
    found = {str(name): final_scores(curves_of(chosen, str(name))[1]) for name in chosen["method"].unique()}
    return dict(sorted(found.items(), key=lambda item: -item[1].mean()))


def enough(returns: dict[str, NDArray]) -> dict[str, NDArray]:
    """Return those that have the seeds that an interval needs."""
    return {method: values for method, values in returns.items() if len(values) >= MIN_SEEDS}


@dataclass(frozen=True)
class Duels:
    """The probability, in row i and column j, that a run of method i ends with a higher return than one of method j."""

    methods: tuple[str, ...]
    chances: tuple[tuple[Estimate | None, ...], ...]


def duels(returns: dict[str, NDArray]) -> Duels:
    """Compare every method with every other one on one environment; all need `MIN_SEEDS` seeds."""
    methods = tuple(returns)

    def chance(a: str, b: str) -> Estimate | None:
        return None if a == b else probability_of_improvement(returns[a][:, None], returns[b][:, None])

    return Duels(methods, tuple(tuple(chance(a, b) for b in methods) for a in methods))
