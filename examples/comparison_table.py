from dataclasses import replace

import srl_bench as srl
from srl_bench.results import load_results, render

suite = replace(
    srl.load_suite("quick"),
    name="mine",
    methods=("inverse + autoencoder[:28]", "vae(beta=4.0)", "random", "ground_truth"),
    seeds=(0, 1, 2, 3, 4),
)

if __name__ == "__main__":
    srl.run(suite, jobs=2)
    print(render(load_results("runs/mine"), "srl_bench/MobileRobot-v0", "tex"))
