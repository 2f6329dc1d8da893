"""Clutter: objects, the ball, and that neither matters."""

import math

import numpy as np
import pytest

from srl_bench.environments.kuka import HOME
from srl_bench.environments.kuka_button import KukaButton
from srl_bench.environments.kuka_clutter import BALL_HIGH, BALL_LOW, HEIGHT, RADIUS, KukaClutter
from srl_bench.errors import ConfigError

BUTTON = (0.6, 0.25)


def table(*places, **options):
    """An environment without objects but at these places, the last the ball's; the tip is near (0.61, 0, 0.27)."""
    env = KukaClutter(**{"obs_type": "state", "action_type": "continuous", "objects": len(places) - 1, **options})
    env.reset(seed=0)
    env.set_factors([0, 0, 0, *BUTTON, *HOME, *np.ravel(places), 0, 0])
    env._push = (10**6, 0.0, 0.0)
    return env


def idle(env, steps=1):
    """Do nothing; return where the ball is."""
    for _ in range(steps):
        state = env.step(np.zeros(3))[-1]["state"]
    return state[-4:-2]


def test_a_ball_that_is_pushed_rolls_and_slows_down():
    env = table((0.4, -0.3))
    np.testing.assert_allclose(idle(env, 5), (0.4, -0.3), atol=1e-6)
    env._push = (env._elapsed, 0.3, 0.4)
    way = np.array([idle(env) for _ in range(60)]) - (0.4, -0.3)
    # speed falls as exp(-t damping / mass)
    rate = 0.1 / 0.07
    expected = 0.5 / rate * (1 - np.exp(-rate * 0.1 * np.arange(1, 61)))
    np.testing.assert_allclose(np.linalg.norm(way, axis=1), expected, rtol=0.1)
    np.testing.assert_allclose(way[-1] / np.linalg.norm(way[-1]), (0.6, 0.8), atol=0.02)


def test_every_episode_pushes_the_ball_once():
    env = KukaClutter(obs_type="state", action_type="continuous", objects=0)
    starts = []
    for seed in range(20):
        ball = env.reset(seed=seed)[1]["state"][-4:-2]
        moves = []
        for _ in range(20):
            moves.append(np.linalg.norm(idle(env) - ball))
            ball = env.get_factors()[-4:-2]
        first = int(np.argmax(np.array(moves) > 0.01))
        assert max(moves[:first], default=0) < 1e-6
        assert 0.03 < moves[first] < 0.1
        starts.append(first)
    assert min(starts) >= 3
    assert max(starts) <= 15
    assert len(set(starts)) > 5


def test_a_ball_that_is_put_into_motion_rolls_on_as_it_did():
    env = table((0.4, -0.3))
    env._push = (env._elapsed, 0.3, 0.4)
    idle(env, 3)
    state = env.get_factors()
    way = [idle(env) for _ in range(10)]
    env.set_factors(state)
    np.testing.assert_allclose([idle(env) for _ in range(10)], way, atol=1e-6)
    # half a step before and after, at ten steps per second
    speeds = np.diff(way, axis=0) / 0.1
    env.set_factors(state)
    idle(env, 5)
    np.testing.assert_allclose(env.get_factors()[-2:], (speeds[3] + speeds[4]) / 2, rtol=0.05)


def test_the_ball_stops_at_objects():
    env = table((0.6, -0.2), (0.4, -0.2))
    env._push = (env._elapsed, 1.0, 0.0)
    places = np.array([idle(env) for _ in range(20)])
    assert places[:, 0].max() == pytest.approx(0.6 - 2 * RADIUS, abs=0.02)
    np.testing.assert_allclose(places[:, 1], -0.2, atol=0.005)
    np.testing.assert_array_equal(env.get_factors()[12:14], (0.6, -0.2))


def test_the_ball_turns_back_at_the_edges():
    env = table((0.8, -0.4))
    env._push = (env._elapsed, 1.0, -2.0)
    places = np.array([idle(env) for _ in range(40)])
    assert (places >= BALL_LOW).all()
    assert (places <= BALL_HIGH).all()
    assert places[:, 0].max() == BALL_HIGH[0]
    assert places[:, 1].min() == BALL_LOW[1]
    assert places[-1, 0] < BALL_HIGH[0] - 0.1
    assert places[-1, 1] > BALL_LOW[1] + 0.1


