"""Writing data sets: what survives the end of a process."""

import errno
import gc
import io
import os
from pathlib import Path

import numpy as np
import pytest
import worlds

from srl_bench import writer as writing
from srl_bench.errors import DataError
from srl_bench.rollouts import open_rollouts
from srl_bench.writer import COMMITTED, RolloutWriter

INFO = {
    "environment": "tests/Blobs-v0",
    "environment_kwargs": {},
    "recording": {},
    "n_actions": 4,
    "factors": [factor.to_dict() for factor in worlds.FACTORS],
}


@pytest.fixture(scope="module")
def episodes():
    return worlds.simulate(6, 5, size=8)


def written(folder, episodes, expected=0):
    folder.mkdir()
    writer = RolloutWriter(folder, expected)
    for episode in episodes:
        writer.append(episode)
    return writer


def sealed(writer):
    writer.seal(INFO, seed=0)
    return open_rollouts(writer.folder)


@pytest.mark.parametrize("torn", ["", "6", "6 0123456789abcdef"])
def test_what_was_committed_is_found_again_and_nothing_else(tmp_path, episodes, torn):
    """Oracle: the set that was written at once. A process may die within a row, or within a line of the list."""
    whole = sealed(written(tmp_path / "whole", episodes))
    first = written(tmp_path / "data", episodes[:3], expected=36)
    first.commit()
    first.append(episodes[5])
    del first
    with (tmp_path / "data" / COMMITTED).open("a") as stream:
        stream.write(torn)
    with (tmp_path / "data" / "observations.npy").open("ab") as stream:
        stream.write(b"half a frame")
    second = RolloutWriter(tmp_path / "data", expected=36)
    assert (second.n_episodes, second.n_steps) == (3, 15)
    for episode in episodes[3:]:
        second.append(episode)
        second.commit()
    again = sealed(second)
    assert again.info["sha256"] == whole.info["sha256"]
    assert again.info["episode_hashes"] == whole.info["episode_hashes"]
    assert {p.name for p in again.path.iterdir()} == {p.name for p in whole.path.iterdir()}


@pytest.mark.parametrize(
    "damage", ["short", "zeroed", "deep", "header", "list", "binary", "line", "missing", "flags", "no flags"]
)
def test_what_was_committed_and_then_damaged_is_refused(tmp_path, damage):
    """ "deep" is one bit, after the rows by which an episode is recognised."""
    written(tmp_path / "data", worlds.simulate(3, 20, size=8)).commit()
    file, listed = tmp_path / "data" / "observations.npy", tmp_path / "data" / COMMITTED
    if damage == "short":
        os.truncate(file, file.stat().st_size - 1)
    elif damage == "zeroed":
        file.write_bytes(file.read_bytes()[:-1000] + bytes(1000))
    elif damage == "flags":
        os.truncate(tmp_path / "data" / "terminated.npy", 130)
    elif damage == "deep":
        content = bytearray(file.read_bytes())
        content[128 + 15 * 192] ^= 1
        file.write_bytes(content)
    elif damage == "header":
        content = bytearray(file.read_bytes())
        content[8] = ord("(")
        file.write_bytes(content)
    elif damage == "no flags":
        (tmp_path / "data" / "terminated.npy").unlink()
    elif damage == "list":
        listed.write_text("garbage\n" + listed.read_text())
    elif damage == "binary":
        listed.write_bytes(b"\xff\xfe\n" + listed.read_bytes())
    elif damage == "line":
        length, first, rest = listed.read_text().split(" ", 2)
        listed.write_text(f"{length} {first[::-1]} {rest}")
    else:
        file.unlink()
    with pytest.raises(DataError, match="damaged"):
        RolloutWriter(tmp_path / "data")


def test_a_writer_that_ends_while_it_seals_can_seal_again(tmp_path, episodes, monkeypatch):
    whole = sealed(written(tmp_path / "whole", episodes))
    first = written(tmp_path / "data", episodes)
    first.commit()
    monkeypatch.setattr(writing, "check_description", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        first.seal(INFO, seed=0)
    monkeypatch.undo()
    assert sealed(RolloutWriter(tmp_path / "data")).info["sha256"] == whole.info["sha256"]


@pytest.mark.parametrize("expected", [0, 30, 36, 50])
def test_files_are_those_of_numpy_whatever_was_expected(tmp_path, episodes, expected):
    rollouts = sealed(written(tmp_path / "data", episodes, expected))
    for name in ("observations", "actions", "rewards", "terminated", "truncated", "factors"):
        rows = np.concatenate([episode[name] for episode in episodes])
        np.testing.assert_array_equal(getattr(rollouts, name), rows)
        np.save(tmp_path / "oracle.npy", rows)
        assert (rollouts.path / f"{name}.npy").read_bytes() == (tmp_path / "oracle.npy").read_bytes()


def test_a_full_disk_is_known_before_the_work(tmp_path, episodes, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    written(tmp_path / "begun", episodes[:2], expected=36).commit()
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        written(tmp_path / "data", episodes[:1], expected=36)
    with pytest.raises(OSError, match="No space left"):
        RolloutWriter(tmp_path / "begun", expected=36)
    monkeypatch.undo()
    assert RolloutWriter(tmp_path / "begun", expected=36).n_episodes == 2


def test_after_a_full_disk_nothing_is_written_later(tmp_path, episodes, monkeypatch):
    """The writer lives as long as its exception, and another one may have sealed the set before it goes."""
    whole = sealed(written(tmp_path / "whole", episodes))
    first = written(tmp_path / "data", episodes[:3])
    first.commit()

    def full(array, data):
        array._stream.write(data[: len(data) // 2].data)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writing.GrowingArray, "_write", full)
    with pytest.raises(OSError, match="No space left") as error:
        first.append(episodes[3])
    monkeypatch.undo()
    second = RolloutWriter(tmp_path / "data")
    for episode in episodes[3:]:
        second.append(episode)
    assert sealed(second).data_hash == whole.data_hash
    del first, error
    gc.collect()
    assert open_rollouts(tmp_path / "data").data_hash == whole.data_hash


def test_short_writes_are_completed(tmp_path, episodes, monkeypatch):
    """An unbuffered file may take less than it is given."""
    whole = sealed(written(tmp_path / "whole", episodes))
    opened = Path.open

    class Short(io.FileIO):
        def write(self, data):
            return super().write(data[:7])

    def open_short(file, mode="r", buffering=-1, **options):
        return opened(file, mode, buffering, **options) if buffering else Short(file, mode.replace("b", ""))

    monkeypatch.setattr(Path, "open", open_short)
    assert sealed(written(tmp_path / "data", episodes, 36)).data_hash == whole.data_hash
