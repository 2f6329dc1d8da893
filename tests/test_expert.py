"""The expert of an environment in logged states. Oracle: the actions that it took there itself."""

from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest

import srl_bench as srl
from srl_bench.errors import DataError
from srl_bench.expert import GAMMA, HORIZON, expert_actions, expert_returns, has_expert
from srl_bench.factors import Factor
from srl_bench.metrics import expert_action, expert_value, variance_split
from srl_bench.metrics.returns import discounted_returns


@pytest.mark.parametrize("options", [{}, {"action_type": "continuous"}, {"domain": "randomised", "distractors": 1}])
def test_asked_again_it_does_what_it_did(options, tmp_path):
    data = srl.record(
        "srl_bench/MobileRobot-v0",
        frames=600,
        policy="scripted",
        noise=0.0,
        environment_kwargs={"max_steps": 20, **options},
        out=tmp_path / "data",
    )
    assert has_expert(data)
    rows = np.flatnonzero(np.diff(data.steps, append=0) > 0)[::3]  # no action follows the last row of an episode
    np.testing.assert_allclose(
        expert_actions(data, rows), data.actions[rows].reshape(len(rows), -1).squeeze(), atol=1e-6
    )
    scores = srl.score(srl.pretrain("ground_truth", data), data, metrics=["expert_action"])
    names = ["r2"] if "action_type" in options else ["balanced_accuracy", "gain"]
    assert list(scores.index) == [f"expert_action.{name}" for name in names]
    assert scores.iloc[0] > 0.3


def test_the_expert_gets_again_what_it_got(tmp_path):
    """Oracle: the discounted rewards that followed in its own recording."""
    options = {"environment_kwargs": {"max_steps": 40, "reward_type": "shaped"}, "policy": "scripted", "noise": 0.0}
    data = srl.record("srl_bench/MobileRobot-v0", frames=600, out=tmp_path / "data", **options)
    rows, logged = discounted_returns(data.rewards, data.episode_ids, data.steps, GAMMA, HORIZON)
    found = expert_returns(data, rows[::7])
    assert np.ptp(found) > 0.1
    # around the goal it may go either way, and draws
    np.testing.assert_allclose(found, logged[::7], atol=0.05)
    assert np.isclose(found, logged[::7], atol=1e-5).mean() > 0.9
    scores = srl.score(srl.pretrain("ground_truth", data), data, metrics=["expert_value"])
    assert scores["expert_value"] > 0.3


def test_a_value_that_depends_on_the_latents_is_read_off():
    random = np.random.default_rng(0)
    z, split = random.normal(size=(900, 3)), np.repeat([0, 1, 2], 300)
    worth = z @ [1.0, -2.0, 0.5] + 3
    assert expert_value(z, z, expert_returns=worth, split=split, learner="ridge") == pytest.approx(1, abs=1e-4)
    # half of the variance is noise that no latent knows
    noisy = worth + np.std(worth) * random.normal(size=900)
    assert expert_value(z, z, expert_returns=noisy, split=split, learner="ridge") == pytest.approx(0.5, abs=0.1)
    distance = np.linalg.norm(z, axis=1)
    assert expert_value(z, z, expert_returns=distance, split=split) > 0.7
    assert expert_value(z, z, expert_returns=distance, split=split, learner="ridge") < 0.1
    assert expert_value(np.ones((900, 2)), z, expert_returns=worth, split=split) == 0
    with pytest.warns(UserWarning, match="constant"):
        assert np.isnan(expert_value(z, z, expert_returns=0 * worth, split=split))


def test_data_of_unknown_environments_have_no_expert(tmp_path):
    data = srl.record(
        "srl_bench/MobileRobot1D-v0", frames=300, environment_kwargs={"max_steps": 10}, out=tmp_path / "d"
    )
    data.info["environment"] = "elsewhere/Real-v0"
    assert not has_expert(data)
    with pytest.raises(DataError, match="expert_actions"):
        srl.score(srl.pretrain("ground_truth", data), data, metrics=["expert_action"])


