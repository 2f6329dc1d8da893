"""Frames of an environment on one sheet, each stored once, from which a page crops them."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from srl_bench.rollouts import Rollouts

COLUMNS = 40
# Largest side of a frame in pixels and quality of its JPEG, best first: the first that fits is taken.
FORMS = ((64, 85), (64, 70), (48, 70), (40, 60), (32, 50))


class Sheet:
    """The frames of one data set that a report shows."""

    def __init__(self, rollouts: Rollouts) -> None:
        self.rollouts = rollouts
        self._tiles: dict[int, int] = {}
        self._frames: list[NDArray[np.uint8]] = []

    def add(self, row: int) -> tuple[int, int]:
        """Put the observation of a row on the sheet, if it is not there; return its column and its line."""
        if int(row) not in self._tiles:
            self._tiles[int(row)] = len(self._frames)
            self._frames.append(self.rollouts.observations[row])
        return _place(self._tiles[int(row)])

    def add_picture(self, picture: NDArray[np.uint8]) -> tuple[int, int]:
        """Put a picture (H, W, 3), or (H, W, 1) of greys, on the sheet that is no observation; return where it is."""
        height, width = self.rollouts.observations.shape[1:3]
        picture = np.broadcast_to(picture, (*picture.shape[:2], 3))
        if picture.shape[:2] != (height, width):
            picture = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.NEAREST))
        self._frames.append(picture)
        return _place(len(self._frames) - 1)

    @property
    def ratio(self) -> float:
        """Height of a frame over its width."""
        height, width = self.rollouts.observations.shape[1:3]
        return height / width

    def data_uri(self, budget: int) -> str:
        """Return the sheet as a JPEG data URI, in the best form of `FORMS` whose JPEG has at most `budget` bytes.

        If none has, the smallest one is returned.
        """
        for side, quality in FORMS:
            stream = io.BytesIO()
            # Without subsampling of colours: small coloured things are what many tasks are about.
            Image.fromarray(self._pixels(side)).save(stream, "JPEG", quality=quality, subsampling=0, optimize=True)
            if stream.tell() <= budget:
                break
        return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()

    def _pixels(self, side: int) -> NDArray[np.uint8]:
        height, width = self.rollouts.observations.shape[1:3]
        scale = min(1.0, side / max(height, width))
        size = (round(width * scale), round(height * scale))
        sheet = np.zeros((-(-len(self._frames) // COLUMNS) * size[1], COLUMNS * size[0], 3), np.uint8)
        for tile, frame in enumerate(self._frames):
            top, left = tile // COLUMNS * size[1], tile % COLUMNS * size[0]
            small = frame if scale == 1 else np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX))
            sheet[top : top + size[1], left : left + size[0]] = small
        return sheet


def _place(tile: int) -> tuple[int, int]:
    return tile % COLUMNS, tile // COLUMNS
