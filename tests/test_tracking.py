"""TensorBoard and Weights & Biases. The package wandb is not installed; a stub keeps what it is told."""

import json
import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import srl_bench as srl
from srl_bench import cli
from srl_bench.errors import ConfigError

ENVIRONMENT = "srl_bench/MobileRobot-v0"
SMALL = {"steps": 64, "n_envs": 2, "eval_every": 32, "eval_episodes": 2}
SMALL["hyperparameters"] = {"n_steps": 16, "batch_size": 16}
STUB = """
import json
from pathlib import Path

class Run:
    def __init__(self, settings):
        self.file = Path(settings["dir"]) / "wandb.json"
        self.told = {"settings": settings}

    def __enter__(self):
        return self

    def __exit__(self, error, *_):
        self.told["failed"] = error is not None
        self.file.write_text(json.dumps(self.told))

run = None

def init(**settings):
    global run
    run = Run(settings)
    return run
"""
CALLBACK = """
import wandb
from stable_baselines3.common.callbacks import BaseCallback

class WandbCallback(BaseCallback):
    def _on_training_start(self):
        wandb.run.told["algorithm"] = type(self.model).__name__

    def _on_step(self):
        wandb.run.told["steps"] = self.num_timesteps
        return True
"""


@pytest.fixture
def wandb(tmp_path, monkeypatch):
    folder = tmp_path / "site" / "wandb" / "integration"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text(STUB)
    (folder / "__init__.py").touch()
    (folder / "sb3.py").write_text(CALLBACK)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "wandb"]:
        del sys.modules[name]


def train(out, **settings):
    kwargs = {"max_steps": 6}
    return srl.train_agent(ENVIRONMENT, "ground_truth", environment_kwargs=kwargs, out=out, **{**SMALL, **settings})


def test_a_run_is_reported_with_its_evaluations(wandb, tmp_path):
    table = train(tmp_path / "agent", wandb="robots", seed=3)
    told = json.loads((tmp_path / "agent" / "wandb.json").read_text())
    assert (told["algorithm"], told["steps"], told["failed"]) == ("PPO", 64, False)
    settings = told["settings"]
    assert settings["project"] == "robots"
    assert settings["sync_tensorboard"]
    assert settings["name"] == "ground_truth ppo 3"
    assert settings["config"]["hyperparameters"]["n_steps"] == 16
    (log,) = (tmp_path / "agent" / "tensorboard").iterdir()
    events = EventAccumulator(str(log)).Reload().Scalars("eval/return")
    expected = table.groupby("step")["return"].mean()
    assert {event.step: event.value for event in events} == pytest.approx(expected.to_dict())


def test_a_run_that_goes_on_is_the_same_run(wandb, tmp_path):
    def stop(step, mean):
        if step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "agent", wandb="robots", on_evaluation=stop)
    first = json.loads((tmp_path / "agent" / "wandb.json").read_text())
    train(tmp_path / "agent", wandb="robots")
    second = json.loads((tmp_path / "agent" / "wandb.json").read_text())
    train(tmp_path / "other", wandb="robots")
    other = json.loads((tmp_path / "other" / "wandb.json").read_text())
    assert first["failed"]
    assert first["settings"]["id"] == second["settings"]["id"] != other["settings"]["id"]
    assert second["settings"]["resume"] == "allow"


def test_without_the_package_nothing_begins(mobile, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'srl-bench\[wandb\]'"):
        train(tmp_path / "agent", wandb="robots")
    words = ["rl", "autoencoder", "--data", str(mobile.path), "--wandb", "robots", "--out", str(tmp_path / "agent")]
    monkeypatch.setattr(sys, "argv", ["srl-bench", *words])
    with pytest.raises(SystemExit, match="pip install"):
        cli.main()
    assert not (tmp_path / "agent").exists()


@pytest.mark.parametrize("settings", [{"tensorboard": True}, {"wandb": "robots"}])
def test_reports_need_a_folder(settings, wandb):
    with pytest.raises(ConfigError, match="give it a folder"):
        train(None, **settings)
