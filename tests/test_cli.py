import errno
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file

from srl_bench import cli, episodes
from srl_bench.rollouts import open_rollouts

EXAMPLES = Path(__file__).parent.parent / "examples"
COMMANDS = ("record", "pretrain", "score", "rl", "run", "table", "publish", "list", "info")
COMMANDS += ("pack", "unpack", "export", "import", "play", "compare", "correlate", "enjoy", "tune")
SUITE = """
name: small
environments:
  - {environment: srl_bench/MobileRobot-v0, frames: 1200, max_steps: 40, environment_kwargs: {image_size: 48}}
methods: [random, ground_truth]
train: {latent_dim: 6, steps: 4}
metrics: [ridge_r2, gtc]
rl: {steps: 64, n_envs: 2, eval_every: 64, eval_episodes: 2, hyperparameters: {n_steps: 16}}
"""


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line in this process; return what it printed."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["srl-bench", *map(str, words)])
        cli.main()
        return capsys.readouterr().out

    return call


def failure(run, *words):
    with pytest.raises(SystemExit) as caught:
        run(*words)
    return str(caught.value)


def test_a_full_disk_is_said_in_one_line(run, tmp_path, monkeypatch):
    """What was recorded until then stays, and the same command goes on."""
    original, words = episodes.run_episode, ("record", "--frames", 240, "--max-steps", 20, "--workers", 1)

    def full(*args):
        if args[3] == 9:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(*args)

    monkeypatch.setattr(episodes, "run_episode", full)
    said = failure(run, *words, "--out", tmp_path / "data")
    assert f"{tmp_path}/.data.partial: No space left on device" in said
    monkeypatch.setattr(episodes, "run_episode", lambda *args: original(*args) if args[3] >= 8 else 1 / 0)
    assert "240" in run(*words, "--out", tmp_path / "data")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command, run, capsys):
    with pytest.raises(SystemExit) as caught:
        run(command, "--help")
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert f"Example: srl-bench {command}" in " ".join(shown.split())
    assert not re.search("Example:.*Example:", shown)


