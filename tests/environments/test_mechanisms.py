"""Pendulum and cart-pole: dynamics, torques, rewards, endings, pictures."""

import math

import numpy as np
import pytest

from srl_bench.environments.cart_pole import GAINS, CartPolePixels
from srl_bench.environments.pendulum import PendulumPixels
from srl_bench.errors import ConfigError

G = 9.81


def at(cls, *factors, **options):
    env = cls(**{"obs_type": "state", **options})
    env.reset(seed=0)
    env.set_factors(factors)
    return env


def integrate(accelerations, positions, velocities, seconds, h=1e-5):
    """Positions and velocities after a while of constant push, by small steps."""
    q, v = np.array(positions, float), np.array(velocities, float)
    for _ in range(round(seconds / h)):
        v += h * accelerations(q, v)
        q += h * v
    return q, v


@pytest.mark.parametrize(("action", "torque"), [(0, -2.0), (1, 0.0), (2, 2.0)])
def test_the_pendulum_moves_as_a_rod(action, torque):
    env = at(PendulumPixels, 0.5, -1.0)
    for _ in range(4):
        state = env.step(action)[-1]["state"]
    angle, speed = integrate(lambda q, v: 1.5 * G * np.sin(q) + 3 * torque, [0.5], [-1.0], 0.2)
    assert state == pytest.approx([angle[0], speed[0]], abs=0.03)


def test_continuous_torques_are_scaled_and_clipped():
    states = []
    for action in (0.5, 1.0, 3.0):
        env = at(PendulumPixels, 0.0, 0.0, action_type="continuous")
        states.append(env.step(np.array([action]))[-1]["state"])
    half, full, clipped = states
    assert half == pytest.approx(full / 2, rel=0.01)
    np.testing.assert_array_equal(full, clipped)
    assert full[1] == pytest.approx(3 * 2.0 * 0.05, rel=0.03)


def test_the_motor_cannot_lift_the_pendulum():
    env = at(PendulumPixels, -math.pi, 0.0)
    angles = [env.step(2)[-1]["state"][0] for _ in range(200)]
    assert np.abs(angles).min() > math.pi / 2


def test_the_pendulum_is_never_faster_than_declared():
    env = at(PendulumPixels, 0.1, 8.0)
    speeds = [env.step(2)[-1]["state"][1] for _ in range(100)]
    assert max(speeds) == pytest.approx(8.0)


def test_the_angle_is_that_of_the_shorter_way_round():
    env = at(PendulumPixels, 3.1, 2.0)
    assert env.step(1)[-1]["state"][0] == pytest.approx(3.1 + 0.1 - 2 * math.pi, abs=0.02)


def test_pendulum_rewards():
    env = at(PendulumPixels, 0.15, 0.0)
    assert env.step(0)[1] == 1.0
    env.set_factors([0.15, 1.2])
    assert env.step(1)[1] == 0.0
    env.set_factors([0.5, 0.0])
    assert env.step(1)[1] == 0.0
    env = at(PendulumPixels, 1.0, -0.5, reward_type="shaped")
    _, reward, terminated, _, info = env.step(2)
    angle, speed = info["state"]
    assert reward == pytest.approx(-(angle**2 + 0.1 * speed**2 + 0.001 * 2.0**2))
    assert not terminated


def test_twenty_upright_steps_in_a_row_are_a_success():
    env = at(PendulumPixels, 0.0, 0.0)
    env._upright = 0
    infos = [env.step(env._greedy_action())[-1]["is_success"] for _ in range(20)]
    assert infos == [False] * 19 + [True]
    env.set_factors([3.0, 0.0])
    assert env.step(1)[-1]["is_success"]


def test_pendulum_episodes_have_200_steps_and_random_starts():
    env = PendulumPixels(obs_type="state")
    starts = np.array([env.reset(seed=seed)[1]["state"] for seed in range(100)])
    assert (np.ptp(starts, axis=0) > [6.0, 1.9]).all()
    assert (np.abs(starts) <= [math.pi, 1.0]).all()
    endings = [env.step(0)[2:4] for _ in range(200)]
    assert endings == [(False, False)] * 199 + [(False, True)]


