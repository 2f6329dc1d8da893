"""Reading arrays of numbers and names out of foreign .npz files, without unpickling anything."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable
from pathlib import Path

from numpy.lib import format as npy
from numpy.typing import NDArray

from srl_bench.convert.checks import MAX_TABLE_BYTES, existing, reading
from srl_bench.errors import DataError

HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npz(file: Path, names: Iterable[str]) -> dict[str, NDArray]:
    """Return those of some arrays that a .npz file holds.

    Raises:
        DataError: the file is missing or damaged, or an array is pickled, too large, or of another length than its
            header says, which is known before it is read.
    """
    found = {}
    with reading(existing(file)), zipfile.ZipFile(file) as archive:
        for name in names:
            if f"{name}.npy" in archive.namelist():
                _check_header(f"{file}: {name!r}", archive, f"{name}.npy")
                with archive.open(f"{name}.npy") as stream:
                    found[name] = npy.read_array(stream, allow_pickle=False)
    return found


def _check_header(where: str, archive: zipfile.ZipFile, member: str) -> None:
    with archive.open(member) as stream:
        version = npy.read_magic(stream)
        if version not in HEADERS:
            raise DataError(f"{where} is of version {version} of the format, which is not read.")
        shape, _, dtype = HEADERS[version](stream)
        start = stream.tell()
    if dtype.hasobject:
        raise DataError(
            f"{where} holds pickled Python objects, which could run code when read. Where the file is trusted, "
            "load it once with numpy.load(..., allow_pickle=True) and save that array as one of numbers or of text."
        )
    size = math.prod(shape) * dtype.itemsize
    if dtype.kind not in "biufUS" or min(shape, default=0) < 0 or size > MAX_TABLE_BYTES:
        raise DataError(f"{where} is {dtype} of shape {shape}, more or other than is read.")
    if start + size != archive.getinfo(member).file_size:
        raise DataError(f"{where} is cut off: its header says {size:,} bytes.")
