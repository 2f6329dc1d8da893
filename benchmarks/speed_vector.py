"""Vectors of environments: CPU time per frame against the raw environments, and frames per second of wall time.

Every way runs the same actions on 8 environments with pixels of 64 x 64; workers' CPU time counts. Medians of
alternating runs. Run: python benchmarks/speed_vector.py
"""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

import srl_bench as srl
from srl_bench.environments import make_environment

ENVIRONMENTS = ("srl_bench/MobileRobot-v0", "srl_bench/KukaButton-v0")
N_ENVS, STEPS, ROUNDS, WORKERS = 8, 300, 5, 2


class RawEnvironments:
    """A loop over environments that keeps nothing."""

    def __init__(self, environment: str) -> None:
        self.envs = [make_environment(environment, {}) for _ in range(N_ENVS)]
        for index, env in enumerate(self.envs):
            env.reset(seed=index)

    def step(self, actions: np.ndarray) -> None:
        for env, action in zip(self.envs, actions, strict=True):
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()


def ways(environment: str) -> dict[str, VecEnv | RawEnvironments]:
    single: list[Callable] = [lambda: make_environment(environment, {})] * N_ENVS
    return {
        "raw environments": RawEnvironments(environment),
        "srl.make_vec_env": srl.make_vec_env(environment, N_ENVS),
        f"srl.make_vec_env, {WORKERS} processes": srl.make_vec_env(environment, N_ENVS, workers=WORKERS),
        "SB3 DummyVecEnv": DummyVecEnv(single),
        "SB3 SubprocVecEnv": SubprocVecEnv(single),
    }


def children_seconds() -> float:
    """CPU time of the living descendants of this process."""
    ticks = 0
    parents = {}
    times = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(folder.name)] = int(fields[1])
        times[int(folder.name)] = int(fields[11]) + int(fields[12])
    for process in parents:
        ancestor = process
        while ancestor in parents and ancestor != os.getpid():
            ancestor = parents[ancestor]
        if ancestor == os.getpid() and process != os.getpid():
            ticks += times[process]
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(environment: str) -> dict[str, tuple[float, float]]:
    """Return CPU and wall milliseconds per frame of each way."""
    vectors = ways(environment)
    rng = np.random.default_rng(0)
    n_actions = make_environment(environment, {}).action_space.n
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in vectors}
    for vector in vectors.values():
        if isinstance(vector, VecEnv):
            vector.reset()
    for _ in range(ROUNDS + 1):
        actions = rng.integers(0, n_actions, (STEPS, N_ENVS))
        for name, vector in vectors.items():
            wall, cpu = time.perf_counter(), time.process_time() + children_seconds()
            for row in actions:
                vector.step(row)
            spent = time.process_time() + children_seconds() - cpu, time.perf_counter() - wall
            times[name].append((1000 * spent[0] / actions.size, 1000 * spent[1] / actions.size))
    for vector in vectors.values():
        if isinstance(vector, VecEnv):
            vector.close()
    return {
        name: (statistics.median(cpu for cpu, _ in rows[1:]), statistics.median(wall for _, wall in rows[1:]))
        for name, rows in times.items()
    }


def main() -> None:
    for environment in ENVIRONMENTS:
        costs = measure(environment)
        raw, subproc = costs["raw environments"][0], costs["SB3 SubprocVecEnv"][0]
        print(
            f"{environment}, {N_ENVS} environments: ms per frame {'CPU':>10}{'wall':>8}{'of raw':>9}{'of Subproc':>12}"
        )
        for name, (cpu, wall) in costs.items():
            target = "  targets <= 1.20, <= 0.85" if name.startswith("srl") else ""
            print(f"{name:62}{cpu:7.3f}{wall:8.3f}{cpu / raw:9.2f}{cpu / subproc:12.2f}{target}")


if __name__ == "__main__":
    main()
