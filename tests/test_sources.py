"""What agents observe: sources, encoder modes, and the three ways to give an encoder to an agent."""

import json

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

import srl_bench as srl
from srl_bench.config import RLConfig
from srl_bench.environments import make_environment
from srl_bench.errors import ConfigError, DataError
from srl_bench.factors import Factor, scale_factors
from srl_bench.rl import check_fit, observed_environments
from srl_bench.segments import Segments
from srl_bench.sources import Source, as_source, check_source, is_method, split_source, weights_hash
from srl_bench.vecenv import EncodedObservation, EncoderExtractor

ENVIRONMENT = "srl_bench/MobileRobot-v0"
KWARGS = {"image_size": 48, "max_steps": 7}
SMALL = {"steps": 64, "n_envs": 2, "eval_every": 64, "eval_episodes": 2, "hyperparameters": {"n_steps": 16}}


@pytest.fixture(scope="module")
def encoder(mobile):
    return srl.pretrain("random", mobile, latent_dim=5, seed=0)


@pytest.fixture(scope="module")
def recurrent(mobile):
    return srl.pretrain("pve", mobile, latent_dim=8, steps=1, seed=0)


def observed(source, config=None, kwargs=KWARGS, count=2, training=False):
    source = as_source(source)
    request = {
        "environment": ENVIRONMENT,
        "environment_kwargs": source.environment_kwargs(kwargs),
        "hyperparameters": {},
    }
    return observed_environments(source, request, config or RLConfig(), count, training=training)


def train(source, kwargs=KWARGS, **settings):
    return srl.train_agent(ENVIRONMENT, source, environment_kwargs=kwargs, **{**SMALL, **settings})


def test_factors_are_scaled_by_their_ranges():
    table = (
        Factor("x", "m", 1.0, 3.0),
        Factor("angle", "rad", -np.pi, np.pi, kind="angular"),
        Factor("class", "", 0, 2, kind="categorical"),
        Factor("flag", "", 0, 1, kind="categorical"),
        Factor("fixed", "m", 2.0, 2.0),
    )
    columns = scale_factors(np.array([[1.0, np.pi / 2, 2, 1, 2.0], [2.5, 0.0, 0, 0, 2.0]]), table)
    expected = [[-1, 1, 0, 0, 0, 1, 1, -1], [0.5, 0, 1, 1, 0, 0, -1, -1]]
    np.testing.assert_allclose(columns, expected, atol=1e-7)
    assert columns.dtype == np.float32


def test_ground_truth_and_proprioception_are_the_scaled_factors_at_every_step():
    truth, own = observed("ground_truth"), observed("proprioception")
    states = srl.make_vec_env(ENVIRONMENT, 2, **KWARGS, obs_type="state")
    assert truth.observation_space.shape == (4,)
    assert own.observation_space.shape == (2,)
    low, high = np.array([0.25, 0.25, 0.4, 0.4]), np.array([3.75, 3.75, 3.6, 3.6])

    def scaled(values):
        return 2 * (values - low) / (high - low) - 1

    np.testing.assert_allclose(truth.reset(), scaled(states.reset()), atol=1e-6)
    own.reset()
    for _ in range(9):
        results = [venv.step(np.array([0, 3])) for venv in (truth, own, states)]
        expected = scaled(results[2][0])
        np.testing.assert_allclose(results[0][0], expected, atol=1e-6)
        np.testing.assert_allclose(results[1][0], expected[:, :2], atol=1e-6)
        for one, other in zip(results[0][3], results[2][3], strict=True):
            assert ("terminal_observation" in one) == ("terminal_observation" in other)
            if "terminal_observation" in one:
                final = scaled(other["terminal_observation"])
                np.testing.assert_allclose(one["terminal_observation"], final, atol=1e-6)


