"""Checks before anything foreign is read: packages, folders, sizes, JSON, images."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srl_bench.errors import ConfigError, DataError, SrlBenchError

MAX_SIDE = 8_192
MAX_ROWS = 50_000_000
MAX_COLUMNS = 4_096
MAX_TABLE_BYTES = 2**33
MAX_JSON_BYTES = 2**28


@contextmanager
def needs_formats() -> Iterator[None]:
    """Turn a missing package into advice.

    Raises:
        ConfigError: a package that the block imports is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise ConfigError(
            f"this format needs the package {error.name!r}, which is not installed; pip install 'srl-bench[formats]'."
        ) from error


@contextmanager
def reading(source: object) -> Iterator[None]:
    """Turn whatever a parser raises into `DataError`: parsers of foreign files raise all kinds of exceptions.

    Raises:
        DataError: the block raised anything.
    """
    try:
        yield
    except SrlBenchError:
        raise
    except Exception as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise DataError(f"{source} is damaged or of another format ({type(error).__name__}: {reason}).") from error


def new_folder(path: str | Path) -> Path:
    """Return a path that is free to be written.

    Raises:
        DataError: it is a file, or a folder that is not empty.
    """
    path = Path(path)
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise DataError(f"{path} is not empty; give another folder.")
    return path


def existing(file: Path) -> Path:
    """Return a file that is there.

    Raises:
        DataError: it is missing.
    """
    if not file.is_file():
        raise DataError(f"{file} is missing.")
    return file


def read_json(file: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        DataError: the file is missing, too large, or no JSON object.
    """
    if existing(file).stat().st_size > MAX_JSON_BYTES:
        raise DataError(f"{file} is larger than a description can be.")
    with reading(file):
        value = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise DataError(f"{file} holds no JSON object.")
    return value


def inside(folder: Path, name: str) -> Path:
    """Return a file below a folder by the name that a data set gives for it.

    Raises:
        DataError: the name leads out of the folder.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or "\\" in name or "\0" in name or {"..", "~"} & set(parts):
        raise DataError(f"{folder} refers to {name!r}, which is not a file below it.")
    return folder.joinpath(*parts)


def count(source: object, field: str, value: Any, high: int, low: int = 0) -> int:
    """Return a whole number from a description.

    Raises:
        DataError: it is none, or not between `low` and `high`.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise DataError(f"{source}: {field} is {value!r}, not a whole number from {low:,} to {high:,}.")
    return value


def check_table(source: object, rows: int, row_bytes: int) -> None:
    """Check that the numbers of a data set fit into memory, before they are read.

    Raises:
        DataError: they are too many.
    """
    if rows > MAX_ROWS or rows * row_bytes > MAX_TABLE_BYTES:
        raise DataError(f"{source} claims {rows:,} rows of {row_bytes:,} bytes, more than is read.")


def check_disk(source: object, folder: Path, rows: int, shape: Sequence[int], views: int) -> None:
    """Check that the images of a data set (rows, views, *shape) fit onto the disk, before they are written.

    Raises:
        DataError: they do not.
    """
    while not folder.exists():
        folder = folder.parent
    needed, free = rows * views * int(np.prod(shape, dtype=np.int64)), shutil.disk_usage(folder).free
    if rows > MAX_ROWS or needed > free:
        raise DataError(f"the images of {source} take {needed:,} bytes, but the disk has {free:,} left.")


def image_shape(source: object, height: Any, width: Any) -> tuple[int, int, int]:
    """Return (H, W, 3) of images that a description declares.

    Raises:
        DataError: a side is no number of pixels.
    """
    return count(source, "height", height, MAX_SIDE, 1), count(source, "width", width, MAX_SIDE, 1), 3


def output_size(image_size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """Return (H, W) that images are resized to, None for as they are.

    Raises:
        ConfigError: a side is no number of pixels.
    """
    if image_size is None:
        return None
    sides = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(sides) != 2 or not all(isinstance(side, int) and 1 <= side <= MAX_SIDE for side in sides):
        raise ConfigError(f"image_size must be a number of pixels or (height, width), not {image_size!r}.")
    return sides[0], sides[1]


def decode_image(
    source: object, data: bytes | Path, size: tuple[int, int] | None, formats: Sequence[str] = ("PNG", "JPEG")
) -> NDArray[np.uint8]:
    """Return an image file as RGB (H, W, 3) uint8.

    Args:
        source: what to name in errors.
        data: the file or its content.
        size: (H, W) that it must have, or None for any.
        formats: what it may be.

    Raises:
        DataError: it is no such image, or of another size; known before it is decoded.
    """
    with needs_formats():
        from PIL import Image
    with reading(source):
        stream = data.open("rb") if isinstance(data, Path) else io.BytesIO(data)
        with stream, Image.open(stream, formats=list(formats)) as image:
            found = (image.height, image.width)
            if max(found) > MAX_SIDE or (size is not None and found != size):
                raise DataError(f"{source} is an image of {found} pixels (height, width), not of {size or MAX_SIDE}.")
            return np.asarray(image.convert("RGB"))


def resized(images: NDArray[np.uint8], size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """Return images (T, H, W, 3) resized to (H, W); averaged over pixels where they shrink."""
    if size is None or images.shape[1:3] == size:
        return images
    with needs_formats():
        from PIL import Image
    shrinks = size[0] <= images.shape[1] and size[1] <= images.shape[2]
    method = Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC
    return np.stack([np.asarray(Image.fromarray(image).resize(size[::-1], method)) for image in images])
