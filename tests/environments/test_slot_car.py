"""The slot-car task: the track, distances driven, rewards, laps."""

import math
from itertools import pairwise

import numpy as np
import pytest

from srl_bench.environments.slot_car import CORNERS, OTHER_TRACK, TRACK, SlotCar


def placed(metres, other=0.0, **options):
    """An environment whose car is that far along its track."""
    env = SlotCar(**{"obs_type": "state", **options})
    env.reset(seed=0)
    env.set_factors([math.remainder(math.tau * metres / TRACK.length, math.tau), other, 0, 0])
    return env


def driven(before, after, track=TRACK):
    return math.remainder(after - before, math.tau) / math.tau * track.length


def place(track, position):
    """Where a car is, x and y, and its heading."""
    (x, y, _), (*_, sin, cos) = track.pose(position)
    return x, y, 2 * math.atan2(sin, cos)


STRAIGHT = CORNERS[0][1] + 0.1
BEFORE_CORNER = CORNERS[1][0] - 0.07
IN_CORNER = CORNERS[1][0] + 0.05


@pytest.mark.parametrize("track", [TRACK, OTHER_TRACK])
def test_tracks_are_smooth_closed_curves(track):
    x, y, heading = np.array([place(track, angle) for angle in np.linspace(-math.pi, math.pi, 2001)]).T
    step = track.length / 2000
    np.testing.assert_allclose(np.hypot(np.diff(x), np.diff(y)), step, rtol=2e-3)
    np.testing.assert_allclose(np.diff(x), step * np.cos(heading[:-1]), atol=0.02 * step)
    turns = np.array([math.remainder(turn, math.tau) for turn in np.diff(heading)])
    assert turns.sum() == pytest.approx(math.tau)
    assert turns.min() >= -1e-9
    assert (x[0], y[0]) == pytest.approx((x[-1], y[-1]))


def test_two_corners_are_much_sharper_than_the_rest():
    angles = np.linspace(0, math.tau, 4001)
    headings = [place(TRACK, angle)[2] for angle in angles]
    bends = [math.remainder(turn, math.tau) / (TRACK.length / 4000) for turn in np.diff(headings)]
    along = angles[:-1] / math.tau * TRACK.length
    sharp = np.any([(along > start) & (along < end - 0.001) for start, end in CORNERS], axis=0)
    np.testing.assert_allclose(np.array(bends)[sharp], 1 / 0.08, rtol=1e-6)
    near = np.any([(along > start - 0.001) & (along < end) for start, end in CORNERS], axis=0)
    assert np.array(bends)[~near].max() < 1 / 0.29


@pytest.mark.parametrize(
    ("action_type", "action", "velocity"),
    [
        ("discrete", 0, 0.004),
        ("discrete", 11, 0.048),
        ("discrete", 24, 0.1),
        ("continuous", [-1.0], 0.0),
        ("continuous", [0.5], 0.075),
        ("continuous", [7.0], 0.1),
    ],
)
def test_distances_and_rewards(action_type, action, velocity):
    env = placed(STRAIGHT, action_type=action_type)
    start = env.get_factors()
    distances = []
    for _ in range(400):
        env.set_factors(start)
        _, reward, terminated, _, info = env.step(action)
        assert reward == pytest.approx(velocity / 0.1)
        assert not terminated
        distances.append(driven(start[0], info["state"][0]))
    assert np.mean(distances) == pytest.approx(velocity, rel=0.02)
    assert np.std(distances) == pytest.approx(0.1 * velocity, rel=0.15)


@pytest.mark.parametrize("metres", [BEFORE_CORNER, IN_CORNER])
def test_too_fast_in_a_corner_costs_ten(metres):
    env = placed(metres)
    before = env.get_factors()[0]
    _, reward, terminated, _, info = env.step(24)
    assert (reward, terminated) == (-10.0, False)
    assert driven(before, info["state"][0]) > 0.05
    assert placed(metres).step(12)[1] == (-10.0 if metres == IN_CORNER else 0.52)
    assert placed(metres).step(11)[1] == pytest.approx(0.48)
    assert placed(metres, action_type="continuous").step([0.0])[1] == pytest.approx(0.5)


def test_shaped_reward():
    for metres, action, penalty in ((STRAIGHT, 24, 0), (IN_CORNER, 24, 10), (IN_CORNER, 12, 0.4), (IN_CORNER, 11, 0)):
        env = placed(metres, reward_type="shaped")
        before = env.get_factors()[0]
        _, reward, _, _, info = env.step(action)
        assert reward == pytest.approx(driven(before, info["state"][0]) / 0.1 - penalty)


def test_the_other_car_goes_its_own_way():
    slow, fast = placed(STRAIGHT), placed(STRAIGHT)
    others = [0.0]
    for _ in range(100):
        state = slow.step(0)[-1]["state"]
        assert fast.step(24)[-1]["state"][1] == state[1]
        others.append(state[1])
    steps = [driven(*pair, OTHER_TRACK) for pair in pairwise(others)]
    assert 0 <= min(steps) < 0.02
    assert 0.08 < max(steps) <= 0.1


def test_a_whole_lap_is_a_success():
    env = placed(STRAIGHT, action_type="continuous")
    way, thrown = 0.0, []
    for _ in range(70):
        before = env.get_factors()[0]
        _, reward, _, _, info = env.step([0.0])
        way += driven(before, info["state"][0])
        thrown.append(reward < 0)
        assert info["is_success"] == (way >= TRACK.length)
    assert info["is_success"]
    assert not any(thrown)


def test_being_thrown_off_starts_the_lap_anew():
    env = placed(STRAIGHT, max_steps=1000)
    for _ in range(200):
        _, _, _, _, info = env.step(24)
    assert not info["is_success"]


def test_episodes_have_100_steps():
    env = SlotCar(obs_type="state")
    env.reset(seed=0)
    endings = [env.step(24)[2:4] for _ in range(100)]
    assert endings == [(False, False)] * 99 + [(False, True)]


@pytest.mark.parametrize("action_type", ["discrete", "continuous"])
def test_scripted_policy_is_fast_and_never_thrown_off(action_type):
    env = SlotCar(obs_type="state", action_type=action_type)
    rng = np.random.default_rng(0)
    for seed in range(10):
        env.reset(seed=seed)
        rewards = [env.step(env.scripted_action(rng, 0.0))[1] for _ in range(100)]
        assert min(rewards) >= 0.48
        assert sum(rewards) > 75


@pytest.mark.parametrize("position", np.linspace(-3.0, 3.0, 7))
def test_cars_are_seen_where_they_are(position):
    env = SlotCar()
    image = env.observe([position, -position, 0, 0]).astype(int)
    x, y = env.get_factors()[2:]
    red, green = image[..., 0], image[..., 1]
    for mask, (cx, cy) in ((green - red > 60, (x, y)), (red - green > 90, place(OTHER_TRACK, -position)[:2])):
        assert mask.sum() >= 10
        assert np.argwhere(mask).mean(0) == pytest.approx([31.5 - cy * 43.7, 31.5 + cx * 43.7], abs=2)
