"""Agents in files of Stable-Baselines3 and sb3-contrib, as policies of recordings."""

import base64
import io
import json
import os
import pickle
import zipfile

import gymnasium
import numpy as np
import pytest
import sb3_contrib
import stable_baselines3
import torch
from stable_baselines3.common.vec_env import DummyVecEnv

from srl_bench.config import RecordConfig
from srl_bench.errors import ConfigError, DataError, UnknownNameError
from srl_bench.policies import load_agent, make_policy
from srl_bench.record import record

ID = "srl_bench/MobileRobot-v0"


class Space(gymnasium.Env):
    """Random numbers to look at, three discrete actions or two continuous ones."""

    def __init__(self, discrete=False, masks=None):
        self.observation_space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
        self.action_space = gymnasium.spaces.Box(-2, 2, (2,), np.float32)
        if discrete:
            self.action_space = gymnasium.spaces.Discrete(3)
        if masks is not None:
            self.action_masks = lambda: np.array(masks)

    def reset(self, **_):
        return self.observation_space.sample(), {}


def stored(folder, name, env, policy="MlpPolicy", scale=5, **arguments):
    """An agent with random weights large enough that its actions differ, and the policy that names its file."""
    cls = getattr(stable_baselines3, name, None) or getattr(sb3_contrib, name)
    agent = cls(policy, env, seed=1, device="cpu", **arguments)
    with torch.no_grad():
        for value in agent.policy.parameters():
            value.copy_(scale * torch.randn(value.shape) / max(value.shape[-1:], default=1) ** 0.5)
    agent.save(folder / "agent.zip")
    short = {"QRDQN": "qrdqn", "RecurrentPPO": "recurrent_ppo", "MaskablePPO": "maskable_ppo"}.get(name, name)
    return agent, f"{short}:{folder / 'agent.zip'}"


SDE = {"use_sde": True}
CASES = [
    ("A2C", {}),
    ("PPO", SDE),
    ("PPO", {**SDE, "policy_kwargs": {"squash_output": True, "log_std_init": -2.0, "net_arch": [7]}}),
    ("SAC", {}),
    ("SAC", {**SDE, "policy_kwargs": {"net_arch": {"pi": [7], "qf": [5]}}}),
    ("TD3", {}),
    ("DDPG", {}),
    ("DQN", {}),
    ("QRDQN", {"policy_kwargs": {"n_quantiles": 11}}),
    ("TQC", {**SDE, "policy_kwargs": {"n_critics": 3, "n_quantiles": 7, "net_arch": [8]}}),
    ("CrossQ", {"policy_kwargs": {"net_arch": [8]}}),
    ("TRPO", SDE),
    ("ARS", {}),
    ("ARS", {"policy": "LinearPolicy"}),
    ("ARS", {"policy": "LinearPolicy", "policy_kwargs": {"with_bias": True}}),
    ("ARS", {"policy_kwargs": {"net_arch": []}}),
]


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_a_stored_agent_acts_as_it_did(tmp_path, name, arguments):
    """Oracle: the agent itself."""
    env = Space(discrete=name in ("DQN", "QRDQN"))
    if name in ("SAC", "TD3", "DDPG", "DQN", "QRDQN", "TQC", "CrossQ"):
        arguments = {**arguments, "buffer_size": 10}
    agent, policy = stored(tmp_path, name, env, **arguments)
    found = load_agent(policy, env.observation_space, env)
    seen = np.random.default_rng(0).uniform(-1, 1, (20, 3)).astype(np.float32)
    expected = agent.predict(seen, deterministic=True)[0]
    assert len(np.unique(expected, axis=0)) > 1
    np.testing.assert_array_equal(found.predict(seen, deterministic=True)[0], expected)


def test_an_agent_with_a_memory_records(tmp_path):
    """Oracle: the agent itself, stepped by hand; it forgets between episodes, and between them only."""
    env = gymnasium.make(ID, image_size=48)
    space = gymnasium.spaces.Box(-np.inf, np.inf, (len(env.unwrapped.factors),), np.float32)
    told = Space(discrete=True)
    told.observation_space, told.action_space = space, env.action_space
    options = {"lstm_hidden_size": 6, "net_arch": [5]}
    agent, policy = stored(tmp_path, "RecurrentPPO", told, "MlpLstmPolicy", 2, policy_kwargs=options)
    rollouts = record(
        ID, 80, 0, out=tmp_path / "data", policy=policy, noise=0.0, agent_reads="ground_truth", max_steps=8, workers=1,
        environment_kwargs={"image_size": 48},
    )  # fmt: skip
    seen = rollouts.factors.astype(np.float32)
    first = rollouts.steps == 0
    steps = np.setdiff1d(np.arange(len(rollouts)), rollouts.episodes[1:] - 1)
    assert first[steps].sum() == 10
    np.testing.assert_array_equal(rollouts.actions[steps], remembered(agent, seen[steps], first[steps]))
    for starts in (np.ones(len(steps), bool), np.arange(len(steps)) == 0):
        assert (rollouts.actions[steps] != remembered(agent, seen[steps], starts)).any()