def test_help_does_not_pay_for_torch():
    code = (
        "import sys; sys.argv = ['srl-bench', '--help']\n"
        "from srl_bench import cli\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        "print({'torch', 'stable_baselines3', 'seaborn', 'sklearn', 'pandas'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "set()"


def test_the_stages_one_by_one(run, tmp_path):
    data, out = tmp_path / "data", tmp_path / "encoder"
    settings = ("--set", "image_size=48", "--max-steps", 40)
    assert str(data) in run("record", "--frames", 1200, "--out", data, *settings)
    described = run("info", data)
    assert "30 episodes (8 test, 5 val, 17 train)" in described
    assert "robot_x" in described
    run("pretrain", data, "--method", "inverse(kind='linear')", "--steps", 3, "--latent-dim", 4, "--out", out)
    assert len(pd.read_csv(out / "train.csv")) == 1
    assert "inverse(kind='linear')" in run("info", out / "encoder")
    assert "ridge_r2" in run("score", out / "encoder", data, "--metrics", "ridge_r2")
    agent = ("--steps", 64, "--n-envs", 2, "--eval-episodes", 2, "--set", "n_steps=16")
    assert "return" in run("rl", out / "encoder", "--out", tmp_path / "agent", *agent)
    assert (tmp_path / "agent" / "evaluations.csv").exists()


def test_a_users_loss_against_the_zoo(run, tmp_path):
    """The new loss enters by a file of its own, in an expression with a method and a slice."""
    suite = tmp_path / "small.yaml"
    suite.write_text(SUITE)
    expression = "Slowness(margin=0.2) + 0.5*inverse + autoencoder[:4]"
    words = ("run", "--suite", suite, "--plugin", EXAMPLES / "my_loss.py", "--method", expression, "--against", "zoo")
    out = run(*words, "--root", tmp_path / "runs")
    for name in (expression, "random", "ground_truth"):
        assert name in out
    folder = tmp_path / "runs" / "small"
    table = pd.read_csv(folder / "table.csv").set_index("method")
    assert table.loc["ground_truth", "ridge_r2"] == pytest.approx(1.0, abs=1e-3)
    assert {path.name for path in (folder / "figures").glob("*.png")} == {
        "metrics_MobileRobot-v0.png",
        "states_MobileRobot-v0.png",
        "learning_MobileRobot-v0.png",
    }
    log = pd.read_csv(next(folder.glob("*Slowness*")) / "train.csv")
    assert list(log["term"]) == ["slowness", "inverse", "reconstruction"]
    assert list(log["weight"]) == [1.0, 0.5, 1.0]
    assert expression not in run("run", suite, "--root", tmp_path / "runs")
    assert "Slowness" not in (folder / "figures" / "cells.txt").read_text()
    run(*words, "--root", tmp_path / "runs")
    assert r"\toprule" in run("table", folder, "--form", "tex")
    assert "robot_x" in run("table", folder, "--metric", "ridge_r2")
    out = run("correlate", folder, "--out", tmp_path / "predicted", "--replicates", 20, "--permutations", 20)
    assert "ridge_r2" in out
    assert "so there are no intervals" in out
    assert set(pd.read_csv(tmp_path / "predicted" / "correlation.csv")["metric"]) == {"ridge_r2", "gtc"}
    run("publish", folder, "--out", tmp_path / "published")
    assert (tmp_path / "published" / "provenance.json").exists()
    assert (tmp_path / "published" / "figures" / "metrics_MobileRobot-v0.pdf").stat().st_size > 1000


def test_a_suite_of_failures_only_says_so(run, tmp_path):
    (tmp_path / "small.yaml").write_text(SUITE.replace("[random, ground_truth]", "[never]"))
    plugin = tmp_path / "bad_loss.py"
    plugin.write_text(
        "import srl_bench as srl\n"
        "class Never(srl.Loss):\n"
        "    def forward(self, batch):\n"
        "        raise RuntimeError('by design')\n"
    )
    words = ("run", tmp_path / "small.yaml", "--root", tmp_path / "runs", "--plugin", plugin)
    assert "1 cell(s) failed" in failure(run, *words)


def test_commas_inside_brackets_do_not_separate_methods(run, tmp_path):
    words = ("--root", tmp_path, "--method", "inverse", "--against", "vae(beta=4.0, sigmaa=0.1),random")
    assert "Did you mean sigma" in failure(run, "run", "quick", *words)


def test_the_suite_may_stand_after_options_of_many_values(run, tmp_path):
    message = failure(run, "run", "--method", "inverse", "--suite", "quik", "--root", tmp_path)
    assert "Did you mean quick" in message


@pytest.mark.parametrize("words", [("--suite=quik",), ("--jobs", 2, "--suite=quik", "--method", "inverse")])
def test_the_suite_may_be_given_with_an_equals_sign(words, run, tmp_path):
    assert "Did you mean quick" in failure(run, "run", *words, "--root", tmp_path)


def test_arguments_of_the_environment_and_of_the_agent_are_told_apart(run, tmp_path):
    words = ("rl", "raw_pixels", "--environment", "srl_bench/MobileRobot-v0", "--steps", 32, "--n-envs", 2)
    words = (*words, "--eval-episodes", 1, "--set", "n_steps=16", "n_epochs=1")
    run(*words, "--out", tmp_path / "agent", "--environment-set", "image_size=48", "max_steps=5")
    about = json.loads((tmp_path / "agent" / "config.json").read_text())
    assert about["environment_kwargs"] == {"image_size": 48, "max_steps": 5}
    assert about["rl"]["hyperparameters"] == {"n_steps": 16, "n_epochs": 1}
    assert set(pd.read_csv(tmp_path / "agent" / "evaluations.csv")["length"]) == {5}
    assert "image_size" in failure(run, *words, "--out", tmp_path / "other", "--environment-set", "image_sise=48")


def test_a_method_is_trained_on_the_spot_and_its_agent_is_filmed(run, mobile, tmp_path):
    out = tmp_path / "agent"
    words = ("rl", "inverse + proprioception", "--data", mobile.path, "--environment-set", "max_steps=5")
    words = (*words, "--steps", 32, "--n-envs", 2, "--eval-episodes", 2, "--set", "n_steps=8", "batch_size=8")
    words = (*words, "--pretrain.steps", 2, "--pretrain.latent-dim", 4, "--tensorboard", "--out", out)
    assert "success" in run(*words)
    about = json.loads((out / "config.json").read_text())
    assert about["source"] == "inverse+proprioception"
    assert about["environment_kwargs"] == {"image_size": 48, "max_steps": 5, "obs_type": "pixels+state"}
    assert load_file(out / "agent.safetensors")["mlp_extractor.policy_net.0.weight"].shape == (64, 4 + 2)
    assert list((out / "tensorboard").rglob("events*"))
    assert "success" in run(*words)
    assert run("enjoy", out, "--data", mobile.path).strip() == str(out / "film.gif")
    assert (out / "film.gif").stat().st_size > 1000


def test_an_algorithm_that_does_not_fit_costs_no_pretraining(run, mobile, tmp_path):
    words = ("rl", "autoencoder", "--data", mobile.path, "--algorithm", "sac", "--out", tmp_path / "agent")
    assert "These fit: a2c, ars, cma_es, dqn" in failure(run, *words)
    assert not (tmp_path / "agent").exists()


def test_a_search_among_agents(run, mobile, tmp_path):
    out = tmp_path / "tuned"
    words = ("tune", "ground_truth", "--data", mobile.path, "--objective", "return", "--algo", "a2c", "--trials", 2)
    words = (*words, "--rl-steps", 40, "--rl-set", "n_envs=2", "eval_episodes=1", "--out", out)
    printed = run(*words, "--search", "rl.gamma=[0.9, 0.99]", "rl.learning_rate=(1e-4, 1e-2)")
    assert "rl.gamma" in printed
    about = json.loads((out / "search.json").read_text())
    assert about["rl"]["algorithm"] == "a2c"
    assert (about["rl"]["steps"], about["rl"]["eval_every"], about["rl"]["n_envs"]) == (40, 8, 2)
    assert (out / "history.png").exists()
    assert "Did you mean n_envs" in failure(run, *words, "--rl-set", "n_env=2")
    words = ("tune", "autoencoder", "--data", mobile.path, "--algo", "a2c", "--out", tmp_path / "other")
    assert "objective='return'" in failure(run, *words)


def test_failed_cells_set_the_exit_code(run, tmp_path):
    """A loss that is NaN fails its own cell, with the term's name; the table holds the rest."""
    (tmp_path / "small.yaml").write_text(SUITE)
    plugin = tmp_path / "bad_loss.py"
    plugin.write_text(
        "import srl_bench as srl\n"
        "class NeverFinite(srl.Loss):\n"
        "    def forward(self, batch):\n"
        "        return batch.state.sum() * float('nan')\n"
    )
    words = ("run", tmp_path / "small.yaml", "--root", tmp_path / "runs", "--plugin", plugin)
    assert "1 cell(s) failed" in failure(run, *words, "--method", "NeverFinite")
    folder = tmp_path / "runs" / "small"
    assert "never_finite = nan" in next(folder.glob("*/error.txt")).read_text()
    assert "ground_truth" in (folder / "table.md").read_text()
    assert "| NeverFinite  | failed" in (folder / "table.md").read_text()
    assert sorted(path.suffix for path in (folder / "figures").iterdir()) == [".pdf"] * 3 + [".png"] * 3 + [".txt"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("run", "quik"), "Did you mean quick"),
        (("record", "--environment", "srl_bench/KukaButon-v0"), "KukaButton"),
        (("record", "--set", "image_size"), "KEY=VALUE"),
        (("record", "--set", "image_size=10"), "48 to 256"),
        (("info", "/nowhere"), "rollouts.json"),
        (("score", "/nowhere", "/nowhere"), "config.json"),
        (("table", "/nowhere"), "suite.json"),
        (("list", "methods", "--plugin", "/nowhere/x.py"), "does not exist"),
        (("rl", "raw_pixels", "--out", "/tmp/never"), "--environment"),
    ],
)
def test_errors_are_one_sentence_without_traceback(words, named, run):
    assert named in failure(run, *words)


@pytest.mark.parametrize(
    ("kind", "entry"),
    [
        ("methods", "robotic_priors"),
        ("losses", "e2c_transition"),
        ("metrics", "knn_mse_norm"),
        ("environments", "srl_bench/KukaButton-v0"),
        ("bodies", "nature"),
        ("suites", "quick"),
        ("algos", "Truncated quantile critics"),
    ],
)
def test_list(kind, entry, run):
    assert entry in run("list", kind)


@pytest.mark.parametrize("format", ["minari", "lerobot", "srl_zoo"])
def test_export_and_import(mobile, tmp_path, monkeypatch, run, format):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    there = "srl-bench/mobile-v0" if format == "minari" else str(tmp_path / "there")
    assert run("export", mobile.path, format, there).split() == [there]
    assert run("import", format, there, tmp_path / "back").split() == [str(tmp_path / "back")]
    again = open_rollouts(tmp_path / "back")
    np.testing.assert_array_equal(again.factors, mobile.factors)
    assert (again.data_hash == mobile.data_hash) == (format != "srl_zoo")


def test_pack_and_unpack(mobile, tmp_path, run):
    assert "% of the folder" in run("pack", mobile.path, tmp_path / "a.zip")
    run("unpack", tmp_path / "a.zip", tmp_path / "back")
    assert open_rollouts(tmp_path / "back").data_hash == mobile.data_hash
