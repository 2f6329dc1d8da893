"""Every algorithm trains, refuses what it cannot take, and goes on after an interruption as if nothing had been."""

import inspect
import json
from typing import get_args

import gymnasium
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from stable_baselines3.common.vec_env import VecEnvWrapper

import srl_bench as srl
from srl_bench.agents import CMAES
from srl_bench.algorithms import ALGORITHMS, HYPERPARAMETERS, check_algorithm, hyperparameters, make_agent
from srl_bench.config import AlgorithmName
from srl_bench.environments import make_environment
from srl_bench.errors import ConfigError, DataError
from srl_bench.segments import Segments, actor, play

ENVIRONMENT = "srl_bench/MobileRobot-v0"
SMALL = {
    "learning_starts": 24,
    "n_steps": 8,
    "batch_size": 8,
    "buffer_size": 400,
    "population": 6,
    "n_delta": 3,
    "n_top": 2,
    "n_epochs": 2,
    "gradient_steps": 1,
    "cg_max_steps": 3,
}
CASES = [(name, kind) for name, entry in ALGORITHMS.items() if not entry.masks for kind in entry.actions]


def small(algorithm):
    accepted = inspect.signature(ALGORITHMS[algorithm].load()).parameters
    own = {name: value for name, value in SMALL.items() if name in accepted}
    if algorithm == "recurrent_ppo":
        own["policy_kwargs"] = {"lstm_hidden_size": 8}
    if algorithm in ("dqn", "qrdqn"):
        own["target_update_interval"] = 16
    return own if algorithm != "cma_es" else {"population": 6}


def train(algorithm, kind, out=None, **settings):
    kwargs = {"max_steps": 6, "action_type": kind}
    settings = {"steps": 96, "n_envs": 4, "eval_every": 32, "eval_episodes": 2, "seed": 5, **settings}
    hyper = {**small(algorithm), **settings.pop("hyperparameters", {})}
    return srl.train_agent(
        ENVIRONMENT,
        settings.pop("source", "ground_truth"),
        environment_kwargs=kwargs,
        out=out,
        algorithm=algorithm,
        hyperparameters=hyper,
        **settings,
    )


class Stop(Exception):
    pass


def interrupted(monkeypatch, call, steps):
    """Run `call` until training has passed its checkpoint at `steps`, some way into the next segment."""
    with monkeypatch.context() as patch:
        original = Segments._on_rollout_start

        def check(self):
            original(self)
            if self._next > steps + self.config.eval_every or self.model.num_timesteps >= steps + 8:
                raise Stop

        patch.setattr(Segments, "_on_rollout_start", check)
        with pytest.raises(Stop):
            call()


def same_weights(first, second):
    first, second = load_file(first / "agent.safetensors"), load_file(second / "agent.safetensors")
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


@pytest.mark.parametrize(("algorithm", "kind"), CASES, ids=["-".join(case) for case in CASES])
def test_an_interrupted_training_ends_with_the_same_bits(algorithm, kind, tmp_path, monkeypatch):
    settings = {"normalise": True, "curiosity": 0.1} if kind == "discrete" else {}
    whole = train(algorithm, kind, tmp_path / "whole", **settings)
    interrupted(monkeypatch, lambda: train(algorithm, kind, tmp_path / "parts", **settings), 32)
    assert (tmp_path / "parts" / "checkpoint").is_dir()
    assert not (tmp_path / "parts" / "evaluations.csv").exists()
    parts = train(algorithm, kind, tmp_path / "parts", **settings)
    pd.testing.assert_frame_equal(whole.drop(columns="seconds"), parts.drop(columns="seconds"))
    same_weights(tmp_path / "whole", tmp_path / "parts")
    assert not (tmp_path / "parts" / "checkpoint").exists()
