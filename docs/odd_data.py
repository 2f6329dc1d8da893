"""What a metric makes of data that are constant, or have a single dimension: found out by computing it."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np

from srl_bench.errors import DataError
from srl_bench.registry import Metric

EPISODES, LENGTH = 12, 30
NAMES = ("x", "y", "angle", "class", "switch")


@cache
def ordinary() -> dict[str, Any]:
    """Return made-up data: random walks of five factors, seen through a random linear map of them and noise."""
    random = np.random.default_rng(0)
    shape = (EPISODES, LENGTH)
    x, y, angle = np.cumsum(random.normal(size=(3, *shape)), axis=2).reshape(3, -1)
    angle = (angle + np.pi) % (2 * np.pi) - np.pi
    kind, switch = random.integers(0, (3, 2), size=(*shape, 2)).reshape(-1, 2).T
    factors = np.stack([x, y, angle, kind, switch], axis=1).astype(float)
    columns = np.stack([x, y, 2 * np.sin(angle), 2 * np.cos(angle), 2.0 * kind, 2.0 * switch], axis=1)
    states = columns @ random.normal(size=(6, 6)) + 0.1 * random.normal(size=(len(x), 6))
    episodes = np.repeat(np.arange(EPISODES), LENGTH)
    return {
        "states": states,
        "factors": factors,
        "episode_ids": episodes,
        "steps": np.tile(np.arange(LENGTH), EPISODES),
        "split": np.array([0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 2, 2])[episodes],
        "kinds": ["continuous", "continuous", "angular", "categorical", "categorical"],
        "roles": ["task"] * len(NAMES),
        "names": NAMES,
        "actions": random.normal(size=(len(x), 2)),
        "rewards": (x > 1).astype(float),
        "expert_actions": np.stack([x, y], axis=1),
        "expert_returns": x * y,
        "seed": 0,
        "shared": True,
        "shifted_states": states + 0.1 * random.normal(size=states.shape),
        "other_states": [states + 0.1 * random.normal(size=states.shape) for _ in range(4)],
    }


def cases() -> dict[str, dict[str, Any]]:
    """Return the data by what is odd about them."""
    data = ordinary()
    flat = np.zeros_like(data["states"])
    line = data["states"][:, :1]
    return {
        "constant states": data | {"states": flat, "shifted_states": flat, "other_states": [flat] * 4},
        "one-dimensional states": data
        | {
            "states": line,
            "shifted_states": data["shifted_states"][:, :1],
            "other_states": [other[:, :1] for other in data["other_states"]],
        },
        "constant factors": data | {"factors": np.zeros_like(data["factors"])},
        "constant actions": data | {"actions": np.zeros_like(data["actions"])},
        "constant actions of the expert": data | {"expert_actions": np.zeros_like(data["expert_actions"])},
        "constant returns of the expert": data | {"expert_returns": np.zeros_like(data["expert_returns"])},
        "constant rewards": data | {"rewards": np.zeros_like(data["rewards"])},
    }


def odd_scores(metric: Metric) -> dict[str, str]:
    """Return, by what is odd about the data, the values of a metric and the reasons where one is undefined.

    Nothing for a metric that needs what is not made up here.
    """
    if not set(metric.needs) <= set(ordinary()):
        return {}
    read = {"states", "factors", *metric.needs}
    concerns = {
        "constant actions": "actions",
        "constant actions of the expert": "expert_actions",
        "constant returns of the expert": "expert_returns",
        "constant rewards": "rewards",
    }
    return {what: _told(metric, data) for what, data in cases().items() if concerns.get(what, "states") in read}


def _told(metric: Metric, data: dict[str, Any]) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = metric.function(data["states"], data["factors"], **{need: data[need] for need in metric.needs})
        except DataError as error:
            return f"undefined ({error})"
    values = found if isinstance(found, dict) else {"mean": found}
    told = ", ".join(
        f"{'' if name == 'mean' else f'{name} '}{'undefined' if np.isnan(value) else f'{round(value, 6) + 0.0:.3g}'}"
        for name, value in values.items()
        if name not in NAMES
    )
    reasons = {str(warning.message).rstrip(".") for warning in caught if "undefined" in str(warning.message)}
    return f"{told} ({'; '.join(sorted(reasons))})" if reasons else told