@pytest.mark.parametrize(("factors", "count"), [("proprioception", 2), ("ground_truth", 4)])
@pytest.mark.parametrize("which", ["plain", "recurrent"])
def test_states_with_factors_are_both_beside_each_other(which, factors, count, encoder, recurrent):
    chosen = {"plain": encoder, "recurrent": recurrent}[which]
    both, states, own = observed(Source(chosen, factors)), observed(chosen), observed(factors)
    assert both.observation_space.shape == (chosen.state_dim + count,)
    np.testing.assert_allclose(both.reset(), np.hstack([states.reset(), own.reset()]), atol=1e-6)
    for step in range(9):
        results = [venv.step(np.array([step % 4, 1])) for venv in (both, states, own)]
        np.testing.assert_allclose(results[0][0], np.hstack([results[1][0], results[2][0]]), atol=1e-6)
        for infos in zip(*(result[3] for result in results), strict=True):
            if "terminal_observation" in infos[0]:
                parts = [info["terminal_observation"] for info in infos]
                np.testing.assert_allclose(parts[0], np.hstack(parts[1:]), atol=1e-6)


def test_three_ways_give_the_same_states(mobile):
    """Around the vector, around each environment, and inside the policy.

    (States of untrained encoders are small differences, magnified a hundredfold: there the batch size shows at 2e-6.)
    """
    encoder = srl.pretrain("autoencoder", mobile, latent_dim=5, steps=30, seed=0)
    venv = srl.encode(srl.make_vec_env(ENVIRONMENT, 3, seed=4, **KWARGS), encoder)
    single = DummyVecEnv([lambda: EncodedObservation(make_environment(ENVIRONMENT, KWARGS), encoder)] * 3)
    single._seeds = list(venv.unwrapped._seeds)
    images = srl.make_vec_env(ENVIRONMENT, 3, seed=4, **KWARGS)
    options = {"features_extractor_class": EncoderExtractor, "features_extractor_kwargs": {"encoder": encoder}}
    inside = PPO("CnnPolicy", images, policy_kwargs=options, n_steps=8, device="cpu")
    images.seed(4)

    def features(observations):
        with torch.no_grad():
            return inside.policy.extract_features(inside.policy.obs_to_tensor(observations)[0]).numpy()

    seen = (venv.reset(), single.reset(), features(images.reset()))
    for _ in range(9):
        np.testing.assert_allclose(seen[0], seen[1], atol=1e-6)
        np.testing.assert_allclose(seen[0], seen[2], atol=1e-6)
        actions = np.array([0, 1, 2])
        seen = (venv.step(actions)[0], single.step(actions)[0], features(images.step(actions)[0]))


def test_the_gymnasium_wrapper_passes_the_checker(encoder):
    check_env(EncodedObservation(make_environment(ENVIRONMENT, KWARGS), encoder), skip_render_check=True)


def test_a_frozen_encoder_inside_an_off_policy_agent_keeps_its_bits(encoder):
    """Averages of target networks round; the encoder is not among what they average."""
    before = weights_hash(encoder)
    venv = srl.make_vec_env(ENVIRONMENT, 2, action_type="continuous", **KWARGS)
    options = {"features_extractor_class": EncoderExtractor, "features_extractor_kwargs": {"encoder": encoder}}
    agent = SAC("CnnPolicy", venv, policy_kwargs=options, buffer_size=200, learning_starts=8, batch_size=8)
    agent.set_logger(Logger(None, []))
    agent.learn(40)
    assert weights_hash(encoder) == before
    assert not [name for name in agent.policy.state_dict() if "body" in name]


def test_a_recurrent_encoder_goes_around_the_vector_but_not_inside(recurrent):
    space = gymnasium.spaces.Box(0, 255, (3, 48, 48), np.uint8)
    with pytest.raises(ConfigError, match=r"srl\.encode"):
        EncoderExtractor(space, recurrent)
    with pytest.raises(ConfigError, match="recurrent"):
        train(recurrent, encoder_mode="finetune")
    assert len(train(recurrent)) == 4


