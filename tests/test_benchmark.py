import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace

import pandas as pd
import pytest
import torch
import yaml

import srl_bench as srl
from srl_bench import cells
from srl_bench.benchmark import check_names
from srl_bench.cells import Cell, run_cell
from srl_bench.config import SUITES, RecordConfig, RLConfig, Suite, TrainConfig, load_suite
from srl_bench.device import resolve_device
from srl_bench.errors import ConfigError, SrlBenchError, UnknownNameError
from srl_bench.notes import notes
from srl_bench.provenance import _source_digest, code_version, machine
from srl_bench.results import load_results

RECORDING = RecordConfig(frames=1200, max_steps=40, environment_kwargs={"image_size": 48})
SUITE = Suite(
    name="tiny",
    environments=(RECORDING,),
    methods=("inverse", "random", "ground_truth"),
    train=TrainConfig(latent_dim=4, steps=6, validate_every=3),
    metrics=("ridge_r2", "gtc"),
    rl=RLConfig(steps=128, n_envs=2, eval_every=128, eval_episodes=2, hyperparameters={"n_steps": 32}),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    srl.run(SUITE, root=root)
    return root


def scores(root):
    """Return the bytes of the scores of the three cells of `SUITE`."""
    index = json.loads((root / "tiny" / "suite.json").read_text())
    return {name: (root / "tiny" / name / "scores.json").read_bytes() for name in index["cells"]}


def test_every_stage_of_every_cell_is_stored(finished):
    folders = sorted(path.parent for path in (finished / "tiny").glob("*/cell.json"))
    assert len(folders) == 3
    for cell in folders:
        for name in ("encoder/config.json", "encoder/model.safetensors", "scores.json", "rl/evaluations.csv", "done"):
            assert (cell / name).exists(), name
        about = json.loads((cell / "cell.json").read_text())
        assert about["train"]["steps"] == 6
        assert about["versions"]["torch"]
        assert about["machines"] == dict.fromkeys(("pretrain", "score", "rl"), machine("cpu"))
    results = load_results(finished / "tiny")
    assert set(results["track"]) == {"score", "rl", "agent", "cost"}
    truth = results[(results["method"] == "ground_truth") & (results["metric"] == "ridge_r2")]
    assert truth["value"].item() == pytest.approx(1.0, abs=1e-3)


def test_agents_may_be_given_another_task_than_the_recording(tmp_path):
    suite = replace(SUITE, methods=("ground_truth",), tasks={RECORDING.environment: {"reward_type": "shaped"}})
    (path,) = srl.run(suite, root=tmp_path)
    task = json.loads((path / "rl" / "config.json").read_text())["environment_kwargs"]
    assert task == RECORDING.environment_kwargs | {"reward_type": "shaped", "obs_type": "state"}
    returns = pd.read_csv(path / "rl" / "evaluations.csv")["return"]
    assert (returns < 0).all()
    assert (returns % 1 > 0).all()
    assert notes(tmp_path / "tiny")[0].endswith("MobileRobot-v0, beside the recording's: reward_type=shaped")
    rewards = srl.open_rollouts(json.loads((path / "cell.json").read_text())["rollouts"]).rewards
    assert (rewards % 1 == 0).all()


@pytest.mark.parametrize(
    ("task", "named"),
    [
        ({"reward_type": "dense"}, "reward_type"),
        ({"image_size": 64}, "'image_size': 64} of srl_bench/MobileRobot-v0 changes what is observed"),
        ({"obs_type": "state"}, "what is observed"),
        ({"views": ["side"]}, "what is observed"),
        ({"domain": "twin"}, "what is observed"),
        ({"distractors": 2}, "what is observed"),
        (None, "arguments by name, not None"),
    ],
)
def test_tasks_that_cannot_work_are_found_before_anything_runs(task, named):
    with pytest.raises(ConfigError, match=named):
        check_names(replace(SUITE, tasks={RECORDING.environment: task}))


def test_a_second_run_runs_nothing(finished):
    started = []
    srl.run(SUITE, root=finished, on_start=lambda cells, todo: started.append((len(cells), len(todo))))
    assert started == [(3, 0)]


def test_two_workers_give_the_same_scores_as_one(finished, tmp_path):
    srl.run(SUITE, root=tmp_path, jobs=2)
    assert scores(tmp_path) == scores(finished)


def test_a_killed_cell_continues_with_what_is_there(finished, tmp_path):
    ended = []
    srl.run(SUITE, root=tmp_path, on_done=lambda cell, error: ended.append(error))
    assert ended == ["", "", ""]
    cell = next((tmp_path / "tiny").glob("*inverse*"))
    weights = (cell / "encoder" / "model.safetensors").stat().st_mtime_ns
    for name in ("done", "scores.json"):
        (cell / name).unlink()
    srl.run(SUITE, root=tmp_path)
    assert (cell / "encoder" / "model.safetensors").stat().st_mtime_ns == weights
    assert scores(tmp_path) == scores(finished)


def test_two_runs_at_once_share_the_work(finished, tmp_path):
    suite = tmp_path / "tiny.yaml"
    suite.write_text(yaml.safe_dump(json.loads(json.dumps(asdict(SUITE)))))
    command = [sys.executable, "-m", "srl_bench.cli", "run", str(suite), "--root", str(tmp_path / "runs")]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    for process in runs:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    assert scores(tmp_path / "runs") == scores(finished)


def test_a_failing_cell_is_written_down_and_the_rest_goes_on(tmp_path):
    plugin = tmp_path / "broken.py"
    plugin.write_text(
        "import srl_bench as srl\n"
        "class Broken(srl.Loss):\n"
        "    def forward(self, batch):\n"
        "        raise RuntimeError('by design')\n"
    )
    ended = {}
    suite = replace(SUITE, methods=("broken", "random"), rl=None)
    srl.run(suite, root=tmp_path, plugins=[str(plugin)], on_done=lambda cell, error: ended.update({cell.method: error}))
    assert ended == {"broken": "RuntimeError: by design", "random": ""}
    errors = list((tmp_path / "tiny").glob("*/error.txt"))
    assert len(errors) == 1
    assert "Traceback" in errors[0].read_text()
    results = load_results(tmp_path / "tiny")
    assert set(results["method"]) == {"broken", "random"}
    assert results[results["method"] == "broken"]["track"].unique().tolist() == ["failed"]


def test_a_killed_worker_costs_its_own_cell_only(finished):
    """Also where it is the only cell left, which must not run in the process of the suite."""
    plugin = finished / "killer.py"
    plugin.write_text(
        "import os, signal\nimport srl_bench as srl\n"
        "class Killer(srl.Loss):\n"
        "    def forward(self, batch):\n"
        f"        assert os.getpid() != {os.getpid()}\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    suite = replace(SUITE, name="killed", methods=("killer", "random"), rl=None)
    for todo in ({"killer", "random"}, {"killer"}):
        ended = {}
        srl.run(
            suite,
            root=finished,
            jobs=2,
            plugins=[str(plugin)],
            on_done=lambda cell, error, ended=ended: ended.update({cell.method: error}),
        )
        assert set(ended) == todo
        assert "killed" in ended["killer"]
        assert not ended.get("random")
        (error,) = (finished / "killed").glob("*/error.txt")
        assert "killer" in error.parent.name
        assert "out of memory" in error.read_text()
        results = load_results(finished / "killed").set_index("method")
        assert results.loc["killer", "track"].unique().tolist() == ["failed"]
        assert "killer: failed: its worker" in " ".join(notes(finished / "killed"))


def test_an_edited_plug_in_module_makes_other_cells(finished, tmp_path, monkeypatch):
    (tmp_path / "example_edited.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    suite = replace(SUITE, name="plugged", methods=("random",), rl=None)
    folders = []
    for text in ("", "", "# edited"):
        (tmp_path / "example_edited.py").write_text(text)
        _source_digest.cache_clear()
        folders += srl.run(suite, root=finished, plugins=["example_edited"])
    assert folders[0] == folders[1] != folders[2]
    assert len(list((finished / "data").glob("*/rollouts.json"))) == 1


def test_cells_of_another_configuration_do_not_mix(finished):
    other = replace(SUITE, train=replace(SUITE.train, steps=3), methods=("inverse",), rl=None)
    srl.run(other, root=finished)
    assert set(load_results(finished / "tiny")["method"]) == {"inverse"}
    srl.run(SUITE, root=finished)
    assert set(load_results(finished / "tiny")["method"]) == set(SUITE.methods)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"methods": ("invrse",)}, "inverse"),
        ({"methods": ("vae(bta=1)",)}, "beta"),
        ({"methods": ("inverse[:9]",)}, "inverse[:9]"),
        ({"methods": ("splits",), "train": TrainConfig(latent_dim=4)}, "splits|split"),
        ({"metrics": ("ridge_r3",)}, "ridge_r2"),
        ({"train": TrainConfig(body="natur")}, "nature"),
        ({"environments": (RecordConfig(environment="srl_bench/Mobile-v0"),)}, "MobileRobot"),
        ({"rl": RLConfig(algorithm="sac")}, "These fit: a2c, ars, cma_es, dqn"),
        ({"rl": RLConfig(algorithm="ars"), "methods": ("raw_pixels",)}, "no network for images"),
        ({"environments": (RecordConfig(environment_kwargs={"image_sise": 48}),)}, "image_size"),
    ],
)
def test_wrong_names_are_found_before_anything_runs(change, named, tmp_path):
    with pytest.raises(SrlBenchError) as caught:
        srl.run(replace(SUITE, **change), root=tmp_path)
    assert any(name in str(caught.value) for name in named.split("|"))
    assert not list(tmp_path.rglob("*.npy"))


