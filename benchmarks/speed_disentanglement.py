"""Speed of the mutual information family, DCI and InfoMEC against scikit-learn, in CPU seconds of one thread.

Peers loop over dimensions and factors: disentanglement_lib and disent call scikit-learn's mutual_info_score for each
pair and its gradient boosting for each factor, InfoMEC its mutual_info_classif. Target: at least 20 times faster
for the mutual information and for DCI, whose D and C have to agree. Run it on a quiet machine:
python benchmarks/speed_disentanglement.py
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.feature_selection import mutual_info_classif
from sklearn.metrics import mutual_info_score

from srl_bench.metrics import common, memory
from srl_bench.metrics.disentanglement import dci_from_importance, mutual_information
from srl_bench.metrics.importance import importance
from srl_bench.metrics.neighbour_information import normalised_information

EPISODE_LENGTH = 100


def data(n_rows: int) -> tuple[NDArray, NDArray, NDArray]:
    """Return 32 latents mixed from 8 factors with noise, the factors, and a split."""
    random = np.random.default_rng(0)
    factors = np.sin(np.cumsum(random.normal(size=(n_rows, 8)), axis=0) / 7)
    states = factors @ random.normal(size=(8, 32)) + 0.5 * random.normal(size=(n_rows, 32))
    return states, factors, common.split_episodes(np.arange(n_rows) // EPISODE_LENGTH)


def binned(values: NDArray) -> NDArray:
    """Return equal bins as disentanglement_lib makes them."""
    return np.stack([np.digitize(c, np.histogram(c, 20)[1][:-1]) for c in values.T], axis=1)


def pair_by_pair(states: NDArray, factors: NDArray) -> NDArray:
    codes, labels = binned(states), binned(factors)
    return np.array([[mutual_info_score(label, code) for label in labels.T] for code in codes.T])


def exact_boosting(states: NDArray, factors: NDArray, split: NDArray) -> NDArray:
    train = split == 0
    fits = [GradientBoostingRegressor(random_state=0).fit(states[train], factor[train]) for factor in factors.T]
    return np.stack([fit.feature_importances_ for fit in fits], axis=1)


def nearest_neighbours(states: NDArray, labels: NDArray) -> list[NDArray]:
    return [mutual_info_classif(states, label, n_neighbors=10, random_state=0) for label in labels.T]


def cpu_seconds(function: Callable[[], object], repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        memory.forget()
        start = time.process_time()
        function()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def report(name: str, ours: float, peer: float) -> None:
    print(f"  {name}: {ours:.3f} CPU s, scikit-learn {peer:.2f}, ratio {peer / ours:.0f}", flush=True)


def main() -> None:
    for n_rows, repeats in ((10_000, 3), (100_000, 1)):
        states, factors, split = data(n_rows)
        print(f"{n_rows:,} rows, 32 dimensions, 8 factors")
        expected = pair_by_pair(states, factors)
        found = mutual_information(states, factors, binning="width").information
        assert np.abs(found - expected).max() < 1e-6
        peer = cpu_seconds(lambda: pair_by_pair(states, factors), repeats)  # noqa: B023
        for binning in ("width", "quantile"):
            ours = cpu_seconds(lambda: mutual_information(states, factors, binning=binning), 5)  # noqa: B023
            report(f"mutual information, bins of equal {binning} (target >= 20)", ours, peer)
        if n_rows > 10_000 or "--mi" in sys.argv:
            continue
        labels = common.factor_labels(factors, bins=10)
        ours = cpu_seconds(lambda: normalised_information(states, factors), 1)  # noqa: B023
        report("InfoMEC by nearest neighbours", ours, cpu_seconds(lambda: nearest_neighbours(states, labels), 1))  # noqa: B023
        shares: list[NDArray] = []
        ours = cpu_seconds(lambda: shares.append(importance(states, factors, split=split).importance), 1)  # noqa: B023
        peer = cpu_seconds(lambda: shares.append(exact_boosting(states, factors, split)), 1)  # noqa: B023
        report("DCI, 8 factors (target >= 20)", ours, peer)
        for name, share in zip(("ours", "exact boosting"), shares, strict=True):
            print("    {}: D {:.3f}, C {:.3f}".format(name, *dci_from_importance(share)))


if __name__ == "__main__":
    main()
