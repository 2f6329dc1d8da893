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
from srl_bench.benchmark import cells_of, record_all
from srl_bench.cells import note_failure
from srl_bench.config import RecordConfig, Suite, TrainConfig, load_suite
from srl_bench.errors import ConfigError
from srl_bench.notes import notes
from srl_bench.report.html import write_report
from srl_bench.results import load_results
from srl_bench.status import cell_states

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


SMALL = RecordConfig(frames=400, max_steps=20, environment_kwargs={"image_size": 48})
OTHER = replace(SMALL, environment="srl_bench/MobileRobot1D-v0")
TWO = Suite("two", (SMALL, OTHER), ("random",), train=TrainConfig(latent_dim=4), metrics=("ridge_r2",))


def ends(suite, root, **options):
    """Return how the cells of a suite ended, by environment and seed, and their folders."""
    found = {}
    paths = srl.run(
        suite, root=root, on_done=lambda cell, error: found.update({(cell.environment, cell.seed): error}), **options
    )
    return found, paths


def test_a_data_set_that_cannot_be_read_fails_its_cells(tmp_path):
    """And no others; once it is gone or mended, its failed cells can be run again, under the hash they always had."""
    srl.run(TWO, root=tmp_path)
    (frames,) = (tmp_path / "data").glob("*MobileRobot-v0*/observations.npy")
    whole = frames.read_bytes()
    frames.write_bytes(whole[:1000])
    suite = replace(TWO, seeds=(0, 1))
    found, paths = ends(suite, tmp_path)
    assert set(found) == {(SMALL.environment, 0), (SMALL.environment, 1), (OTHER.environment, 1)}
    assert found.pop((OTHER.environment, 1)) == ""
    assert all("observations.npy" in error for error in found.values())
    states = cell_states(tmp_path / "two")
    assert [(cell.environment, cell.seed, cell.state) for cell in states] == [
        (SMALL.environment, 0, "failed"),
        (OTHER.environment, 0, "done"),
        (SMALL.environment, 1, "failed"),
        (OTHER.environment, 1, "done"),
    ]
    assert [cell.folder for cell in states] == paths
    assert "Traceback" in states[0].error
    failed = load_results(tmp_path / "two").query("track == 'failed'")
    assert set(failed["environment"]) == {SMALL.environment}
    assert ends(suite, tmp_path, only_failed=True)[0].keys() == found.keys()
    frames.write_bytes(whole)
    mended, paths = ends(suite, tmp_path, only_failed=True)
    assert mended == {(SMALL.environment, 1): ""}
    assert all((path / "done").exists() for path in paths)
    assert "MobileRobot-v0__random__0__" in paths[0].name
    about = json.loads((paths[0] / "cell.json").read_text())
    assert about["data_hash"]
    assert Path(about["rollouts"]) == frames.parent


def test_a_retry_that_is_interrupted_forgets_no_failure(tmp_path):
    """Mended data give the cells another folder, which does not exist yet when the retry is interrupted."""
    srl.run(TWO, root=tmp_path)
    (frames,) = (tmp_path / "data").glob("*MobileRobot-v0*/observations.npy")
    whole = frames.read_bytes()
    frames.write_bytes(whole[:1000])
    suite = replace(TWO, seeds=(1,))
    srl.run(suite, root=tmp_path)
    frames.write_bytes(whole)

    def interrupted(cells, todo):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        srl.run(suite, root=tmp_path, only_failed=True, on_start=interrupted)
    assert [cell.state for cell in cell_states(tmp_path / "two")] == ["failed", "done"]
    assert ends(suite, tmp_path, only_failed=True)[0] == {(SMALL.environment, 1): ""}
    assert [cell.state for cell in cell_states(tmp_path / "two")] == ["done", "done"]


def test_an_environment_that_raises_fails_its_cells(tmp_path, monkeypatch):
    """Here while it is recorded; repaired, it is recorded by the next run."""
    plugin = tmp_path / "falling.py"
    plugin.write_text(
        "import os\nimport gymnasium\nfrom srl_bench.environments.mobile_robot import MobileRobot\n"
        "class Falling(MobileRobot):\n"
        "    def step(self, action):\n"
        "        if os.environ.get('SENSOR_FELL_OFF'):\n"
        "            raise RuntimeError('the sensor fell off')\n"
        "        return super().step(action)\n"
        "gymnasium.register('tests/Falling-v0', f'{__name__}:Falling')\n"
    )
    suite = replace(TWO, environments=(replace(SMALL, environment="tests/Falling-v0"), OTHER))
    monkeypatch.setenv("SENSOR_FELL_OFF", "1")
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    found, paths = ends(suite, tmp_path, plugins=[str(plugin)])
    assert found == {
        ("tests/Falling-v0", 0): "RuntimeError: the sensor fell off",
        (OTHER.environment, 0): "",
    }
    text = (paths[0] / "error.txt").read_text()
    assert "falling.py" in text
    assert text.endswith("RuntimeError: the sensor fell off\n")
    write_report(tmp_path / "two", tmp_path / "report.html")
    monkeypatch.delenv("SENSOR_FELL_OFF")
    found, paths = ends(suite, tmp_path, plugins=[str(plugin)], only_failed=True)
    assert found == {("tests/Falling-v0", 0): ""}
    assert all((path / "done").exists() for path in paths)


def test_a_wrong_option_of_a_recording_is_no_failed_cell(tmp_path):
    with pytest.raises(ConfigError, match="policy"):
        srl.run(replace(TWO, environments=(replace(SMALL, policy="rndom"),)), root=tmp_path)
    assert not (tmp_path / "two").exists()


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failure_that_cannot_be_written_down_is_reported(jobs, tmp_path):
    """A file in the place of a cell's folder, because the tests may run as root, who may write anywhere."""
    suite = replace(TWO, environments=(SMALL,), methods=("random", "ground_truth", "inverse"))
    suite = replace(suite, train=TrainConfig(latent_dim=4, steps=3, validate_every=3))
    (cell, *_) = cells_of(suite, tmp_path, data_hashes=record_all(suite, tmp_path, ())[0])
    (tmp_path / "two").mkdir()
    blocked = tmp_path / "two" / cell.folder_name
    blocked.write_text("")
    found = []
    srl.run(suite, root=tmp_path, jobs=jobs, on_done=lambda cell, error: found.append((cell.method, error)))
    errors = dict(found)
    assert "FileExistsError" in errors.pop("random")
    assert errors == {"ground_truth": "", "inverse": ""}
    assert cell_states(tmp_path / "two")[0].state == "waiting"
    assert notes(tmp_path / "two")[0].startswith("1 of 3 cells is not finished")
    blocked.unlink()
    assert ends(suite, tmp_path)[0] == {(SMALL.environment, 0): ""}


def test_a_killed_cell_whose_folder_cannot_be_written_is_no_error(tmp_path):
    cell = cells_of(TWO, tmp_path)[0]
    note_failure(cell, tmp_path, "killed\n")
    assert json.loads((tmp_path / cell.folder_name / "cell.json").read_text())["method"] == "random"
    (tmp_path / "file").write_text("")
    note_failure(cell, tmp_path / "file", "killed\n")


def test_a_torn_list_of_seconds_does_not_stop_a_cell(tmp_path):
    (path, _) = srl.run(TWO, root=tmp_path)
    for name in ("done", "scores.json"):
        (path / name).unlink()
    (path / "stages.json").write_text("")
    assert ends(TWO, tmp_path)[0] == {(SMALL.environment, 0): ""}
    assert set(json.loads((path / "stages.json").read_text())) == {"score"}
