"""Pushing: contact and friction, marks, rewards, options, pictures."""

import math

import numpy as np
import pybullet as p
import pytest

from srl_bench.environments.kuka import HOME
from srl_bench.environments.kuka_push import AREA_HIGH, AREA_LOW, PRESSED, RADIUS, START_HIGH, START_LOW, KukaPush
from srl_bench.errors import ConfigError

PLACES = (0.50, -0.10, 0.64, 0.20)
GOAL = (0.64, 0.05)


def table(places=PLACES, goal=GOAL, task=1, **options):
    """An environment with pucks in these places and the tip near (0.61, 0, 0.27)."""
    env = KukaPush(**{"obs_type": "state", "action_type": "continuous", "objects": len(places) // 2, **options})
    env.reset(seed=0)
    env.set_factors([0, 0, 0, *HOME, *places, *goal, task])
    return env


def go(env, *place):
    """Move the tip to a place; return the pucks."""
    for _ in range(12):
        env.step(np.clip((np.array(place) - env._tip) / 0.05, -1, 1))
    np.testing.assert_allclose(env._tip, place, atol=0.004)
    return np.array(env._places)


@pytest.mark.parametrize(("axis", "half"), [(0, 0.015), (1, 0.0525)])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_puck_moves_with_the_gripper_that_pushes_it(axis, half, sign):
    env = table(places=(0.58, 0.0))
    start = np.array([0.58, 0.0, 0.12])
    start[axis] -= sign * (half + RADIUS + 0.02)
    go(env, *start)
    before = go(env, *start[:2], 0.02)
    np.testing.assert_allclose(before, [[0.58, 0.0]], atol=1e-4)
    end = start.copy()
    end[axis] += sign * 0.08
    end[2] = 0.02
    after = go(env, *end)
    expected = np.array([[0.58, 0.0]])
    expected[0, axis] += sign * 0.06
    np.testing.assert_allclose(after, expected, atol=0.008)


def test_friction_stops_a_puck():
    env = table()
    for speed, way in ((0.5, 0.0), (2.0, 0.06)):
        env.set_factors([0, 0, 0, *HOME, *PLACES, *GOAL, 1])
        p.resetJointState(env._pucks[0], 0, PLACES[0], speed, physicsClientId=env._world)
        moved = [env.step(np.zeros(3))[-1]["state"][10] - PLACES[0] for _ in range(3)]
        assert moved[0] == pytest.approx(way, abs=0.01)
        assert moved[2] == moved[1]


def test_pucks_push_each_other():
    env = table(places=(0.58, -0.05, 0.58, 0.04))
    go(env, 0.58, -0.17, 0.12)
    go(env, 0.58, -0.17, 0.02)
    (_, first), (_, second) = go(env, 0.58, -0.07, 0.02)
    assert second - first == pytest.approx(2 * RADIUS, abs=0.002)
    assert second > 0.07


def test_a_gripper_above_moves_nothing():
    env = table(places=(0.58, 0.0))
    go(env, 0.50, 0.0, 0.08)
    np.testing.assert_array_equal(go(env, 0.68, 0.0, 0.08), [[0.58, 0.0]])


def test_pucks_rest_where_they_are_set():
    env = table()
    for _ in range(20):
        state = env.step(np.zeros(3))[-1]["state"]
    np.testing.assert_allclose(state[10:14], PLACES, atol=1e-6)


@pytest.mark.parametrize(("distance", "reached"), [(0.041, False), (0.039, True)])
def test_the_wanted_puck_within_four_centimetres_is_a_success(distance, reached):
    env = table(goal=(PLACES[2] - distance, PLACES[3]), task=2)
    _, reward, terminated, truncated, info = env.step(np.zeros(3))
    assert (reward, terminated, truncated, info["is_success"]) == (float(reached), reached, False, reached)
    env.set_factors([0, 0, 0, *HOME, *PLACES, PLACES[2] - distance, PLACES[3], 1])
    assert env.step(np.zeros(3))[1:3] == (0.0, False)


def test_shaped_reward_is_minus_the_distances():
    env = table(task=2, reward_type="shaped")
    _, reward, _, _, info = env.step(np.ones(3))
    tip, puck = info["state"][:3], [*PLACES[2:], 0.025]
    expected = -math.dist(PLACES[2:], GOAL) - 0.1 * math.dist(tip, puck)
    assert reward == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("action_type", ["discrete", "continuous", "joints"])
@pytest.mark.parametrize("objects", [1, 4])
def test_the_expert_pushes_the_puck_to_the_mark(action_type, objects):
    env = KukaPush(obs_type="state", action_type=action_type, objects=objects)
    rewards = []
    for seed in range(12):
        env.reset(seed=seed)
        for _ in range(100):
            _, reward, terminated, _, _ = env.step(env._greedy_action())
            if terminated:
                break
        rewards.append(reward)
    assert np.mean(rewards) > 0.9


def test_starts_vary_and_keep_distance():
    env = KukaPush(obs_type="state", objects=3)
    states = np.array([env.reset(seed=seed)[1]["state"] for seed in range(80)])
    places = states[:, 10:18].reshape(-1, 4, 2)
    wanted = places[np.arange(80), states[:, 18].astype(int) - 1]
    for pushed in (wanted, places[:, 3]):
        assert (pushed >= START_LOW).all()
        assert (pushed <= START_HIGH).all()
        assert (np.ptp(pushed, axis=0) > [0.15, 0.4]).all()
    assert (places[:, :3] >= AREA_LOW).all()
    assert (places[:, :3] <= AREA_HIGH).all()
    assert (np.ptp(places[:, :3], axis=0) > [0.35, 0.7]).all()
    gaps = np.linalg.norm(places[:, :, None] - places[:, None], axis=-1) + np.eye(4)
    assert gaps.min() >= 0.1
    assert set(states[:, -1]) == {1.0, 2.0, 3.0}


def test_a_task_may_be_given():
    env = KukaPush(obs_type="state", task=2)
    assert {env.reset(seed=seed)[1]["state"][-1] for seed in range(10)} == {2.0}
    with pytest.raises(ConfigError, match=r"task=1"):
        env.set_factors([0, 0, 0, *HOME, *PLACES, *GOAL, 1])


def test_sampled_pucks_do_not_overlap():
    env = KukaPush(obs_type="state", objects=4)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(30):
        places = env.sample_factors(rng)[10:18].reshape(4, 2)
        gaps = np.linalg.norm(places[:, None] - places, axis=-1) + np.eye(4)
        assert gaps.min() >= 2 * RADIUS - PRESSED


def test_the_mark_has_the_colour_of_the_wanted_puck():
    env = table(obs_type="pixels", places=(0.5, -0.2, 0.5, 0.2), goal=(0.66, 0.1), image_size=128)
    state = env.get_factors()
    red, blue = (env.observe([*state[:-1], task]).astype(int) for task in (1, 2))
    changed = (red != blue).any(-1)
    assert changed.sum() > 20
    assert (red[changed][:, 0] > red[changed][:, 2]).all()
    assert (blue[changed][:, 2] > blue[changed][:, 0]).all()


@pytest.mark.parametrize(
    "options", [{"objects": 0}, {"objects": 5}, {"objects": 1.0}, {"task": 3}, {"task": 0}, {"task": "blue"}]
)
def test_bad_options_are_errors(options):
    (name,) = options
    with pytest.raises(ConfigError, match=f"{name}="):
        KukaPush(**options)
