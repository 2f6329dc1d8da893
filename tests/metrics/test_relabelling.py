"""What is called how, and how often it is stored, does not matter: factors, classes, episodes, copies of rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srl_bench.metrics import (
    category_accuracy,
    continuity,
    dimension,
    forward,
    gtc,
    knn_overlap,
    knn_probe_r2,
    linear_cka,
    lipschitz,
    lowdata_auc,
    probe_mse,
    ridge_r2,
    rsa,
    smoothness,
    trustworthiness,
)

KINDS = ["continuous", "angular", "categorical", "continuous"]
NAMES = ["x", "heading", "colour", "mass"]
ROLES = ["task", "task", "task", "distractor"]


def recording(seed: int, n_episodes: int = 12, length: int = 20) -> dict[str, np.ndarray]:
    """Latents of a position, an angle and a class, with noise; the mass is constant within an episode."""
    random = np.random.default_rng(seed)
    n_rows = n_episodes * length
    x = random.normal(size=n_rows).cumsum() / 5
    heading = np.mod(random.normal(size=n_rows).cumsum() / 3, 2 * np.pi) - np.pi
    colour, mass = random.integers(0, 3, n_rows), np.repeat(random.normal(size=n_episodes), length)
    seen = np.column_stack([x, np.cos(heading), np.sin(heading), np.eye(3)[colour], mass])
    return {
        "states": seen @ random.normal(size=(7, 5)) + 0.1 * random.normal(size=(n_rows, 5)),
        "factors": np.column_stack([x, heading, colour, mass]),
        "episode_ids": np.repeat(np.arange(n_episodes), length),
        "steps": np.tile(np.arange(length), n_episodes),
        "split": np.repeat(np.arange(n_episodes) % 3, length),
        "actions": random.normal(size=(n_rows, 2)),
    }


def scores(
    data: dict[str, np.ndarray], kinds: list[str] = KINDS, names: list[str] = NAMES, roles: list[str] = ROLES
) -> dict[str, float]:
    z, y = data["states"], data["factors"]
    kind, role = {"kinds": kinds}, {"kinds": kinds, "roles": roles}
    named = {"split": data["split"], "names": names, **role}
    time = {"episode_ids": data["episode_ids"], "steps": data["steps"]}
    logged = {"actions": data["actions"], "split": data["split"], **time, **role}
    found: dict[str, float] = {
        "trustworthiness": trustworthiness(z, y, episode_ids=data["episode_ids"], **role),
        "continuity": continuity(z, y, episode_ids=data["episode_ids"], **role),
        "knn_overlap": knn_overlap(z, y, episode_ids=data["episode_ids"], **role),
        "rsa": rsa(z, y, **role),
        "linear_cka": linear_cka(z, y, **role),
    }
    for name, result in {
        "gtc": gtc(z, y, names=names, **kind),
        "lipschitz": lipschitz(z, y, **role),
        "smoothness": smoothness(z, y, **time, **role),
        "ridge": ridge_r2(z, y, **named),
        "knn": knn_probe_r2(z, y, **named),
        "mse": probe_mse(z, y, units="raw", probe="knn", **named),
        "classes": category_accuracy(z, y, **named),
        "low data": lowdata_auc(z, y, split=data["split"], **role),
        "forward": forward(z, y, horizons=[5], **logged),
    }.items():
        found |= {f"{name}.{key}": value for key, value in result.items()}
    return found


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10_000))
def test_order_of_factors(seed):
    data = recording(seed)
    order = np.random.default_rng(seed).permutation(4)
    moved = {**data, "factors": data["factors"][:, order]}
    labels = [[column[k] for k in order] for column in (KINDS, NAMES, ROLES)]
    assert scores(moved, *labels) == pytest.approx(scores(data), rel=1e-6, abs=1e-9)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10_000))
def test_names_of_classes_and_units_of_factors(seed):
    """A class is a name, an angle has no first turn, a length any unit."""
    data = recording(seed)
    factors = data["factors"].copy()
    factors[:, 0] = 1000 * factors[:, 0] + 3
    factors[:, 1] += 2 * np.pi
    factors[:, 2] = np.array([7, -1, 4])[data["factors"][:, 2].astype(int)]
    before, after = scores(data), scores({**data, "factors": factors})
    del before["mse.mean"], after["mse.mean"]
    assert after.pop("mse.x") == pytest.approx(before.pop("mse.x") * 1e6)
    assert after == pytest.approx(before, rel=1e-5, abs=1e-7)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10_000))
def test_distractors_do_not_count(seed):
    data = recording(seed)
    factors = data["factors"].copy()
    factors[:, 3] = np.random.default_rng(seed).normal(size=len(factors))
    before, after = scores(data), scores({**data, "factors": factors})
    changed = {"gtc.mean", *(f"{name}.mass" for name in ("gtc", "ridge", "knn", "mse"))}
    assert changed - {"gtc.mean"} == {name for name in before if name.endswith(".mass")}
    for name in set(before) - changed:
        assert after[name] == pytest.approx(before[name]), name


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10_000))
def test_copies_of_all_episodes(seed):
    """The same rows again as other episodes: what only averages over rows stays."""
    data = recording(seed)
    twice = {name: np.concatenate([values, values]) for name, values in data.items()}
    twice["episode_ids"][len(data["steps"]) :] += 100
    z, y, role = data["states"], data["factors"], {"kinds": KINDS, "roles": ROLES}
    zz, yy = twice["states"], twice["factors"]
    assert linear_cka(zz, yy, **role) == pytest.approx(linear_cka(z, y, **role))
    assert dimension(zz, yy) == pytest.approx(dimension(z, y))
    assert gtc(zz, yy, kinds=KINDS) == pytest.approx(gtc(z, y, kinds=KINDS))
    tvr = [
        smoothness(d["states"], d["factors"], episode_ids=d["episode_ids"], steps=d["steps"], **role)
        for d in (data, twice)
    ]
    n_rows = len(z)
    unbiased = (n_rows / (n_rows - 1)) / (2 * n_rows / (2 * n_rows - 1))  # of the variance, n - 1
    assert tvr[1]["tvr"] == pytest.approx(tvr[0]["tvr"] * unbiased)
    assert tvr[1]["ratio"] == pytest.approx(tvr[0]["ratio"])
    # Every row now has a copy in another episode, and so has every neighbour.
    assert knn_overlap(zz, yy, k=1, episode_ids=twice["episode_ids"], **role) == 1
