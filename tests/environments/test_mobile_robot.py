"""The navigation task: displacements, walls, rewards, pictures."""

import numpy as np
import pytest

from srl_bench.environments.mobile_robot import MobileRobot

FAR = (0.6, 0.6)


def placed(x, y, target=FAR, **options):
    env = MobileRobot(**{"obs_type": "state", **options})
    env.reset(seed=0)
    env.set_factors([x, y, *target])
    return env


@pytest.mark.parametrize(("action", "move"), list(enumerate([(0.1, 0), (-0.1, 0), (0, 0.1), (0, -0.1)])))
def test_discrete_actions_move_ten_centimetres(action, move):
    env = placed(2.0, 2.5)
    _, reward, terminated, truncated, info = env.step(action)
    np.testing.assert_allclose(info["state"], [2.0 + move[0], 2.5 + move[1], *FAR], atol=1e-12)
    assert (reward, terminated, truncated) == (0.0, False, False)


def test_continuous_actions_are_scaled_and_clipped():
    env = placed(2.0, 2.0, action_type="continuous")
    state = env.step(np.array([0.5, -0.25]))[-1]["state"]
    np.testing.assert_allclose(state[:2], [2.05, 1.975], atol=1e-12)
    state = env.step(np.array([3.0, -3.0]))[-1]["state"]
    np.testing.assert_allclose(state[:2], [2.15, 1.875], atol=1e-12)


@pytest.mark.parametrize(
    ("start", "action"),
    [((3.7, 2), 0), ((0.3, 2), 1), ((2, 3.7), 2), ((2, 0.3), 3)],
    ids=["east", "west", "north", "south"],
)
def test_a_wall_costs_one_and_stops(start, action):
    env = placed(*start)
    _, reward, terminated, _, info = env.step(action)
    assert reward == -1.0
    assert not terminated
    np.testing.assert_allclose(info["state"][:2], start)


@pytest.mark.parametrize(("offset", "reward"), [(0.52, 0.0), (0.48, 1.0), (0.1, 1.0)])
def test_target_is_reached_within_forty_centimetres(offset, reward):
    env = placed(2.0 - offset, 2.0, target=(2.0, 2.0))
    _, given, terminated, _, _ = env.step(0)
    assert given == reward
    assert not terminated


def test_a_wall_counts_more_than_the_target():
    assert placed(3.7, 3.0, target=(3.6, 3.0)).step(0)[1] == -1.0


def test_shaped_reward_is_minus_the_distance():
    env = placed(2.0, 2.0, target=(2.4, 2.4), reward_type="shaped")
    assert env.step(0)[1] == pytest.approx(-np.hypot(0.3, 0.4))


def test_default_episode_has_250_steps():
    env = MobileRobot(obs_type="state")
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    endings = [env.step(env.scripted_action(rng, 0.5))[2:4] for _ in range(250)]
    assert endings == [(False, False)] * 249 + [(False, True)]


def test_starts_and_targets_vary_within_their_ranges():
    env = MobileRobot(obs_type="state")
    states = np.array([env.reset(seed=seed)[1]["state"] for seed in range(200)])
    for column, factor in zip(states.T, env.factors, strict=True):
        assert factor.low <= column.min() < column.max() <= factor.high
        assert np.ptp(column) > 0.7 * (factor.high - factor.low)


def test_fixed_target():
    env = MobileRobot(random_target=False, obs_type="state")
    states = np.array([env.reset(seed=seed)[1]["state"] for seed in range(5)])
    assert (states[:, 2:] == (3.6, 3.0)).all()
    assert np.ptp(states[:, 0]) > 0.1


@pytest.mark.parametrize("action_type", ["discrete", "continuous"])
def test_scripted_policy_reaches_the_target(action_type):
    env = MobileRobot(obs_type="state", action_type=action_type)
    rng = np.random.default_rng(0)
    for seed in range(10):
        env.reset(seed=seed)
        rewards = [env.step(env.scripted_action(rng, 0.1))[1] for _ in range(100)]
        assert sum(rewards[60:]) > 30


def robot_pixels(image):
    """Rows and columns of the blue pixels."""
    red, _, blue = image.astype(int).transpose(2, 0, 1)
    return np.argwhere(blue - red > 60)


def target_pixels(image):
    red, green, _ = image.astype(int).transpose(2, 0, 1)
    return np.argwhere(red - green > 90)


def test_image_axes_are_those_of_the_arena():
    env = placed(1.0, 3.0, target=(3.0, 1.5), obs_type="pixels")
    image = env.observe([1.0, 3.0, 3.0, 1.5])
    row, column = robot_pixels(image).mean(0)
    assert row < 24 < 40 < 64 - column
    east = robot_pixels(env.observe([2.0, 3.0, 3.0, 1.5])).mean(0)
    assert east == pytest.approx([row, column + 15], abs=1)
    south = robot_pixels(env.observe([1.0, 2.0, 3.0, 1.5])).mean(0)
    assert south == pytest.approx([row + 15, column], abs=1)


def test_robot_and_target_are_seen_everywhere():
    env = MobileRobot()
    rng = np.random.default_rng(0)
    for _ in range(50):
        image = env.observe([rng.uniform(factor.low, factor.high) for factor in env.factors])
        assert len(robot_pixels(image)) >= 4
        assert len(target_pixels(image)) >= 8
    on_target = env.observe([2.0, 2.0, 2.0, 2.0])
    assert len(robot_pixels(on_target)) >= 4
    assert len(target_pixels(on_target)) >= 8
