"""The navigation tasks with one dimension, two targets, or a line: what differs from the model."""

import numpy as np
import pytest

from srl_bench.environments.mobile_robot import MobileRobot
from srl_bench.environments.mobile_robot_1d import MobileRobot1D
from srl_bench.environments.mobile_robot_2target import MobileRobot2Target
from srl_bench.environments.mobile_robot_line import MobileRobotLine
from srl_bench.environments.omni_robot import OmniRobot
from srl_bench.errors import ConfigError


def at(cls, factors, **options):
    env = cls(**{"obs_type": "state", **options})
    env.reset(seed=0)
    env.set_factors(factors)
    return env


def pixels(image, channel, other, margin):
    """Rows and columns of the pixels in which one colour channel exceeds another."""
    image = image.astype(int)
    return np.argwhere(image[..., channel] - image[..., other] > margin)


def rewards(env, actions):
    return [env.step(action)[1] for action in actions]


@pytest.mark.parametrize("cls", [MobileRobot1D, MobileRobot2Target, MobileRobotLine])
@pytest.mark.parametrize("action_type", ["discrete", "continuous"])
def test_scripted_policy_stays_at_the_goal(cls, action_type):
    env = cls(obs_type="state", action_type=action_type)
    rng = np.random.default_rng(0)
    for seed in range(10):
        env.reset(seed=seed)
        given = [env.step(env.scripted_action(rng, 0.1))[1] for _ in range(120)]
        assert sum(given[90:]) > 22


def test_one_dimension_has_two_actions():
    env = at(MobileRobot1D, [2.0, 3.0])
    assert env.action_space.n == 2
    np.testing.assert_allclose(env.step(0)[-1]["state"], [2.1, 3.0], atol=1e-12)
    np.testing.assert_allclose(env.step(1)[-1]["state"], [2.0, 3.0], atol=1e-12)
    env = at(MobileRobot1D, [2.0, 3.0], action_type="continuous")
    np.testing.assert_allclose(env.step([-0.5])[-1]["state"], [1.95, 3.0], atol=1e-12)


@pytest.mark.parametrize(
    ("start", "action", "end", "reward"),
    [(2.45, 0, 2.55, 0.0), (2.55, 0, 2.65, 1.0), (0.3, 1, 0.3, -1.0), (3.7, 0, 3.7, -1.0)],
)
def test_one_dimension_rewards(start, action, end, reward):
    _, given, terminated, _, info = at(MobileRobot1D, [start, 3.0]).step(action)
    assert (given, terminated, info["is_success"]) == (reward, False, reward == 1)
    assert info["state"][0] == pytest.approx(end)
    shaped = at(MobileRobot1D, [start, 3.0], reward_type="shaped")
    assert shaped.step(action)[1] == pytest.approx(-abs(3.0 - end))


def test_one_dimension_fixed_target_and_picture():
    env = MobileRobot1D(random_target=False)
    assert {env.reset(seed=seed)[1]["state"][1] for seed in range(5)} == {3.6}
    target = pixels(env.observe([1.0, 3.0]), 0, 1, 90).mean(0)
    assert target == pytest.approx([31.5, 31.5 + 15], abs=1)


@pytest.mark.parametrize(("distance", "reward"), [(0.25, 0.0), (0.19, 1.0), (0.01, 1.0), (-0.15, 0.0)])
def test_the_line_is_reached_within_ten_centimetres(distance, reward):
    for y in (0.5, 3.0):
        _, given, terminated, _, info = at(MobileRobotLine, [2.0 - distance, y, 2.0]).step(0)
        assert (given, terminated, info["is_success"]) == (reward, False, reward == 1)


def test_line_walls_and_shaped_reward():
    assert rewards(at(MobileRobotLine, [2.0, 3.7, 2.0]), [2]) == [-1.0]
    assert rewards(at(MobileRobotLine, [1.0, 3.7, 2.5], reward_type="shaped"), [2, 0]) == pytest.approx([-1.5, -1.4])