def first_and_last_features(monkeypatch, encoder, mode, learning_rate, tmp_path):
    """Return the features of one batch of images before and after training."""
    images = torch.rand(4, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    found = []
    original = Segments._evaluate

    def spy(self):
        with torch.no_grad():
            found.append(self.model.policy.features_extractor(images))
        original(self)

    monkeypatch.setattr(Segments, "_evaluate", spy)
    hyper = {"n_steps": 16, "learning_rate": learning_rate}
    train(encoder, encoder_mode=mode, hyperparameters=hyper, out=tmp_path)
    with torch.no_grad():
        return found, encoder(images)


def test_finetune_begins_with_the_encoder_and_leaves_it(encoder, monkeypatch, tmp_path):
    before = weights_hash(encoder)
    (first, last), states = first_and_last_features(monkeypatch, encoder, "finetune", 1e-3, tmp_path / "a")
    torch.testing.assert_close(first, states, atol=1e-5, rtol=1e-5)
    assert (last - first).abs().max() > 1e-3
    assert weights_hash(encoder) == before
    about = json.loads((tmp_path / "a" / "config.json").read_text())
    assert about["rl"]["encoder_mode"] == "finetune"


def test_scratch_begins_elsewhere_and_learns(encoder, monkeypatch, tmp_path):
    (first, last), states = first_and_last_features(monkeypatch, encoder, "scratch", 1e-3, tmp_path / "a")
    assert (first - states).abs().mean() > 0.1
    assert (last - first).abs().max() > 1e-3


def test_stacked_and_normalised_states(encoder):
    venv = observed(encoder, RLConfig(frame_stack=3, normalise=True), training=True)
    assert isinstance(venv, VecNormalize)
    assert isinstance(venv.venv, VecFrameStack)
    states = observed(encoder)
    venv.reset()
    first = states.reset()
    np.testing.assert_array_equal(venv.get_original_obs(), np.hstack([np.zeros((2, 10)), first]))
    venv.step(np.array([0, 1]))
    second = states.step(np.array([0, 1]))[0]
    np.testing.assert_allclose(venv.get_original_obs(), np.hstack([np.zeros((2, 5)), first, second]), atol=1e-6)


def test_evaluation_returns_are_those_of_the_environment_whatever_training_sees(encoder):
    plain = train(encoder, algorithm="random", hyperparameters={})
    scaled = train(encoder, algorithm="random", hyperparameters={}, normalise=True, curiosity=0.5, frame_stack=2)
    columns = ["step", "return", "length", "success"]
    assert plain[columns].equals(scaled[columns])


def test_sources_by_name(encoder, tmp_path):
    encoder.save(tmp_path / "encoder")
    for text, kind in (
        ("", ""),
        ("+proprioception", "proprioception"),
        (" + proprioception", "proprioception"),
        ("+ground_truth", "ground_truth"),
    ):
        source = as_source(f"{tmp_path / 'encoder'}{text}")
        assert weights_hash(source) == weights_hash(encoder)
        assert source.factors == kind
        assert not is_method(f"{tmp_path / 'encoder'}{text}")
    assert as_source("raw_pixels").pixels
    assert split_source("inverse + autoencoder[:3] + proprioception") == ("inverse + autoencoder[:3]", "proprioception")
    assert split_source("inverse + autoencoder") == ("inverse + autoencoder", "")
    assert split_source("random+ground_truth") == ("random", "ground_truth")
    for text in (
        "vae(beta=4)",
        "random",
        "random+proprioception",
        "random+ground_truth",
        "2*inverse",
        "inverse + autoencoder[:3]",
    ):
        assert is_method(text), text
    for text in ("raw_pixels", "ground_truth", "proprioception", "nonsense"):
        assert not is_method(text), text
    with pytest.raises(ConfigError, match="Did you mean proprioception"):
        as_source("propriocepton")
    with pytest.raises(DataError, match=r"config\.json is missing"):
        as_source("/nowhere/encoder")


def test_an_encoder_of_another_environment_or_domain_is_refused_or_noted(encoder, tmp_path):
    with pytest.raises(ConfigError, match=r"environment 'srl_bench/MobileRobot-v0', not .*allow-mismatch"):
        srl.train_agent("srl_bench/MobileRobotLine-v0", encoder, environment_kwargs=KWARGS, **SMALL)
    with pytest.raises(ConfigError, match="domain 'sim', not 'twin'"):
        train(encoder, {**KWARGS, "domain": "twin"})
    train(encoder, {**KWARGS, "domain": "twin"}, allow_mismatch=True, out=tmp_path / "agent")
    notes = json.loads((tmp_path / "agent" / "config.json").read_text())["notes"]
    assert notes[0] == "the encoder was trained on domain 'sim', not 'twin'."
    with pytest.raises(ConfigError, match="image_size=48"):
        train(encoder, {"image_size": 64})


def test_a_run_without_any_reward_says_so(tmp_path):
    kwargs = {"max_steps": 1, "random_target": False}
    train("ground_truth", kwargs, out=tmp_path / "agent", eval_episodes=2)
    about = json.loads((tmp_path / "agent" / "config.json").read_text())
    assert "any reward but 0" in about["notes"][0]
    train("ground_truth", {**kwargs, "reward_type": "shaped"}, out=tmp_path / "other")
    assert json.loads((tmp_path / "other" / "config.json").read_text())["notes"] == []


def test_success_is_that_of_the_last_step():
    table = train("ground_truth", {"max_steps": 60}, algorithm="random", hyperparameters={}, eval_episodes=8)
    assert set(table["success"]) <= {0.0, 1.0}
    positive = table["return"] > 0
    assert (table.loc[positive, "success"] == 1).all()


@pytest.mark.parametrize(
    ("source", "settings", "named"),
    [
        ("raw_pixels", {"curiosity": 0.1}, "curiosity needs states"),
        ("raw_pixels", {"encoder_mode": "finetune"}, "needs one"),
        ("ground_truth", {"encoder_mode": "scratch"}, "needs one"),
        ("ground_truth", {"curiosity": -1.0}, "curiosity"),
        ("ground_truth", {"encoder_mode": "melted"}, "encoder_mode"),
    ],
)
def test_settings_that_do_not_go_together(source, settings, named):
    with pytest.raises(ConfigError, match=named):
        train(source, **settings)


def test_an_encoder_of_factors_takes_no_proprioception(mobile):
    source = Source(srl.pretrain("ground_truth", mobile), "proprioception")
    with pytest.raises(ConfigError, match="reads the factors already"):
        check_source(source, ENVIRONMENT, {}, RLConfig())
    with pytest.raises(ConfigError, match="no network for images"):
        check_fit(ENVIRONMENT, {}, RLConfig(algorithm="ars"), Source())


def test_what_cannot_work_is_found_before_a_folder_is_made(encoder, tmp_path):
    out = tmp_path / "agent"
    for mode in ("frozen", "finetune"):
        with pytest.raises(ConfigError, match="image_size=48"):
            train(encoder, {"image_size": 64}, encoder_mode=mode, out=out)
    with pytest.raises(ConfigError, match="Did you mean n_steps"):
        train(encoder, hyperparameters={"n_step": 16}, out=out)
    with pytest.raises(ConfigError, match=r"srl_bench/MobileRobot-v0 are discrete \(as its argument action_type"):
        train(encoder, algorithm="sac", hyperparameters={}, out=out)
    assert not out.exists()


def test_a_source_that_is_nearly_one_is_told_what_is_missing(encoder, tmp_path):
    with pytest.raises(ConfigError, match=r"has to be trained first: srl\.pretrain\('vae', rollouts\)"):
        as_source("vae")
    with pytest.raises(ConfigError, match="Did you mean autoencoder"):
        as_source("autoencodr")
    encoder.save(tmp_path / "training" / "encoder")
    with pytest.raises(ConfigError, match="training/encoder"):
        as_source(str(tmp_path / "training"))