@pytest.mark.parametrize(
    ("cls", "options"),
    [(PendulumPixels, {}), (CartPolePixels, {"task": "balance"}), (CartPolePixels, {"task": "swing_up"})],
)
@pytest.mark.parametrize("action_type", ["discrete", "continuous"])
def test_experts_succeed(cls, options, action_type):
    env = cls(obs_type="state", action_type=action_type, **options)
    solved = []
    for seed in range(20):
        env.reset(seed=seed)
        for _ in range(env.max_steps):
            _, _, terminated, _, info = env.step(env._greedy_action())
            if terminated or info["is_success"]:
                break
        solved.append(info["is_success"])
    assert np.mean(solved) >= 0.9


@pytest.mark.parametrize(("action", "force"), [(0, -10.0), (1, 0.0), (2, 10.0)])
def test_cart_and_pole_move_by_their_equations(action, force):
    env = at(CartPolePixels, 0.2, 0.5, 0.3, -1.0)
    for _ in range(5):
        state = env.step(action)[-1]["state"]

    def accelerations(q, v):
        mass = np.array([[1.1, 0.05 * math.cos(q[1])], [0.05 * math.cos(q[1]), 0.1 / 3]])
        pull = force - v[0] + 0.05 * math.sin(q[1]) * v[1] ** 2
        return np.linalg.solve(mass, [pull, 0.05 * G * math.sin(q[1])])

    (x, angle), (v, speed) = integrate(accelerations, [0.2, 0.3], [0.5, -1.0], 0.2, h=1e-4)
    assert state == pytest.approx([x, v, angle, speed], rel=0.03, abs=0.03)


def test_cart_pole_starts():
    for task, angle in (("balance", 0.0), ("swing_up", math.pi)):
        env = CartPolePixels(task=task, obs_type="state")
        starts = np.array([env.reset(seed=seed)[1]["state"] for seed in range(50)])
        starts[:, 2] = np.abs(starts[:, 2]) - angle
        if task == "balance":
            starts[:, 0] /= 20
        assert (np.abs(starts) <= 0.05).all()
        assert (np.ptp(starts, axis=0) > 0.04).all()


@pytest.mark.parametrize("task", ["balance", "swing_up"])
def test_leaving_the_rail_ends_the_episode(task):
    env = at(CartPolePixels, 1.7, 2.0, 0.0, 0.0, task=task)
    endings = []
    for _ in range(3):
        _, _, terminated, _, info = env.step(2)
        endings.append(terminated)
        assert terminated == (info["state"][0] > 1.8)
    assert endings[-1]
    for _ in range(20):
        state = env.step(2)[-1]["state"]
    assert state[0] == pytest.approx(1.85, abs=0.02)


