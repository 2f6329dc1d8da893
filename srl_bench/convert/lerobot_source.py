"""Reading the files of a LeRobot data set: https://huggingface.co/docs/lerobot/lerobot-dataset-v3

Paths are filled into templates by hand and must stay below the folder; sizes are compared with each other before
anything is read; of images in the data files only the bytes count, never the path beside them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srl_bench.convert.checks import (
    MAX_COLUMNS,
    MAX_ROWS,
    check_table,
    count,
    decode_image,
    existing,
    image_shape,
    inside,
    needs_formats,
    read_json,
    reading,
)
from srl_bench.convert.video import ENCODINGS, VideoReader
from srl_bench.errors import DataError

CAMERA = "observation.images."
FIELD = re.compile(r"\{(\w+)(?::0?(\d)d)?\}")
EPISODE_COLUMNS = ("episode_index", "length", "dataset_from_index", "dataset_to_index")
VIDEO_COLUMNS = ("chunk_index", "file_index", "from_timestamp")
BATCH_ROWS, BATCH_IMAGES = 65_536, 256


@dataclass(frozen=True)
class Source:
    """A data set whose description was checked.

    Attributes:
        root: its folder.
        info: the content of meta/info.json.
        fps: frames per second.
        frames, episodes: how many there are.
        features: from their names to dtype, shape and names.
    """

    root: Path
    info: dict[str, Any]
    fps: float
    frames: int
    episodes: int
    features: dict[str, dict[str, Any]]

    @property
    def place(self) -> Path:
        """The file of the description."""
        return self.root / "meta/info.json"

    @cached_property
    def cameras(self) -> dict[str, tuple[int, int]]:
        """Height and width of each feature of RGB images, (H, W, 3) or (3, H, W); depth maps are left out."""
        found = {}
        for key, feature in self.features.items():
            about, shape = feature.get("info") or feature.get("video_info"), feature["shape"]
            depth = isinstance(about, dict) and (about.get("is_depth_map") or about.get("video.is_depth_map"))
            if feature["dtype"] in ("image", "video") and not depth and len(shape) == 3 and 3 in (shape[0], shape[2]):
                sides = shape[:2] if shape[2] == 3 else shape[1:]
                found[key] = image_shape(self.place, *sides)[:2]
        return found

    def is_exact(self, camera: str) -> bool:
        """Return whether the images of a camera are stored without loss, as far as the description says."""
        feature, lossless = self.features[camera], ENCODINGS["lossless"]
        about = feature.get("info")
        stored = (about.get("video.codec"), about.get("video.pix_fmt")) if isinstance(about, dict) else ()
        return feature["dtype"] == "image" or stored == (lossless.stored_codec, lossless.stored_pixels)


def open_source(root: Path) -> Source:
    """Check the description of a data set.

    Raises:
        DataError: it is missing, damaged, or of another version than 3.
    """
    place = root / "meta/info.json"
    info = read_json(place)
    if not str(info.get("codebase_version")).startswith("v3."):
        raise DataError(
            f"{place}: codebase_version is {info.get('codebase_version')!r}, but only v3.0 is read; LeRobot converts "
            "older data with lerobot.datasets.v30.convert_dataset_v21_to_v30."
        )
    fps = info.get("fps")
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps < 1e6:
        raise DataError(f"{place}: fps is {fps!r}, not a number of frames per second.")
    features = info.get("features")
    if not isinstance(features, dict) or not all(map(_is_feature, features.values())):
        raise DataError(f"{place}: 'features' is not an object of entries with dtype and shape.")
    frames = count(place, "total_frames", info.get("total_frames"), MAX_ROWS, 1)
    episodes = count(place, "total_episodes", info.get("total_episodes"), frames, 1)
    return Source(root, info, float(fps), frames, episodes, features)


def read_episode_table(source: Source, cameras: Sequence[str]) -> dict[str, NDArray]:
    """Return the columns (E,) of meta/episodes that say where episodes are, in the order of episodes.

    Raises:
        DataError: a file or a column is missing, or episodes do not follow upon each other.
    """
    videos = [key for key in cameras if source.features[key]["dtype"] == "video"]
    names = [*EPISODE_COLUMNS, "data/chunk_index", "data/file_index"]
    names += [f"videos/{key}/{name}" for key in videos for name in VIDEO_COLUMNS]
    folder = source.root / "meta/episodes"
    files = sorted(folder.glob("*/*.parquet"))
    if not files:
        raise DataError(f"{folder} holds no chunk-*/file-*.parquet.")
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(names, ())
    table = _read_columns(files, source.episodes, shapes)
    order = np.argsort(table["episode_index"], kind="stable")
    table = {name: values[order] for name, values in table.items()}
    starts, ends_at, lengths = (table[name] for name in ("dataset_from_index", "dataset_to_index", "length"))
    follows = np.array_equal(table["episode_index"], np.arange(source.episodes))
    follows &= starts[0] == 0 and ends_at[-1] == source.frames and np.array_equal(starts[1:], ends_at[:-1])
    if not follows or (lengths < 1).any() or not np.array_equal(ends_at - starts, lengths):
        raise DataError(f"{folder}: the episodes do not follow upon each other from 0 to {source.frames:,} frames.")
    return table


def data_files(source: Source, table: dict[str, NDArray]) -> list[Path]:
    """Return the data files in the order of their frames.

    Raises:
        DataError: a path is malformed, or the episodes of a file are apart.
    """
    places = list(zip(table["data/chunk_index"].tolist(), table["data/file_index"].tolist(), strict=True))
    runs = [places[0], *(after for before, after in pairwise(places) if after != before)]
    if len(set(runs)) < len(runs):
        raise DataError(f"{source.root / 'meta/episodes'}: the episodes of a data file are not side by side.")
    return [_file(source, "data_path", chunk, index) for chunk, index in runs]


def read_frames_table(source: Source, files: Sequence[Path], names: Sequence[str]) -> dict[str, NDArray]:
    """Return columns (N,), or (N, d) where the feature has more than one number, and check their order.

    Raises:
        DataError: a column is missing, of another shape, or out of order.
    """
    shapes = {name: _width(source, name) for name in (*names, "index")}
    table = _read_columns(files, source.frames, shapes)
    if not np.array_equal(table["index"], np.arange(source.frames)):
        raise DataError(f"{files[0].parent.parent}: the column 'index' does not count the frames from 0.")
    return table


def read_images(
    source: Source, files: Sequence[Path], table: dict[str, NDArray], cameras: Sequence[str]
) -> Iterator[list[NDArray[np.uint8]]]:
    """Yield, for each episode, the images (T, H, W, 3) of each camera.

    Raises:
        DataError: a video or an image is missing, damaged, or of another size than the description says.
    """
    sizes = {key: source.cameras[key] for key in cameras}
    stored = [key for key in cameras if source.features[key]["dtype"] == "image"]
    rows = _image_rows(files, stored) if stored else iter(())
    pixels = sum(height * width * 3 for height, width in sizes.values())
    with ExitStack() as stack:
        videos = [key for key in cameras if key not in stored]
        readers = {key: stack.enter_context(VideoReader(source.fps, sizes[key])) for key in videos}
        for episode, length in enumerate(table["length"].tolist()):
            check_table(f"{source.root}: episode {episode}", length, pixels)
            images = {key: np.empty((length, *sizes[key], 3), np.uint8) for key in stored}
            for step in range(length) if stored else ():
                row = next(rows, {})
                for key in stored:
                    images[key][step] = decode_image(f"{source.root}: {key} of episode {episode}", row[key], sizes[key])
            for key, reader in readers.items():
                chunk, index, start = (table[f"videos/{key}/{name}"][episode].item() for name in VIDEO_COLUMNS)
                images[key] = reader.read(_file(source, "video_path", chunk, index, key), start, length)
            yield [images[key] for key in cameras]


def _is_feature(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("dtype"), str):
        return False
    shape = value.get("shape")
    return isinstance(shape, list) and all(type(side) is int and 0 <= side <= 2**31 for side in shape)


def _width(source: Source, name: str) -> tuple[int, ...]:
    feature = source.features.get(name, {"shape": [1]})
    if len(feature["shape"]) != 1 or not 1 <= feature["shape"][0] <= MAX_COLUMNS:
        raise DataError(f"{source.place}: the feature {name!r} has shape {feature['shape']}, not [numbers].")
    return () if feature["shape"] == [1] else tuple(feature["shape"])


def _file(source: Source, template: str, chunk: int, index: int, key: str = "") -> Path:
    """Return a file by a template of meta/info.json, which may use chunk_index, file_index and video_key."""
    text = source.info.get(template)
    values = {"chunk_index": chunk, "file_index": index, "video_key": key}
    used = set() if not isinstance(text, str) else {name for name, _ in FIELD.findall(text)}
    if not isinstance(text, str) or not used <= set(values) or {"{", "}"} & set(FIELD.sub("", text)):
        raise DataError(f"{source.place}: {template} is {str(text)[:80]!r}, which is not understood.")
    return inside(source.root, FIELD.sub(lambda field: str(values[field[1]]).zfill(int(field[2] or 0)), text))


def _read_columns(files: Sequence[Path], rows: int, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray]:
    """Return columns (rows, *shape) of Parquet files, read one after the other."""
    with needs_formats():
        from pyarrow import parquet
    check_table(files[0].parent, rows, 8 * sum(shape[0] if shape else 1 for shape in shapes.values()))
    found = 0
    for file in files:
        with reading(existing(file)):
            found += parquet.read_metadata(file).num_rows
            missing = set(shapes) - set(parquet.read_schema(file).names)
        if missing:
            raise DataError(f"{file} lacks the columns {', '.join(sorted(missing))}.")
    if found != rows:
        raise DataError(f"{files[0].parent.parent} holds {found:,} rows, but the description says {rows:,}.")
    parts: dict[str, list[NDArray]] = {name: [] for name in shapes}
    for file in files:
        with reading(file), parquet.ParquetFile(file) as handle:
            for batch in handle.iter_batches(batch_size=BATCH_ROWS, columns=list(shapes)):
                for name, shape in shapes.items():
                    parts[name].append(_numbers(f"{file}: {name!r}", batch.column(name), shape))
    return {name: np.concatenate(values) for name, values in parts.items()}


def _numbers(where: str, array: Any, shape: tuple[int, ...]) -> NDArray:
    """Return an Arrow array of numbers, or of lists of as many as `shape` says."""
    import pyarrow as pa
    from pyarrow import compute

    rows, each = len(array), shape[0] if shape else 1
    listed = isinstance(array, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray)
    if array.null_count or not (listed or each == 1):
        raise DataError(f"{where} has empty rows, or is no list of {each} numbers.")
    if listed:
        if not compute.all(compute.equal(compute.list_value_length(array), each)).as_py():
            raise DataError(f"{where} does not hold {each} numbers in every row.")
        array = array.flatten()
    kind = array.type
    if array.null_count or not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise DataError(f"{where} holds {kind}, or empty entries, not numbers.")
    return array.to_numpy(zero_copy_only=False).reshape(rows, *shape)


def _image_rows(files: Sequence[Path], keys: Sequence[str]) -> Iterator[dict[str, bytes]]:
    """Yield the image files of each frame by feature."""
    from pyarrow import parquet

    for file in files:
        with reading(file), parquet.ParquetFile(file) as handle:
            for batch in handle.iter_batches(batch_size=BATCH_IMAGES, columns=list(keys)):
                columns = [batch.column(key).field("bytes").to_pylist() for key in keys]
                if any(content is None for column in columns for content in column):
                    raise DataError(f"{file} refers to images in other files; only those inside are read.")
                yield from (dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True))
