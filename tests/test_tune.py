"""The search for options, and what `explain` says of methods."""

import json
from dataclasses import replace

import numpy as np
import optuna
import pandas as pd
import pytest
import worlds
from optuna.trial import TrialState

import srl_bench.trials
from srl_bench.algorithms import ALGORITHMS, accepted_hyperparameters, hyperparameters, search_ranges
from srl_bench.config import RLConfig, TrainConfig
from srl_bench.errors import ConfigError, DataError, TrainingError, UnknownNameError
from srl_bench.method import resolve
from srl_bench.registry import METHODS, METRICS, Metric
from srl_bench.report.explain import explain
from srl_bench.report.tuning import write_search
from srl_bench.space import candidate, check_space, default_space, first_trial, present_values
from srl_bench.tune import tune

CONFIG = TrainConfig(latent_dim=4, steps=3, batch_size=8, body="flatten")
SPACE = {"weight": (0.1, 10.0), "kind": ["linear", "mlp"]}
EXPRESSION = "autoencoder + 2*forward - 0.5*inverse[:2]"
AGENT = RLConfig(steps=64, n_envs=2, eval_every=32, eval_episodes=2, hyperparameters={"n_steps": 16, "batch_size": 16})


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Sixty episodes, nine of them for validation."""
    return worlds.write(tmp_path_factory.mktemp("worlds") / "many", worlds.simulate(60, 15, size=8))


@pytest.fixture
def search(tmp_path, many):
    def run(trials, method="forward", space=SPACE, out="search", **options):
        return tune(method, [many], tmp_path / out, trials=trials, search=space, config=CONFIG, **options)

    return run


@pytest.fixture
def quick(monkeypatch, tmp_path, many):
    """Trials that cost nothing: worth the logarithm of a weight, and lost above a limit."""

    def run(trials, *, limit=np.inf, out="search", **options):
        def value(self, trial, method, config, hyperparameters):
            if method.weight > limit:
                raise TrainingError("the loss is not finite")
            return float(np.log10(method.weight))

        monkeypatch.setattr(srl_bench.trials.MetricTrial, "__call__", value)
        return tune("forward", [many], tmp_path / out, trials=trials, search=SPACE, config=CONFIG, **options)

    return run


def test_a_search_begins_with_the_defaults_and_stays_in_its_ranges(search, tmp_path):
    table = search(3)
    method = resolve("forward")
    assert table.loc[0, ["weight", "kind"]].tolist() == [method.weight, method.kind]
    assert table["weight"].between(0.1, 10).all()
    assert set(table["kind"]) <= {"linear", "mlp"}
    assert set(table["state"]) == {"complete"}
    best = json.loads((tmp_path / "search" / "best.json").read_text())
    assert best["best"]["value"] == table["value"].max()
    row = table.loc[table["value"].idxmax()]
    assert best["best"]["options"] == {"weight": row["weight"], "kind": row["kind"]}
    assert resolve(best["best"]["method"]) == replace(resolve("forward"), weight=row["weight"], kind=row["kind"])
    assert best["trials"] == 3
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "search" / "trials.csv"), table, check_dtype=False)


def test_a_search_in_parts_is_the_search_at_once(quick):
    quick(3)
    parts, whole = quick(9), quick(9, out="whole")
    assert len(parts) == 9
    columns = ["trial", "state", "value", "weight", "kind"]
    pd.testing.assert_frame_equal(parts[columns], whole[columns])
    assert parts["weight"].nunique() == 9


def test_a_trial_reads_training_and_validation_episodes_only(search, many, monkeypatch):
    asked, original = [], srl_bench.trials.score_records

    def spy(encoder, view, **options):
        asked.append(view)
        return original(encoder, view, **options)

    monkeypatch.setattr(srl_bench.trials, "score_records", spy)
    search(1)
    (view,) = asked
    assert set(view.episode_ids[view.split >= 0]).isdisjoint(many.info["split"]["test"])
    assert set(view.episode_ids[view.split == 2]) <= set(many.info["split"]["val"])


def test_a_metric_that_should_be_low_is_minimised(search, tmp_path):
    table = search(2, objective="knn_mse_norm")
    assert json.loads((tmp_path / "search" / "best.json").read_text())["best"]["value"] == table["value"].min()


def test_a_diverged_trial_counts_as_a_bad_one(quick, tmp_path):
    table = quick(12, limit=2.0)
    lost = table["state"] == "diverged"
    assert (table.loc[lost, "weight"] > 2).all()
    assert (table.loc[~lost, "weight"] <= 2).all()
    assert 0 < lost.sum() < 8
    assert table.loc[lost, "value"].isna().all()
    with pytest.raises(TrainingError, match=r"no trial .* came to an end: the loss is not finite"):
        quick(2, limit=0.0, out="lost")


def test_an_interrupted_trial_does_not_count(quick, monkeypatch, many, tmp_path):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(srl_bench.trials.MetricTrial, "__call__", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tune("forward", [many], tmp_path / "search", trials=3, search=SPACE, config=CONFIG)
    table = quick(3)
    assert table["state"].tolist() == ["failed", "complete", "complete", "complete"]
    method = resolve("forward")
    assert table.loc[1, ["weight", "kind"]].tolist() == [method.weight, method.kind]


def test_processes_share_a_search_through_a_data_base(quick, tmp_path):
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    quick(3, storage=url, out="here")
    there = quick(5, storage=url, out="there")
    assert there["trial"].tolist() == [0, 1, 2, 3, 4]
    assert not (tmp_path / "there" / "journal.log").exists()
    assert len(quick(2, out="apart")) == 2
    studies = optuna.get_all_study_names(url)
    assert len(studies) == 1
    for wrong in ("nonsense", "postgresqll://host/name", "redis://host"):
        with pytest.raises(ConfigError, match=r"sqlite:///trials\.db"):
            quick(1, storage=wrong, out=f"x{wrong[:4]}")


def test_a_metric_that_the_data_do_not_allow_ends_the_search(search, monkeypatch):
    def refuses(states, factors):
        raise DataError("these data hold no lava.")

    monkeypatch.setitem(METRICS._entries, "lava", (Metric("lava", refuses, "higher", (0.0, 1.0)), "tests.lava"))
    with pytest.raises(DataError, match=r"lava cannot be computed: these data hold no lava\. Tune by another metric"):
        search(2, objective="lava")


def test_another_search_in_the_folder_is_refused(search):
    search(1)
    with pytest.raises(ConfigError, match="another search"):
        search(1, method="forward(weight=2.0)")
    with pytest.raises(ConfigError, match="another search"):
        search(1, objective="knn_mse")


def test_figures_and_importance(quick, tmp_path):
    folder = tmp_path / "search"
    quick(1)
    assert "two complete trials" in write_search(folder)[0]
    assert not (folder / "importance.png").exists()
    quick(12)
    assert write_search(folder) == []
    shares = pd.read_csv(folder / "importance.csv", index_col="option")["importance"]
    assert shares.sum() == pytest.approx(1.0)
    assert shares.idxmax() == "weight"
    for name in ("history.png", "importance.png", "history.pdf"):
        assert (folder / name).stat().st_size > 1000


def check(method, space, config=CONFIG, rl=None):
    base = resolve(method)
    check_space(space, present_values(base, config, rl), base, config)


@pytest.mark.parametrize(
    ("space", "error", "message"),
    [
        ({"wieght": (0.1, 1.0)}, UnknownNameError, "Did you mean weight"),
        ({"weight": (0.0, 1.0)}, ConfigError, "low, high"),
        ({"weight": (2.0, 1.0)}, ConfigError, "low, high"),
        ({"weight": (1.0, "2")}, ConfigError, "low, high"),
        ({"weight": 2.0}, ConfigError, "not 2.0"),
        ({"kind": []}, ConfigError, "no values"),
        ({"kind": [3]}, ConfigError, "type str"),
        ({"latent_dim": (4.0, 8.0)}, ConfigError, "whole number"),
        ({"rl.gamma": [0.9]}, UnknownNameError, "rl.gamma"),
        ({}, ConfigError, "nothing to search"),
    ],
)
def test_wrong_ranges_are_refused(space, error, message):
    with pytest.raises(error, match=message):
        check("forward", space)


def test_wrong_values_are_found_before_any_trial():
    with pytest.raises(ConfigError, match="beta must be in"):
        check("icm", {"beta": (0.1, 3.0)})
    with pytest.raises(ConfigError, match=r"latent_dim cannot be 2: .*inside it"):
        check("autoencoder + inverse[:4]", {"latent_dim": (2, 8)})
    with pytest.raises(UnknownNameError, match=r"Did you mean rl\.gamma"):
        check("forward", {"rl.gama": [0.9]}, rl=RLConfig())


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_names_options_that_it_has(name):
    method = resolve(name)
    values = present_values(method, TrainConfig())
    space = default_space(method, values)
    assert ("learning_rate" in space) == (method.objective(32) is not None)
    if space:
        check_space(space, values, method, TrainConfig())
    for option, choice in type(method).search.items():
        assert first_trial({option: choice}, {option: getattr(method, option)}) == {option: getattr(method, option)}


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_every_algorithm_names_hyperparameters_that_it_has(name):
    ranges = search_ranges(name)
    present = {**accepted_hyperparameters(name), **hyperparameters(name, "", {})}
    assert set(ranges) <= set(present)
    assert ranges or name == "random"
    known = first_trial(ranges, present)
    assert {option: present[option] for option in known if present[option] != 0} == {
        option: value for option, value in known.items() if present[option] != 0
    }
    assert set(ranges) - set(known) <= {"gamma"}


def test_weights_of_an_expression_are_searched_but_for_the_first():
    method = resolve(EXPRESSION)
    values = present_values(method, CONFIG)
    weights = [name for name in values if name.startswith("weight.")]
    terms = method.objective(4)
    assert weights == ["weight.reconstruction", "weight.forward", "weight.inverse"]
    assert values[weights[-1]] == 0.5
    space = default_space(method, values)
    assert list(space) == [*weights[1:], "learning_rate"]
    assert space[weights[-1]] == (0.05, 5.0)
    drawn = {weights[-1]: 3.0, "latent_dim": 8, "learning_rate": 0.01}
    chosen, config, agent = candidate(method, CONFIG, drawn)
    new = chosen.objective(8)
    assert [term.weight for term in new][:-1] == [term.weight for term in terms][:-1]
    assert list(new)[-1].weight == -3.0
    assert (list(new)[-1].start, list(new)[-1].stop) == (None, 2)
    assert (config.latent_dim, config.learning_rate, agent) == (8, 0.01, {})
    assert resolve(str(chosen)).objective(8) == new


def test_a_warm_up_stays_one():
    method = resolve("autoencoder + warmup(2.0, 0.5)*inverse")
    chosen, _, _ = candidate(method, CONFIG, {"weight.inverse": 5.0})
    assert str(chosen).endswith("warmup(5.0, 0.5)*inverse")


def test_an_expression_and_the_size_of_the_state(search, many, monkeypatch):
    seen, original = [], srl_bench.trials.pretrain

    def spy(method, rollouts, *, config):
        seen.append((str(method), config.latent_dim))
        return original(method, rollouts, config=config)

    monkeypatch.setattr(srl_bench.trials, "pretrain", spy)
    space = {"weight.inverse": (0.1, 10.0), "latent_dim": (3, 6)}
    table = search(3, method="autoencoder + 2*inverse", space=space)
    assert table.loc[0, ["weight.inverse", "latent_dim"]].tolist() == [2, 4]
    for (text, size), row in zip(seen, table.to_dict("records"), strict=True):
        assert f"{row['weight.inverse']!r}*inverse" in text
        assert size == row["latent_dim"]
    assert table["latent_dim"].between(3, 6).all()


class TestReturn:
    """The objective is the return of an agent."""

    def run(self, mobile, out, trials=2, method="ground_truth", rl=AGENT, search=None):
        space = {"rl.gamma": [0.9, 0.99], "rl.learning_rate": (1e-4, 1e-2)} if search is None else search
        short = replace(mobile, info={**mobile.info, "environment_kwargs": {"image_size": 48, "max_steps": 8}})
        config = TrainConfig(latent_dim=4, steps=2)
        return tune(method, [short], out, objective="return", trials=trials, search=space, config=config, rl=rl)

    def test_a_trial_is_worth_the_last_evaluation_on_episodes_of_its_own(self, mobile, tmp_path, monkeypatch):
        calls, original = [], srl_bench.trials.train_agent

        def spy(*words, **options):
            calls.append((options["config"], original(*words, **options)))
            return calls[-1][1]

        monkeypatch.setattr(srl_bench.trials, "train_agent", spy)
        table = self.run(mobile, tmp_path / "search")
        assert len(calls) == 2
        for (config, evaluations), row in zip(calls, table.to_dict("records"), strict=True):
            assert config.eval_seed != RLConfig().eval_seed
            assert config.hyperparameters["gamma"] == row["rl.gamma"]
            assert config.hyperparameters["n_steps"] == 16
            assert evaluations.loc[evaluations["step"] == 64, "return"].mean() == row["value"]
        assert table.loc[0, ["rl.gamma", "rl.learning_rate"]].tolist() == [0.99, 3e-4]
        best = json.loads((tmp_path / "search" / "best.json").read_text())
        assert set(best["best"]["hyperparameters"]) == {"gamma", "learning_rate"}
        assert best["rl"]["algorithm"] == "ppo"

    def test_encoders_are_trained_once_if_only_agents_differ(self, mobile, tmp_path, monkeypatch):
        trained, original = [], srl_bench.trials.pretrain

        def spy(method, *words, **options):
            trained.append(str(method))
            return original(method, *words, **options)

        monkeypatch.setattr(srl_bench.trials, "pretrain", spy)
        rl = replace(AGENT, steps=32)
        self.run(mobile, tmp_path / "a", method="random + proprioception", rl=rl)
        assert trained == ["random"]
        self.run(mobile, tmp_path / "b", method="inverse", rl=rl, search={"learning_rate": (1e-4, 1e-2)})
        assert trained[1:] == ["inverse", "inverse"]

    def test_agents_that_fall_behind_are_pruned(self, mobile, tmp_path, monkeypatch):
        """Agents get what their gamma says; the first five are never pruned."""

        def fake(environment, source, *, environment_kwargs, config, on_evaluation):
            steps = [0, 32, 64]
            for step in steps:
                on_evaluation(step, config.hyperparameters["gamma"])
            return pd.DataFrame({"step": steps, "return": config.hyperparameters["gamma"]})

        monkeypatch.setattr(srl_bench.trials, "train_agent", fake)
        table = self.run(mobile, tmp_path / "long", 25, search={"rl.gamma": (0.5, 0.999)})
        assert (table["state"][:5] == "complete").all()
        pruned = table[table["state"] == "pruned"]
        assert len(pruned) > 3
        for index, gamma in pruned["rl.gamma"].items():
            earlier = table[:index]
            assert gamma < earlier.loc[earlier["state"] == "complete", "rl.gamma"].median()
        trials = optuna.load_study(study_name=None, storage=journal(tmp_path / "long")).trials
        assert all(set(trial.intermediate_values) == {1} for trial in trials if trial.state is TrialState.PRUNED)
        few = self.run(mobile, tmp_path / "short", 5, search={"rl.gamma": (0.5, 0.999)})
        assert (few["state"] == "complete").all()

    def test_bad_input_is_found_before_any_work(self, mobile, many, tmp_path):
        with pytest.raises(ConfigError, match="These fit: a2c"):
            self.run(mobile, tmp_path / "a", rl=RLConfig(algorithm="sac"), search={"rl.gamma": [0.9]})
        with pytest.raises(UnknownNameError, match="weigth"):
            self.run(mobile, tmp_path / "a", method="inverse", search={"weigth": [0.9]})
        with pytest.raises(UnknownNameError, match="proprioception"):
            self.run(mobile, tmp_path / "a", method="proprioceptoin")
        with pytest.raises(UnknownNameError, match="return"):
            tune("forward", [many], tmp_path / "a", objective="retrun")
        with pytest.raises(ConfigError, match="objective='return'"):
            tune("forward", [many], tmp_path / "a", rl=AGENT)
        assert not (tmp_path / "a").exists()


def journal(folder):
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(folder / "journal.log")))


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_explains_itself(name):
    text = explain(name, TrainConfig())
    objective = resolve(name).objective(32)
    assert "Read-out" in text
    assert "Budget" in text
    if objective is not None:
        assert (1.0 * objective).latex() in text
        assert str(1.0 * objective) in text
        horizon = (1.0 * objective).horizon
        assert ("one frame at a time" if horizon == 1 else f"{horizon} consecutive frames") in text


def test_what_a_reader_wants_to_know_of_a_recurrent_method():
    text = explain("pve(inertia=0.5)", TrainConfig(latent_dim=8, steps=100, batch_size=16))
    for part in ("1705.09805", "inertia = 0.5", "5.0*inertia", "3 consecutive frames", "8 dimensions", "velocity"):
        assert part in text
    assert "100 steps of 16 transitions, Adam with a step size of 0.001" in text
    assert "a denoising_autoencoder trained before it" in explain("perceptual_vae", TrainConfig())


def test_an_expression_is_explained_too():
    text = explain("2*inverse[:4] + reconstruction", TrainConfig())
    assert "2.0*inverse[:4] + reconstruction" in text
    assert "Recover the action" in text