@pytest.mark.parametrize("name", [file.stem for file in SUITES.glob("*.yaml")])
def test_built_in_suites_are_valid(name):
    suite = load_suite(name)
    assert suite.name == name
    assert "ground_truth" in suite.methods
    assert "random" in suite.methods
    check_names(suite)


# Each line is ten times as long as the one before, written out.
BOMB = "x0: &x0 [a]\n" + "".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 10)}]\n" for i in range(1, 10))


@pytest.mark.parametrize(
    ("text", "error", "named"),
    [
        ("name: x\nmethod: [a]", UnknownNameError, "methods"),
        ("name: x\nenvironments: [{frame: 3}]\nmethods: [a]", UnknownNameError, "frames"),
        ("name: x\nenvironments: [{frames: -3}]\nmethods: [a]", ConfigError, "frames"),
        ("name: x\nenvironments: [{}]\nmethods: [a]\ntrain: {steps: many}", ConfigError, "train.steps"),
        ("name: ../x\nenvironments: [{}]\nmethods: [a]", ConfigError, "folder"),
        ("name: x\nenvironments: [{}]\nmethods: [a]\ntasks: {y: {}}", ConfigError, "no rl"),
        ("name: x\nenvironments: [{}]\nmethods: [a]\nrl: {}\ntasks: {y: {}}", ConfigError, "MobileRobot"),
        ("name: [", ConfigError, "YAML"),
        ("- a", ConfigError, "keys"),
        ("name: !!python/object/apply:os.system [ls]", ConfigError, "YAML"),
        ("name: 2020-13-45", ConfigError, "YAML"),
        ("[" * 3000, ConfigError, "nested too deeply"),
        ("name: x\nmethods: " + "[" * 3000 + "]" * 3000, ConfigError, "nested too deeply"),
        (f"{BOMB}name: *x9", ConfigError, "more than 100,000 values"),
        (f"{BOMB}methods: [a]\nenvironments: [{{environment_kwargs: {{a: *x9}}}}]", ConfigError, "100,000 values"),
        ("- &x [*x]", ConfigError, "100,000 values"),
        (f"- {'a' * 1000}", ConfigError, r"keys and values .*, not \['a+\.\.\.a+'\]\.$"),
        ("name: ''\nenvironments: [{}]\nmethods: [a]", ConfigError, "folder name"),
        ("name: data\nenvironments: [{}]\nmethods: [a]", ConfigError, "data is where recordings are"),
        ('name: "a\\\\b"\nenvironments: [{}]\nmethods: [a]', ConfigError, "folder name"),
        ("name: x\nenvironments: [{}]\nmethods: [a]\nseeds: [0, 1, 0]", ConfigError, "repeats 0 among its seeds"),
        ("name: x\nenvironments: [{}]\nmethods: [a, b, a]", ConfigError, "repeats a among its methods"),
        ("name: x\nenvironments: [{}, {seed: 9}]\nmethods: [a]", ConfigError, "MobileRobot-v0 among its environments"),
        ("name: x\nenvironments: [{}]\nmethods: [a]\ntrain: {device: gpu}", ConfigError, "'cpu', 'cuda' or 'auto'"),
        ("name: x\nenvironments: [{}]\nmethods: [a]\nrl: {device: gpu}", ConfigError, "'cpu', 'cuda' or 'auto'"),
        ("name: x\nenvironments: [{}]\nmethods: [a]\ntrain: {learning_rate: .nan}", ConfigError, "learning_rate .*nan"),
        ("name: x\nenvironments: [{}]\nmethods: [a]\nrl: {curiosity: .inf}", ConfigError, "curiosity .*inf"),
        (
            "name: x\nenvironments: [{}]\nmethods: [a]\nrl: {hyperparameters: {a: [1, .nan]}}",
            ConfigError,
            "hyperparameters must hold finite numbers",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_bad_suite_files(text, error, named, tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    with pytest.raises(error, match=named):
        load_suite(str(path))


def test_aliases_are_fine_within_reason(tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_text(
        "name: x\nmethods: [a]\nenvironments:\n"
        "  - {environment: a, environment_kwargs: &small {image_size: 48}}\n"
        "  - {environment: b, environment_kwargs: *small}\n"
        "  - {environment: c, environment_kwargs: {<<: *small, distractors: 1}}\n"
    )
    kwargs = [config.environment_kwargs for config in load_suite(str(path)).environments]
    assert kwargs == [{"image_size": 48}, {"image_size": 48}, {"image_size": 48, "distractors": 1}]


def test_unknown_suite_names_the_known_ones():
    with pytest.raises(UnknownNameError, match="quick"):
        load_suite("quik")


def test_the_cell_hash_depends_on_all_that_determines_the_outcome_and_on_nothing_else(finished):
    cell = Cell("e", "m", 0, "/a", "hash", SUITE.train, None, None, ("p.py",), "plug", "code")
    assert replace(cell, rollouts="/b", plugins=("q.py",)).folder_name == cell.folder_name
    changes = ({"seed": 1}, {"data_hash": "x"}, {"code": "x"}, {"plugin_hash": "x"}, {"train": TrainConfig(steps=7)})
    names = {replace(cell, **change).folder_name for change in (*changes, {"task": {"reward_type": "shaped"}})}
    assert len(names | {cell.folder_name}) == 7


def test_where_a_stage_ran_is_kept_when_another_machine_goes_on(finished, tmp_path, monkeypatch):
    """The hash, and with it the folder, is the same: a cell is what is computed, not where."""
    suite = replace(SUITE, name="moved", methods=("inverse",), rl=None, train=replace(SUITE.train, device="cuda"))
    monkeypatch.setattr("srl_bench.trainer.resolve_device", lambda name: torch.device("cpu"))
    monkeypatch.setattr(cells, "resolve_device", lambda name: torch.device(name))
    monkeypatch.setattr(cells, "machine", lambda device: {"cpu": "fast", "device": device})
    (path,) = srl.run(suite, root=finished)
    before = json.loads((path / "cell.json").read_text())
    for name in ("done", "scores.json"):
        (path / name).unlink()
    monkeypatch.setattr(cells, "resolve_device", resolve_device)
    monkeypatch.setattr(cells, "machine", lambda device: {"cpu": "slow", "device": device})
    assert srl.run(suite, root=finished) == [path]
    assert not (path / "error.txt").exists()
    assert before["machines"]["score"] == {"cpu": "fast", "device": "cpu"}
    assert json.loads((path / "cell.json").read_text())["machines"] == {
        "pretrain": {"cpu": "fast", "device": "cuda"},
        "score": {"cpu": "slow", "device": "cpu"},
    }


def test_a_machine_tells_what_it_is():
    about = machine("cpu")
    assert set(about) == {"cpu", "cores", "memory_gib", "device", "gpu"}
    assert about["cpu"]
    assert about["cores"] == os.cpu_count()
    assert about["gpu"] is None
    assert 0 < about["memory_gib"] < 100_000


def test_missing_data_is_an_error_of_the_cell(tmp_path):
    cell = Cell("e", "random", 0, str(tmp_path / "gone"), "h", SUITE.train, None, None, (), "", code_version())
    _, error = run_cell(cell, str(tmp_path))
    assert "rollouts.json" in error


def test_a_worker_with_other_code_refuses(tmp_path):
    cell = Cell("e", "random", 0, str(tmp_path), "h", SUITE.train, None, None, (), "", "other")
    _, error = run_cell(cell, str(tmp_path))
    assert "the suite is of other; install the same" in error


def test_results_have_the_documented_columns(finished):
    results = load_results(finished / "tiny")
    assert list(results.columns) == [
        "environment", "method", "seed", "track", "metric", "step", "value", "ceiling", "floor", "noise"
    ]  # fmt: skip
    assert pd.api.types.is_numeric_dtype(results["value"])


def test_a_run_that_was_killed_ends_with_the_same_scores(finished, tmp_path):
    """SIGKILL as soon as the first encoder is there; the next run goes on from it."""
    suite = tmp_path / "tiny.yaml"
    suite.write_text(yaml.safe_dump(json.loads(json.dumps(asdict(SUITE)))))
    command = [sys.executable, "-m", "srl_bench.cli", "run", str(suite), "--root", str(tmp_path / "runs")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "runs").glob("tiny/*/encoder")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (tmp_path / "runs" / "tiny" / "table.csv").exists()
    srl.run(load_suite(str(suite)), root=tmp_path / "runs")
    assert scores(tmp_path / "runs") == scores(finished)


def test_the_number_of_jobs_is_checked_before_anything_runs(tmp_path):
    with pytest.raises(ConfigError, match="jobs must be at least 1"):
        srl.run(SUITE, root=tmp_path, jobs=0)
    assert not list(tmp_path.iterdir())
