"""The arm task: tracking, contact, table, rewards, pictures."""

import numpy as np
import pybullet as p
import pytest
from scipy.optimize import brentq

from srl_bench.environments.kuka import HOME, JOINT_LIMITS
from srl_bench.environments.kuka_2button import Kuka2Button
from srl_bench.environments.kuka_button import KukaButton
from srl_bench.errors import ConfigError

CORNER = (0.69, 0.30)


def home(button=CORNER, **options):
    """An environment whose tip is near (0.61, 0, 0.27), pointing almost down."""
    env = KukaButton(**{"obs_type": "state", **options})
    env.reset(seed=0)
    env.set_factors([0, 0, 0, *button, *HOME])
    return env


def press(env, noise=0.0):
    """Rewards of one scripted episode, and whether it terminated."""
    rng = np.random.default_rng(0)
    rewards = []
    while True:
        _, reward, terminated, truncated, _ = env.step(env.scripted_action(rng, noise))
        rewards.append(reward)
        if terminated or truncated:
            return rewards, terminated


@pytest.mark.parametrize("action", range(6))
def test_the_tip_follows_discrete_actions(action):
    env = home()
    start = env.get_factors()[:3]
    for _ in range(2):
        state = env.step(action)[-1]["state"]
    expected = start.copy()
    expected[action // 2] += -0.1 if action % 2 else 0.1
    np.testing.assert_allclose(state[:3], np.clip(expected, None, [0.72, 1, 0.35]), atol=0.006)


def test_the_tip_follows_a_random_walk():
    env = home(action_type="continuous")
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(150):
        action = rng.uniform(-1, 1, 3)
        action[2] = abs(action[2]) if env.get_factors()[2] < 0.15 else action[2]
        tip = env.step(action)[-1]["state"][:3]
        errors.append(np.linalg.norm(tip - env._tip_goal))
    assert np.mean(errors) < 0.004
    assert np.max(errors) < 0.03


def test_joint_actions_turn_joints_and_stop_at_their_limits():
    env = home(action_type="joints")
    before = env.get_factors()[5:]
    action = np.array([1, -1, 0.5, 0, 0, -0.5, 1])
    after = env.step(action)[-1]["state"][5:]
    np.testing.assert_allclose(after - before, 0.1 * action, atol=0.01)
    for _ in range(45):
        state = env.step([0, 0, 0, 0, 0, 0, 1])[-1]["state"]
    assert state[-1] == pytest.approx(JOINT_LIMITS[-1], abs=0.01)


def test_what_would_leave_the_ranges_is_a_protective_stop():
    env = home()
    p.resetJointState(env._robot, 0, 0.6, 60.0, physicsClientId=env._world)
    env._sense()
    before = env.get_factors()
    np.testing.assert_allclose(env.step(2)[-1]["state"], before, rtol=0, atol=1e-12)
    assert env.step(3)[-1]["state"][1] < before[1] - 0.01


@pytest.mark.parametrize("action_type", ["discrete", "continuous", "joints"])
def test_five_contacts_with_the_button_end_the_episode(action_type):
    env = home(button=(0.5, -0.2), action_type=action_type)
    rewards, terminated = press(env)
    assert terminated
    assert set(rewards) == {0.0, 1.0}
    assert rewards.count(1.0) == 5
    assert rewards[0] == 0.0
    assert rewards[-1] == 1.0
    np.testing.assert_allclose(env.get_factors()[:3], [0.5, -0.2, 0.06], atol=0.06)


def test_contact_is_with_the_button_where_it_is_now():
    env = home(button=(0.6, 0.0))
    press(env)
    env.reset(seed=1)
    env.set_factors([0, 0, 0, *CORNER, *HOME])
    rewards = [env.step(5)[1] for _ in range(4)]
    assert rewards == [0.0] * 4


def test_the_table_ends_the_episode():
    env = home()
    for _ in range(20):
        _, reward, terminated, truncated, info = env.step(5)
        if terminated:
            break
        assert reward == 0.0
    assert (reward, terminated, truncated) == (-1.0, True, False)
    assert abs(info["state"][2]) < 0.01


def test_too_far_from_the_button():
    env = home(button=(0.41, -0.3), max_distance=0.47)
    _, reward, terminated, _, _ = env.step(2)
    assert (reward, terminated) == (0.0, False)
    _, reward, terminated, _, _ = env.step(2)
    assert (reward, terminated) == (-1.0, False)
    with pytest.raises(ConfigError, match="max_distance=0"):
        KukaButton(max_distance=0)


def test_shaped_reward_is_minus_the_distance():
    env = home(reward_type="shaped")
    _, reward, _, _, info = env.step(0)
    assert reward == pytest.approx(-np.linalg.norm(info["state"][:3] - [*CORNER, 0.06]))
    rewards, terminated = press(env)
    assert terminated
    assert max(rewards) <= 0


def test_touching_the_table_does_not_pay():
    env = home(reward_type="shaped")
    rewards, terminated = [], False
    while not terminated:
        _, reward, terminated, _, _ = env.step(5)
        rewards.append(reward)
    assert rewards[-1] == -250.0
    assert min(rewards[:-1]) > -1.0


def test_joints_decide_where_the_tip_is():
    env = home()
    tip = env.get_factors()[:3]
    env.set_factors([9, 9, 9, *CORNER, *HOME])
    np.testing.assert_allclose(env.get_factors(), [*tip, *CORNER, *HOME], atol=1e-9)
    rng = np.random.default_rng(0)
    for _ in range(20):
        angles = rng.uniform(-2, 2, 7)
        env.set_factors([0, 0, 0, 0.5, 0.1, *angles])
        link = p.getLinkState(env._robot, 7, computeForwardKinematics=True, physicsClientId=env._world)
        np.testing.assert_allclose(env.get_factors(), [*link[4], 0.5, 0.1, *angles], atol=1e-9)


def test_set_factors_leaves_the_arm_at_rest():
    env = home()
    for _ in range(3):
        env.step(0)
    env.set_factors([0, 0, 0, *CORNER, *HOME])
    first = env.step(4)[-1]["state"]
    np.testing.assert_array_equal(first, home().step(4)[-1]["state"])


def test_starts_and_buttons_vary():
    env = KukaButton(obs_type="state")
    states = np.array([env.reset(seed=seed)[1]["state"] for seed in range(100)])
    np.testing.assert_array_less([0.37, -0.37, 0.12], states[:, :3].min(0))
    assert (np.ptp(states[:, :3], axis=0) > [0.25, 0.6, 0.15]).all()
    assert (np.ptp(states[:, 3:5], axis=0) > [0.25, 0.55]).all()
    assert (np.ptp(states[:, [5, 6, 8, 10, 11]], axis=0) > 0.5).all()


def test_the_gripper_points_down_at_the_start():
    env = KukaButton(obs_type="state")
    for seed in range(30):
        env.reset(seed=seed)
        orientation = p.getLinkState(env._robot, 7, computeForwardKinematics=True, physicsClientId=env._world)[5]
        axis = np.array(p.getMatrixFromQuaternion(orientation)).reshape(3, 3)[:, 2]
        assert axis @ [0, 0, -1] > 0.999


def test_fixed_button():
    env = KukaButton(button="fixed", obs_type="state")
    states = np.array([env.reset(seed=seed)[1]["state"] for seed in range(5)])
    assert (states[:, 3:5] == (0.55, 0.0)).all()
    assert env.sample_factors(np.random.default_rng(0))[3:5].tolist() == [0.55, 0.0]
    assert [(factor.low, factor.high) for factor in env.factors[3:5]] == [(0.55, 0.55), (0.0, 0.0)]


def test_a_moving_button_goes_on_in_its_direction():
    env = KukaButton(button="moving", obs_type="state")
    env.reset(seed=0)
    for direction, way in ((1, 0.005), (0, -0.005)):
        env.set_factors([0, 0, 0, 0.5, 0.1, *HOME, direction])
        state = env.step(4)[-1]["state"]
        assert state[4] - 0.1 == pytest.approx(way)
        assert state[-1] == direction
    env.set_factors([0, 0, 0, 0.5, 0.299, *HOME, 1])
    state = env.step(4)[-1]["state"]
    assert state[[4, -1]].tolist() == pytest.approx([0.294, 0])


def test_an_arm_is_not_possible_inside_of_anything_or_out_of_its_ranges():
    env = KukaButton(obs_type="state")
    env.reset(seed=0)
    assert env.possible([0, 0, 0, *CORNER, *HOME])

    def bent(height):
        """Joints that lower the tip at the shoulder."""
        angles = list(HOME)

        def above(turn):
            angles[1] = turn
            env._set_joints(angles)
            return env._tip[2] - height

        brentq(above, 0.6, 1.2)
        return angles

    low, buried = bent(0.03), bent(-0.035)
    assert env.possible([0, 0, 0, *CORNER, *low])
    assert not env.possible([0, 0, 0, *CORNER, *buried])
    env.set_factors([0, 0, 0, *CORNER, *low])
    assert not env.possible([0, 0, 0, *env._tip[:2], *low])
    assert not env.possible([0, 0, 0, 0.8, 0.0, *HOME])
    assert not env.possible([0, 0, 0, *CORNER, 0.9, *HOME[1:]])


def test_a_random_policy_covers_the_workspace():
    env = KukaButton(obs_type="state")
    rng = np.random.default_rng(0)
    extents = []
    for seed in range(20):
        tips = [env.reset(seed=seed)[1]["state"][:3]]
        for _ in range(100):
            _, _, terminated, _, info = env.step(env.scripted_action(rng, 1.0))
            tips.append(info["state"][:3])
            if terminated:
                break
        extents.append(np.ptp(tips, axis=0))
    assert (np.mean(extents, axis=0) > [0.15, 0.2, 0.18]).all()


def project(env, point):
    """Row and column of a point in metres, by the camera's matrices."""
    view, projection = (np.array(matrix).reshape(4, 4).T for matrix in env.camera("front").matrices)
    x, y, _, w = projection @ view @ [*point, 1.0]
    return (1 - y / w) / 2 * env.image_size, (1 + x / w) / 2 * env.image_size


def test_gripper_and_button_appear_where_the_camera_projects_them():
    env = KukaButton(image_size=128)
    for seed in range(20):
        image = env.reset(seed=seed)[0].astype(int)
        tip = env.get_factors()[:3]
        green = np.argwhere(image[..., 1] - image[..., 0] > 35)
        green = green[image[tuple(green.T)][:, 1] > image[tuple(green.T)][:, 2] + 20]
        above_the_tip = project(env, (tip[0], tip[1], tip[2] + 0.08))
        assert green.mean(0) == pytest.approx(above_the_tip, abs=8)
        red = np.argwhere(image[..., 0] - image[..., 1] > 100)
        red = red[image[tuple(red.T)][:, 1] < 40]
        if len(red) > 60:
            assert red.mean(0) == pytest.approx(project(env, [*env.get_factors()[3:5], 0.03]), abs=4)


@pytest.mark.parametrize("cls", [KukaButton, Kuka2Button])
@pytest.mark.parametrize("action_type", ["discrete", "continuous", "joints"])
def test_the_expert_goes_on_from_a_low_place_beside_the_button(cls, action_type):
    env = cls(obs_type="state", action_type=action_type)
    for seed in range(5):
        env.reset(seed=seed)
        state = env.get_factors()
        x, y = env._button
        env._set_joints(env._inverse_kinematics([x, y + (0.1 if y < 0 else -0.1), 0.035]))
        joints = [factor.name.startswith("joint") for factor in env.factors]
        state[joints] = env._joints
        env.set_factors(state)
        for _ in range(120):
            *_, terminated, truncated, info = env.step(env._greedy_action())
            if terminated or truncated:
                break
        assert info["is_success"]
