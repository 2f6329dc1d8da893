"""Checksums of large files, computed once: a file that has not changed since it was checked is not read again."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path


def checksum(file: Path) -> str:
    """Return the sha256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_intact(file: Path, sha256: str) -> bool:
    """Return whether a file has the checksum; remembers the answer while neither file nor its place change."""
    identity = _identity(file)
    note = _note(file)
    try:
        if json.loads(note.read_text()) == [identity, sha256]:
            return True
    except (OSError, ValueError):
        pass  # not checked yet, or the note is damaged
    if checksum(file) != sha256:
        return False
    remember(file, sha256)
    return True


def remember(file: Path, sha256: str) -> None:
    """Note that a file has a checksum, where notes can be written."""
    note = _note(file)
    temporary = note.with_suffix(f".{os.getpid()}")
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps([_identity(file), sha256]))
        temporary.replace(note)
    except OSError:
        return  # a read-only home: every opening checks anew


def _identity(file: Path) -> list[int]:
    # the time of change of the inode cannot be set by a program that alters the content
    status = file.stat()
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _note(file: Path) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "srl_bench" / "checked" / f"{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:32]}.json"
