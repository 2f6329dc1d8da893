"""Dynamics, rewards and values against linear systems, scikit-learn and plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm
from scipy.stats import ortho_group
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import average_precision_score, balanced_accuracy_score, log_loss, r2_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from srl_bench.errors import DataError
from srl_bench.metrics import forward, inverse, reward, value
from srl_bench.metrics.common import standardise
from srl_bench.metrics.learners import fit
from srl_bench.metrics.returns import discounted_returns
from srl_bench.metrics.transitions import runs


def system(n_episodes: int = 40, length: int = 50, noise: float = 0.0, seed: int = 0) -> dict[str, np.ndarray]:
    """Simulate z' = A z + B a with a full-rank B, and store its rows in random order of episodes."""
    random = np.random.default_rng(seed)
    turn = np.triu(random.normal(size=(3, 3)), 1)
    a, b = 0.97 * expm(0.1 * (turn - turn.T)), ortho_group.rvs(3, random_state=seed)[:, :2]
    actions = random.normal(size=(n_episodes, length, 2))
    states = np.empty((n_episodes, length, 3))
    states[:, 0] = random.normal(size=(n_episodes, 3))
    for t in range(length - 1):
        drift = noise * random.normal(size=(n_episodes, 3))
        states[:, t + 1] = states[:, t] @ a.T + actions[:, t] @ b.T + drift
    ids = random.permutation(n_episodes) * 7 - 5
    return {
        "states": states.reshape(-1, 3),
        "actions": actions.reshape(-1, 2),
        "episode_ids": np.repeat(ids, length),
        "steps": np.tile(np.arange(length), n_episodes),
        "split": np.repeat(np.arange(n_episodes) % 4 % 3, length),
    }


def logged(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: values for name, values in data.items() if name != "states"}


def test_a_noiseless_linear_system_is_predicted_and_inverted():
    data = system()
    states, about = data["states"], logged(data)
    scores = forward(states, states, **about)
    assert scores["skill_1"] > 0.9999
    assert scores["skill_10"] > 0.9999
    assert min(scores.values()) > 0.999
    assert inverse(states, states, **about)["r2"] > 0.999
    assert inverse(states, states, inputs="pair", **about)["r2"] > 0.99


def test_one_step_prediction_is_that_of_scikit_learn():
    data = system(noise=0.5)
    z = standardise(data["states"], data["split"] == 0)
    pairs = runs(data["episode_ids"], data["steps"], 2)
    now, later = pairs.T
    train, test = (data["split"][now] == part for part in (0, 2))
    x = np.hstack([z[now], data["actions"][now]])
    scale = StandardScaler().fit(x[train])
    model = Ridge(alpha=1).fit(scale.transform(x[train]), (z[later] - z[now])[train])
    predicted = z[now][test] + model.predict(scale.transform(x[test]))
    squares = ((predicted - z[later][test]) ** 2).sum()
    found = forward(data["states"], data["states"], **logged(data))
    assert found["skill_1"] == pytest.approx(1 - squares / ((z[later] - z[now])[test] ** 2).sum())
    spread = ((z[later][test] - z[later][test].mean(axis=0)) ** 2).sum()
    assert found["r2_1"] == pytest.approx(1 - squares / spread)

    dz = np.hstack([z[now], z[later] - z[now]])
    scale = StandardScaler().fit(dz[train])
    model = Ridge(alpha=1).fit(scale.transform(dz[train]), data["actions"][now][train])
    predicted, truth = model.predict(scale.transform(dz[test])), data["actions"][now][test]
    expected = r2_score(truth, predicted, multioutput="variance_weighted")
    assert inverse(data["states"], data["states"], **logged(data))["r2"] == pytest.approx(expected)


