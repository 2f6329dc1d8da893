"""A data set in one compressed file, to share it: an ordinary zip archive of its folder."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from pathlib import Path

from srl_bench.errors import DataError
from srl_bench.rollouts import ARRAYS, OPTIONAL, Rollouts, atomic_folder, open_rollouts

MEMBERS = ("rollouts.json", *(f"{name}.npy" for name in (*ARRAYS, *OPTIONAL)))
LEVEL = 4
MAX_BYTES = 2**40


def pack(rollouts: Rollouts, file: str | Path) -> Path:
    """Write a data set to a zip file, without loss.

    Raises:
        DataError: the file exists.
    """
    file = Path(file)
    if file.exists():
        raise DataError(f"{file} exists; give another name.")
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as archive:
            for name in MEMBERS:
                if (rollouts.path / name).exists():
                    archive.write(rollouts.path / name, name)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
    return file


def unpack(file: str | Path, out: str | Path) -> Rollouts:
    """Read a data set from a zip file that `pack` wrote, into a folder.

    Raises:
        DataError: the file is damaged or holds something else, or the folder is not empty.
    """
    file, out = Path(file), Path(out)
    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out} is not empty; give another folder.")
    try:
        with zipfile.ZipFile(file) as archive, atomic_folder(out) as folder:
            members = archive.infolist()
            foreign = [member.filename for member in members if member.filename not in MEMBERS]
            size = sum(member.file_size for member in members)
            if foreign:
                raise DataError(f"{file} is no packed data set: it holds {foreign[0]!r}.")
            if size > min(MAX_BYTES, shutil.disk_usage(folder).free):
                raise DataError(f"{file} unpacks to {size:,} bytes, more than the disk has left.")
            archive.extractall(folder)
            open_rollouts(folder)
    except (OSError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{file} cannot be unpacked: {error}.") from error
    return open_rollouts(out)
