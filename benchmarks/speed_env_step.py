"""Time of `env.step` with pixels against the same PyBullet calls without an environment around them.

The calls of recorded steps are repeated with the same arguments. "raw" also merges each picture with the layers
that the step merges it with, which the plain picture would not need and which is repaid many times over; "bare"
leaves the merging out. CPU time of one process; ratios are medians over alternating blocks of a few milliseconds,
which a busy machine disturbs alike. Run: python benchmarks/speed_env_step.py [environment ...]
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import gymnasium
import numpy as np
import pybullet as p

import srl_bench.environments
from srl_bench.environments import scene
from srl_bench.environments.drawing import paste
from srl_bench.environments.simulator import SimulatorEnv

EPISODES, ROUNDS, STEPS = 12, 10, 40
Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


@contextmanager
def recorded(calls: list[Call]) -> Iterator[None]:
    """Note every call of a PyBullet function, and of the one that merges layers."""

    def noting(function: Callable[..., Any]) -> Callable[..., Any]:
        def note(*args: Any, **kwargs: Any) -> Any:
            calls.append((function, args, kwargs))
            return function(*args, **kwargs)

        return note

    functions = {name: noting(f) for name, f in vars(p).items() if callable(f) and not name.startswith("_")}
    with patch.multiple(p, **functions), patch.object(scene, "paste", noting(paste)):
        yield


def episode(env: SimulatorEnv, seed: int) -> tuple[list[Any], list[tuple[list[Call], Any]]]:
    """Return the actions of a random episode; of each, the PyBullet calls, and what lies behind the picture."""
    env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    actions, notes = [], []
    for _ in range(STEPS):
        actions.append(env.scripted_action(rng, 1.0))
        calls: list[Call] = []
        with recorded(calls):
            _, _, terminated, truncated, _ = env.step(actions[-1])
        # a picture that is drawn at once is not merged
        behind = calls.pop()[1][1:] if calls[-1][0] is paste else None
        notes.append((calls, behind))
        if terminated or truncated:
            break
    return actions, notes


def milliseconds(env: SimulatorEnv, seed: int, block: Callable[[], None], steps: int) -> float:
    env.reset(seed=seed)
    start = time.process_time()
    block()
    return (time.process_time() - start) * 1000 / steps


def measure(env: SimulatorEnv) -> list[tuple[float, float, float]]:
    """Milliseconds of env.step, of the calls with merging, and of PyBullet's alone, in each block."""
    blocks = []
    for seed in range(EPISODES):
        actions, notes = episode(env, seed)

        def step(actions: list[Any] = actions) -> None:
            for action in actions:
                env.step(action)

        def merged(notes: list[tuple[list[Call], Any]] = notes) -> None:
            for calls, behind in notes:
                for function, args, kwargs in calls:
                    answer = function(*args, **kwargs)
                if behind:
                    paste((answer[2].view(np.uint32)[..., 0], answer[3]), *behind)

        def bare(notes: list[tuple[list[Call], Any]] = notes) -> None:
            for calls, _ in notes:
                for function, args, kwargs in calls:
                    function(*args, **kwargs)

        ways = (step, merged, bare)
        blocks += [tuple(milliseconds(env, seed, way, len(actions)) for way in ways) for _ in range(ROUNDS)]
    return blocks


def main() -> None:
    print(f"{'milliseconds of CPU time to a step':36}{'raw':>8}{'ours':>8}{'ratio':>8}{'target':>9}{'of bare':>9}")
    for name in sys.argv[1:] or sorted(name for name in gymnasium.registry if name.startswith("srl_bench/")):
        blocks = measure(srl_bench.environments.make_environment(name, {}).unwrapped)
        raw, ours = (statistics.median(block[i] for block in blocks) for i in (1, 0))
        of_raw, of_bare = (statistics.median(block[0] / block[i] for block in blocks) for i in (1, 2))
        print(f"{name:36}{raw:8.3f}{ours:8.3f}{of_raw:8.3f}{'<= 1.05':>9}{of_bare:9.3f}", flush=True)


if __name__ == "__main__":
    main()
