"""Time of `env.step` with pixels against the same PyBullet calls without an environment around them.

The calls of recorded steps are repeated with the same arguments. "raw" also merges the layers of each picture,
which the plain picture would not need and which is repaid many times over; "bare" leaves the merging out. CPU
time of one process, medians over alternating blocks. Run: python benchmarks/speed_env_step.py
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import gymnasium
import numpy as np
import pybullet as p

import srl_bench.environments
from srl_bench.environments.drawing import paste
from srl_bench.environments.simulator import SimulatorEnv

EPISODES, STEPS = 15, 40
Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


@contextmanager
def recorded(calls: list[Call]) -> Iterator[None]:
    """Note every call of a PyBullet function."""

    def noting(function: Callable[..., Any]) -> Callable[..., Any]:
        def note(*args: Any, **kwargs: Any) -> Any:
            calls.append((function, args, kwargs))
            return function(*args, **kwargs)

        return note

    functions = {name: noting(f) for name, f in vars(p).items() if callable(f) and not name.startswith("_")}
    with patch.multiple(p, **functions):
        yield


def episode(env: SimulatorEnv, seed: int) -> tuple[list[Any], list[list[Call]]]:
    """Return the actions of a random episode and the PyBullet calls of each."""
    env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    actions, notes = [], []
    for _ in range(STEPS):
        actions.append(env.scripted_action(rng, 1.0))
        calls: list[Call] = []
        with recorded(calls):
            _, _, terminated, truncated, _ = env.step(actions[-1])
        notes.append(calls)
        if terminated or truncated:
            break
    return actions, notes


def milliseconds(env: SimulatorEnv, seed: int, block: Callable[[], None], steps: int) -> float:
    env.reset(seed=seed)
    start = time.process_time()
    block()
    return (time.process_time() - start) * 1000 / steps


def measure(env: SimulatorEnv) -> tuple[float, float, float]:
    """Median milliseconds of env.step, of the calls with merging, and of the calls alone."""
    blocks = []
    for seed in range(EPISODES):
        actions, notes = episode(env, seed)
        size = env.image_size
        behind, depth = np.zeros((size, size, 3), np.uint8), np.ones((size, size), np.float32)

        def step(actions: list[Any] = actions) -> None:
            for action in actions:
                env.step(action)

        def merged(notes: list[list[Call]] = notes, behind: Any = behind, depth: Any = depth) -> None:
            for calls in notes:
                for function, args, kwargs in calls:
                    answer = function(*args, **kwargs)
                    if function is p.getCameraImage:
                        picture = answer[2].view(np.uint32)[..., 0], answer[3]
                paste(picture, behind, depth)

        def bare(notes: list[list[Call]] = notes) -> None:
            for calls in notes:
                for function, args, kwargs in calls:
                    function(*args, **kwargs)

        blocks.append([milliseconds(env, seed, block, len(actions)) for block in (step, merged, bare)])
    ours, raw, bare_calls = (statistics.median(column) for column in zip(*blocks, strict=True))
    return ours, raw, bare_calls


def main() -> None:
    print(f"{'milliseconds of CPU time to a step':36}{'raw':>8}{'ours':>8}{'ratio':>8}{'target':>9}{'of bare':>9}")
    for name in sorted(name for name in gymnasium.registry if name.startswith("srl_bench/")):
        env = srl_bench.environments.make_environment(name, {}).unwrapped
        ours, raw, bare = measure(env)
        print(f"{name:36}{raw:8.3f}{ours:8.3f}{ours / raw:8.3f}{'<= 1.05':>9}{ours / bare:9.3f}")


if __name__ == "__main__":
    main()