def remembered(agent, observations, starts):
    """The actions of an agent with a memory that is emptied before some observations."""
    actions, state = [], None
    for observation, start in zip(observations, starts, strict=True):
        action, state = agent.predict(observation[None], state, np.array([start]), deterministic=True)
        actions.append(action[0])
    return np.array(actions)


def test_an_agent_that_asks_what_is_possible(tmp_path):
    env = Space(discrete=True, masks=[False, True, False])
    _, policy = stored(tmp_path, "MaskablePPO", env)
    actor = make_policy(RecordConfig(ID, policy=policy, noise=0.0), env)(np.random.default_rng(0))
    random = np.random.default_rng(1)
    assert {actor(random.uniform(-1, 1, 3).astype(np.float32), {}) for _ in range(20)} == {1}


# Refusals


def test_agents_that_do_not_fit(tmp_path):
    moves, chooses = Space(), Space(discrete=True)
    pixels = gymnasium.spaces.Box(0, 255, (36, 36, 3), np.uint8)
    _, policy = stored(tmp_path, "SAC", moves, buffer_size=10, policy_kwargs={"net_arch": [4]})
    with pytest.raises(ConfigError, match=r"sac takes continuous actions.*fit: .*recurrent_ppo"):
        load_agent(policy, chooses.observation_space, chooses)
    with pytest.raises(ConfigError, match="does not fit"):
        load_agent(policy, gymnasium.spaces.Box(-1, 1, (4,), np.float32), moves)
    with pytest.raises(ConfigError, match="crossq has no network for images"):
        load_agent(policy.replace("SAC", "crossq"), pixels, moves)
    with pytest.raises(ConfigError, match="action_masks"):
        load_agent(policy.replace("SAC", "maskable_ppo"), chooses.observation_space, chooses)
    for name in ("cma_es", "random", "ppo_lstm"):
        with pytest.raises(UnknownNameError, match=r"recurrent_ppo:FILE\.zip"):
            load_agent(policy.replace("SAC", name), moves.observation_space, moves)


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def rewrite(file, name, content):
    """Replace one of the files in an agent's."""
    with zipfile.ZipFile(file) as archive:
        parts = {part: archive.read(part) for part in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for part, old in parts.items():
            archive.writestr(part, content if part == name else old)


def test_nothing_is_unpickled(tmp_path):
    """Options without code are read from beside the pickle that holds them, whatever that is."""
    env, mark = Space(), tmp_path / "mark"
    _, policy = stored(tmp_path, "A2C", env, policy_kwargs={"net_arch": [9]})
    file = tmp_path / "agent.zip"
    bomb = pickle.dumps(Bomb(mark), protocol=2)
    with zipfile.ZipFile(file) as archive:
        data = json.loads(archive.read("data"))
    for entry in data.values():
        if isinstance(entry, dict) and ":serialized:" in entry:
            entry[":serialized:"] = base64.b64encode(bomb).decode()
    assert "optimizer_class" in data["policy_kwargs"]
    rewrite(file, "data", json.dumps(data))
    assert load_agent(policy, env.observation_space, env).policy.mlp_extractor.policy_net[0].out_features == 9
    data["policy_kwargs"]["activation_fn"] = "<class 'torch.nn.modules.activation.ReLU'>"
    rewrite(file, "data", json.dumps(data))
    with pytest.raises(DataError, match="stores the activation_fn of its policy as code"):
        load_agent(policy, env.observation_space, env)
    del data["policy_kwargs"]["activation_fn"]
    rewrite(file, "data", json.dumps(data))
    buffer = io.BytesIO()
    torch.save(Bomb(mark), buffer)
    for weights in (buffer.getvalue(), bomb, b""):
        rewrite(file, "policy.pth", weights)
        with pytest.raises(DataError, match="holds no agent"):
            load_agent(policy, env.observation_space, env)
    assert not mark.exists()


@pytest.mark.parametrize("data", ["[]", "3", '{"policy_kwargs": 3}', '{"policy_kwargs": "relu"}', "{", ""])
def test_a_damaged_description_is_refused(tmp_path, data):
    env = Space()
    _, policy = stored(tmp_path, "PPO", env)
    rewrite(tmp_path / "agent.zip", "data", data)
    with pytest.raises(DataError, match="holds no agent"):
        load_agent(policy, env.observation_space, env)


def test_images_of_several_views(tmp_path):
    """Oracle: the agent itself; the network of a dictionary has a part for each view."""
    env = Space()
    box = gymnasium.spaces.Box(0, 255, (36, 36, 3), np.uint8)
    env.observation_space = gymnasium.spaces.Dict({"front": box, "top": box})
    agent, policy = stored(tmp_path, "TD3", DummyVecEnv([lambda: env]), "MultiInputPolicy", 1, buffer_size=10)
    found = load_agent(policy, env.observation_space, env)
    random = np.random.default_rng(0)
    seen = {name: random.integers(0, 256, (6, 36, 36, 3), dtype=np.uint8) for name in ("front", "top")}
    expected = agent.predict(seen, deterministic=True)[0]
    assert len(np.unique(expected, axis=0)) > 1
    np.testing.assert_array_equal(found.predict(seen, deterministic=True)[0], expected)
