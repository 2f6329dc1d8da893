import gymnasium
import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv

import srl_bench as srl
from srl_bench.environments import make_environment
from srl_bench.errors import ConfigError
from srl_bench.vecenv import EncodedObservation

ENVIRONMENT = "srl_bench/MobileRobot-v0"
KWARGS = {"image_size": 48, "max_steps": 7}


@pytest.fixture(scope="module")
def encoder(mobile):
    return srl.pretrain("random", mobile, latent_dim=5, seed=0)


@pytest.fixture
def venv(encoder):
    venv = srl.encode(srl.make_vec_env(ENVIRONMENT, 3, seed=4, **KWARGS), encoder)
    yield venv
    venv.close()


def test_states_are_those_of_the_images_and_every_step_is_one_forward_pass(encoder, venv, monkeypatch):
    images = srl.make_vec_env(ENVIRONMENT, 3, seed=4, **KWARGS)
    np.testing.assert_array_equal(venv.reset(), encoder.encode(images.reset()))
    calls = []
    forward = type(encoder).forward
    monkeypatch.setattr(type(encoder), "forward", lambda self, x: calls.append(len(x)) or forward(self, x))
    for step in range(1, 10):
        actions = np.array([step % 4] * 3)
        states, rewards, dones, infos = venv.step(actions)
        seen, expected_rewards, expected_dones, expected_infos = images.step(actions)
        assert calls.pop() == (6 if dones.any() else 3)
        assert not calls
        np.testing.assert_allclose(states, encoder.encode(seen), atol=1e-5)
        calls.clear()
        np.testing.assert_array_equal(rewards, expected_rewards)
        np.testing.assert_array_equal(dones, expected_dones)
        assert dones.all() == (step == 7)
        for info, expected in zip(infos, expected_infos, strict=True):
            np.testing.assert_array_equal(info["state"], expected["state"])
            if "terminal_observation" in expected:
                final = encoder.encode(expected["terminal_observation"])
                np.testing.assert_allclose(info["terminal_observation"], final, atol=1e-5)
        calls.clear()


def test_the_gymnasium_wrapper_gives_the_same_states(encoder, venv):
    single = DummyVecEnv([lambda: EncodedObservation(make_environment(ENVIRONMENT, KWARGS), encoder)] * 3)
    single._seeds = list(venv.unwrapped._seeds)
    np.testing.assert_allclose(single.reset(), venv.reset(), atol=1e-5)
    for action in (0, 1, 2, 3):
        states = [vector.step(np.full(3, action))[0] for vector in (single, venv)]
        np.testing.assert_allclose(*states, atol=1e-5)


def test_environments_of_a_vector_and_of_neighbouring_seeds_differ():
    first, second = (srl.make_vec_env(ENVIRONMENT, 3, seed=seed, obs_type="state").reset() for seed in (0, 1))
    assert len(np.unique(np.concatenate([first, second]), axis=0)) == 6


def test_wrong_observations_are_refused_with_the_fix(encoder, mobile):
    with pytest.raises(ConfigError, match="image_size=48"):
        srl.encode(srl.make_vec_env(ENVIRONMENT, 1, image_size=64), encoder)
    truth = srl.pretrain("ground_truth", mobile)
    with pytest.raises(ConfigError, match="obs_type='state'"):
        srl.encode(srl.make_vec_env(ENVIRONMENT, 1, image_size=48), truth)
    with pytest.raises(ConfigError, match="n_envs"):
        srl.make_vec_env(ENVIRONMENT, 0)


def test_space_is_the_state_space(encoder, venv):
    assert venv.observation_space == gymnasium.spaces.Box(-np.inf, np.inf, (5,), np.float32)
