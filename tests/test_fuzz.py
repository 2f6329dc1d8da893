"""Damaged and hostile files: every loader works or raises an error of this package, and executes nothing."""

import copy
import json
import random
import shutil
import time

import numpy as np
import pytest
import yaml

import srl_bench as srl
from srl_bench.config import RLConfig, TrainConfig, load_suite
from srl_bench.errors import SrlBenchError
from srl_bench.integrity import checksum
from srl_bench.rl import load_run
from srl_bench.rollouts import open_rollouts, seal_of

ROUNDS = 150
HOSTILE = (
    None, True, -1, 0, 2**63, 2**200, 1e308, float("nan"), float("inf"), "", "x" * 5000, "../../../etc/passwd",
    "/etc/passwd", "srl_bench/MobileRobot-v0", "\0", [], {}, [[[]]], {"__class__": "os.system"}, ["a"], [1, 2, 3],
)  # fmt: skip


def places(value, path=()):
    """Return the paths of all items in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in items for place in places(item, (*path, key)))]


def altered(value, rng):
    """Return a JSON value with something hostile in, or nothing at, a random place."""
    value = copy.deepcopy(value)
    path = rng.choice(places(value)[1:] or [()])
    if not path:
        return rng.choice(HOSTILE)
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    if rng.random() < 0.2:
        del holder[path[-1]]
    else:
        holder[path[-1]] = rng.choice(HOSTILE)
    return value


def damaged(content, rng):
    """Return bytes cut off, or with some of them changed, mostly near the start, where headers are."""
    content = bytearray(content)
    if rng.random() < 0.2:
        return bytes(content[: rng.randrange(len(content))])
    for _ in range(rng.randrange(1, 8)):
        at = rng.randrange(min(len(content), 400) if rng.random() < 0.8 else len(content))
        content[at] = rng.choice([0, 255, 127, rng.randrange(256)])
    return bytes(content)


def refused(load, folder):
    """Return whether a loader refuses what it is given; anything but an error of this package is a failure."""
    start = time.monotonic()
    try:
        load(folder)
    except SrlBenchError:
        return True
    finally:
        assert time.monotonic() - start < 20
    return False


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a folder with rollouts, an encoder of them, and an agent that reads its states."""
    root = tmp_path_factory.mktemp("made")
    rollouts = srl.record(
        out=root / "rollouts", frames=300, max_steps=20, environment_kwargs={"image_size": 48}, workers=1
    )
    config = TrainConfig(latent_dim=4, steps=2, validate_every=2)
    encoder = srl.pretrain("autoencoder", rollouts, out=root / "training", config=config)
    encoder.save(root / "encoder")
    shutil.copytree(root / "training" / "decoder", root / "decoder")
    config = RLConfig(steps=64, n_envs=2, eval_every=64, eval_episodes=1, hyperparameters={"n_steps": 32})
    srl.train_agent(
        rollouts.environment, encoder, environment_kwargs={"image_size": 48}, out=root / "agent", config=config
    )
    return root


def try_all(made, tmp_path, kind, load, change, rounds=ROUNDS):
    """Load a folder again and again, changed in another way every time; return how often it was refused."""
    count = 0
    for seed in range(rounds):
        folder = tmp_path / kind
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(made / kind, folder)
        change(folder, random.Random(seed))
        count += refused(load, folder)
    return count


def damage_a_file(folder, rng):
    file = rng.choice(sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"))
    if file.stat().st_size:
        file.write_bytes(damaged(file.read_bytes(), rng))


def alter(name):
    def change(folder, rng):
        file = folder / name
        file.write_text(json.dumps(altered(json.loads(file.read_text()), rng)))

    return change


def alter_and_seal(folder, rng):
    """Alter a description as somebody would who knows how seals are made."""
    file = folder / "rollouts.json"
    info = altered(json.loads(file.read_text()), rng)
    if isinstance(info, dict):
        info["seal"] = seal_of({key: value for key, value in info.items() if key != "seal"})
    file.write_text(json.dumps(info))


def exchange_and_seal(folder, rng):
    """Put an array of another shape or type in the place of one, with the right checksums."""
    name = rng.choice(["observations", "actions", "rewards", "factors", "episodes"])
    file = folder / f"{name}.npy"
    array = np.load(file)
    shapes = [array[:0], array[:1], array[..., None], array.ravel(), array[:-1], np.full_like(array, 255)]
    types = [array.astype(kind) for kind in ("float64", "int8", "S8", "bool", "complex64")]
    np.save(file, rng.choice([*shapes, *types, -array.astype("float32"), np.float32(array) * np.nan]))
    description = folder / "rollouts.json"
    info = json.loads(description.read_text())
    info["sha256"][name] = checksum(file)
    info["seal"] = seal_of({key: value for key, value in info.items() if key != "seal"})
    description.write_text(json.dumps(info))


@pytest.mark.parametrize("change", [damage_a_file, alter("config.json")], ids=["bytes", "config"])
def test_encoders(made, tmp_path, change):
    assert try_all(made, tmp_path, "encoder", srl.load_encoder, change) > ROUNDS / 4


@pytest.mark.parametrize("change", [damage_a_file, alter("config.json")], ids=["bytes", "config"])
def test_decoders(made, tmp_path, change):
    assert try_all(made, tmp_path, "decoder", srl.load_decoder, change) > ROUNDS / 4


def read(folder):
    """Open rollouts and touch all that is derived from them."""
    rollouts = open_rollouts(folder)
    assert len(rollouts.split) == len(rollouts.steps) == len(rollouts)
    assert len(rollouts.coverage()) == len(rollouts.factor_table)
    assert rollouts.transitions("train").ndim == 1


@pytest.mark.parametrize("change", [damage_a_file, alter_and_seal, exchange_and_seal])
def test_rollouts(made, tmp_path, change):
    assert try_all(made, tmp_path, "rollouts", read, change) > ROUNDS / 4


@pytest.mark.parametrize("change", [damage_a_file, alter("config.json")], ids=["bytes", "config"])
def test_agents(made, tmp_path, change):
    assert try_all(made, tmp_path, "agent", lambda folder: load_run(folder)[1].close(), change, rounds=60) > 5


def test_suites(tmp_path):
    suite = yaml.safe_load((srl.config.SUITES / "quick.yaml").read_text())
    count, file = 0, tmp_path / "suite.yaml"
    for seed in range(ROUNDS):
        rng = random.Random(seed)
        if seed % 2:
            file.write_text(yaml.safe_dump(altered(suite, rng)))
        else:
            file.write_bytes(damaged(yaml.safe_dump(suite).encode(), rng))
        count += refused(lambda path: load_suite(str(path)), file)
    assert count > ROUNDS / 4
