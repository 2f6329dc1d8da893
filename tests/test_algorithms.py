"""Every algorithm trains, refuses what it cannot take, and goes on after an interruption as if nothing had been."""

import inspect
import itertools
import json
import pickle
import re
from pathlib import Path
from typing import get_args

import gymnasium
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from filelock import FileLock
from safetensors.torch import load_file
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

import srl_bench as srl
from srl_bench.algorithms import ALGORITHMS, HYPERPARAMETERS, check_algorithm, hyperparameters, make_agent
from srl_bench.config import AlgorithmName
from srl_bench.environments import environment_ids, make_environment
from srl_bench.errors import ConfigError, DataError
from srl_bench.segments import Segments, play

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
        own["target_update_interval"] = 12
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


def test_the_names_of_algorithms_are_those_of_the_table_and_all_have_hyperparameters():
    assert set(get_args(AlgorithmName)) == set(ALGORITHMS)
    known = yaml.safe_load(HYPERPARAMETERS.read_text())
    assert set(known) == set(ALGORITHMS)
    environments = {name for table in known.values() for name in table} - {"defaults", "search"}
    assert environments <= set(environment_ids())
    for name, table in known.items():
        accepted = set(inspect.signature(ALGORITHMS[name].load()).parameters) | {"noise_std"}
        if name == "cma_es":
            accepted |= {"policy"}
        for values in table.values():
            assert set(values) <= accepted, name


def test_hyperparameters_of_the_environment_override_defaults_and_given_ones_both():
    assert hyperparameters("ppo", ENVIRONMENT, {}) == {"n_steps": 256, "batch_size": 64}
    found = hyperparameters("ppo", "srl_bench/PendulumPixels-v0", {"gamma": 0.5})
    assert found == {"n_steps": 256, "batch_size": 64, "gamma": 0.5, "learning_rate": 1e-3}


@pytest.mark.parametrize(
    ("algorithm", "kind", "images", "named"),
    [
        ("sac", "discrete", False, "takes continuous actions, but"),
        ("dqn", "continuous", False, "takes discrete actions, but"),
        ("ars", "discrete", True, "no network for images"),
        ("crossq", "continuous", True, "no network for images"),
        ("maskable_ppo", "discrete", False, "action_masks"),
    ],
)
def test_a_mismatch_names_algorithms_that_fit(algorithm, kind, images, named):
    env = make_environment(ENVIRONMENT, {"action_type": kind})
    with pytest.raises(ConfigError, match=named) as caught:
        check_algorithm(algorithm, env, images=images)
    fitting = str(caught.value).split("These fit: ")[1].rstrip(".").split(", ")
    assert "ppo" in fitting
    assert "maskable_ppo" not in fitting
    for name in fitting:
        check_algorithm(name, env, images=images)
    env.close()


def test_a_mismatch_is_found_before_anything_is_written(tmp_path):
    with pytest.raises(ConfigError, match="These fit: a2c"):
        train("sac", "discrete", tmp_path / "agent")
    assert not (tmp_path / "agent").exists()
    with pytest.raises(ConfigError, match="learning_rate"):
        train("ppo", "discrete", tmp_path / "agent", hyperparameters={"learning_rat": 1})
    train("ppo", "discrete", tmp_path / "agent", steps=32)


class Masked(gymnasium.Env):
    """Only action 2 is possible, and any other one costs 1."""

    factors = ()
    observation_space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)

    def __init__(self, obs_type="state"):
        self.action_space = gymnasium.spaces.Discrete(4)

    def action_masks(self):
        return np.array([False, False, True, False])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return np.zeros(3, np.float32), {"state": np.zeros(0)}

    def step(self, action):
        self.count += 1
        return np.zeros(3, np.float32), -float(action != 2), False, self.count >= 5, {}


def test_maskable_ppo_never_takes_an_impossible_action():
    venv = DummyVecEnv([lambda: Monitor(Masked())] * 2)
    check_algorithm("maskable_ppo", Masked(), images=False)
    agent = make_agent("maskable_ppo", venv, {"n_steps": 8, "batch_size": 8}, images=False, seed=0, device="cpu")
    agent.learn(64)
    assert [row["return"] for row in play(agent, venv)] == [0.0, 0.0]
    assert np.mean([info["r"] for info in agent.ep_info_buffer]) == 0