def test_open_loop_by_plain_loops():
    data = system(n_episodes=8, length=12, noise=0.3)
    z = standardise(data["states"], data["split"] == 0)
    pairs = runs(data["episode_ids"], data["steps"], 2)
    train = pairs[data["split"][pairs[:, 0]] == 0]
    x = np.hstack([z[train[:, 0]], data["actions"][train[:, 0]]])
    model = fit("ridge", x, z[train[:, 1]] - z[train[:, 0]])
    decode = fit("ridge", z[data["split"] == 0], standardise(data["states"])[data["split"] == 0])
    errors, still, truth, decoded = [], [], [], []
    for episode in np.unique(data["episode_ids"][data["split"] == 2]):
        rows = np.flatnonzero(data["episode_ids"] == episode)
        for start in range(12 - 5):
            predicted = z[rows[start]]
            for t in range(start, start + 5):
                predicted = predicted + model(np.concatenate([predicted, data["actions"][rows[t]]])[None])[0]
            errors.append(((predicted - z[rows[start + 5]]) ** 2).sum())
            still.append(((z[rows[start]] - z[rows[start + 5]]) ** 2).sum())
            truth.append(standardise(data["states"])[rows[start + 5]])
            decoded.append(decode(predicted[None])[0])
    found = forward(data["states"], data["states"], horizons=[5], **logged(data))
    assert found["skill_5"] == pytest.approx(1 - sum(errors) / sum(still))
    # All columns have unit variance over all rows, but not over the rows judged here.
    truth, decoded = np.array(truth), np.array(decoded)
    expected = 1 - ((truth - decoded) ** 2).sum() / ((truth - truth.mean(axis=0)) ** 2).sum()
    assert found["state_r2_5"] == pytest.approx(expected)


def test_slowness_inflates_r2_but_not_skill():
    random = np.random.default_rng(0)
    data = system(noise=1.0)
    z = np.zeros((2000, 3))
    for t in range(1, 2000):
        z[t] = 0.97 * z[t - 1] + random.normal(size=3)
    found = forward(z, z, **logged(data))
    assert found["r2_1"] > 0.8
    assert abs(found["skill_1"]) < 0.1


def test_constant_latents_predict_nothing():
    data = system(n_episodes=12)
    constant = np.full((600, 2), 0.1)
    with pytest.warns(UserWarning, match="forward is undefined: the representation is constant"):
        assert np.isnan(list(forward(constant, data["states"], **logged(data)).values())).all()
    assert inverse(constant, data["states"], **logged(data)) == {"r2": 0}
    rewards = data["states"][:, 0]
    assert reward(constant, data["states"], rewards=rewards, split=data["split"]) == {"r2": 0}
    time = {name: data[name] for name in ("episode_ids", "steps", "split")}
    assert value(constant, data["states"], rewards=rewards, **time) == 0


def test_diverging_predictions_are_clipped_and_counted():
    data = system(n_episodes=40, length=40)
    states = data["states"] * 1.4 ** data["steps"][:, None]
    states[data["split"] == 0] = states[data["split"] == 0] * (data["steps"][data["split"] == 0, None] < 5)
    with pytest.warns(UserWarning, match="predicted values diverged and were clipped within 25 steps"):
        scores = forward(states, data["states"], **logged(data))
    assert np.isfinite(list(scores.values())).all()


def test_episodes_that_are_too_short():
    data = system(n_episodes=20, length=8)
    with pytest.warns(UserWarning, match="no test episode lasts 11 steps"):
        scores = forward(data["states"], data["states"], **logged(data))
    assert np.isnan([scores["skill_10"], scores["state_r2_25"]]).all()
    assert scores["skill_5"] > 0.99
    time = {name: data[name] for name in ("episode_ids", "steps", "split")}
    with pytest.warns(UserWarning, match="too few train or test episodes last 20 steps"):
        assert np.isnan(value(data["states"], data["states"], rewards=data["states"][:, 0], **time))
    alone = {**logged(data), "steps": 2 * data["steps"]}
    for metric in (inverse, forward):
        with pytest.warns(UserWarning, match="no two rows of the train or of the test episodes"):
            assert np.isnan(list(metric(data["states"], data["states"], **alone).values())).all()


