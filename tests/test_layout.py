"""The house: links, floors, what an import pulls in, and what the wheel holds."""

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("environments", "baselines", "metrics")

# A module may import its own floor and those below, `errors`, `registry` and `seeding` being the ground.
FLOORS = {
    "": 0,
    "errors": 0,
    "registry": 0,
    "seeding": 0,
    "factors": 0,
    "progress": 0,
    "device": 0,
    "provenance": 0,
    "nets": 1,
    "hub": 0,
    "integrity": 0,
    "files": 0,
    "description": 0,
    "rollouts": 1,
    "writer": 1,
    "archive": 1,
    "results": 1,
    "statistics": 1,
    "rank_correlation": 1,
    "correlate": 3,
    "compare": 1,
    "runs": 1,
    "notes": 1,
    "curves": 1,
    "metrics": 1,
    "environments": 1,
    "objective": 2,
    "grammar": 2,
    "batch": 2,
    "resident": 2,
    "built": 2,
    "method": 2,
    "losses": 2,
    "encoder": 2,
    "decoder": 2,
    "weights": 2,
    "parallel": 2,
    "vecenv": 2,
    "baselines": 3,
    "config": 4,
    "policies": 4,
    "episodes": 4,
    "workers": 4,
    "record": 4,
    "convert": 4,
    "play": 4,
    "pretrain": 4,
    "trainer": 4,
    "seeds": 4,
    "score": 4,
    "expert": 4,
    "intervene": 4,
    "rl": 4,
    "algorithms": 4,
    "agents": 4,
    "checkpoints": 4,
    "curiosity": 4,
    "segments": 4,
    "sources": 4,
    "imitation": 4,
    "space": 4,
    "trials": 4,
    "tracking": 4,
    "acting": 4,
    "tune": 4,
    "benchmark": 5,
    "cells": 5,
    "launch": 5,
    "status": 5,
    "report": 5,
    "push": 5,
    "cli": 6,
    "cli_data": 6,
    "cli_results": 6,
    "cli_agents": 6,
    "cli_suites": 6,
}
AGENTS = ("agents", "algorithms", "checkpoints", "curiosity", "segments", "sources", "tracking", "acting")
# Third-party packages that only some rooms may import.
HOMES = {
    "stable_baselines3": {"rl", "vecenv", "parallel", "policies", *AGENTS},
    "sb3_contrib": {"segments", "agents"},
    "cma": {"agents"},
    "seaborn": {"report"},
    "matplotlib": {"report"},
    "plotly": {"report"},
    "tyro": {"cli", "cli_data", "cli_results", "cli_agents", "cli_suites"},
    "dask": {"launch"},
    "wandb": {"tracking"},
    "optuna": {"tune", "trials", "space"},
    "distributed": {"launch"},
    "pybullet": {"environments"},
    "minari": {"convert"},
    "pyarrow": {"convert"},
    "av": {"convert"},
    "h5py": {"convert"},
    "huggingface_hub": {"hub"},
}


def sources():
    """Return the module's dotted name below srl_bench, and its file."""
    package = ROOT / "srl_bench"
    files = [(file.relative_to(package), file) for file in package.rglob("*.py")]
    files += [(Path(room) / f.relative_to(ROOT / room), f) for room in ROOMS for f in (ROOT / room).rglob("*.py")]
    return sorted({".".join(p.with_suffix("").parts).removesuffix("__init__").strip("."): f for p, f in files}.items())


