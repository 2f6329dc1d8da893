from copy import deepcopy

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import DummyVecEnv

from srl_bench.curiosity import CuriousVecEnv


class Walk(gymnasium.Env):
    """States (t, t^2) of an episode of three steps, whose reward is 10."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)

    def __init__(self, continuous=False):
        self.action_space = gymnasium.spaces.Box(-1, 1, (1,)) if continuous else gymnasium.spaces.Discrete(3)

    def _state(self):
        return np.array([self.t, self.t**2], np.float32)

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return self._state(), {}

    def step(self, action):
        self.t += 1
        return self._state(), 10.0, self.t == 3, False, {}


def curious(weight=2.0, n=2, **options):
    venv = CuriousVecEnv(DummyVecEnv([Walk] * n), weight, **options)
    with torch.no_grad():  # a model that predicts (0, 0)
        venv.model[-1].weight.zero_()
        venv.model[-1].bias.zero_()
    return venv


def test_the_bonus_by_hand():
    """eta / 2 ||s'||^2 = 0.005 (t^2 + t^4) for a model of zeros, over the deviation of its discounted returns."""
    venv = curious(gamma=0.5, update_every=1000)
    venv.reset()
    errors = [0.005 * (t**2 + t**4) for t in (1, 2, 3, 1)]
    total, count, mean, var = 0.0, 1e-4, 0.0, 1.0
    for index, error in enumerate(errors):
        _, rewards, dones, infos = venv.step(np.array([0, 1]))
        total = 0.5 * total + error
        # the running moments of SB3 begin with 1e-4 samples of mean 0 and variance 1
        shift, both = total - mean, count + 2
        var = (var * count + shift**2 * count * 2 / both) / both
        mean, count = mean + shift * 2 / both, both
        if index == 2:
            assert dones.all()
            total = 0.0
        expected = error / np.sqrt(var + 1e-8)
        np.testing.assert_allclose([info["intrinsic_reward"] for info in infos], expected, rtol=1e-5)
        np.testing.assert_allclose(rewards, 10 + 2 * expected, rtol=1e-5)


def test_the_model_sees_the_end_of_an_episode_not_the_start_of_the_next():
    venv = curious(update_every=1000)
    venv.reset()
    for _ in range(3):
        venv.step(np.array([0, 1]))
    states, _, reached = venv._pending[-1]
    np.testing.assert_array_equal(states, [[2, 4]] * 2)
    np.testing.assert_array_equal(reached, [[3, 9]] * 2)
    assert venv._states.tolist() == [[0, 0]] * 2


@pytest.mark.parametrize("continuous", [False, True])
def test_what_is_known_surprises_less(continuous):
    venv = CuriousVecEnv(DummyVecEnv([lambda: Walk(continuous)] * 4), 1.0, update_every=3, seed=1)
    venv.reset()
    errors = []
    for _ in range(1500):
        _, _, _, infos = venv.step(np.zeros((4, 1), np.float32) if continuous else np.zeros(4, int))
        errors.append(np.mean([info["intrinsic_reward"] for info in infos]) * np.sqrt(venv.deviation.var))
    assert np.mean(errors[-30:]) < 0.1 * np.mean(errors[:30])


def test_its_state_is_taken_over():
    first = curious(update_every=2)
    first.reset()
    for _ in range(7):
        first.step(np.array([0, 2]))
    second = curious(update_every=2)
    second.import_state(deepcopy(first.export_state()))
    first.reset()
    second.reset()
    for _ in range(5):
        one, other = (venv.step(np.array([1, 2])) for venv in (first, second))
        np.testing.assert_array_equal(one[1], other[1])


def test_weight_zero_changes_no_reward():
    venv = curious(weight=0.0)
    venv.reset()
    assert venv.step(np.array([0, 1]))[1].tolist() == [10.0, 10.0]