def test_discrete_actions_are_classified():
    data = system(noise=0.1)
    labels = np.random.default_rng(0).integers(0, 3, 2000) * 5
    states = data["states"].copy()
    for episode in np.unique(data["episode_ids"]):
        rows = np.flatnonzero(data["episode_ids"] == episode)
        moves = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])[labels[rows] // 5]
        states[rows[1:]] = (moves + np.random.default_rng(1).normal(size=(50, 3))).cumsum(axis=0)[:-1]
    about = {**logged(data), "actions": labels}
    found = inverse(states, states, **about)
    now, later = runs(data["episode_ids"], data["steps"], 2).T
    train, test = (data["split"][now] == part for part in (0, 2))
    x = np.hstack([states[now], states[later] - states[now]])
    x = (x - x[train].mean(axis=0)) / x[train].std(axis=0)
    model = LogisticRegression(max_iter=1000).fit(x[train], labels[now][train])
    truth = labels[now][test]
    expected = balanced_accuracy_score(truth, model.predict(x[test]))
    assert found["balanced_accuracy"] == pytest.approx(expected, abs=1e-4)
    prior = np.bincount(labels[now][train] // 5) / train.sum()
    gain = 1 - log_loss(truth, model.predict_proba(x[test])) / -np.log(prior)[truth // 5].mean()
    assert found["gain"] == pytest.approx(gain, abs=1e-4)
    assert 0 < gain < 0.9
    assert forward(states, states, **about)["skill_1"] > 0
    with pytest.warns(UserWarning, match="a single action"):
        one = inverse(states, states, **{**about, "actions": np.zeros(2000, dtype=int)})
    assert np.isnan(list(one.values())).all()
    constant = inverse(np.ones((2000, 2)), states, **about)
    assert constant == {"balanced_accuracy": pytest.approx(1 / 3), "gain": 0}


def test_sparse_rewards_are_ranked():
    random = np.random.default_rng(0)
    states = random.normal(size=(3000, 3))
    rewards = (states[:, 0] + random.normal(size=3000) > 2).astype(float)
    split = np.arange(3000) * 3 // 3000
    found = reward(states, states, rewards=rewards, split=split, actions=random.normal(size=(3000, 2)))
    train, test = split == 0, split == 2
    guess = fit("ridge", states[train], rewards[train, None])(states[test])[:, 0]
    assert found["auroc"] == pytest.approx(roc_auc_score(rewards[test], guess))
    assert found["average_precision"] == pytest.approx(average_precision_score(rewards[test], guess))
    assert found["prevalence"] == rewards[test].mean()
    assert found["r2"] == pytest.approx(r2_score(rewards[test], guess))
    assert found["r2_with_action"] == pytest.approx(found["r2"], abs=0.01)
    dense = reward(states, states, rewards=states[:, 0] + 0.1 * random.normal(size=3000), split=split)
    assert set(dense) == {"r2"}
    assert dense["r2"] == pytest.approx(0.99, abs=0.005)
    with pytest.warns(UserWarning, match="constant"):
        assert np.isnan(reward(states, states, rewards=np.ones(3000), split=split)["r2"])


def test_reward_may_need_the_action():
    random = np.random.default_rng(1)
    states, actions = random.normal(size=(2, 2000, 2))
    split = np.arange(2000) * 3 // 2000
    scores = reward(states, states, rewards=actions[:, 0], split=split, actions=actions)
    assert scores["r2"] < 0.01
    assert scores["r2_with_action"] > 0.999


@pytest.mark.parametrize("learner", ["gbt", "mlp"])
def test_stronger_learners_see_products(learner):
    random = np.random.default_rng(2)
    states = random.uniform(-1, 1, size=(3000, 2))
    rewards, split = states[:, 0] * states[:, 1], np.arange(3000) * 3 // 3000
    assert reward(states, states, rewards=rewards, split=split)["r2"] < 0.05
    assert reward(states, states, rewards=rewards, split=split, learner=learner)["r2"] > 0.9


def test_returns_by_plain_loops():
    data = system(n_episodes=6, length=30)
    rewards = np.random.default_rng(0).normal(size=180)
    starts, found = discounted_returns(rewards, data["episode_ids"], data["steps"], gamma=0.9, horizon=7)
    expected = {}
    for first in range(0, 180, 30):
        for t in range(first, first + 24):
            expected[t] = sum(0.9**lag * rewards[t + lag] for lag in range(7))
    assert dict(zip(starts.tolist(), found, strict=True)) == pytest.approx(expected)


def test_value_of_what_the_latents_hold():
    data = system()
    time = {name: data[name] for name in ("episode_ids", "steps", "split")}
    rewards = np.repeat(np.random.default_rng(0).normal(size=40), 50)  # constant within an episode
    states = np.stack([rewards * np.arange(2000) ** 0, np.random.default_rng(1).normal(size=2000)], axis=1)
    assert value(states, states, rewards=rewards, **time) > 0.9999
    assert value(states[:, 1:], states, rewards=rewards, **time) < 0.05


def test_runs_are_found_wherever_rows_are_stored():
    """Two episodes in random order; the second lacks step 3."""
    episode_ids = np.array([5, 2, 2, 5, 2, 2, 5])
    steps = np.array([1, 4, 0, 0, 2, 1, 2])
    assert {tuple(row) for row in runs(episode_ids, steps, 2)} == {(2, 5), (5, 4), (3, 0), (0, 6)}
    assert {tuple(row) for row in runs(episode_ids, steps, 3)} == {(2, 5, 4), (3, 0, 6)}
    assert runs(episode_ids, steps, 8).shape == (0, 8)
    with pytest.raises(DataError, match="episode 2 has two rows of step 4"):
        runs(np.append(episode_ids, 2), np.append(steps, 4), 2)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000))
def test_scale_order_dead_dimensions_and_storage_do_not_matter(seed):
    random = np.random.default_rng(seed)
    data = system(n_episodes=12, length=30, noise=0.4, seed=seed)
    rewards = data["states"][:, 0] + random.normal(size=360)
    order, dims = random.permutation(360), random.permutation(4)
    scale = random.uniform(0.1, 50, 3) * [-1, 1, 1]
    moved = np.hstack([data["states"] * scale + random.normal(size=3), np.full((360, 1), 7.0)])[:, dims]
    shuffled = {name: values[order] for name, values in logged(data).items()}
    shuffled["episode_ids"] = 1000 - 3 * shuffled["episode_ids"]
    time = {name: data[name] for name in ("episode_ids", "steps", "split")}
    time_shuffled = {name: shuffled[name] for name in time}
    for here, there in (
        (
            forward(data["states"], data["states"], **logged(data)),
            forward(moved[order], data["states"][order], **shuffled),
        ),
        (
            inverse(data["states"], data["states"], **logged(data)),
            inverse(moved[order], data["states"][order], **shuffled),
        ),
        (
            value(data["states"], data["states"], rewards=rewards, horizon=5, **time),
            value(moved[order], data["states"][order], rewards=rewards[order], horizon=5, **time_shuffled),
        ),
        (
            reward(data["states"], data["states"], rewards=rewards, split=data["split"]),
            reward(moved[order], data["states"][order], rewards=rewards[order], split=shuffled["split"]),
        ),
    ):
        assert there == pytest.approx(here, abs=1e-6)


def test_bad_requests_are_named():
    data = system(n_episodes=8, length=10)
    states, about = data["states"], logged(data)
    with pytest.raises(DataError, match="actions must be 80 finite rows"):
        forward(states, states, **{**about, "actions": about["actions"][:-1]})
    with pytest.raises(DataError, match="rewards must be 80 finite numbers"):
        reward(states, states, rewards=np.full(80, np.nan), split=about["split"])
    with pytest.raises(DataError, match="inputs 'both' is unknown"):
        inverse(states, states, inputs="both", **about)
    with pytest.raises(DataError, match="learner 'forest' is unknown"):
        inverse(states, states, learner="forest", **about)
    with pytest.raises(DataError, match="two lists of equal length"):
        inverse(states, states, **{**about, "steps": about["steps"][:-1]})