def test_objects_are_solid():
    env = table((0.61, 0.0), (0.4, -0.4))
    for _ in range(15):
        _, reward, terminated, _, info = env.step([0.0, 0.0, -0.4])
    assert (reward, terminated) == (0.0, False)
    assert info["state"][2] == pytest.approx(HEIGHT, abs=0.015)


def test_clutter_changes_neither_reward_nor_arm():
    env, plain = table((0.5, -0.4), (0.7, -0.4)), KukaButton(obs_type="state", action_type="continuous")
    plain.reset(seed=0)
    plain.set_factors([0, 0, 0, *BUTTON, *HOME])
    terminated = False
    while not terminated:
        action = plain._greedy_action()
        (_, *expected, _), (_, *given, info) = plain.step(action), env.step(action)
        np.testing.assert_allclose(info["state"][:12], plain.get_factors(), atol=1e-3)
        assert given == expected
        terminated = given[1]
    assert info["is_success"]


@pytest.mark.parametrize("objects", [0, 4, 8])
def test_places_vary_and_keep_distance(objects):
    env = KukaClutter(obs_type="state", objects=objects)
    rng = np.random.default_rng(0)
    states = [env.reset(seed=seed)[1]["state"] for seed in range(40)] + [env.sample_factors(rng) for _ in range(10)]
    places = np.array(states)[:, 12:-2].reshape(50, objects + 1, 2)
    assert (np.ptp(places, axis=0) > [0.25, 0.5]).all()
    gaps = np.linalg.norm(places[:, :, None] - places[:, None], axis=-1) + np.eye(objects + 1)
    from_button = np.linalg.norm(places - np.array(states)[:, None, 3:5], axis=-1)
    assert gaps[:40].min() >= 0.1
    assert from_button[:40].min() >= 0.15
    # a ball that rolls comes nearer than where it starts
    assert gaps[40:, :-1, :-1].min(initial=1) >= 0.1
    assert from_button[40:, :-1].min(initial=1) >= 0.15
    assert gaps[40:].min() >= 0.07
    assert from_button[40:, -1].min() >= 0.075


def test_clutter_is_declared_as_distraction():
    env = KukaClutter(objects=2)
    declared = {factor.name: (factor.scope, factor.role) for factor in env.factors[12:]}
    assert declared == {
        **{f"object_{i}_{axis}": ("episode", "distractor") for i in (1, 2) for axis in "xy"},
        "ball_x": ("step", "distractor"),
        "ball_y": ("step", "distractor"),
        "ball_velocity_x": ("step", "distractor"),
        "ball_velocity_y": ("step", "distractor"),
    }
    assert [factor.name for factor in env.factors[:12]] == [factor.name for factor in KukaButton.factors]


@pytest.mark.parametrize("index", range(9))
def test_each_object_is_seen_where_it_is(index):
    env = table(*[(0.42 + 0.05 * i, -0.42) for i in range(8)], (0.3, -0.3), obs_type="pixels", views=("top",))
    state = env.get_factors()
    image = env.observe(state).astype(int)
    state[12 + 2 * index : 14 + 2 * index] = (0.75, 0.35)
    changed = (env.observe(state) != image).any(-1)
    # the camera looks straight down on x = 0.45, x up and y to the left
    scale = 32 / math.tan(math.radians(17))
    row, column = 31.5 - scale * 0.3 / (2.2 - HEIGHT / 2), 31.5 - scale * 0.35 / (2.2 - HEIGHT / 2)
    rows, columns = np.nonzero(changed[:, :32])
    assert (rows.mean(), columns.mean()) == pytest.approx((row, column), abs=1.5)
    assert len(rows) >= 6


@pytest.mark.parametrize("options", [{"objects": 9}, {"objects": -1}, {"objects": True}, {"button": "moving"}])
def test_bad_options_are_errors(options):
    (name,) = options
    with pytest.raises(ConfigError, match=f"{name}="):
        KukaClutter(**options)
