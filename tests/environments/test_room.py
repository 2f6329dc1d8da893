"""The room: moves of the camera, obstacles, the ball, pictures."""

import math

import numpy as np
import pytest

from srl_bench.environments.room import Room
from srl_bench.errors import ConfigError

OBJECT = (2.9, 1.0)
QUARTER = math.pi / 2


def placed(x, y, yaw, ball=(1.0, 3.0), **options):
    """A room with one box."""
    env = Room(**{"obs_type": "state", "objects": 1, **options})
    env.reset(seed=0)
    env.set_factors([x, y, yaw, *ball, *OBJECT, 0])
    return env


def ball_pixels(image):
    red, green, _ = image.astype(int).transpose(2, 0, 1)
    return np.argwhere(red - green > 90)


@pytest.mark.parametrize("yaw", [0.0, 0.7, -2.0])
def test_actions_move_the_camera_in_its_own_frame(yaw):
    env = placed(2.0, 2.0, yaw)
    ahead, left = np.array([math.cos(yaw), math.sin(yaw)]), np.array([-math.sin(yaw), math.cos(yaw)])
    for action, move, turn in (
        (0, ahead, 0),
        (1, -ahead, 0),
        (2, 0 * ahead, 15),
        (3, 0 * ahead, -15),
        (4, left, 0),
        (5, -left, 0),
    ):
        env.set_factors([2.0, 2.0, yaw, 1.0, 3.0, *OBJECT, 0])
        _, reward, terminated, _, info = env.step(action)
        np.testing.assert_allclose(info["state"][:2], 2 + 0.1 * move, atol=1e-12)
        assert info["state"][2] == pytest.approx(yaw + math.radians(turn))
        assert (reward, terminated) == (0.0, False)
    env = placed(2.0, 2.0, yaw, action_type="continuous")
    state = env.step([0.5, -1.0, 0.2])[-1]["state"]
    np.testing.assert_allclose(state[:2], 2 + 0.05 * ahead - 0.1 * left, atol=1e-12)
    assert state[2] == pytest.approx(yaw + math.radians(3))


def test_yaw_stays_an_angle():
    env = placed(2.0, 2.0, 3.0)
    assert env.step(2)[-1]["state"][2] == pytest.approx(3.0 + math.radians(15) - math.tau)


@pytest.mark.parametrize(
    ("x", "y", "yaw"),
    [(3.75, 2.0, 0.0), (0.25, 2.0, math.pi), (2.0, 3.75, QUARTER), (2.0, 0.25, -QUARTER), (2.55, 1.0, 0.0)],
    ids=["east", "west", "north", "south", "object"],
)
def test_walls_and_objects_stop_the_camera(x, y, yaw):
    _, reward, terminated, _, info = placed(x, y, yaw).step(0)
    np.testing.assert_allclose(info["state"][:3], [x, y, yaw])
    assert (reward, terminated) == (0.0, False)
    assert placed(x, y, yaw).step(2)[-1]["state"][2] != yaw
    assert np.ptp(placed(x, y, yaw).step(1)[-1]["state"][:2] - (x, y)) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("distance", "angle", "solved"),
    [(0.69, 0, True), (0.71, 0, False), (0.6, 9, True), (0.6, -9, True), (0.6, 14, False), (0.6, 180, False)],
)
def test_the_ball_in_front_ends_the_episode(distance, angle, solved):
    """The camera is that far from the ball, looks that far past it, and moves 0.1 m towards it."""
    env = placed(2.0, 2.0, math.radians(angle), ball=(2.0 + distance, 2.0), action_type="continuous")
    ahead, left = math.cos(math.radians(angle)), -math.sin(math.radians(angle))
    _, reward, terminated, _, info = env.step([ahead, left, 0.0])
    assert info["state"][:2] == pytest.approx([2.1, 2.0])
    assert (reward, terminated, info["is_success"]) == (float(solved), solved, solved)


def test_shaped_reward_is_minus_distance_and_angle():
    env = placed(1.0, 2.0, 0.0, ball=(1.0, 3.0), reward_type="shaped")
    assert env.step(1)[1] == pytest.approx(-math.hypot(0.1, 1.0) - math.atan2(1.0, 0.1))
    env.set_factors([2.0, 2.0, 0.0, 2.65, 2.0, *OBJECT, 0])
    _, reward, terminated, _, _ = env.step(0)
    assert (reward, terminated) == (pytest.approx(-0.55), True)


