"""Speed and memory of the exact nearest-neighbour search, against scikit-learn's brute force on one thread.

Target: at most 1.2 times the CPU time of scikit-learn (float32, no exclusion), and at most 100 MB of extra
memory at 100,000 x 32. Run it on a quiet machine: python benchmarks/speed_knn.py
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

K = 5
EPISODE_LENGTH = 100


def scikit_learn(points: NDArray) -> None:
    NearestNeighbors(n_neighbors=K + 1, algorithm="brute").fit(points).kneighbors(points)


def cpu_seconds(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    for n_rows, repeats in ((10_000, 5), (100_000, 1)):
        points = np.random.default_rng(0).standard_normal((n_rows, 32), dtype=np.float32)
        episodes = np.arange(n_rows) // EPISODE_LENGTH
        nearest(points[:2000], K, episodes[:2000])
        before = peak_megabytes()
        searches = {
            "other episodes only": lambda: nearest(points, K, episodes),  # noqa: B023
            "self excluded": lambda: nearest(points, K),  # noqa: B023
            "scikit-learn": lambda: scikit_learn(points),  # noqa: B023
        }
        seconds: dict[str, list[float]] = {name: [] for name in searches}
        extra = 0.0
        for _ in range(repeats):
            for name, search in searches.items():
                seconds[name].append(cpu_seconds(search))
                if name != "scikit-learn":
                    extra = max(extra, peak_megabytes() - before)
        median = {name: statistics.median(values) for name, values in seconds.items()}
        print(f"{n_rows:,} x 32, k = {K}: scikit-learn {median['scikit-learn']:.2f} CPU s")
        for name in ("other episodes only", "self excluded"):
            ratio = median[name] / median["scikit-learn"]
            print(f"  {name}: {median[name]:.2f} CPU s, ratio {ratio:.2f} (target <= 1.2)")
        print(f"  peak extra memory up to here: {extra:.0f} MB (target <= 100 MB)")


if __name__ == "__main__":
    main()
