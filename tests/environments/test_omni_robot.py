"""The sim-to-real task: moves and their noise, rewards, heading, and the defects of the camera."""

import math

import numpy as np
import pytest

from srl_bench.environments.looks import SIM
from srl_bench.environments.omni_robot import OmniRobot
from srl_bench.errors import ConfigError

FAR = (-0.6, -0.6)


def placed(x, y, heading=0.3, target=FAR, **options):
    env = OmniRobot(**{"obs_type": "state", "pose_noise": 0.0, **options})
    env.reset(seed=0)
    env.set_factors([x, y, heading, *target])
    return env


@pytest.mark.parametrize(("action", "move"), list(enumerate([(0.1, 0), (-0.1, 0), (0, 0.1), (0, -0.1)])))
@pytest.mark.parametrize("heading", [0.0, 2.0])
def test_moves_do_not_depend_on_the_heading(action, move, heading):
    env = placed(0.1, 0.2, heading)
    _, reward, terminated, _, info = env.step(action)
    np.testing.assert_allclose(info["state"][:2], [0.1 + move[0], 0.2 + move[1]], atol=1e-12)
    assert (reward, terminated) == (0.0, False)


def test_continuous_actions_are_shortened_to_a_disc():
    env = placed(0.0, 0.0, action_type="continuous")
    for action, move in (((0.5, -0.25), (0.05, -0.025)), ((1, 1), (0.1 / 2**0.5,) * 2), ((0, -3), (0, -0.1))):
        before = env.get_factors()[:2]
        np.testing.assert_allclose(env.step(action)[-1]["state"][:2] - before, move, atol=1e-12)


def test_noise_of_moves_and_drift_of_the_heading():
    env = placed(0.0, 0.0, pose_noise=0.02, action_type="continuous")
    changes = []
    for _ in range(1000):
        env.set_factors([0.0, 0.0, 3.1, *FAR])
        x, y, heading = env.step([0.5, 0.0])[-1]["state"][:3]
        assert -math.pi <= heading <= math.pi
        changes.append([x - 0.05, y, math.remainder(heading - 3.1, math.tau)])
    np.testing.assert_allclose(np.std(changes, axis=0), [0.02, 0.02, 0.05], rtol=0.1)
    np.testing.assert_allclose(np.mean(changes, axis=0), 0, atol=0.005)


@pytest.mark.parametrize(("start", "action"), [((0.8, 0), 0), ((-0.8, 0), 1), ((0, 0.8), 2), ((0, -0.8), 3)])
def test_a_wall_costs_one_and_stops(start, action):
    _, reward, terminated, _, info = placed(*start).step(action)
    assert (reward, terminated) == (-1.0, False)
    np.testing.assert_allclose(info["state"][:2], start)


@pytest.mark.parametrize(("offset", "reward"), [(0.31, 0.0), (0.29, 1.0), (0.1, 1.0)])
def test_target_is_reached_within_twenty_centimetres(offset, reward):
    _, given, terminated, _, info = placed(0.5 - offset, 0.0, target=(0.5, 0.0)).step(0)
    assert (given, terminated, info["is_success"]) == (reward, False, reward == 1)
    shaped = placed(0.5 - offset, 0.0, target=(0.5, 0.0), reward_type="shaped")
    assert shaped.step(0)[1] == pytest.approx(-abs(offset - 0.1))


def test_default_episode_has_250_steps():
    env = OmniRobot(obs_type="state")
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    endings = [env.step(env.scripted_action(rng, 0.5))[2:4] for _ in range(250)]
    assert endings == [(False, False)] * 249 + [(False, True)]


def test_starts_and_targets_vary():
    env = OmniRobot(obs_type="state")
    states = np.array([env.reset(seed=seed)[1]["state"] for seed in range(200)])
    assert (np.ptp(states, axis=0) > [1.3, 1.3, 6.0, 1.3, 1.3]).all()
    assert np.abs(states[:, [0, 1, 3, 4]]).max() <= 0.7
    fixed = OmniRobot(obs_type="state", random_target=False)
    assert {tuple(fixed.reset(seed=seed)[1]["state"][3:]) for seed in range(5)} == {(0.6, 0.4)}


@pytest.mark.parametrize("action_type", ["discrete", "continuous"])
def test_scripted_policy_reaches_the_target(action_type):
    env = OmniRobot(obs_type="state", action_type=action_type)
    rng = np.random.default_rng(0)
    for seed in range(10):
        env.reset(seed=seed)
        rewards = [env.step(env.scripted_action(rng, 0.0))[1] for _ in range(60)]
        assert sum(rewards[30:]) == 30


@pytest.mark.parametrize("heading", np.linspace(-3.0, 3.0, 9))
def test_the_picture_shows_place_and_heading(heading):
    env = OmniRobot()
    image = env.observe([0.3, -0.2, heading, *FAR]).astype(int)[3:-3, 3:-3]
    white = np.argwhere(image.min(-1) > 200).mean(0)
    black = np.argwhere(image.max(-1) < 30).mean(0)
    assert 63 - (white[0] + 3) == pytest.approx(31.5 - 0.2 * 29, abs=3)
    assert white[1] + 3 == pytest.approx(31.5 + 0.3 * 29, abs=3)
    row, column = black - white
    assert math.remainder(math.atan2(-row, column) - heading, math.tau) == pytest.approx(0, abs=0.35)


def test_defects_of_the_camera():
    state = [0.3, -0.2, 1.0, 0.0, 0.5]
    clean = OmniRobot()
    assert clean._scene.look is SIM
    image = clean.observe(state).astype(float)
    noisy = OmniRobot(image_noise=0.04)
    noisy.reset(seed=0)
    floor = (slice(20, 26), slice(40, 60))
    assert (noisy.observe(state)[floor] - image[floor]).std() == pytest.approx(0.04 * 255, rel=0.15)
    dark = OmniRobot(light=0.5).observe(state)
    assert (dark[floor] / image[floor]).mean() == pytest.approx(0.5, abs=0.02)
    barrel = OmniRobot(lens=0.3).observe(state).astype(float)
    red, shown = (np.argwhere(picture[..., 0] - picture[..., 1] > 90).mean(0) for picture in (image, barrel))
    assert abs(shown[0] - 31.5) > abs(red[0] - 31.5) + 1
    assert shown[1] == pytest.approx(red[1], abs=1)


@pytest.mark.parametrize("option", ["image_noise", "light", "lens", "pose_noise"])
@pytest.mark.parametrize("value", [-1.0, 9.0, "much", True])
def test_bad_options(option, value):
    with pytest.raises(ConfigError, match=f"{option}={value!r}"):
        OmniRobot(**{option: value})
