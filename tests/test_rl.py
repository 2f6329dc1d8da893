import json
import tempfile

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from stable_baselines3 import PPO

import srl_bench as srl
from srl_bench.config import RLConfig
from srl_bench.errors import ConfigError, DataError, TrainingError
from srl_bench.segments import Segments, play
from srl_bench.sources import weights_hash

ENVIRONMENT = "srl_bench/MobileRobot-v0"
KWARGS = {"image_size": 48, "max_steps": 20}
SMALL = {"steps": 512, "n_envs": 4, "eval_every": 256, "eval_episodes": 3, "hyperparameters": {"n_steps": 64}}


@pytest.fixture(scope="module")
def encoder(mobile):
    return srl.pretrain("random", mobile, latent_dim=5, seed=0)


def train(source, **settings):
    return srl.train_agent(ENVIRONMENT, source, environment_kwargs=KWARGS, **{**SMALL, **settings})


def test_evaluations_come_at_the_stated_steps_and_are_stored(encoder, tmp_path):
    before = weights_hash(encoder)
    table = train(encoder, out=tmp_path / "rl", seed=3)
    assert sorted(table["step"].unique()) == [0, 256, 512]
    assert (table.groupby("step").size() == 3).all()
    assert (table["length"] == 20).all()
    assert weights_hash(encoder) == before
    stored = pd.read_csv(tmp_path / "rl" / "evaluations.csv")
    pd.testing.assert_frame_equal(stored, table)
    about = json.loads((tmp_path / "rl" / "config.json").read_text())
    assert about["encoder_sha256"] == before
    assert about["rl"]["steps"] == 512
    assert load_file(tmp_path / "rl" / "agent.safetensors")["action_net.weight"].shape == (4, 64)
    again = train(encoder, out=tmp_path / "rl", seed=3)
    pd.testing.assert_frame_equal(again, table)


def test_same_seed_same_returns(encoder):
    first, second = (train(encoder, seed=1, hyperparameters={"n_steps": 64, "learning_rate": 0.01}) for _ in range(2))
    pd.testing.assert_frame_equal(first.drop(columns="seconds"), second.drop(columns="seconds"))


def test_evaluation_episodes_are_the_same_every_time_and_returns_are_summed(encoder):
    class Still:
        def predict(self, observations, deterministic):
            return np.zeros(len(observations), dtype=int), None

    venv = srl.make_vec_env(ENVIRONMENT, 5, obs_type="state", max_steps=30, random_target=False)
    first, second = play(Still(), venv), play(Still(), venv)
    assert first == second
    venv.seed(RLConfig().eval_seed)
    venv.reset()
    expected = sum(venv.step(np.zeros(5, dtype=int))[1] for _ in range(30))
    assert [row["return"] for row in first] == expected.tolist()
    # Action 0 drives every robot into the same wall: -1 for each bump.
    assert min(row["return"] for row in first) < -1


def test_a_changed_encoder_voids_the_run(encoder, monkeypatch):
    original = Segments._evaluate

    def tamper(self):
        original(self)
        with torch.no_grad():
            encoder.mean.add_(1.0)

    monkeypatch.setattr(Segments, "_evaluate", tamper)
    with pytest.raises(TrainingError, match="changed"):
        train(encoder, steps=256)


def test_raw_pixels_and_ground_truth_train(mobile):
    truth = srl.pretrain("ground_truth", mobile)
    assert len(train(truth)) == 9
    assert len(train("raw_pixels", steps=64, hyperparameters={"n_steps": 16, "n_epochs": 1}, eval_every=64)) == 6


def test_bad_input(encoder):
    with pytest.raises(ConfigError, match="learning_rat"):
        train(encoder, hyperparameters={"learning_rat": 1})
    with pytest.raises(ConfigError, match="step"):
        train(encoder, step=3)
    with pytest.raises(ConfigError, match="raw_pixels"):
        train("pixels")
    with pytest.raises(ConfigError, match="algorithm"):
        train(encoder, algorithm="sacc")


@pytest.mark.slow
def test_ppo_on_ground_truth_solves_the_task(mobile):
    truth = srl.pretrain("ground_truth", mobile)
    table = srl.train_agent(ENVIRONMENT, truth, steps=65_536, eval_every=65_536, seed=0)
    assert table[table["step"] > 0]["return"].mean() > 150


def test_a_folder_of_another_agent_or_of_other_files_is_refused_before_training(encoder, mobile, tmp_path):
    train(encoder, out=tmp_path / "agent", steps=64, eval_every=64)
    other = srl.pretrain("random", mobile, latent_dim=5, seed=1)
    cases = (
        (other, {}, "encoder_sha256 is "),
        (encoder, {"seed": 9}, "rl.seed is 0, not 9"),
        (encoder, {"steps": 128}, "rl.steps is 64, not 128"),
        (encoder, {"hyperparameters": {}}, "rl.hyperparameters.n_steps is 64, not absent"),
    )
    for source, settings, named in cases:
        with pytest.raises(DataError, match=rf"{named}.*another folder"):
            train(source, out=tmp_path / "agent", **{"steps": 64, "eval_every": 64, **settings})
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").write_text("keep me")
    with pytest.raises(DataError, match="another folder"):
        train(encoder, out=tmp_path / "notes")
    assert (tmp_path / "notes" / "todo.txt").exists()


def test_agents_of_neighbouring_seeds_share_no_episode(encoder):
    """SB3 seeds environment i of an agent by seed + i."""
    starts = []
    for seed in (0, 1):
        venv = srl.make_vec_env(ENVIRONMENT, 4, seed=seed, obs_type="state")
        PPO("MlpPolicy", venv, seed=seed, n_steps=16, device="cpu")
        starts.append(venv.reset())
    assert len(np.unique(np.concatenate(starts), axis=0)) == 8


@pytest.mark.parametrize("algorithm", ["ppo", "cma_es", "random"])
def test_a_training_leaves_nothing_in_the_temporary_folder(algorithm, tmp_path, monkeypatch):
    """SB3 makes a folder for its log there, even if nothing is logged."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("SB3_LOGDIR", raising=False)
    small = {"steps": 32, "n_envs": 2, "eval_every": 32, "eval_episodes": 1}
    hyperparameters = {"ppo": {"n_steps": 16, "batch_size": 16}, "cma_es": {"population": 4}, "random": {}}
    train("ground_truth", algorithm=algorithm, **{**small, "hyperparameters": hyperparameters[algorithm]})
    assert list(tmp_path.iterdir()) == []
