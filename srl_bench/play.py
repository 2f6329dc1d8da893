"""Drive an environment by keyboard, to get a feeling for a task and its factors."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from rich.live import Live
from rich.table import Table

from srl_bench.environments import factor_table, make_environment
from srl_bench.errors import ConfigError

UP_KEYS, DOWN_KEYS = "qwertyu", "asdfghj"
HELP = {
    "discrete": "digits: actions, arrows: the first four (right, left, up, down); n: new episode, x: end",
    "continuous": "q w e r ...: one number of the action up, a s d f ...: down; n: new episode, x: end",
}
ARROWS = ("right", "left", "up", "down")


def play(environment: str, kwargs: dict[str, Any], *, keys: Callable[[], set[str]] | None = None) -> None:
    """Open a window and step the environment, ten times a second, with what the keyboard says.

    Args:
        environment: Gymnasium id.
        kwargs: keyword arguments of the environment.
        keys: returns the keys that are down; by default those of the window.

    Raises:
        ConfigError: there is no display, or the environment has no keyboard.
    """
    env = make_environment(environment, {**kwargs, "render_mode": "human"} if keys is None else kwargs)
    read = keys or getattr(env.unwrapped, "pressed_keys", None)
    if read is None:
        raise ConfigError(f"{environment} does not read a keyboard: it lacks the method pressed_keys().")
    discrete = isinstance(env.action_space, gymnasium.spaces.Discrete)
    print(HELP["discrete" if discrete else "continuous"])
    _, info = env.reset()
    total, ended = 0.0, ""
    with Live(auto_refresh=False) as live:
        while "x" not in (down := read()):
            started = time.monotonic()
            action = action_of(env.action_space, down)
            if "n" in down:
                _, info = env.reset()
                total, ended = 0.0, ""
            elif not ended and (action is not None):
                _, reward, terminated, truncated, info = env.step(action)
                total += float(reward)
                ended = "terminated" if terminated else "truncated" if truncated else ""
            else:
                env.render()
            live.update(_table(env, info, total, ended), refresh=True)
            time.sleep(max(0.0, 1 / env.metadata.get("render_fps", 10) - (time.monotonic() - started)))
    env.close()


def action_of(space: gymnasium.Space, down: set[str]) -> Any:
    """Return the action of the keys that are down; None if none of a discrete space is."""
    if isinstance(space, gymnasium.spaces.Discrete):
        chosen = [i for i in range(int(space.n)) if str(i) in down or (i < len(ARROWS) and ARROWS[i] in down)]
        return chosen[0] if chosen else None
    assert isinstance(space, gymnasium.spaces.Box)
    pairs = list(zip(UP_KEYS, DOWN_KEYS, strict=True))[: space.shape[0]]
    return np.array([float(up in down) - float(lower in down) for up, lower in pairs], dtype=np.float32)


def _table(env: gymnasium.Env, info: dict[str, Any], total: float, ended: str) -> Table:
    table = Table("factor", "value", "unit", title=f"return {total:.2f} {ended}")
    for factor, value in zip(factor_table(env), info["state"].tolist(), strict=True):
        table.add_row(factor.name, f"{value:.3f}", factor.unit)
    return table