@pytest.mark.parametrize("objects", [1, 3, 6])
def test_scenes_hold_the_objects_asked_for(objects):
    env = Room(objects=objects, obs_type="state")
    assert len(env.factors) == 5 + 3 * objects
    rng = np.random.default_rng(0)
    shapes = set()
    for seed in range(50):
        for state in (env.reset(seed=seed)[1]["state"], env.sample_factors(rng)):
            places = np.concatenate([state[3:5], state[5:].reshape(-1, 3)[:, :2].ravel()]).reshape(-1, 2)
            gaps = np.hypot(*(places[:, None] - places).T)
            assert gaps[~np.eye(1 + objects, dtype=bool)].min() >= 0.75
            assert np.hypot(*(places - state[:2]).T).min() >= 0.3
            shapes |= set(state[7::3])
    assert shapes == {0.0, 1.0, 2.0}


def test_overlapping_things_are_not_possible():
    env = placed(1.0, 1.0, 0.0)
    assert env.possible([1.0, 1.0, 0.0, 1.0, 3.0, *OBJECT, 0])
    assert not env.possible([1.0, 1.0, 0.0, 2.9, 1.3, *OBJECT, 0])
    assert not env.possible([2.9, 1.2, 0.0, 1.0, 3.0, *OBJECT, 0])
    assert not env.possible([0.1, 1.0, 0.0, 1.0, 3.0, *OBJECT, 0])


@pytest.mark.parametrize("objects", [0, 7, 2.0])
def test_bad_numbers_of_objects(objects):
    with pytest.raises(ConfigError, match=f"objects={objects}"):
        Room(objects=objects)


def test_unknown_shapes_are_errors():
    with pytest.raises(ConfigError, match="object_1_shape"):
        placed(2.0, 2.0, 0.0).set_factors([2.0, 2.0, 0.0, 1.0, 3.0, *OBJECT, 3])


@pytest.mark.parametrize("action_type", ["discrete", "continuous"])
def test_scripted_policy_finds_its_way_between_six_objects(action_type):
    env = Room(objects=6, obs_type="state", action_type=action_type)
    rng = np.random.default_rng(0)
    solved = []
    for seed in range(50):
        env.reset(seed=seed)
        endings = [False]
        while not any(endings):
            *_, terminated, truncated, info = env.step(env.scripted_action(rng, 0.0))
            endings = [terminated, truncated]
        solved.append(info["is_success"])
    assert np.mean(solved) >= 0.95


@pytest.mark.parametrize("yaw", [0.0, 1.0, 2.5, -2.0])
def test_the_ball_is_in_the_picture_where_the_camera_looks(yaw):
    env = Room(objects=1)
    x, y = 2 - 0.8 * math.cos(yaw), 2 - 0.8 * math.sin(yaw)
    middle = ball_pixels(env.observe([x, y, yaw, 2.0, 2.0, *OBJECT, 1]))
    assert len(middle) > 50
    assert middle[:, 1].mean() == pytest.approx(31.5, abs=1)
    on_the_left = ball_pixels(env.observe([x, y, yaw - 0.4, 2.0, 2.0, *OBJECT, 1]))
    assert on_the_left[:, 1].mean() < 20
    assert len(ball_pixels(env.observe([x, y, yaw + math.pi, 2.0, 2.0, *OBJECT, 1]))) == 0


def test_shapes_look_different_and_the_robot_is_seen_from_above_only():
    env = Room(objects=1, views=("camera", "top"))
    pictures = [env.observe([1.5, 1.0, 0.0, 1.0, 3.0, *OBJECT, shape]) for shape in range(3)]
    for view in env.views:
        a, b, c = (picture[view].astype(int) for picture in pictures)
        assert min((a != b).any(-1).sum(), (b != c).any(-1).sum(), (a != c).any(-1).sum()) >= 4
    away = env.observe([1.5, 1.0, math.pi, 1.0, 3.0, *OBJECT, 0])
    blue = [(image[..., 2].astype(int) - image[..., 0] > 60).sum() for image in (away["camera"], away["top"])]
    assert blue[0] == 0
    assert blue[1] >= 8
