"""Drive an environment by keyboard, to get a feeling for a task and its factors."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeGuard

import gymnasium
import numpy as np
from rich.live import Live
from rich.table import Table

from srl_bench.environments import factor_table, make_environment
from srl_bench.errors import ConfigError

UP_KEYS, DOWN_KEYS = "qwertyui", "asdfghjk"
ARROWS = ("right", "left", "up", "down")
# actions with a digit of their own
DIGITS = 10


def play(environment: str, kwargs: dict[str, Any], *, keys: Callable[[], set[str]] | None = None) -> None:
    """Open a window and step the environment, ten times a second, with what the keyboard says.

    Args:
        environment: Gymnasium id.
        kwargs: keyword arguments of the environment.
        keys: returns the keys that are down; by default those of the window.

    Raises:
        ConfigError: there is no display, the environment has no keyboard, or there are no keys for its actions.
    """
    env = make_environment(environment, {**kwargs, "render_mode": "human"} if keys is None else kwargs)
    read = keys or getattr(env.unwrapped, "pressed_keys", None)
    if read is None:
        raise ConfigError(f"{environment} does not read a keyboard: it lacks the method pressed_keys().")
    print(f"{keys_of(env.action_space)}; n: new episode, x: end")
    _, info = env.reset()
    total, ended, chosen = 0.0, "", 0
    with Live(auto_refresh=False) as live:
        while "x" not in (down := read()):
            started = time.monotonic()
            chosen = choose(env.action_space, down, chosen)
            action = action_of(env.action_space, down, chosen)
            if "n" in down:
                _, info = env.reset()
                total, ended = 0.0, ""
            elif not ended and (action is not None):
                _, reward, terminated, truncated, info = env.step(action)
                total += float(reward)
                ended = "terminated" if terminated else "truncated" if truncated else ""
            else:
                env.render()
            title = f"action {chosen}, " if _many(env.action_space) else ""
            live.update(_table(env, info, f"{title}return {total:.2f} {ended}"), refresh=True)
            time.sleep(max(0.0, 1 / env.metadata.get("render_fps", 10) - (time.monotonic() - started)))
    env.close()


def keys_of(space: gymnasium.Space) -> str:
    """Return in words which keys are which actions.

    Raises:
        ConfigError: there are no keys for these actions.
    """
    if _many(space):
        one = f"up, down: choose one of the actions 0 to {space.n - 1}, right: take it (held: again and again)"
        return f"{one}, digits: take one of 0 to {DIGITS - 1}"
    if isinstance(space, gymnasium.spaces.Discrete):
        arrows = ARROWS[: int(space.n)]
        return f"digits: actions 0 to {space.n - 1}, arrows: the first {len(arrows)} ({', '.join(arrows)})"
    if isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1 and space.is_bounded():
        up, lower = (" ".join(names[: space.shape[0]]) for names in (UP_KEYS, DOWN_KEYS))
        if space.shape[0] <= len(UP_KEYS):
            return f"{up}: one number of the action each up, {lower}: down"
    raise ConfigError(
        f"there are no keys for {space}; play takes Discrete actions, and a Box of up to {len(UP_KEYS)} numbers with "
        "finite bounds."
    )


def choose(space: gymnasium.Space, down: set[str], chosen: int) -> int:
    """Return the one of many actions that is chosen after these keys; those that are held go on to the next."""
    if not _many(space):
        return chosen
    if digits := _digits(down):
        return digits[0]
    return min(max(chosen + ("up" in down) - ("down" in down), 0), int(space.n) - 1)


def action_of(space: gymnasium.Space, down: set[str], chosen: int = 0) -> Any:
    """Return the action of the keys that are down, of many actions the chosen one; None if none of a discrete space is.

    Keys count actions from 0, wherever the space starts. Of a continuous action, a number is at its upper bound, its
    lower bound, or between them.
    """
    if _many(space):
        return int(space.start) + chosen if "right" in down or _digits(down) else None
    if isinstance(space, gymnasium.spaces.Discrete):
        arrows = [i for i, arrow in enumerate(ARROWS) if arrow in down]
        actions = sorted(i for i in _digits(down) + arrows if i < space.n)
        return int(space.start) + actions[0] if actions else None
    assert isinstance(space, gymnasium.spaces.Box)
    pairs = list(zip(UP_KEYS, DOWN_KEYS, strict=True))[: space.shape[0]]
    way = np.array([(up in down) - (lower in down) for up, lower in pairs])
    action = np.where(way > 0, space.high, np.where(way < 0, space.low, (space.low + space.high) / 2))
    return action.astype(space.dtype)


def _many(space: gymnasium.Space) -> TypeGuard[gymnasium.spaces.Discrete]:
    """Return whether there are more actions than digits."""
    return isinstance(space, gymnasium.spaces.Discrete) and space.n > DIGITS


def _digits(down: set[str]) -> list[int]:
    return [i for i in range(DIGITS) if str(i) in down]


def _table(env: gymnasium.Env, info: dict[str, Any], title: str) -> Table:
    table = Table("factor", "value", "unit", title=title)
    for factor, value in zip(factor_table(env), info["state"].tolist(), strict=True):
        table.add_row(factor.name, f"{value:.3f}", factor.unit)
    return table
