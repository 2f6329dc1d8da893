"""The search for options, and what `explain` says of methods."""

import json

import pandas as pd
import pytest
import worlds

from srl_bench.config import TrainConfig
from srl_bench.errors import ConfigError, DataError, UnknownNameError
from srl_bench.method import resolve
from srl_bench.registry import METHODS, METRICS, Metric
from srl_bench.report.explain import explain
from srl_bench.tune import check_space, tune

CONFIG = TrainConfig(latent_dim=4, steps=3, batch_size=8, body="flatten")
SPACE = {"weight": (0.1, 10.0), "kind": ["linear", "mlp"]}


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Sixty episodes, nine of them for validation."""
    return worlds.write(tmp_path_factory.mktemp("worlds") / "many", worlds.simulate(60, 15, size=8))


@pytest.fixture
def search(tmp_path, many):
    def run(trials, method="forward", space=SPACE, **options):
        return tune(method, [many], tmp_path / "search", trials=trials, search=space, config=CONFIG, **options)

    return run


def test_a_search_begins_with_the_defaults_and_stays_in_its_ranges(search, tmp_path):
    table = search(5)
    assert table.loc[0, ["weight", "kind"]].tolist() == [1.0, "linear"]
    assert table["weight"].between(0.1, 10).all()
    assert set(table["kind"]) <= {"linear", "mlp"}
    best = json.loads((tmp_path / "search" / "best.json").read_text())
    assert best["best"]["value"] == table["value"].max()
    assert best["trials"] == 5
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "search" / "trials.csv"), table, check_dtype=False)


def test_a_search_continues(search):
    first = search(3)
    assert search(5).iloc[:3]["value"].tolist() == first["value"].tolist()
    assert len(search(5)) == 5


def test_a_trial_reads_training_and_validation_episodes_only(search, many, monkeypatch):
    import srl_bench.tune as module

    asked, original = [], module.score_records

    def spy(encoder, view, **options):
        asked.append(view)
        return original(encoder, view, **options)

    monkeypatch.setattr(module, "score_records", spy)
    search(1)
    (view,) = asked
    assert set(view.episode_ids[view.split >= 0]).isdisjoint(many.info["split"]["test"])
    assert set(view.episode_ids[view.split == 2]) <= set(many.info["split"]["val"])


def test_a_metric_that_should_be_low_is_minimised(search, tmp_path):
    table = search(2, metric="knn_mse_norm")
    assert json.loads((tmp_path / "search" / "best.json").read_text())["best"]["value"] == table["value"].min()


def test_a_metric_that_the_data_do_not_allow_ends_the_search(search, monkeypatch):
    def refuses(states, factors):
        raise DataError("these data hold no lava.")

    monkeypatch.setitem(METRICS._entries, "lava", (Metric("lava", refuses, "higher", (0.0, 1.0)), "tests.lava"))
    with pytest.raises(DataError, match=r"lava cannot be computed: these data hold no lava\. Tune by another metric"):
        search(2, metric="lava")


def test_another_search_in_the_folder_is_refused(search):
    search(1)
    with pytest.raises(ConfigError, match="another search"):
        search(1, method="forward(weight=2.0)")


@pytest.mark.parametrize(
    ("space", "error", "message"),
    [
        ({"wieght": (0.1, 1.0)}, UnknownNameError, "wieght"),
        ({"weight": (0.0, 1.0)}, ConfigError, "low, high"),
        ({"weight": (2.0, 1.0)}, ConfigError, "low, high"),
        ({"kind": []}, ConfigError, "no values"),
    ],
)
def test_wrong_ranges_are_refused(space, error, message):
    with pytest.raises(error, match=message):
        check_space(resolve("forward"), space)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_names_options_that_it_has(name):
    method = resolve(name)
    check_space(method, type(method).search)
    for option, choice in type(method).search.items():
        default = getattr(method, option)
        assert choice[0] <= default <= choice[1] if isinstance(choice, tuple) else default in choice


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_explains_itself(name):
    text = explain(name, TrainConfig())
    objective = resolve(name).objective(32)
    assert "Read-out" in text
    assert "Budget" in text
    if objective is not None:
        assert (1.0 * objective).latex() in text
        assert str(1.0 * objective) in text
        assert f"{(1.0 * objective).horizon} consecutive" in text


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
