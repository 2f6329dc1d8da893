"""Does it pay to train several seeds at once (`srl-bench pretrain --seeds-at-once`)? On a CPU hardly ever.

How many times as fast it is as one seed after the other, by the wall clock, as every such run measures it. On a GPU,
which a small network leaves mostly idle, the answer may differ. Run: python benchmarks/speed_seeds.py [device]
"""

import sys
import tempfile
from pathlib import Path

import srl_bench as srl
from srl_bench.seeds import pretrain_seeds

SETTINGS = {"steps": 40, "validate_every": 40, "precision": "float32", "device": sys.argv[1] if sys.argv[1:] else "cpu"}


def main() -> None:
    print(f"{'method':14}{'body':10}{'seeds':>6}{'gain':>8}")
    with tempfile.TemporaryDirectory() as folder:
        rollouts = srl.record(frames=2_000, seed=0, out=Path(folder) / "data", workers=1)
        for method, body in (("inverse", "flatten"), ("inverse", "nature"), ("autoencoder", "nature")):
            for seeds in (2, 4):
                first, *_ = pretrain_seeds(method, rollouts, range(seeds), body=body, **SETTINGS)
                gain = first.provenance["seeds_at_once"]["gain"]
                print(f"{method:14}{body:10}{seeds:6}{gain:7.2f}x", flush=True)


if __name__ == "__main__":
    main()
