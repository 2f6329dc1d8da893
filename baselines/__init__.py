"""The zoo: one file per method, each opened by what it assumes, its equation and its source."""

if __name__ == "baselines":
    raise ImportError("this folder is the package srl_bench.baselines; import it by that name")