def test_the_line_crosses_the_picture():
    env = MobileRobotLine(random_target=False)
    assert env.reset(seed=1)[1]["state"][2] == 3.0
    red = pixels(env.observe([0.5, 2.0, 3.0]), 0, 1, 90)
    assert np.ptp(red[:, 0]) >= 58
    assert red[:, 1].mean() == pytest.approx(31.5 + 15, abs=1)
    assert np.ptp(red[:, 1]) <= 3


RED, GREEN = (1.0, 2.0), (3.0, 2.0)


def test_targets_count_in_order():
    env = at(MobileRobot2Target, [2.5, 2.0, *RED, *GREEN, 0])
    assert rewards(env, [0, 0, 1, 1]) == [0.0] * 4
    env = at(MobileRobot2Target, [1.5, 2.0, *RED, *GREEN, 0])
    _, reward, _, _, info = env.step(1)
    assert (reward, info["state"][-1], info["is_success"]) == (1.0, 1.0, False)
    _, reward, _, _, info = env.step(1)
    assert (reward, info["state"][-1], info["is_success"]) == (0.0, 1.0, False)
    env.set_factors([2.5, 2.0, *RED, *GREEN, 1])
    _, reward, terminated, _, info = env.step(0)
    assert (reward, terminated, info["state"][-1], info["is_success"]) == (1.0, False, 1.0, True)
    assert rewards(env, [0, 0]) == [1.0, 1.0]
    assert env.step(0)[-1]["is_success"]
    env.reset(seed=1)
    assert env.get_factors()[-1] == 0


def test_two_targets_walls_and_shaped_reward():
    assert rewards(at(MobileRobot2Target, [2.0, 3.7, *RED, *GREEN, 0]), [2]) == [-1.0]
    env = at(MobileRobot2Target, [1.5, 2.0, *RED, *GREEN, 0], reward_type="shaped")
    assert rewards(env, [1, 0]) == pytest.approx([-0.4, -1.5])


def test_targets_stand_apart():
    env = MobileRobot2Target(obs_type="state")
    rng = np.random.default_rng(0)
    states = [env.reset(seed=seed)[1]["state"] for seed in range(100)] + [env.sample_factors(rng) for _ in range(100)]
    assert min(np.hypot(*(state[2:4] - state[4:6])) for state in states) >= 0.8
    fixed = MobileRobot2Target(obs_type="state", random_target=False)
    assert {tuple(fixed.reset(seed=seed)[1]["state"][2:]) for seed in range(5)} == {(3.6, 3.0, 0.4, 3.0, 0.0)}


@pytest.mark.parametrize("cls", [MobileRobot, MobileRobot1D, MobileRobot2Target, MobileRobotLine, OmniRobot])
def test_a_fixed_target_is_the_range_of_its_factors(cls):
    env = cls(obs_type="state", random_target=False)
    start = env.reset(seed=0)[1]["state"]
    sampled = env.sample_factors(np.random.default_rng(0))
    narrow = [factor.low == factor.high for factor in env.factors]
    assert narrow == [factor.scope == "episode" for factor in env.factors]
    np.testing.assert_array_equal(start[narrow], [factor.low for factor in env.factors if factor.scope == "episode"])
    np.testing.assert_array_equal(sampled[narrow], start[narrow])
    assert env.possible(sampled)
    sampled[narrow] -= 0.1
    assert not env.possible(sampled)


def test_a_picture_shows_the_phase_only_if_the_red_target_vanishes():
    stays, vanishes = MobileRobot2Target(), MobileRobot2Target(reached="vanishes")
    states = [[2.0, 3.0, *RED, *GREEN, phase] for phase in (0, 1)]
    np.testing.assert_array_equal(*(stays.observe(state) for state in states))
    before, after = (vanishes.observe(state) for state in states)
    assert len(pixels(before, 0, 1, 90)) >= 8
    assert len(pixels(after, 0, 1, 90)) == 0
    assert len(pixels(after, 1, 0, 60)) >= 8
    np.testing.assert_array_equal(after, vanishes.render_plain())
    assert [env.factors[-1].observable for env in (stays, vanishes)] == ["never", "frame"]
    with pytest.raises(ConfigError, match=r"reached='goes'.*'stays', 'vanishes'"):
        MobileRobot2Target(reached="goes")
