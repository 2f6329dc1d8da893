"""Runs of a suite that are killed again and again end with the results of one that was not."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

import srl_bench as srl
from srl_bench.config import load_suite
from srl_bench.errors import SrlBenchError

QUICK = load_suite("quick")
# the built-in suite with less of everything
REDUCED = replace(
    QUICK,
    environments=(replace(QUICK.environments[0], frames=1500, max_steps=40),),
    train=replace(QUICK.train, steps=30, validate_every=10),
    rl=replace(QUICK.rl, steps=512, n_envs=2, eval_every=256, eval_episodes=2, hyperparameters={"n_steps": 64}),
)


def outcomes(root, suite):
    """Return all that the cells of the last run of a suite came to, apart from how long it took."""
    index = json.loads((root / suite.name / "suite.json").read_text())
    cells = [root / suite.name / name for name in index["cells"]]
    assert all((cell / "done").exists() for cell in cells)
    found = {}
    for cell in cells:
        for name in ("scores.json", "encoder/model.safetensors"):
            if (cell / name).exists():
                found[cell.name, name] = (cell / name).read_bytes()
        if (cell / "rl").exists():
            evaluations = pd.read_csv(cell / "rl" / "evaluations.csv")
            found[cell.name, "rl"] = evaluations.drop(columns="seconds").to_csv()
    return found


def run_until_killed(command, seconds, rng, errors):
    """Return the exit status of a command, None if it was killed after some seconds, with its workers or alone."""
    with errors.open("wb") as file:  # workers that outlive their parent would keep a pipe open
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=file, start_new_session=True)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        kill, whom = rng.choice([(os.kill, process.pid), (os.killpg, os.getpgid(process.pid))])
        kill(whom, signal.SIGKILL)
        process.wait()
        return None
    assert process.returncode == 0, errors.read_text()
    return process.returncode


def kill_again_and_again(suite, kills, tmp_path):
    """Run a suite, killed at random moments, until that happened often enough; compare its ends with a whole run."""
    file = tmp_path / "suite.yaml"
    file.write_text(yaml.safe_dump(json.loads(json.dumps(asdict(suite)))))

    def command(root):
        return [sys.executable, "-m", "srl_bench.cli", "run", str(file), "--jobs", "2", "--root", str(root)]

    start = time.monotonic()
    errors = tmp_path / "errors.txt"
    run_until_killed(command(tmp_path / "whole"), None, None, errors)
    longest = time.monotonic() - start
    whole = outcomes(tmp_path / "whole", suite)
    rng, killed, ended = random.Random(0), 0, 0
    while killed < kills or not ended:
        root = tmp_path / f"killed{ended}"
        # often enough for several kills of most runs, in all of their stages: the next one goes on from there
        seconds = rng.uniform(0.1, 0.4) * longest if killed < kills else None
        if run_until_killed(command(root), seconds, rng, errors) is None:
            killed += 1
            print(f"kill {killed} after {seconds:.0f} s")
            continue
        assert outcomes(root, suite) == whole
        assert (root / suite.name / "table.md").exists()
        ended += 1
    print(f"{killed} kills, {ended} runs of {len(whole)} files each that ended as the one that was not killed")


@pytest.mark.slow
def test_three_kills(tmp_path):
    suite = replace(REDUCED, methods=("autoencoder", "ground_truth"), metrics=("ridge_r2", "gtc"))
    kill_again_and_again(suite, 3, tmp_path)


@pytest.mark.slow
def test_fifty_kills_of_the_quick_suite(tmp_path):
    kill_again_and_again(REDUCED, 50, tmp_path)


def test_a_folder_that_cannot_be_written_is_an_error_before_any_work(tmp_path):
    """A file in the place of the folder, because the tests may run as root, who may write anywhere."""
    (tmp_path / "runs").write_text("")
    command = [sys.executable, "-m", "srl_bench.cli", "run", "quick", "--root", str(tmp_path / "runs")]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    assert str(tmp_path / "runs") in process.stderr


FULL_DISK = """
import resource, sys
from pathlib import Path
import srl_bench as srl
from srl_bench.config import load_suite
suite, root = load_suite(sys.argv[1]), Path(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
srl.run(suite, root=root, on_done=lambda cell, error: print(cell.method, error))
"""


def test_a_full_disk_fails_cells_and_a_second_run_completes_them(tmp_path):
    """A limit on the size of files stands in for the full disk: writes fail as OSError in the middle of a file."""
    suite = replace(REDUCED, methods=("autoencoder", "ground_truth"), metrics=("ridge_r2",), rl=None)
    file = tmp_path / "suite.yaml"
    file.write_text(yaml.safe_dump(json.loads(json.dumps(asdict(suite)))))
    srl.run(replace(suite, methods=("ground_truth",)), root=tmp_path)  # records the data
    command = [sys.executable, "-c", FULL_DISK, str(file), str(tmp_path), str(300_000)]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    assert "autoencoder OSError" in text or "autoencoder SafetensorError" in text or "autoencoder RuntimeError" in text
    (error,) = (tmp_path / suite.name).glob("*/error.txt")
    assert "autoencoder" in error.parent.name
    assert not (error.parent / "encoder").exists()
    ended = []
    srl.run(suite, root=tmp_path, only_failed=True, on_done=lambda cell, error: ended.append((cell.method, error)))
    assert ended == [("autoencoder", "")]
    srl.run(suite, root=tmp_path / "whole")
    assert outcomes(tmp_path, suite) == outcomes(tmp_path / "whole", suite)


def test_a_data_set_that_cannot_be_read_fails_its_cells(tmp_path):
    suite = replace(REDUCED, methods=("autoencoder", "random"), metrics=("ridge_r2",), rl=None)
    (path, _) = srl.run(suite, root=tmp_path)
    (data,) = (tmp_path / "data").glob("*/rollouts.json")
    cell = json.loads((path / "cell.json").read_text())
    assert Path(cell["rollouts"]) == data.parent
    frames = sorted(data.parent.rglob("*.npy"), key=lambda file: file.stat().st_size)[-1]
    frames.write_bytes(frames.read_bytes()[:1000])
    with pytest.raises(SrlBenchError, match=frames.name):
        srl.run(replace(suite, seeds=(1,)), root=tmp_path)
