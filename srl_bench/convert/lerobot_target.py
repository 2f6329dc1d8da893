"""Writing the files of a LeRobot data set: https://huggingface.co/docs/lerobot/lerobot-dataset-v3"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srl_bench.convert.checks import needs_formats
from srl_bench.convert.lerobot_stats import column_stats, histogram, image_stats
from srl_bench.convert.video import ENCODINGS, VideoWriter

CHUNK_FILES = 1_000
DATA_MB, VIDEO_MB = 100, 200
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-000/file-000.parquet"
Features = dict[str, dict[str, Any]]


class DataFiles:
    """Parquet files of frames, one row group per episode.

    Args:
        root: folder of the data set.
        features: as in meta/info.json; videos are not columns.
        max_bytes: a new file begins with the episode after which one is as large.
    """

    def __init__(self, root: Path, features: Features, max_bytes: float) -> None:
        self._root, self._max_bytes = root, max_bytes
        self._features = {name: feature for name, feature in features.items() if feature["dtype"] != "video"}
        self._number, self._file = -1, root
        self._writer: Any = None
        self._schema = _schema(self._features)

    def append(self, columns: Mapping[str, Any]) -> dict[str, int]:
        """Add an episode, and return where it is; a column is an array (T, ...), or T files of images."""
        import pyarrow as pa
        from pyarrow import parquet

        if self._writer is None or self._file.stat().st_size >= self._max_bytes:
            self.close()
            self._number += 1
            self._file = _next_file(self._root, DATA_PATH, self._number)
            self._writer = parquet.ParquetWriter(self._file, self._schema, compression="snappy")
        arrays = [_arrow(columns[name], self._schema.field(name).type) for name in self._features]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        return _place("data", self._number)

    def close(self) -> None:
        """Complete the file that was written last."""
        if self._writer is not None:
            self._writer.close()


class VideoFiles:
    """MP4 files of the frames of one camera.

    Args:
        root: folder of the data set.
        key: the feature.
        fps: frames per second.
        encoding: a name in `ENCODINGS`.
        max_bytes: a new file begins with the episode after which one is as large.
    """

    def __init__(self, root: Path, key: str, fps: int, encoding: str, max_bytes: float) -> None:
        self._root, self._key, self._fps, self._encoding, self._max_bytes = root, key, fps, encoding, max_bytes
        self._number = -1
        self._writer: VideoWriter | None = None

    def append(self, images: NDArray[np.uint8]) -> dict[str, Any]:
        """Add an episode of images (T, H, W, 3), and return where it is, in files and in seconds."""
        if self._writer is None or self._writer.size >= self._max_bytes:
            self.close()
            self._number += 1
            file = _next_file(self._root, VIDEO_PATH, self._number, video_key=self._key)
            height, width = images.shape[1:3]
            self._writer = VideoWriter(file, self._fps, (height, width), self._encoding)
        start = self._writer.frames
        self._writer.write(images)
        times = {"from_timestamp": start / self._fps, "to_timestamp": self._writer.frames / self._fps}
        prefix = f"videos/{self._key}"
        return _place(prefix, self._number) | {f"{prefix}/{name}": seconds for name, seconds in times.items()}

    def close(self) -> None:
        """Complete the file that was written last."""
        if self._writer is not None:
            self._writer.close()


class Statistics:
    """Statistics of the features of each episode, and of all of them."""

    def __init__(self) -> None:
        self._columns: dict[str, list[NDArray]] = {}
        self._histograms: dict[str, NDArray] = {}
        self._frames = 0

    def add(self, columns: Mapping[str, NDArray], images: Mapping[str, NDArray[np.uint8]]) -> dict[str, Any]:
        """Return the statistics of an episode as entries stats/<feature>/<name>."""
        found = {name: column_stats(values) for name, values in columns.items()}
        for name, values in columns.items():
            self._columns.setdefault(name, []).append(values)
        for key, pixels in images.items():
            counts = histogram(pixels)
            found[key] = image_stats(counts, len(pixels))
            self._histograms[key] = self._histograms.get(key, 0) + counts
        self._frames += len(columns["index"])
        return {f"stats/{key}/{name}": value for key, stats in found.items() for name, value in stats.items()}

    def all(self) -> dict[str, dict[str, Any]]:
        """Return the statistics of all episodes, for meta/stats.json."""
        found = {key: image_stats(counts, self._frames) for key, counts in self._histograms.items()}
        return found | {name: column_stats(np.concatenate(parts)) for name, parts in self._columns.items()}


def camera_feature(size: tuple[int, int], fps: int, encoding: str) -> dict[str, Any]:
    """Return the entry of meta/info.json for a camera of images (H, W)."""
    feature: dict[str, Any] = {"shape": [*size, 3], "names": ["height", "width", "channels"]}
    if encoding == "png":
        return {"dtype": "image", **feature}
    info = {
        "video.height": size[0],
        "video.width": size[1],
        "video.codec": ENCODINGS[encoding].stored_codec,
        "video.pix_fmt": ENCODINGS[encoding].stored_pixels,
        "video.is_depth_map": False,
        "video.fps": fps,
        "video.channels": 3,
        "has_audio": False,
    }
    return {"dtype": "video", **feature, "info": info}


def column_feature(values: NDArray, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the entry of meta/info.json for a column (T,) or (T, d)."""
    return {
        "dtype": values.dtype.name,
        "shape": list(values.shape[1:]) or [1],
        "names": None if names is None else list(names),
    }


