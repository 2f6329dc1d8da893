"""What orchestration costs: a suite against the sum of its stages, two workers against one; 100 cells again, reported.

Wall time, on a machine that does nothing else. Run: python benchmarks/speed_suite.py [gradient steps of a cell]
"""

import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import srl_bench as srl
from srl_bench.config import RecordConfig, Suite, TrainConfig
from srl_bench.report.html import write_report

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 400
SUITE = Suite(
    name="warm",
    environments=(RecordConfig(frames=6_000),),
    methods=("ground_truth",),
    seeds=(0, 1, 2),
    train=TrainConfig(steps=STEPS, validate_every=STEPS // 2),
    metrics=("ridge_r2", "knn_mse", "gtc", "dci"),
)
METHODS = ("autoencoder", "forward", "inverse", "vae")
# what training and metrics take does not count here
MANY = replace(
    SUITE,
    name="many",
    methods=METHODS,
    seeds=tuple(range(25)),
    train=TrainConfig(steps=2, validate_every=2),
    metrics=("ridge_r2",),
)


def seconds(suite: Suite, root: Path, jobs: int) -> float:
    """Return how long a run takes."""
    start = time.perf_counter()
    srl.run(suite, root=root, jobs=jobs)
    return time.perf_counter() - start


def stages(suite: Suite, root: Path) -> float:
    """Return how many seconds the stages of a suite's cells took."""
    return sum(sum(json.loads(file.read_text()).values()) for file in root.glob(f"{suite.name}/*/stages.json"))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        seconds(SUITE, root, 1)  # records the data
        one, two = (replace(SUITE, name=name, methods=METHODS) for name in ("one", "two"))
        alone, both = seconds(one, root, 1), seconds(two, root, 2)
        work, shared = stages(one, root), stages(two, root)
        seconds(MANY, root, 2)
        again = seconds(MANY, root, 2)
        start = time.perf_counter()
        write_report(root / MANY.name, root / "report.html")
        report = time.perf_counter() - start
    print(f"{len(METHODS) * len(SUITE.seeds)} cells")
    print(f"one worker {alone:.0f} s, its stages {work:.0f} s: overhead {alone / work - 1:.1%}, target <= 3 %")
    print(f"two workers {both:.0f} s: {alone / both:.2f}x as fast as one, target >= 1.7x")
    print(f"of which the machine: the same stages beside each other took {shared / work:.2f}x as long")
    print(f"{len(METHODS) * len(MANY.seeds)} cells: a finished run again {again:.1f} s, target < 10 s")
    print(f"their report {report:.1f} s, target < 60 s")


if __name__ == "__main__":
    main()
