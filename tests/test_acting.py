"""Agents of `train_agent` record data. Oracle: the same agent in environments of its own, behind its wrappers."""

import json

import numpy as np
import pytest

import srl_bench as srl
from srl_bench.errors import ConfigError, DataError
from srl_bench.rl import load_run
from srl_bench.seeding import derive_seed
from srl_bench.segments import actor

ENVIRONMENT = "srl_bench/MobileRobot-v0"
KWARGS = {"image_size": 48}
SMALL = {"steps": 48, "n_envs": 2, "eval_every": 48, "eval_episodes": 1}
ON_POLICY = {"n_steps": 12, "batch_size": 12, "learning_rate": 0.05}
CASES = {
    "random+ground_truth": {"frame_stack": 2, "normalise": True, "hyperparameters": ON_POLICY},
    "pve": {
        "algorithm": "recurrent_ppo",
        "hyperparameters": {**ON_POLICY, "policy_kwargs": {"lstm_hidden_size": 8}},
    },
    "raw_pixels": {"hyperparameters": {**ON_POLICY, "n_epochs": 1}},
    "random": {"encoder_mode": "finetune", "hyperparameters": {**ON_POLICY, "n_epochs": 1}},
    "proprioception": {"algorithm": "sac", "hyperparameters": {"learning_starts": 16, "batch_size": 8}},
}


def run_of(source, mobile, out):
    name, _, beside = source.partition("+")
    observed = source
    if name in ("random", "pve"):
        observed = out / "pretrained"
        srl.pretrain(name, mobile, latent_dim=8, steps=1, seed=0).save(observed)
        observed = "+".join(part for part in (str(observed), beside) if part)
    kwargs = {**KWARGS, "max_steps": 20, "action_type": "continuous" if source == "proprioception" else "discrete"}
    srl.train_agent(
        ENVIRONMENT, observed, environment_kwargs=kwargs, out=out / "agent", seed=2, **{**SMALL, **CASES[source]}
    )
    return out / "agent"


def recorded(run, out, **settings):
    about = json.loads((run / "config.json").read_text())
    kwargs = {name: value for name, value in about["environment_kwargs"].items() if name != "obs_type"}
    settings = {"max_steps": 15, "noise": 0.0, "environment_kwargs": kwargs, **settings}
    return srl.record(ENVIRONMENT, 60, 3, out=out, workers=1, policy=str(run), **settings)


@pytest.mark.parametrize("source", CASES)
def test_an_agent_acts_as_in_its_own_environments(source, mobile, tmp_path):
    run = run_of(source, mobile, tmp_path)
    assert all(wanted(run, recorded(run, tmp_path / "data")))
    # random actions are among those that lead to what the agent sees next
    assert 0.25 < np.mean(wanted(run, recorded(run, tmp_path / "noisy", noise=0.5))) < 0.95


def wanted(run, rollouts):
    """Return for every action of a recording whether the agent would have taken it."""
    agent, venv, _, _ = load_run(run)
    found = []
    for index, (start, stop) in enumerate(zip(rollouts.episodes[:-1], rollouts.episodes[1:], strict=True)):
        venv.unwrapped._seeds = [derive_seed(3, "episode", index) % 2**31]
        observations, act, starts = venv.reset(), actor(agent, venv), np.array([True])
        for row in range(start, stop - 1):
            actions = act(observations, starts)
            found.append(np.allclose(actions[0], rollouts.actions[row], atol=1e-6))
            observations, _, starts, _ = venv.step(rollouts.actions[row][None])
    venv.close()
    return found


def test_agents_that_do_not_fit_are_refused(mobile, tmp_path):
    run = run_of("raw_pixels", mobile, tmp_path)
    with pytest.raises(ConfigError, match="trained on 'srl_bench/MobileRobot-v0', not 'srl_bench/MobileRobotLine-v0'"):
        srl.record("srl_bench/MobileRobotLine-v0", 60, out=tmp_path / "data", policy=str(run))
    with pytest.raises(ConfigError, match="record with the arguments of its training"):
        recorded(run, tmp_path / "data", environment_kwargs={"image_size": 64})
    with pytest.raises(ConfigError, match="gives actions"):
        recorded(run, tmp_path / "data", environment_kwargs={**KWARGS, "action_type": "continuous"})
    (run / "agent.safetensors").unlink()
    with pytest.raises(DataError, match="not finished"):
        recorded(run, tmp_path / "data")
    (run / "config.json").write_text("{}")
    with pytest.raises(DataError, match="holds no agent"):
        srl.record(ENVIRONMENT, 60, out=tmp_path / "data", policy=str(run))
    with pytest.raises(ConfigError, match="the folder of an agent"):
        srl.record(ENVIRONMENT, 60, out=tmp_path / "data", policy=str(tmp_path / "nowhere"))
    srl.train_agent(ENVIRONMENT, "ground_truth", algorithm="random", out=tmp_path / "random", **SMALL)
    with pytest.raises(ConfigError, match="policy='random'"):
        recorded(tmp_path / "random", tmp_path / "data")
    assert not (tmp_path / "data").exists()
