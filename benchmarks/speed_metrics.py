"""CPU time of the metrics against scikit-learn, and of the core table of one encoder, on one thread.

10,000 rows of 100 episodes, 32 latent dimensions, 8 factors. Target: the core table, with ceilings, floors and noise,
in at most 30 CPU seconds. Run it on a quiet machine: python benchmarks/speed_metrics.py
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge
from sklearn.manifold import trustworthiness as sklearn_trustworthiness
from sklearn.neighbors import KNeighborsRegressor, NearestNeighbors
from sklearn.neural_network import MLPRegressor

from srl_bench.metrics import bounds, common, knn_mse, trustworthiness
from srl_bench.metrics.probes import ALPHAS, PROBES
from srl_bench.metrics.readout import make_task
from srl_bench.registry import METRICS

N_ROWS, N_DIMS, N_FACTORS, LENGTH = 10_000, 32, 8, 100


def world() -> dict[str, Any]:
    """Smooth factors, latents that hold them bent and with noise, and what a recording holds beside them."""
    random = np.random.default_rng(0)
    steps = np.arange(N_ROWS) % LENGTH
    factors = np.zeros((N_ROWS, N_FACTORS))
    for t in range(N_ROWS):
        factors[t] = random.normal(size=N_FACTORS)
        if steps[t]:
            factors[t] = 0.98 * factors[t - 1] + 0.2 * factors[t]
    states = np.tanh(factors @ random.normal(size=(N_FACTORS, N_DIMS)) / 2)
    episode_ids = np.arange(N_ROWS) // LENGTH
    return {
        "states": states + 0.1 * random.normal(size=states.shape),
        "factors": factors,
        "episode_ids": episode_ids,
        "steps": steps,
        "split": common.split_episodes(episode_ids),
        "actions": random.normal(size=(N_ROWS, 2)),
        "expert_actions": np.argmax(factors[:, :4] @ random.normal(size=(4, 6)), axis=1),
        "rewards": factors[:, 0] + random.normal(size=N_ROWS),
        "kinds": ["continuous"] * N_FACTORS,
        "roles": ["task"] * N_FACTORS,
        "names": [f"factor_{k}" for k in range(N_FACTORS)],
        "seed": 0,
        "shared": True,
    }


def cpu_seconds(function: Callable[[], object]) -> float:
    """Return CPU seconds; metrics of one table share what they have in common."""
    start = time.process_time()
    function()
    return time.process_time() - start


def comparisons(data: dict[str, Any]) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Return by name what we compute and what a peer does for the same purpose."""
    z, y, split = data["states"], data["factors"], data["split"]
    task = make_task(z, y, split, None)
    train, validation, test = (split == part for part in range(3))
    x, targets = task.x, task.y

    def peer_ridge() -> None:
        for column in targets.T:
            models = [Ridge(alpha=alpha).fit(x[train], column[train]) for alpha in ALPHAS]
            best = min(models, key=lambda model: ((model.predict(x[validation]) - column[validation]) ** 2).mean())
            best.predict(x[test])

    def peer_trees() -> None:
        for column in targets.T:
            HistGradientBoostingRegressor(max_iter=200, early_stopping=False).fit(x[train], column[train])

    def peer_networks() -> None:
        for seed in range(3):
            settings = {"alpha": 1e-4, "batch_size": 256, "max_iter": 150, "n_iter_no_change": 150}
            MLPRegressor(hidden_layer_sizes=(64, 64), random_state=seed, **settings).fit(x[train], targets[train])

    def peer_search(algorithm: str) -> Callable[[], object]:
        return lambda: NearestNeighbors(n_neighbors=6, algorithm=algorithm).fit(z).kneighbors(z)

    episodes = {"episode_ids": data["episode_ids"]}
    return {
        "KNN-MSE, all queries, ball tree": (lambda: knn_mse(z, y, latent="raw", **episodes), peer_search("ball_tree")),
        "KNN-MSE, all queries, brute force": (
            lambda: knn_mse(z, y, latent="raw", seed=1, **episodes),
            peer_search("brute"),
        ),
        "trustworthiness, 2,000 rows against all": (
            lambda: trustworthiness(z, y, **episodes),
            lambda: sklearn_trustworthiness(y, z, n_neighbors=10),
        ),
        "ridge probe": (lambda: PROBES["ridge"](task), peer_ridge),
        "nearest-neighbour probe": (
            lambda: PROBES["knn"](task),
            lambda: KNeighborsRegressor(10).fit(x[train], targets[train]).predict(x[test]),
        ),
        "tree probe": (lambda: PROBES["gbt"](task), peer_trees),
        "network probe, 3 networks": (lambda: PROBES["shared_mlp"](task), peer_networks),
    }


def core_table(data: dict[str, Any]) -> dict[str, float]:
    """Return CPU seconds of each core metric as `srl-bench score` computes it, without intervals."""
    seconds = {}
    for name in METRICS:
        item = METRICS[name]
        if not item.core or not set(item.needs) <= set(data):
            continue
        rows = slice(None) if "split" in item.needs else np.flatnonzero(data["split"] == 2)
        chosen = {key: value[rows] if isinstance(value, np.ndarray) else value for key, value in data.items()}
        states, factors = chosen["states"], chosen["factors"]
        needs = {key: chosen[key] for key in item.needs}
        other = {key: value for key, value in needs.items() if key != "kinds"}

        def compute(item=item, states=states, factors=factors, needs=needs, other=other) -> None:  # type: ignore[no-untyped-def]
            item.function(states, factors, **needs)
            bounds.ceiling(item.function, factors, needs.get("kinds"), **other)
            bounds.floor(item.function, states, factors, item.shifts, **needs)
            bounds.noise(item.function, states, factors, **needs)

        seconds[name] = cpu_seconds(compute)
    return seconds


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    data = world()
    print(f"{N_ROWS:,} rows, {N_DIMS} dimensions, {N_FACTORS} factors; CPU seconds")
    for name, (ours, peer) in comparisons(data).items():
        mine, other = cpu_seconds(ours), cpu_seconds(peer)
        print(f"  {name:42s} {mine:7.2f}   scikit-learn {other:7.2f}   ratio {other / mine:6.1f}")
    seconds = core_table(data)
    print(f"core table: {sum(seconds.values()):.1f} CPU seconds (target <= 30)")
    for name, value in sorted(seconds.items(), key=lambda pair: -pair[1]):
        print(f"  {name:20s} {value:6.2f}")


if __name__ == "__main__":
    main()
