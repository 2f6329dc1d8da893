"""Grasping: what can be grasped, classes, lifting, rewards, signs."""

import math

import numpy as np
import pytest

from srl_bench.environments.kuka import HOME
from srl_bench.environments.kuka_grasp import CLASSES, OVERSHOOT, PLACE_HIGH, PLACE_LOW, SIZE, TOP, KukaGrasp
from srl_bench.errors import ConfigError

BOX, CYLINDER, CONE, BALL = range(4)
PLACES = ((0.60, 0.0), (0.50, 0.15))


def table(classes=(BOX, BALL), target=BOX, places=PLACES, held=0, **options):
    """An environment with objects in these places and the tip near (0.61, 0, 0.27)."""
    env = KukaGrasp(**{"obs_type": "state", "action_type": "continuous", "objects": len(classes), **options})
    env.reset(seed=0)
    env.set_factors([0, 0, 0, *HOME, *np.ravel(places), *classes, held, target])
    return env


def go(env, *place):
    """Move the tip to a place with the gripper off."""
    for _ in range(10):
        env.step([*np.clip((np.array(place) - env._tip) / 0.05, -1, 1), -1.0])


@pytest.mark.parametrize(
    ("dx", "dz", "held"),
    [(0.0, 0.01, 1), (0.036, 0.01, 1), (0.046, 0.01, 0), (0.0, 0.026, 1), (0.0, 0.038, 0)],
)
def test_a_grasp_holds_what_is_near_enough(dx, dz, held):
    env = table()
    go(env, 0.60 + dx, 0.0, TOP + dz)
    _, reward, terminated, _, info = env.step([0, 0, 0, 1])
    assert info["state"][-2] == held
    assert (reward, terminated) == (0.0, False)


def test_nothing_is_held_without_the_action():
    env = table()
    go(env, 0.60, 0.0, TOP + 0.01)
    assert env.step([0, 0, 0, 0])[-1]["state"][-2] == 0


def test_objects_are_solid_until_they_are_held():
    env = table()
    go(env, 0.60, 0.0, 0.06)
    assert env._tip[2] == pytest.approx(TOP, abs=0.006)


def test_what_is_held_moves_with_the_tip():
    env = table(places=(PLACES[0], (0.50, -0.15)))
    go(env, 0.61, 0.01, TOP + 0.01)
    env.step([0, 0, 0, 1])
    tip, place = np.array(env._tip), np.array(env._places[0])
    for _ in range(4):
        state = env.step([-0.5, 0.8, 0.1, -1])[-1]["state"]
    np.testing.assert_allclose(state[10:12] - place, state[:2] - tip[:2], atol=1e-9)
    np.testing.assert_allclose(state[12:14], (0.50, -0.15))
    np.testing.assert_allclose(state[10:12], [0.5, 0.16], atol=0.02)


@pytest.mark.parametrize("action_type", ["discrete", "continuous"])
def test_what_is_held_is_carried_only_where_objects_start(action_type):
    env = table(action_type=action_type)
    low, high = np.array(PLACE_LOW) - OVERSHOOT, np.array(PLACE_HIGH) + OVERSHOOT
    for axis, sign in ((0, 1), (0, -1), (1, 1), (1, -1)):
        env.set_factors([0, 0, 0, *HOME, 0.60, 0.0, 0.50, 0.15, BOX, BALL, 1, BOX])
        for _ in range(12):
            env.step(np.eye(4)[axis] * sign if action_type == "continuous" else 2 * axis + (sign < 0))
            assert (low <= env._places[0]).all()
            assert (env._places[0] <= high).all()
        end = (PLACE_LOW, PLACE_HIGH)[sign > 0][axis]
        assert env._places[0][axis] == pytest.approx(end, abs=OVERSHOOT)


def test_what_is_held_does_not_go_through_others():
    env = table(places=((0.55, 0.0), (0.55, 0.15)))
    go(env, 0.55, 0.0, TOP + 0.01)
    env.step([0, 0, 0, 1])
    for _ in range(12):
        state = env.step([0, 0.4, 0, -1])[-1]["state"]
        assert math.dist(state[10:12], state[12:14]) >= SIZE
    assert state[11] == pytest.approx(0.15 - SIZE, abs=0.025)
    np.testing.assert_array_equal(state[12:14], (0.55, 0.15))
    env.set_factors([0, 0, 0, *HOME, 0.60, 0.0, 0.60, 0.12, BOX, BALL, 1, BALL])
    for _ in range(8):
        state = env.step([0, 0.5, 0.0, -1])[-1]["state"]
    # its bottom is above the top of the other
    assert state[11] > 0.12


def test_what_cannot_be_is_not_possible():
    env = table()
    fine = env.get_factors()
    assert env.possible(fine)
    together, far, without = fine.copy(), fine.copy(), fine.copy()
    together[12:14] = together[10:12] + 0.03
    far[-2] = 2
    without[-1] = CONE
    assert not env.possible(together)
    assert not env.possible(far)
    assert not env.possible(without)


def test_lifting_an_object_of_the_class_is_a_success():
    env = table()
    go(env, 0.60, 0.0, TOP + 0.01)
    ends = [env.step([0, 0, 0, 1])[1:3]]
    lifts = []
    while not ends[-1][1]:
        _, reward, terminated, _, info = env.step([0, 0, 0.5, -1])
        ends.append((reward, terminated))
        lifts.append(info["state"][2] - TOP)
    assert ends == [(0.0, False)] * (len(ends) - 1) + [(1.0, True)]
    assert info["is_success"]
    assert lifts[-2] < 0.1 <= lifts[-1]


