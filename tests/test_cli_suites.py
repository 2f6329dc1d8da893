"""Commands about suites: what `retry` takes from the last run, and options that would be ignored or make no sense."""

import json
import shutil
import sys

import pytest

from srl_bench import benchmark, cli
from srl_bench.report import figures
from srl_bench.status import cell_states

SUITE = """
name: mine
environments:
  - {environment: srl_bench/MobileRobot-v0, frames: 400, max_steps: 20, environment_kwargs: {image_size: 48}}
methods: [random, ground_truth]
train: {latent_dim: 4, steps: 4}
metrics: [ridge_r2]
"""
FLAKY = """
import os
import srl_bench as srl

class Flaky(srl.Loss):
    def forward(self, batch):
        if os.environ.get("FLAKY"):
            raise RuntimeError("by design")
        return batch.state.square().mean(-1)
"""


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line in this process, without figures; return exit status or message, and what it printed."""
    monkeypatch.setattr(figures, "write_figures", lambda run, results, folder: folder.mkdir(exist_ok=True))

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["srl-bench", *map(str, words)])
        try:
            cli.main()
            status = 0
        except SystemExit as end:
            status = end.code
        return str(status), "".join(capsys.readouterr())

    return call


@pytest.fixture
def suite(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(SUITE)
    return file


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    """One for all tests, because a name can be registered by one file only."""
    file = tmp_path_factory.mktemp("plugins") / "flaky.py"
    file.write_text(FLAKY)
    return file


def states(folder):
    return {cell.method: cell.state for cell in cell_states(folder)}


def test_retry_knows_methods_and_plug_ins_of_the_last_run(run, suite, plugin, tmp_path, monkeypatch):
    """Which the suite's file does not: they came from the command line."""
    root = tmp_path / "runs"
    monkeypatch.setenv("FLAKY", "1")
    words = ("--plugin", plugin, "--method", "flaky", "--against", "random")
    status, shown = run("run", suite, "--root", root, *words)
    assert "1 cell(s) failed" in status
    before = json.loads((root / "mine" / "suite.json").read_text())
    assert before["plugins"] == [str(plugin.resolve())]
    monkeypatch.chdir(tmp_path)
    status, shown = run("retry", suite, "--root", root)
    assert "1 cell(s) failed" in status
    assert "2 cells, 1 of them finished" in shown
    assert states(root / "mine") == {"flaky": "failed", "random": "done"}
    monkeypatch.delenv("FLAKY")
    status, shown = run("retry", "mine", "--root", root)
    assert status == "0"
    assert "flaky seed 0: done" in shown
    assert "random seed 0" not in shown
    assert states(root / "mine") == {"flaky": "done", "random": "done"}
    assert json.loads((root / "mine" / "suite.json").read_text()) == before


def test_retry_after_the_plug_in_was_repaired_and_moved(run, suite, plugin, tmp_path, monkeypatch):
    """Its cells have other hashes then; which ones failed is known all the same."""
    root = tmp_path / "runs"
    monkeypatch.setenv("FLAKY", "1")
    words = ("--plugin", plugin, "--method", "flaky", "--against", "random")
    assert "1 cell(s) failed" in run("run", suite, "--root", root, *words)[0]
    index = root / "mine" / "suite.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"plugins": ["/nowhere/flaky.py"]}))
    assert "/nowhere/flaky.py" in run("retry", suite, "--root", root)[0]
    monkeypatch.delenv("FLAKY")
    monkeypatch.setattr(benchmark, "plugin_version", lambda plugins: "of the repaired one")
    status, shown = run("retry", suite, "--root", root, "--plugin", plugin)
    assert status == "0"
    assert "2 cells, 0 of them finished" in shown
    assert "flaky seed 0: done" in shown
    assert "1 of 2 cells is not finished" in shown
    assert states(root / "mine") == {"flaky": "done", "random": "waiting"}
    assert json.loads(index.read_text())["plugins"] == [str(plugin.resolve())]


def test_a_damaged_data_set_sets_the_exit_code_and_stands_in_the_table(run, suite, tmp_path):
    second = "  - {environment: srl_bench/MobileRobot1D-v0, frames: 400, max_steps: 20}\nmethods:"
    suite.write_text(SUITE.replace("methods:", second))
    assert run("run", suite, "--root", tmp_path)[0] == "0"
    (data,) = (tmp_path / "data").glob("srl_bench_MobileRobot-v0-*")
    (data / "actions.npy").write_bytes(b"")
    status, shown = run("run", suite, "--root", tmp_path)
    assert "2 cell(s) failed" in status
    assert "actions.npy" in shown
    text = (tmp_path / "mine" / "table.md").read_text()
    assert "| failed" in text.split("MobileRobot1D")[0]
    assert "means over 1 seed: 0" in text.split("MobileRobot1D")[1]
    shutil.rmtree(data)
    assert run("retry", suite, "--root", tmp_path)[0] == "0"
    assert "failed" not in (tmp_path / "mine" / "table.md").read_text()


def test_retry_before_the_first_run(run, suite, tmp_path):
    assert "run `srl-bench run` first" in run("retry", suite, "--root", tmp_path)[0]
    assert "Did you mean quick" in run("retry", "quik", "--root", tmp_path)[0]


@pytest.mark.parametrize("command", ["run", "retry"])
def test_launchers(command, run, suite, tmp_path):
    words = (command, suite, "--root", tmp_path, "--launcher", "dask")
    assert "--launcher dask and --address go together" in run(*words)[0]
    assert "--jobs is for this machine" in run(*words, "--address", "tcp://127.0.0.1:9", "--jobs", 2)[0]


def test_options_that_would_be_ignored(run, suite, tmp_path):
    assert "give your method" in run("run", suite, "--root", tmp_path, "--against", "vae")[0]
    assert not list(tmp_path.glob("mine"))


@pytest.mark.parametrize("jobs", [0, -1])
def test_the_number_of_jobs(jobs, run, suite, tmp_path):
    for command in ("run", "plan"):
        assert f"jobs must be at least 1, not {jobs}" in run(command, suite, "--root", tmp_path, "--jobs", jobs)[0]
