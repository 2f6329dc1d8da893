"""Workers: every item once, in this process or in others, and none lost with a worker that is killed."""

import os
import signal

import pytest

from srl_bench.launch import run_all


def work(item, folder):
    """Return the item and the process; "killer" kills its worker, "once" only the first time."""
    mark = folder / item
    first = not mark.exists()
    mark.write_text(mark.read_text() + "x" if mark.exists() else "x")
    if item.startswith("killer") or (item == "once" and first):
        os.kill(os.getpid(), signal.SIGKILL)
    return item, os.getpid()


def run(items, folder, jobs):
    return list(run_all(work, items, folder, jobs=jobs, killed=lambda item: (item, None)))


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_item_runs_once(tmp_path, jobs):
    items = [str(number) for number in range(9)]
    found = run(items, tmp_path, jobs)
    assert sorted(item for item, _ in found) == items
    assert ({process for _, process in found} == {os.getpid()}) == (jobs == 1)
    assert all((tmp_path / item).read_text() == "x" for item in items)


@pytest.mark.parametrize("items", ["killer", "once", "a b once c d e f", "a killer b c d", "killer1 killer2 a b"])
def test_a_killed_worker_takes_one_item_with_it_at_most(tmp_path, items):
    """What was running runs again, alone; an item that kills its worker then, too, is given up."""
    items = items.split()
    found = dict(run(items, tmp_path, 2))
    assert sorted(found) == sorted(items)
    assert {item for item, process in found.items() if process is None} == {i for i in items if i.startswith("killer")}
    runs = {item: len((tmp_path / item).read_text()) for item in items}
    assert set(runs.values()) <= {1, 2}
    assert runs.get("once", 2) == 2


def test_nothing_to_do():
    assert list(run_all(work, [], jobs=2, killed=str)) == []