def png_files(images: NDArray[np.uint8]) -> list[bytes]:
    """Return images (T, H, W, 3) as files."""
    with needs_formats():
        from PIL import Image
    files = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, format="PNG")
        files.append(buffer.getvalue())
    return files


def write_meta(
    root: Path, info: Mapping[str, Any], episodes: Sequence[Mapping[str, Any]], stats: Mapping[str, Any]
) -> None:
    """Write the files in meta/ but the tasks: what the data set is, its episodes and its statistics."""
    import pyarrow as pa
    from pyarrow import parquet

    place = {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
    file = root / EPISODES_PATH
    file.parent.mkdir(parents=True)
    parquet.write_table(pa.Table.from_pylist([{**row, **place} for row in episodes]), file, compression="snappy")
    (root / "meta/info.json").write_text(json.dumps(dict(info), indent=4))
    (root / "meta/stats.json").write_text(json.dumps(dict(stats), indent=4))


def _next_file(root: Path, template: str, number: int, **names: str) -> Path:
    chunk, index = divmod(number, CHUNK_FILES)
    file = root / template.format(chunk_index=chunk, file_index=index, **names)
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def _place(prefix: str, number: int) -> dict[str, int]:
    chunk, index = divmod(number, CHUNK_FILES)
    return {f"{prefix}/chunk_index": chunk, f"{prefix}/file_index": index}


def _schema(features: Features) -> Any:
    """Return the Arrow schema of the data, and in its metadata what the Hub reads to show images as images."""
    import pyarrow as pa

    fields, shown = [], dict[str, Any]()
    for name, feature in features.items():
        width = feature["shape"][0]
        if feature["dtype"] == "image":
            kind, shown[name] = pa.struct({"bytes": pa.binary(), "path": pa.string()}), {"_type": "Image"}
        else:
            kind, shown[name] = _number_type(feature["dtype"]), {"dtype": feature["dtype"], "_type": "Value"}
        if feature["dtype"] != "image" and width > 1:
            kind, shown[name] = pa.list_(kind, width), {"feature": shown[name], "length": width, "_type": "Sequence"}
        fields.append(pa.field(name, kind))
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": shown}})})


def _number_type(dtype: str) -> Any:
    import pyarrow as pa

    return pa.from_numpy_dtype(np.dtype(dtype))


def _arrow(values: Any, kind: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return pa.array([{"bytes": file, "path": None} for file in values], type=kind)
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(np.ascontiguousarray(values).ravel(), type=kind)
    return pa.array(np.ascontiguousarray(values).reshape(len(values)), type=kind)
