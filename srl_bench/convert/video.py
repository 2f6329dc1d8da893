"""Frames into MP4 files and back: https://pyav.basswood-io.com

The encoding "lossless" is H.264 of RGB (High 4:4:4 Predictive, quantiser 0): frames come back bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from srl_bench.convert.checks import existing, needs_formats, reading
from srl_bench.errors import ConfigError, DataError

if TYPE_CHECKING:
    from av.video.frame import VideoFrame


@dataclass(frozen=True)
class Encoding:
    """A way to encode frames: codec and its options for FFmpeg, what FFmpeg calls the stored stream."""

    codec: str
    pixels: str
    options: dict[str, str]
    stored_codec: str
    stored_pixels: str


# Every second frame is a key frame, so that single frames are found quickly; LeRobot does the same.
ENCODINGS = {
    "lossless": Encoding("libx264rgb", "rgb24", {"crf": "0", "preset": "veryfast", "bf": "0"}, "h264", "gbrp"),
    "h264": Encoding("libx264", "yuv420p", {"crf": "23"}, "h264", "yuv420p"),
    "av1": Encoding("libsvtav1", "yuv420p", {"crf": "30"}, "av1", "yuv420p"),
}
KEY_FRAMES = "2"


class VideoWriter:
    """An MP4 file that frames are appended to.

    Args:
        file: where.
        fps: frames per second.
        size: height and width.
        encoding: a name in `ENCODINGS`.

    Raises:
        ConfigError: PyAV is not installed, or the encoding cannot take images of this size.
    """

    def __init__(self, file: Path, fps: int, size: tuple[int, int], encoding: str) -> None:
        with needs_formats():
            import av
        self.frames = self._bytes = 0
        self._encoding = ENCODINGS[encoding]
        options = {"g": KEY_FRAMES, **self._encoding.options}
        self._container = av.open(str(file), "w", format="mp4")
        stream = self._container.add_stream(self._encoding.codec, rate=fps, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = size
        stream.pix_fmt = self._encoding.pixels
        self._stream = stream
        try:
            self._stream.codec_context.open()
        except av.error.FFmpegError as error:
            raise ConfigError(
                f"the encoding {encoding!r} takes no images of {size[0]} x {size[1]} pixels; use 'lossless' or 'png'."
            ) from error

    def write(self, images: NDArray[np.uint8]) -> None:
        """Append images (T, H, W, 3)."""
        import av

        for image in images:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            packets = self._stream.encode(frame)
            self._bytes += sum(packet.size for packet in packets)
            self._container.mux(packets)
        self.frames += len(images)

    @property
    def size(self) -> int:
        """Bytes so far; frames that the encoder still holds, and the file not yet, count as one."""
        return max(self._bytes, self.frames)

    def close(self) -> None:
        """Write what the encoder still holds."""
        self._container.mux(self._stream.encode(None))
        self._container.close()


class VideoReader:
    """Frames of MP4 files by their time, quickest in the order in which they are stored.

    Args:
        fps: frames per second.
        size: height and width that frames must have.
    """

    def __init__(self, fps: float, size: tuple[int, int]) -> None:
        self._fps, self._size = fps, size
        self._file: Path | None = None
        self._container: Any = None
        self._frames: Iterator[VideoFrame] = iter(())
        self._frame: VideoFrame | None = None

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._container is not None:
            self._container.close()

    def read(self, file: Path, start: float, length: int) -> NDArray[np.uint8]:
        """Return `length` frames (length, H, W, 3) from `start` seconds on.

        Raises:
            DataError: the file is missing, damaged, of another size, or has no frame at one of the times.
        """
        with reading(file):
            if file != self._file or self._time() > start + 0.5 / self._fps:
                self._open(file)
            images = np.empty((length, *self._size, 3), dtype=np.uint8)
            for index in range(length):
                images[index] = self._at(start + index / self._fps)
        return images

    def _open(self, file: Path) -> None:
        with needs_formats():
            import av
        if self._container is not None:
            self._container.close()
        # Without a format FFmpeg would take a playlist that is called .mp4 for what it is, and open what it names.
        self._container = av.open(str(existing(file)), "r", format="mp4")
        self._frames = self._container.decode(video=0)
        self._file, self._frame = file, None

    def _time(self) -> float:
        return -math.inf if self._frame is None or self._frame.time is None else self._frame.time

    def _at(self, seconds: float) -> NDArray[np.uint8]:
        half = 0.5 / self._fps
        while self._time() < seconds - half:
            self._frame = next(self._frames, None)
            if self._frame is None or self._frame.time is None:
                raise DataError(f"{self._file} has no frame at {seconds:.3f} s.")
        assert self._frame is not None
        if self._time() > seconds + half or (self._frame.height, self._frame.width) != self._size:
            found = f"{self._frame.height} x {self._frame.width} pixels at {self._time():.3f} s"
            raise DataError(f"{self._file} has {found}, not {self._size[0]} x {self._size[1]} at {seconds:.3f} s.")
        return np.asarray(self._frame.to_ndarray(format="rgb24"), dtype=np.uint8)
