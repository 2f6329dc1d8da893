"""Files of a run: whole or not there, whoever is killed while writing them."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from srl_bench.files import failure, read_json, write_json, write_text


def test_a_file_is_replaced_in_one_step(tmp_path, monkeypatch):
    file = tmp_path / "state.json"
    write_json(file, {"a": 1})
    seen = []
    monkeypatch.setattr(Path, "replace", lambda self, to: (seen.append((to, file.read_text())), os.replace(self, to)))
    with pytest.raises(ValueError, match="JSON"):
        write_json(file, {"a": float("nan")})
    assert read_json(file) == {"a": 1}
    write_json(file, {"a": 2})
    assert seen == [(file, '{\n "a": 1\n}')]
    assert read_json(file) == {"a": 2}
    assert list(tmp_path.iterdir()) == [file]


def test_a_full_disk_leaves_the_old_file_and_is_named(tmp_path, monkeypatch):
    file = tmp_path / "state.json"
    write_json(file, {"a": 1})

    def full(self, text, **_):
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_json(file, {"a": 2})
    assert caught.value.filename == str(file)
    assert list(tmp_path.iterdir()) == [file]
    assert read_json(file) == {"a": 1}


def test_a_writer_that_is_killed_leaves_a_whole_file(tmp_path):
    """Killed between writing and renaming, over and over in the middle of a loop."""
    file = tmp_path / "state.json"
    code = (
        "import sys; from pathlib import Path; from srl_bench.files import write_json\n"
        "while True:\n    write_json(Path(sys.argv[1]), {'values': list(range(20000))})"
    )
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", code, str(file)])
        while not file.exists():
            assert writer.poll() is None
        writer.kill()
        writer.wait()
        assert len(json.loads(file.read_text())["values"]) == 20000
        file.unlink()


def test_the_folder_may_not_be_one(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        write_text(tmp_path / "file" / "x", "")


@pytest.mark.parametrize("text", [None, "", '{"a": 1', "[1]", "\xff"])
def test_what_a_crash_left_counts_as_absent(text, tmp_path):
    file = tmp_path / "x.json"
    if text is not None:
        file.write_text(text, encoding="latin-1")
    assert read_json(file) == {}


def test_failures(tmp_path):
    assert failure(tmp_path) == ""
    (tmp_path / "error.txt").write_text("Traceback\nValueError: x\n")
    assert failure(tmp_path) == "Traceback\nValueError: x"
    (tmp_path / "error.txt").write_text("")
    assert failure(tmp_path) == "error.txt is empty"