def test_a_recurrent_agent_is_given_its_memory_and_where_episodes_begin(monkeypatch):
    venv = srl.make_vec_env(ENVIRONMENT, 2, obs_type="state", max_steps=5)
    agent = make_agent("recurrent_ppo", venv, small("recurrent_ppo"), images=False, seed=0, device="cpu")
    calls = []
    predict = agent.predict

    def spy(observations, state, episode_start, deterministic):
        result = predict(observations, state=state, episode_start=episode_start, deterministic=deterministic)
        calls.append((state, episode_start.tolist(), result[1]))
        return result

    monkeypatch.setattr(agent, "predict", spy)
    play(agent, venv)
    assert [starts for _, starts, _ in calls] == [[True, True]] + [[False, False]] * 4
    assert calls[0][0] is None
    for before, after in itertools.pairwise(calls):
        assert after[0] is before[2]


class Linear(gymnasium.Env):
    """One step; the return is minus the squared distance of the action to a linear map of the observation."""

    factors = ()
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seen = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self.seen, {}

    def step(self, action):
        goal = np.tanh(0.5 * self.seen[0] - 0.8 * self.seen[1])
        return self.seen, -float((action[0] - goal) ** 2), True, False, {}


@pytest.mark.parametrize(("algorithm", "steps"), [("ars", 4000), ("cma_es", 4000)])
def test_searches_find_the_linear_policy(algorithm, steps):
    """Every return here is of one random observation, so the search has to see through that noise."""
    venv = DummyVecEnv([lambda: Monitor(Linear())] * 4)
    agent = make_agent(algorithm, venv, hyperparameters(algorithm, "", {}), images=False, seed=0, device="cpu")
    before = np.mean([row["return"] for row in play(agent, venv)])
    agent.learn(steps)
    weights = agent.policy.action_net[0].weight.detach().numpy()[0]
    np.testing.assert_allclose(weights, [0.5, -0.8], atol=0.2)
    assert np.mean([row["return"] for row in play(agent, venv)]) > before / 5


def test_candidates_act_as_the_policy_with_their_weights_would():
    for kind in ("discrete", "continuous"):
        venv = srl.make_vec_env(ENVIRONMENT, 3, obs_type="state", action_type=kind)
        for policy in ("LinearPolicy", "MlpPolicy"):
            agent = make_agent("ars", venv, {"policy": policy}, images=False, seed=0, device="cpu")
            candidates = torch.randn(3, agent.n_params, generator=torch.Generator().manual_seed(0))
            observations = venv.reset()
            actions = agent._actions(agent._unpacked(candidates), observations)
            for weights, observation, action in zip(candidates, observations, actions, strict=True):
                agent.policy.load_from_vector(weights.numpy())
                np.testing.assert_allclose(action, agent.predict(observation)[0], atol=1e-6)


def test_random_agents_have_the_return_of_random_actions():
    table = train("random", "discrete", eval_episodes=3)
    assert sorted(table["step"].unique()) == [0, 32, 64, 96]
    assert (table["length"] == 6).all()


@pytest.mark.parametrize("kind", ["pickle", "npy", "truncated", "counters"])
def test_damaged_or_hostile_checkpoints_are_refused_and_execute_nothing(kind, tmp_path, monkeypatch):
    folder, mark = tmp_path / "agent", tmp_path / "executed"
    interrupted(monkeypatch, lambda: train("dqn", "discrete", folder), 32)
    hostile = pickle.dumps(Hostile(str(mark)))
    if kind == "pickle":
        (folder / "checkpoint" / "state.safetensors").write_bytes(hostile)
    elif kind == "npy":
        np.save(folder / "checkpoint" / "replay_actions.npy", np.array([Hostile(str(mark))]), allow_pickle=True)
    elif kind == "truncated":
        text = (folder / "checkpoint" / "state.json").read_text()
        (folder / "checkpoint" / "state.json").write_text(text[: len(text) // 2])
    else:
        state = json.loads((folder / "checkpoint" / "state.json").read_text())
        del state["counters"]["num_timesteps"]
        (folder / "checkpoint" / "state.json").write_text(json.dumps(state))
    with pytest.raises(DataError, match="delete it to start anew"):
        train("dqn", "discrete", folder)
    assert not mark.exists()


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_no_source_file_of_the_package_loads_pickles():
    """SB3's load, load_replay_buffer and VecNormalize.load unpickle; torch.load does unless weights_only is set."""
    pattern = re.compile(r"pickle\.loads?\(|load_replay_buffer|VecNormalize\.load|torch\.load\((?!.*weights_only=True)")
    root = Path(srl.__file__).parent
    found = [file.name for file in root.rglob("*.py") if pattern.search(file.read_text())]
    assert found == []


def test_two_trainings_of_one_folder_exclude_each_other(tmp_path):
    folder = tmp_path / "agent"
    folder.mkdir()
    with FileLock(folder / ".lock"), pytest.raises(DataError, match="another process is training"):
        train("random", "discrete", folder)
    assert len(train("random", "discrete", folder)) == 8
