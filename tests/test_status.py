"""Where a suite stands and what is left to pay, from folders written by hand."""

import json
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import yaml
from filelock import FileLock

from srl_bench.benchmark import cells_of
from srl_bench.cells import Cell
from srl_bench.config import RecordConfig, RLConfig, Suite, TrainConfig
from srl_bench.report.live import SuiteDisplay, duration
from srl_bench.status import cell_states, estimate, measured_costs, plan, stages_left

SUITE = Suite(
    name="tiny",
    environments=(RecordConfig(frames=200),),
    methods=("inverse", "random", "raw_pixels"),
    seeds=(0, 1),
    train=TrainConfig(steps=100),
    rl=RLConfig(steps=2000),
)


@pytest.fixture
def cells(tmp_path):
    """Return the cells of `SUITE`, whose folders hold: one done, one failed, one half done and locked, and nothing."""
    cells = cells_of(SUITE, tmp_path)
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "suite.json").write_text(json.dumps({"cells": [cell.folder_name for cell in cells]}))
    done, failed, running = (folder / cell.folder_name for cell in cells[:3])
    for cell, path in zip(cells, (done, failed, running), strict=False):
        path.mkdir()
        (path / "cell.json").write_text(json.dumps(asdict(cell)))
    for path in (done, failed):
        (path / "encoder").mkdir()
        (path / "encoder" / "config.json").touch()
    (done / "scores.json").touch()
    (done / "rl").mkdir()
    (done / "rl" / "evaluations.csv").touch()
    (done / "done").touch()
    (done / "stages.json").write_text(json.dumps({"pretrain": 20.0, "score": 5.0, "rl": 60.0}))
    (failed / "stages.json").write_text(json.dumps({"pretrain": 2.0, "score": 1.0}))
    (failed / "error.txt").write_text("Traceback\nValueError: by hand")
    return cells


def test_states(cells, tmp_path):
    with FileLock(tmp_path / "tiny" / cells[2].folder_name / ".lock"):
        states = cell_states(tmp_path / "tiny")
    assert [(cell.method, cell.seed) for cell in states] == [(cell.method, cell.seed) for cell in cells]
    assert [cell.state for cell in states] == ["done", "failed", "running", "waiting", "waiting", "waiting"]
    # the third is an agent on raw pixels, which has no encoder
    assert [cell.stage for cell in states[:4]] == ["", "score", "rl", "pretrain"]
    assert states[1].error == "Traceback\nValueError: by hand"
    assert states[0].seconds == {"pretrain": 20.0, "score": 5.0, "rl": 60.0}
    assert states[3].about == {}
    assert cell_states(tmp_path / "tiny")[2].state == "waiting"


def test_stages_left(cells, tmp_path):
    left = [stages_left(cell, tmp_path / "tiny") for cell in cells[:3]]
    assert left == [[], ["score", "rl"], ["rl"]]


def test_costs_are_of_stages_that_ended_and_per_thousand_steps(cells, tmp_path):
    costs = measured_costs(tmp_path)
    found = {(row.method, row.stage): row.seconds for row in costs.itertuples()}
    assert found == {
        ("inverse", "pretrain"): 200,
        ("inverse", "score"): 5,
        ("inverse", "rl"): 30,
        ("random", "pretrain"): 20,
    }


def test_torn_files_count_as_absent(cells, tmp_path):
    """As a version left them that was killed while it wrote; those of another suite do no harm either."""
    done, failed = (tmp_path / "tiny" / cell.folder_name for cell in cells[:2])
    (done / "stages.json").write_text("")
    (failed / "cell.json").write_text('{"env')
    other = tmp_path / "other" / "cell"
    other.mkdir(parents=True)
    (other / "cell.json").write_text((done / "cell.json").read_text())
    (other / "stages.json").write_text('{"pretrain": ')
    states = cell_states(tmp_path / "tiny")
    assert [cell.state for cell in states[:2]] == ["done", "failed"]
    assert states[0].seconds == {}
    assert (states[1].about, states[1].seed) == ({}, 0)
    assert measured_costs(tmp_path).empty
    assert plan(cells, tmp_path, "tiny")["seconds"].isna().any()
    display = SuiteDisplay(tmp_path / "tiny", jobs=1)
    display.start(cells, cells[1:])
    display.render()


