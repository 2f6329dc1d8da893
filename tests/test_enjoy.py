import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import srl_bench as srl
from srl_bench.config import RLConfig
from srl_bench.errors import ConfigError, DataError
from srl_bench.report.enjoy import enjoy, episode_of, frames
from srl_bench.rl import load_run
from srl_bench.sources import Source

ENVIRONMENT = "srl_bench/MobileRobot-v0"
KWARGS = {"image_size": 48, "max_steps": 12}


def train(source, out, algorithm="ppo", hyperparameters=None, kwargs=KWARGS, **settings):
    hyperparameters = {"n_steps": 16} if hyperparameters is None else hyperparameters
    return srl.train_agent(
        ENVIRONMENT,
        source,
        environment_kwargs=kwargs,
        out=out,
        algorithm=algorithm,
        hyperparameters=hyperparameters,
        **{"steps": 64, "n_envs": 2, "eval_every": 64, "eval_episodes": 3, **settings},
    )


@pytest.fixture(scope="module")
def encoder(mobile):
    return srl.pretrain("random", mobile, latent_dim=5, seed=0)


CASES = {
    "states": ("encoder", "ppo", None, {}, "action probabilities"),
    "stacked": ("both", "ppo", None, {"frame_stack": 2, "normalise": True}, "action probabilities"),
    "values": ("ground_truth", "dqn", {"learning_starts": 8}, {}, "action values"),
    "quantiles": ("proprioception", "qrdqn", {"learning_starts": 8}, {}, "action values"),
    "search": ("encoder", "cma_es", {"population": 4}, {}, "action"),
    "pixels": ("raw_pixels", "ppo", None, {}, "action probabilities"),
    "recurrent": ("encoder", "recurrent_ppo", {"n_steps": 16, "policy_kwargs": {"lstm_hidden_size": 8}}, {}, "action"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_rebuilt_agent_plays_the_episodes_of_its_last_evaluation(case, encoder, tmp_path):
    name, algorithm, hyperparameters, settings, expected = CASES[case]
    source = {"encoder": encoder, "both": Source(encoder, "proprioception")}.get(name, name)
    table = train(source, tmp_path / "run", algorithm, hyperparameters, **settings)
    last = table[table["step"] == table["step"].max()]["return"].tolist()
    for episode, value in enumerate(last):
        agent, venv, rebuilt, about = load_run(tmp_path / "run", render_mode="rgb_array")
        steps, label = episode_of(agent, venv, rebuilt, episode, RLConfig(**about["rl"]))
        assert label == expected
        assert len(steps) == 12
        assert steps[-1].total == value
        if label == "action probabilities":
            np.testing.assert_allclose([step.preference.sum() for step in steps], 1, atol=1e-6)
        venv.close()
    if name in ("encoder", "both"):
        images = srl.make_vec_env(ENVIRONMENT, 3, **KWARGS)
        images.seed(20_180_925)
        np.testing.assert_allclose(steps[0].state, encoder.encode(images.reset())[2], atol=1e-5)


def test_the_nearest_training_frame_of_a_training_frame_is_itself(encoder, mobile, tmp_path):
    train(encoder, tmp_path / "run")
    agent, venv, source, _ = load_run(tmp_path / "run", render_mode="rgb_array")
    steps, label = episode_of(agent, venv, source, 0, RLConfig())
    drawn = frames(steps, label, source, mobile)
    assert len(drawn) == 12
    assert {frame.shape for frame in drawn} == {(240, 960, 3)}
    assert any((drawn[0] != frame).any() for frame in drawn[1:])


def test_films(encoder, mobile, tmp_path):
    train(encoder, tmp_path / "run")
    film = Image.open(enjoy(tmp_path / "run", tmp_path / "films" / "a.gif", data=mobile.path))
    assert film.n_frames == 12
    assert film.size == (960, 240)
    assert enjoy(tmp_path / "run", tmp_path / "a.mp4").stat().st_size > 1000
    with pytest.raises(ConfigError, match=r"\.gif or \.mp4"):
        enjoy(tmp_path / "run", tmp_path / "a.avi")


def test_an_agent_of_continuous_actions(tmp_path):
    kwargs = {**KWARGS, "action_type": "continuous"}
    train("ground_truth", tmp_path / "run", "sac", {"learning_starts": 8, "gradient_steps": 1}, kwargs)
    agent, venv, source, _ = load_run(tmp_path / "run", render_mode="rgb_array")
    steps, label = episode_of(agent, venv, source, 0, RLConfig())
    assert label == "action"
    assert all(step.preference.shape == (2,) and np.abs(step.preference).max() <= 1 for step in steps)


def test_what_is_no_finished_agent_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no agent"):
        enjoy(tmp_path, tmp_path / "a.gif")
    train("ground_truth", tmp_path / "run")
    weights = tmp_path / "run" / "agent.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:100])
    with pytest.raises(DataError, match="fits its config"):
        enjoy(tmp_path / "run", tmp_path / "a.gif")
    weights.unlink()
    with pytest.raises(DataError, match="not finished"):
        enjoy(tmp_path / "run", tmp_path / "a.gif")
    about = json.loads((tmp_path / "run" / "config.json").read_text())
    weights.write_bytes(content)
    about["rl"]["algorithm"] = "os.system"
    (tmp_path / "run" / "config.json").write_text(json.dumps(about))
    with pytest.raises(DataError, match="algorithm must be one of"):
        enjoy(tmp_path / "run", tmp_path / "a.gif")
    assert len(pd.read_csv(tmp_path / "run" / "evaluations.csv")) == 6
