"""Two buttons in order: contact, phases, rewards, pictures."""

import numpy as np
import pytest

from srl_bench.environments.kuka import HOME
from srl_bench.environments.kuka_2button import Kuka2Button
from srl_bench.errors import ConfigError

RED, BLUE = (0.60, 0.0), (0.5, -0.25)


def home(red=RED, blue=BLUE, phase=0, **options):
    """An environment whose tip is near (0.61, 0, 0.27)."""
    env = Kuka2Button(**{"obs_type": "state", **options})
    env.reset(seed=0)
    env.set_factors([0, 0, 0, *red, *blue, phase, *HOME])
    return env


def play(env):
    """Rewards and phases of one scripted episode, and how it ended."""
    rewards, phases = [], []
    while True:
        _, reward, terminated, truncated, info = env.step(env._greedy_action())
        rewards.append(reward)
        phases.append(info["state"][7])
        if terminated or truncated:
            return rewards, phases, info["is_success"]


@pytest.mark.parametrize("action_type", ["discrete", "continuous", "joints"])
def test_five_contacts_with_each_button_are_a_success(action_type):
    rewards, phases, solved = play(home(action_type=action_type))
    assert solved
    assert set(rewards) == {0.0, 1.0}
    assert phases == sorted(phases)
    first = phases.index(1)
    # the fifth contact with the red button is the step that begins the second phase
    assert sum(rewards[: first + 1]) == 5
    assert sum(rewards[first + 1 :]) == 5
    assert rewards[first] == rewards[-1] == 1.0


def test_the_blue_button_does_not_count_before_the_red_one():
    env = home(red=BLUE, blue=RED)
    while not env._touches(env._button_bodies[1]):
        _, reward, terminated, _, info = env.step(5)
        assert (reward, terminated, info["state"][7]) == (0.0, False, 0)
    env = home(red=BLUE, blue=RED, phase=1)
    while not env._touches(env._button_bodies[1]):
        _, reward, _, _, _ = env.step(5)
    assert reward == 1.0


def test_the_table_ends_the_episode():
    env = home(red=(0.45, 0.25))
    terminated = False
    while not terminated:
        _, reward, terminated, _, info = env.step(5)
    assert reward == -1.0
    assert not info["is_success"]


@pytest.mark.parametrize("phase", [0, 1])
def test_shaped_reward_is_minus_the_distance_to_the_next_button(phase):
    env = home(phase=phase, reward_type="shaped")
    _, reward, _, _, info = env.step(0)
    assert reward == pytest.approx(-np.linalg.norm(info["state"][:3] - [*(RED, BLUE)[phase], 0.06]))


def test_too_far_from_the_next_button():
    options = {"red": (0.61, 0.05), "blue": (0.41, -0.3), "max_distance": 0.45}
    assert home(phase=0, **options).step(2)[1:3] == (0.0, False)
    assert home(phase=1, **options).step(2)[1:3] == (-1.0, False)


def test_buttons_vary_and_never_overlap():
    env = Kuka2Button(obs_type="state")
    starts = np.array([env.reset(seed=seed)[1]["state"] for seed in range(150)])
    rng = np.random.default_rng(0)
    samples = np.array([env.sample_factors(rng) for _ in range(50)])
    for states in (starts, samples):
        red, blue = states[:, 3:5], states[:, 5:7]
        assert np.linalg.norm(red - blue, axis=1).min() >= 0.2
        assert (np.ptp(np.stack([red, blue]), axis=1) > [0.25, 0.5]).all()
    assert (starts[:, 7] == 0).all()
    assert set(samples[:, 7]) == {0, 1}


def test_fixed_buttons():
    env = Kuka2Button(button="fixed", obs_type="state")
    states = np.array([env.reset(seed=seed)[1]["state"] for seed in range(5)])
    assert (states[:, 3:7] == (0.55, -0.15, 0.55, 0.15)).all()
    assert env.sample_factors(np.random.default_rng(0))[3:7].tolist() == [0.55, -0.15, 0.55, 0.15]


def test_presses_count_on_when_factors_are_set():
    env = home()
    rewards = []
    while sum(rewards) < 5:
        env.set_factors(env.get_factors())
        rewards.append(env.step(env._greedy_action())[1])
    assert env.get_factors()[7] == 1


@pytest.mark.parametrize("latch", [False, True])
def test_a_latch_shows_the_phase(latch):
    env = home(latch=latch, obs_type="pixels")
    assert env.factors[7].observable == ("frame" if latch else "never")
    before, after = (env.observe([0, 0, 0, *RED, *BLUE, phase, *HOME]) for phase in (0, 1))
    assert (before != after).any() == latch
    np.testing.assert_array_equal(after, env.render_plain())
    play(env)
    assert env._phase == 1
    _, info = env.reset(seed=3)
    assert info["state"][7] == 0
    assert env.goal_poses()[0][0][2] == 0.03


def test_the_first_button_is_red_and_the_second_blue():
    env = home(obs_type="pixels", image_size=128)
    right, left = (0.65, 0.28), (0.45, -0.25)
    for red, blue, channel in ((right, left, 0), (left, right, 2)):
        image = env.observe([0, 0, 0, *red, *blue, 0, *HOME]).astype(int)
        other = env.observe([0, 0, 0, *blue, *red, 0, *HOME]).astype(int)
        bright = (image[..., channel] > 150) & (image[..., 2 - channel] < 80)
        columns = np.nonzero(bright & (image != other).any(-1))[1]
        assert columns.min() > 64


@pytest.mark.parametrize("options", [{"button": "moving"}, {"latch": "yes"}, {"max_distance": 0}])
def test_bad_options_are_errors(options):
    (name,) = options
    with pytest.raises(ConfigError, match=f"{name}="):
        Kuka2Button(**options)