def test_estimates_are_of_the_most_similar_cells(cells, tmp_path):
    costs = measured_costs(tmp_path)
    inverse, random, pixels = cells[3:]
    assert estimate(inverse, ["pretrain", "score"], costs) == {"pretrain": 20, "score": 5}
    assert estimate(random, ["pretrain", "rl"], costs) == {"pretrain": 2, "rl": 60}
    assert estimate(replace(pixels, rl=RLConfig(steps=1000)), ["rl"], costs) == {"rl": 30}
    assert np.isnan(estimate(inverse, ["rl"], costs.iloc[:0])["rl"])


def test_plan_adds_up(cells, tmp_path):
    table = plan(cells, tmp_path, "tiny").set_index("stage")
    assert table["cells"].to_dict() == {"pretrain": 4, "score": 4, "rl": 6}
    assert table["to do"].to_dict() == {"pretrain": 2, "score": 3, "rl": 5}
    assert table["seconds"].to_dict() == {"pretrain": 22, "score": 15, "rl": 300}


def test_plan_of_what_was_never_measured(tmp_path):
    table = plan(cells_of(SUITE, tmp_path), tmp_path, "tiny")
    assert table["seconds"].isna().all()
    assert not list(tmp_path.iterdir())


def test_live_view(cells, tmp_path):
    from rich.console import Console

    display = SuiteDisplay(tmp_path / "tiny", jobs=2)
    display.start(cells, cells[1:])

    def shown():
        console = Console(width=100)
        with console.capture() as captured:
            console.print(display.render())
        return captured.get()

    assert "1 (0 failed)" in shown()
    assert "5 (2 running)" in shown()
    assert "2 min 48 s" in shown()
    display.done(cells[1], "ValueError: by hand")
    assert "1 (1 failed)" in shown()


def test_live_view_counts_what_is_finished_on_disk(cells, tmp_path, capsys):
    """Also where a run is of the failed cells only: the others are not finished because of that."""
    display = SuiteDisplay(tmp_path / "tiny", jobs=1)
    display.start(cells, cells[1:2])
    assert capsys.readouterr().err.strip() == "6 cells, 1 of them finished"
    display.done(cells[1], "")
    rows = [list(column.cells) for column in display.render().renderables[0].columns]
    # of four encoders, scores, and of six agents, one cell has all and another an encoder
    assert rows[2] == ["2 (0 failed)", "2", "1", "1"]
    assert rows[3] == ["0 (0 running)", "0", "0", "0"]


@pytest.mark.parametrize(("seconds", "text"), [(59.6, "1 min 00 s"), (3725, "1 h 02 min"), (float("nan"), "unknown")])
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_commands(cells, tmp_path):
    suite = tmp_path / "tiny.yaml"
    suite.write_text(yaml.safe_dump(json.loads(json.dumps(asdict(SUITE)))))

    def output(*words):
        command = [sys.executable, "-m", "srl_bench.cli", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    before = sorted(tmp_path.rglob("*"))
    text = output("plan", suite, "--root", tmp_path, "--jobs", 2)
    assert "in all 2 min 48 s with 2 job(s)" in text
    assert "to be recorded first: srl_bench/MobileRobot-v0" in text
    assert sorted(tmp_path.rglob("*")) == before
    text = output("status", tmp_path / "tiny")
    assert "1 done, 0 running, 4 waiting, 1 failed" in text
    assert "failed: srl_bench/MobileRobot-v0 random seed 0: ValueError: by hand" in text


def test_cell_is_what_the_folder_is_named_after(tmp_path):
    cell = cells_of(SUITE, tmp_path)[0]
    assert isinstance(cell, Cell)
    assert cell.data_hash == ""
