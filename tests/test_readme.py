"""The README's code is the code of examples/, which runs, and its tables are the published ones."""

import re
import sys
from pathlib import Path

import pytest

from srl_bench import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
# Budgets of the examples, shrunk so that a test can run them.
SMALLER = {
    "frames=20_000": "frames=1_200, max_steps=40",
    "latent_dim=32": "latent_dim=32, steps=4",
    "learn(200_000)": "learn(64)",
    'PPO("MlpPolicy", venv)': 'PPO("MlpPolicy", venv, n_steps=8)',
    'srl.load_suite("quick")': "tiny_suite()",
    "seeds=(0, 1, 2, 3, 4)": "seeds=(0,)",
    "jobs=2": "jobs=1",
}


def tiny_suite():
    from srl_bench.config import RecordConfig, Suite, TrainConfig

    recording = RecordConfig(frames=1_200, max_steps=40, environment_kwargs={"image_size": 48})
    return Suite("tiny", (recording,), ("random",), train=TrainConfig(steps=4), metrics=("ridge_r2", "gtc"))


@pytest.mark.parametrize("example", sorted(path.name for path in (ROOT / "examples").glob("*.py")))
def test_examples_stand_in_the_documentation_word_for_word(example):
    pages = README + "".join(page.read_text() for page in (ROOT / "docs").glob("*.md"))
    assert (ROOT / "examples" / example).read_text().strip() in pages


@pytest.mark.parametrize("example", ["frozen_encoder_ppo.py", "comparison_table.py"])
def test_examples_run(example, tmp_path, monkeypatch, capsys):
    code = (ROOT / "examples" / example).read_text()
    for budget, smaller in SMALLER.items():
        code = code.replace(budget, smaller)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SB3_LOGDIR", str(tmp_path / "log"))
    exec(compile(code, example, "exec"), {"__name__": "__main__", "tiny_suite": tiny_suite})
    out = capsys.readouterr().out
    assert ("ridge_r2" if example == "frozen_encoder_ppo.py" else r"\toprule") in out


def test_commands_in_the_readme_exist(monkeypatch, capsys):
    commands = set(re.findall(r"srl-bench (\w+)", README))
    assert {"run", "record", "pretrain", "score", "rl", "table"} <= commands
    for command in commands:
        monkeypatch.setattr(sys, "argv", ["srl-bench", command, "--help"])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        assert caught.value.code == 0, command


def cells(table):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]


@pytest.mark.parametrize("name", ["MobileRobot", "KukaButton"])
def test_the_readmes_tables_are_the_published_ones(name):
    table = (ROOT / "results" / "core" / "table.md").read_text()
    published = table.split(f"### srl_bench/{name}-v0")[1].split("###")[0]
    (names, _, *rows), (shown, _, *found) = cells(published), cells(README.split(f"**{name}**")[1].split("\n\n")[1])
    columns = [names.index(column) for column in shown]
    assert found == [[row[i] for i in columns] for row in rows if row[0] not in ("floor", "noise")]
    assert len(shown) > 4


def test_targets_in_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([\w-]+)`", README):
        assert re.search(rf"^{target}:", makefile, flags=re.M), target
    for file in re.findall(r"\]\(((?!http)[^)#]+)\)", README):
        assert (ROOT / file).exists(), file
