"""The code in docs/ runs, except blocks of "py", commands are understood, the table of environments is complete."""

import functools
import re
import shlex
import sys
from pathlib import Path

import gymnasium
import pytest
import tyro

from srl_bench import cli
from srl_bench.environments import environment_ids
from srl_bench.registry import LOSSES, METHODS, METRICS

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
SMALLER = {
    "frames=20_000": "frames=600, max_steps=20",
    "latent_dim=32, seed=0": "seed=0, steps=2",
    "steps=1_500": "steps=2",
    "learn(200_000)": "learn(64)",
    'PPO("MlpPolicy", venv': 'PPO("MlpPolicy", venv, n_steps=8',
    'PPO("CnnPolicy", images': 'PPO("CnnPolicy", images, n_steps=8',
}


@pytest.fixture
def registries(monkeypatch):
    """Built-in entries only, so that a page may register what another test has; its own are gone after it."""
    for registry in (LOSSES, METHODS, METRICS):
        list(registry)
        builtin = {name: entry for name, entry in registry._entries.items() if entry[1].startswith("srl_bench.")}
        monkeypatch.setattr(registry, "_entries", builtin)
    yield
    gymnasium.registry.pop("my/Lift-v0", None)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
@pytest.mark.usefixtures("registries")
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
    for budget, smaller in SMALLER.items():
        code = code.replace(budget, smaller)
    exec(compile(code, page.name, "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_of_a_page_exist(page, monkeypatch):
    for command in set(re.findall(r"srl-bench (\w+)", page.read_text())):
        monkeypatch.setattr(sys, "argv", ["srl-bench", command, "--help"])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        assert caught.value.code == 0, command


def commands(text):
    """The words after `srl-bench` of every command in the bash blocks of a page."""
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ")
    lines = (shlex.split(line, comments=True) for line in blocks.splitlines())
    return [words[1:] for words in lines if words[:1] == ["srl-bench"]]


def understood(words, monkeypatch):
    """Parse a command without running it; return whether it would have run."""
    target, ran = cli.app._subcommands[words[0]].target, []

    @functools.wraps(target)
    def parsed(*args, **kwargs):
        ran.append(kwargs or args)

    app = tyro.extras.SubcommandApp()
    app.command(name=words[0])(parsed)
    app.command(name="another")(lambda: None)
    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setattr(sys, "argv", ["srl-bench", *words])
    cli.main()
    monkeypatch.undo()
    return bool(ran)


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.stem)
def test_commands_of_a_page_are_understood(page, monkeypatch):
    for words in commands(page.read_text()):
        assert understood(words, monkeypatch), words


@pytest.mark.parametrize("name", sorted(cli.app._subcommands))
def test_examples_of_help_are_understood(name, monkeypatch):
    examples = re.findall(r"Example: srl-bench (.+)", cli.app._subcommands[name].target.__doc__)
    assert examples
    for example in examples:
        assert understood(shlex.split(example), monkeypatch), example


def test_every_environment_has_a_row():
    table = (ROOT / "docs" / "environments.md").read_text()
    ours = [name for name in environment_ids() if name.startswith("srl_bench/")]
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == sorted(
        name.removeprefix("srl_bench/").removesuffix("-v0") for name in ours
    )
