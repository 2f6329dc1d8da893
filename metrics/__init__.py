"""Metrics of state representations: pure functions `(states (N, d), factors (N, K), ...)` on numpy arrays."""

if __name__ == "metrics":
    raise ImportError("this folder is the package srl_bench.metrics; import it by that name")