@pytest.mark.parametrize("task", ["balance", "swing_up"])
@pytest.mark.parametrize("strategy", ["to and fro", "pump", "brake"])
def test_no_strategy_takes_cart_and_pole_out_of_their_ranges(task, strategy):
    env = CartPolePixels(task=task, obs_type="state", action_type="continuous")
    low, high = np.array([(factor.low, factor.high) for factor in env.factors]).T
    rng = np.random.default_rng(0)
    for episode in range(40):
        state, terminated, step = env.reset(seed=episode)[0], False, 0
        while not terminated and step < 100:
            forwards = {"to and fro": step // (episode + 1) % 2, "pump": state[3] * math.cos(state[2]) > 0}
            push = 1.0 if forwards.get(strategy, state[3] * math.cos(state[2]) < 0) else -1.0
            state, _, terminated, _, _ = env.step(np.array([-push if rng.random() < 0.1 else push], np.float32))
            step += 1
            assert (low <= state).all()
            assert (state <= high).all()


def test_a_fallen_pole_ends_only_the_balance_task():
    for task, ends in (("balance", True), ("swing_up", False)):
        env = at(CartPolePixels, 0.0, 0.0, 0.39, 1.0, task=task)
        _, reward, terminated, _, info = env.step(1)
        assert info["state"][2] > 0.4
        assert (reward, terminated) == (float(ends), ends)


def test_cart_pole_rewards():
    assert at(CartPolePixels, 0, 0, 0.1, 0).step(1)[1] == 1.0
    assert at(CartPolePixels, 0, 0, 0.1, 0, task="swing_up").step(1)[1] == 1.0
    assert at(CartPolePixels, 0, 0, 0.3, 0, task="swing_up").step(1)[1] == 0.0
    env = at(CartPolePixels, 0.9, 0.0, 1.0, 0.0, task="swing_up", reward_type="shaped")
    _, reward, _, _, info = env.step(1)
    x, _, angle, _ = info["state"]
    assert reward == pytest.approx((1 + math.cos(angle)) / 2 * (1 - (x / 1.8) ** 2 / 2))


def test_a_hundred_balanced_steps_in_a_row_are_a_success():
    env = CartPolePixels(obs_type="state")
    env.reset(seed=0)
    infos = [env.step(env._greedy_action())[-1]["is_success"] for _ in range(100)]
    assert infos == [False] * 99 + [True]


def test_the_gains_stabilise_the_linear_model():
    mass = np.array([[1.1, 0.05], [0.05, 0.1 / 3]])
    # forces on cart and pole that follow from x, v, angle and angular velocity
    forces = np.array([[0, -1, 0, 0], [0, 0, 0.05 * G, 0]])
    forces[0] += GAINS
    model = np.zeros((4, 4))
    model[[0, 2], [1, 3]] = 1
    model[[1, 3]] = np.linalg.solve(mass, forces)
    assert np.linalg.eigvals(model).real.max() < -0.5


def test_random_policies_stay_within_the_declared_velocities():
    for cls, options in ((PendulumPixels, {}), (CartPolePixels, {}), (CartPolePixels, {"task": "swing_up"})):
        env = cls(obs_type="state", **options)
        rng = np.random.default_rng(0)
        bounds = np.array([factor.high for factor in env.factors])
        for seed in range(30):
            env.reset(seed=seed)
            for _ in range(100):
                _, _, terminated, _, info = env.step(env.scripted_action(rng, 1.0))
                assert (np.abs(info["state"]) <= 1.05 * bounds).all()
                if terminated:
                    break


def centre(image, channel, others):
    """Column and row of the pixels in which one channel stands out."""
    image = image.astype(int)
    rows, columns = np.nonzero(image[..., channel] - image[..., others].max(-1) > 60)
    return columns.mean(), rows.mean()


def test_a_positive_angle_leans_to_the_right():
    env = PendulumPixels()
    env.reset(seed=0)
    for angle in (0.0, 1.0, 2.5, -1.0, -2.5):
        column, row = centre(env.observe([angle, 0.0]), 0, [1, 2])
        assert column == pytest.approx(31.5 + 22 * math.sin(angle), abs=2)
        assert row == pytest.approx(31 - 22 * math.cos(angle), abs=3)


def test_cart_and_pole_appear_where_they_are():
    env = CartPolePixels()
    env.reset(seed=0)
    middle = centre(env.observe([0.0, 0.0, 1.5, 0.0]), 2, [0, 1])
    right = centre(env.observe([1.5, 0.0, -1.5, 0.0]), 2, [0, 1])
    assert middle[0] == pytest.approx(31.5, abs=1.5)
    assert right == pytest.approx([31.5 + 22, middle[1]], abs=2)
    column, row = centre(env.observe([0.0, 0.0, 0.7, 0.0]), 0, [1, 2])
    assert column > middle[0] + 3
    assert row < middle[1] - 3


def test_velocities_do_not_show_in_a_single_frame():
    for cls in (PendulumPixels, CartPolePixels):
        env = cls()
        state = env.reset(seed=0)[1]["state"]
        fast = state.copy()
        fast[1::2] += 1.0
        np.testing.assert_array_equal(env.observe(state), env.observe(fast))
        later = []
        for values in (state, fast):
            env.set_factors(values)
            later.append(env.step(1)[0])
        assert (later[0] != later[1]).any()


def test_unknown_tasks_are_errors():
    with pytest.raises(ConfigError, match=r"task='juggle'.*'balance', 'swing_up'"):
        CartPolePixels(task="juggle")