def imports(file, name):
    """Return dotted names of all imports but those for type checkers."""
    tree = ast.parse(file.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(name):
    return name.split(".")[0]


MODULES = sources()


def test_the_test_sees_the_sources():
    names = {name for name, _ in MODULES}
    assert {"", "cli", "pretrain", "losses.e2c", "baselines.vae", "metrics.common", "environments.simulator"} <= names
    assert "srl_bench.registry.method" in imports(ROOT / "baselines" / "vae.py", "baselines.vae")


def test_every_module_has_a_floor():
    assert {room(name) for name, _ in MODULES} <= set(FLOORS)


@pytest.mark.parametrize(("name", "file"), MODULES, ids=[name for name, _ in MODULES])
def test_arrows_point_downwards(name, file):
    for target in imports(file, name):
        if target.split(".")[0] != "srl_bench":
            continue
        other = room(target.removeprefix("srl_bench").lstrip("."))
        other = other if other in FLOORS else ""  # a name that the package exports
        assert FLOORS[other] <= FLOORS[room(name)], f"{name} imports {target}"


@pytest.mark.parametrize("name", ["environments", "metrics", "nets", "rollouts"])
def test_rooms_of_the_first_floor_import_the_ground_and_themselves(name):
    for module, file in MODULES:
        if room(module) == name:
            for target in imports(file, module):
                if target.startswith("srl_bench."):
                    other = room(target.removeprefix("srl_bench."))
                    assert other == name or FLOORS[other] == 0, f"{module} imports {target}"


@pytest.mark.parametrize(("name", "file"), MODULES, ids=[name for name, _ in MODULES])
def test_third_party_packages_stay_in_their_rooms(name, file):
    for target in imports(file, name):
        package = target.split(".")[0]
        if package in HOMES:
            assert room(name) in HOMES[package], f"{name} imports {target}"
        if room(name) == "environments":
            assert package != "torch", f"{name} imports {target}"
        if room(name) == "baselines":
            assert "eval" not in target


@pytest.mark.parametrize("name", ROOMS)
def test_the_rooms_are_relative_links(name):
    link = ROOT / "srl_bench" / name
    assert link.is_symlink()
    assert link.readlink() == Path("..") / name
    assert (ROOT / name / "__init__.py").is_file()


@pytest.mark.parametrize("name", ROOMS)
def test_a_second_copy_of_a_room_is_refused(name):
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {name}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    assert f"srl_bench.{name}" in result.stderr


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True).stdout


def test_importing_the_package_is_quick_and_light():
    out = run("import time, sys; import srl_bench; print(time.process_time(), *sys.modules)").split()
    assert float(out[0]) < 1
    heavy = {"torch", "stable_baselines3", "dask", "seaborn", "matplotlib", "pandas", "sklearn", "tyro"}
    assert heavy & set(out) == set()


def test_importing_the_package_registers_the_environments():
    code = "import srl_bench, gymnasium; print(gymnasium.make('srl_bench/MobileRobot-v0').reset(seed=0)[0].shape)"
    assert run(code).strip() == "(64, 64, 3)"


def test_the_main_functions_need_no_agents_and_no_figures():
    out = run("import sys, srl_bench as s; s.record, s.pretrain, s.score, s.load_encoder, s.parse; print(*sys.modules)")
    assert {"stable_baselines3", "dask", "seaborn", "matplotlib", "tyro"} & set(out.split()) == set()


def test_every_public_name_is_there():
    import srl_bench

    for name in srl_bench.__all__:
        assert getattr(srl_bench, name) is not None, name
    with pytest.raises(AttributeError, match="recrod"):
        srl_bench.recrod  # noqa: B018


def test_a_function_is_not_hidden_by_the_module_of_its_name():
    code = (
        "import srl_bench.record, srl_bench.pretrain, srl_bench.score, srl_bench as s;"
        "print(all(callable(f) for f in (s.record, s.pretrain, s.score)))"
    )
    assert run(code).strip() == "True"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of a copy of the checkout, so that nothing is written into it."""
    source, out = tmp_path_factory.mktemp("source") / "tree", tmp_path_factory.mktemp("wheel")
    skipped = [f"--exclude=./{name}" for name in (".git", ".venv", "runs", "data", "build", "srl_bench.egg-info")]
    source.mkdir()
    archive = subprocess.run(["tar", "-c", *skipped, "."], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x"], cwd=source, input=archive, check=True)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    subprocess.run(command, capture_output=True, check=True)
    (path,) = out.glob("*.whl")
    return path


def test_the_wheel_has_one_package_and_all_rooms(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"srl_bench"}
    for name, file in MODULES:
        relative = file.relative_to(ROOT).as_posix()
        inside = relative if relative.startswith("srl_bench/") else f"srl_bench/{relative}"
        assert inside in names, name
    assets = {f"srl_bench/{file.relative_to(ROOT).as_posix()}" for file in (ROOT / "environments/assets").rglob("*.*")}
    assert assets
    assert assets <= set(names)
    assert {"srl_bench/suites/quick.yaml", "srl_bench/hyperparameters.yaml"} <= set(names)
    assert {f"srl_bench/report/page/{name}" for name in ("page.html", "page.css", "page.js", "card.md")} <= set(names)


def test_the_wheel_works_away_from_the_checkout(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import srl_bench; from srl_bench.registry import METHODS;"
        "print(srl_bench.__file__, len(list(METHODS)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", check=True)
    path, count = result.stdout.split()
    assert Path(path).is_relative_to(tmp_path)
    assert int(count) >= 11