class Line(gymnasium.Env):
    """A point that is to go to 0; it has an expert, and no argument `obs_type`."""

    factors = (Factor("place", "m", -1.0, 1.0),)
    action_space = gymnasium.spaces.Discrete(2)
    observation_space = gymnasium.spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = 0.0
        return np.zeros(1), {}

    def set_factors(self, factors):
        self.place = float(factors[0])

    def scripted_action(self, rng, noise):
        return int(self.place < 0)

    def step(self, action):
        self.place += 0.1 if action else -0.1
        return np.zeros(1), -abs(self.place), False, False, {}


def test_an_environment_of_a_plug_in_needs_no_obs_type(tiny):
    gymnasium.register("tests/Line-v0", Line)
    info = tiny.info | {"environment": "tests/Line-v0", "environment_kwargs": {}}
    places = np.array([[0.5], [-0.3]])
    data = SimpleNamespace(info=info, factor_table=Line.factors, factors=places, path="here")
    assert has_expert(data)
    rows = np.arange(2)
    assert expert_actions(data, rows).tolist() == [0, 1]
    steps = 0.95 ** np.arange(HORIZON)
    ways = [[0.4, 0.3, 0.2, 0.1, 0, 0.1], [0.2, 0.1, 0.0, 0.1]]
    ends = [np.resize([0.0, 0.1], HORIZON), np.resize([0.0, 0.1], HORIZON)]
    expected = [-(steps * np.concatenate([way[:-2], end])[:HORIZON]).sum() for way, end in zip(ways, ends, strict=True)]
    np.testing.assert_allclose(expert_returns(data, rows), expected, atol=1e-9)


def test_an_expert_that_is_linear_in_the_latents_is_read_off():
    random = np.random.default_rng(0)
    z, split = random.normal(size=(900, 3)), np.repeat([0, 1, 2], 300)
    side = (z @ [1.0, -2.0, 0.5] > 0).astype(int)
    read = expert_action(z, z, expert_actions=side, split=split)
    assert read["balanced_accuracy"] > 0.97
    assert read["gain"] > 0.8
    assert expert_action(z, z, expert_actions=z @ np.eye(3)[:, :2], split=split)["r2"] == pytest.approx(1, abs=1e-4)
    noise = expert_action(random.normal(size=z.shape), z, expert_actions=side, split=split)
    assert noise["balanced_accuracy"] == pytest.approx(0.5, abs=0.1)
    assert abs(noise["gain"]) < 0.1
    still = expert_action(np.ones((900, 2)), z, expert_actions=side, split=split)
    assert still == {"balanced_accuracy": 0.5, "gain": 0.0}
    with pytest.warns(UserWarning, match="a single action"):
        assert np.isnan(expert_action(z, z, expert_actions=0 * side, split=split)["gain"])


def test_variance_is_split_between_task_and_distractors():
    """One latent dimension follows the task with variance 9, one the distractor with variance 1."""
    random = np.random.default_rng(0)
    factors, split = random.normal(size=(1500, 2)), np.repeat([0, 1, 2], 500)
    told = {"split": split, "roles": ["task", "distractor"], "learner": "ridge"}
    split_of = variance_split(factors * [3.0, 1.0], factors, **told)
    assert split_of["task"] == pytest.approx(0.9, abs=0.02)
    assert split_of["distractor"] == pytest.approx(0.1, abs=0.02)
    bent = np.abs(factors) * [3.0, 1.0]
    assert variance_split(bent, factors, **{**told, "learner": "gbt"})["task"] > 0.8
    assert variance_split(bent, factors, **told)["task"] < 0.1
    with pytest.warns(UserWarning, match="no distractor factor"):
        alone = variance_split(factors, factors, split=split, learner="ridge")
    assert alone["task"] == pytest.approx(1, abs=1e-4)
    assert np.isnan(alone["distractor"])