@pytest.mark.parametrize(("reward_type", "penalty"), [("sparse", -1.0), ("shaped", -250.0)])
def test_grasping_another_class_ends_the_episode(reward_type, penalty):
    env = table(target=BALL, reward_type=reward_type)
    go(env, 0.60, 0.0, TOP + 0.01)
    _, reward, terminated, _, info = env.step([0, 0, 0, 1])
    assert (reward, terminated, info["is_success"]) == (penalty, True, False)


def test_shaped_reward_is_minus_distance_and_missing_lift():
    env = table(classes=(BOX, BOX), reward_type="shaped")
    _, reward, _, _, info = env.step([0.5, 0.5, 0, 0])
    tip = info["state"][:3]
    nearest = min(math.dist(tip, (*place, TOP)) for place in PLACES)
    assert reward == pytest.approx(-nearest - 0.1)
    go(env, 0.60, 0.0, TOP + 0.01)
    env.step([0, 0, 0, 1])
    _, reward, _, _, info = env.step([0, 0, 1, 0])
    assert reward == pytest.approx(info["state"][2] - TOP - 0.1)
    assert -0.06 < reward < -0.02


def test_the_discrete_action_6_grasps_and_leaves_the_arm():
    env = table(action_type="discrete")
    while env._tip[2] > TOP + 0.03:
        env.step(5)
    before = env._tip
    state = env.step(6)[-1]["state"]
    assert state[-2] == 1
    np.testing.assert_allclose(state[:3], before, atol=0.003)


@pytest.mark.parametrize("action_type", ["discrete", "continuous", "joints"])
@pytest.mark.parametrize("objects", [1, 6])
def test_the_expert_lifts_the_right_class(action_type, objects):
    env = KukaGrasp(obs_type="state", action_type=action_type, objects=objects)
    for seed in range(12):
        env.reset(seed=seed)
        rewards = []
        for _ in range(60):
            _, reward, terminated, _, _ = env.step(env._greedy_action())
            rewards.append(reward)
            if terminated:
                break
        assert rewards == [0.0] * (len(rewards) - 1) + [1.0]


@pytest.mark.parametrize("action_type", ["discrete", "continuous", "joints"])
def test_starts_vary(action_type):
    env = KukaGrasp(obs_type="state", action_type=action_type)
    states = np.array([env.reset(seed=seed)[1]["state"] for seed in range(100)])
    rng = np.random.default_rng(0)
    samples = np.array([env.sample_factors(rng) for _ in range(100)])
    assert (states[:, -2] == 0).all()
    assert set(samples[:, -2]) == {0, 1, 2, 3, 4}
    for block in (states, samples):
        places = block[:, 10:18].reshape(-1, 4, 2)
        lying = block[:, -2, None] != np.arange(1, 5)
        assert (places[lying] >= PLACE_LOW).all()
        assert (places[lying] <= PLACE_HIGH).all()
        assert (np.ptp(places, axis=0) > [0.17, 0.35]).all()
        gaps = np.linalg.norm(places[:, :, None] - places[:, None], axis=-1) + np.eye(4)
        assert gaps[lying[:, :, None] & lying[:, None]].min() >= 0.09
        held = places[~lying]
        assert (np.linalg.norm(block[block[:, -2] > 0, :2] - held, axis=1) <= 0.06).all()
        assert (block[:, 18:22] == block[:, -1:]).any(axis=1).all()
    classes, targets = states[:, 18:22], states[:, -1]
    assert (classes == targets[:, None]).any(axis=1).all()
    assert all(len(np.unique(column)) == 4 for column in (*classes.T, targets))


@pytest.mark.parametrize("name", CLASSES)
def test_a_target_may_be_given(name):
    env = KukaGrasp(obs_type="state", target=name)
    assert {env.reset(seed=seed)[1]["state"][-1] for seed in range(5)} == {CLASSES.index(name)}


def test_every_class_looks_different():
    env = table(obs_type="pixels")
    state = env.get_factors()
    for column in (14, -1):
        pictures = []
        for label in range(4):
            state[column] = label
            pictures.append(env.observe(state))
        changed = [(a != b).any(-1).sum() for a in pictures for b in pictures if a is not b]
        assert min(changed) >= 6


def test_a_held_object_hangs_below_the_tip():
    env = table(places=((0.60, 0.0), (0.5, -0.2)), held=1, obs_type="pixels", views=("side",), image_size=128)
    state = env.get_factors()
    image = env.observe(state)
    state[-2] = 0
    (rows, _) = np.nonzero((env.observe(state) != image).any(-1))
    # from the place below the tip at z = 0.23 to the one in the bin at z = 0.045
    assert np.ptp(rows) > 10
    np.testing.assert_array_equal(image, env.observe([*state[:-2], 1, state[-1]]))
    np.testing.assert_array_equal(image, env.render_plain())


@pytest.mark.parametrize(
    "options", [{"objects": 0}, {"objects": 7}, {"target": "pyramid"}, {"target": 1}, {"objects": 2.5}]
)
def test_bad_options_are_errors(options):
    (name,) = options
    with pytest.raises(ConfigError, match=f"{name}="):
        KukaGrasp(**options)
