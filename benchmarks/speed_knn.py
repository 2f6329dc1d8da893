"""Speed and memory of the exact nearest-neighbour search, against scikit-learn's, on one thread.

Targets: at most 1.2 times the CPU time of its brute force (float32, no exclusion), at least 3 and 5 times as fast as
its ball tree (what the S-RL Toolbox searches with) at 10,000 and 100,000 x 32, and at most 100 MB of extra memory.
Searches take turns, and ratios are medians over turns. python benchmarks/speed_knn.py takes five minutes.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import resource
import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from srl_bench.metrics.search import nearest

K, N_DIMS, N_FACTORS, EPISODE_LENGTH = 5, 32, 8, 100
OURS = ("other episodes only", "self excluded")
TREE_TARGETS = {10_000: 3, 100_000: 5}


def latents(n_rows: int) -> NDArray:
    """Return (n_rows, 32) float32: eight factors that walk through episodes, bent, with noise; easier than noise."""
    random = np.random.default_rng(0)
    factors = random.normal(size=(EPISODE_LENGTH, n_rows // EPISODE_LENGTH, N_FACTORS))
    for t in range(1, EPISODE_LENGTH):
        factors[t] = 0.98 * factors[t - 1] + 0.2 * factors[t]
    states = np.tanh(factors.swapaxes(0, 1).reshape(n_rows, -1) @ random.normal(size=(N_FACTORS, N_DIMS)) / 2)
    return (states + 0.1 * random.normal(size=states.shape)).astype(np.float32)


def scikit_learn(points: NDArray, algorithm: str) -> Callable[[], object]:
    return lambda: NearestNeighbors(n_neighbors=K + 1, algorithm=algorithm).fit(points).kneighbors(points)


def cpu_seconds(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    for n_rows, turns in ((10_000, 9), (100_000, 1)):
        points = latents(n_rows)
        episodes = np.arange(n_rows) // EPISODE_LENGTH
        nearest(points[:2000], K, episodes[:2000])
        before, extra = peak_megabytes(), 0.0
        searches: dict[str, Callable[[], object]] = {
            "other episodes only": lambda: nearest(points, K, episodes),  # noqa: B023
            "self excluded": lambda: nearest(points, K),  # noqa: B023
            "brute force": scikit_learn(points, "brute"),
            "ball tree": scikit_learn(points, "ball_tree"),
        }
        seconds: dict[str, list[float]] = {name: [] for name in searches}
        for turn in range(turns):
            for name, search in searches.items():
                seconds[name].append(cpu_seconds(search))
                if name in OURS and turn == 0:  # before scikit-learn takes memory of its own
                    extra = max(extra, peak_megabytes() - before)
        median = {name: statistics.median(values) for name, values in seconds.items()}
        peers = ", ".join(f"{name} {median[name]:.2f}" for name in searches if name not in OURS)
        print(f"{n_rows:,} x {N_DIMS}, k = {K}, CPU seconds of scikit-learn: {peers}")
        for name in OURS:
            brute, tree = (
                statistics.median(a / b for a, b in zip(seconds[name], seconds[peer], strict=True))
                for peer in ("brute force", "ball tree")
            )
            print(
                f"  {name}: {median[name]:.2f}, {brute:.2f} of brute force (target <= 1.2), "
                f"{1 / tree:.1f} times as fast as the ball tree (target >= {TREE_TARGETS[n_rows]})"
            )
        print(f"  peak extra memory: {extra:.0f} MB (target <= 100 MB)")


if __name__ == "__main__":
    main()
