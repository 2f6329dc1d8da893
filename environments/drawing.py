"""Pictures from PyBullet's software renderer, without shadows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pybullet as p
from numpy.typing import NDArray

LIGHT_DIRECTION = (2.0, -3.0, 6.0)


@dataclass(frozen=True)
class Camera:
    """A fixed pinhole camera; lengths in metres, field of view in degrees."""

    eye: tuple[float, float, float]
    look_at: tuple[float, float, float]
    up: tuple[float, float, float]
    field_of_view: float
    near: float
    far: float

    @cached_property
    def matrices(self) -> tuple[Sequence[float], Sequence[float]]:
        """PyBullet's view and projection matrices of a square picture."""
        view = p.computeViewMatrix(self.eye, self.look_at, self.up)
        return view, p.computeProjectionMatrixFOV(self.field_of_view, 1.0, self.near, self.far)

    def draw(self, client: int, size: int) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        """Return colour, one RGBA word to a pixel, and depth (size, size) of all bodies in `client`."""
        _, _, rgba, depth, _ = p.getCameraImage(
            size,
            size,
            *self.matrices,
            LIGHT_DIRECTION,
            shadow=0,
            renderer=p.ER_TINY_RENDERER,
            flags=p.ER_NO_SEGMENTATION_MASK,
            physicsClientId=client,
        )
        return rgba.view(np.uint32)[..., 0], depth


def to_rgb(colour: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Return the RGB bytes (H, W, 3) of RGBA words (H, W)."""
    rgba = colour[..., None].view(np.uint8)
    rgb = np.empty((*colour.shape, 3), np.uint8)
    for channel in range(3):  # four times faster than copying the slice at once
        rgb[..., channel] = rgba[..., channel]
    return rgb


def add_box(
    client: int,
    half_extents: tuple[float, float, float],
    position: tuple[float, float, float],
    colour: tuple[float, float, float, float],
) -> None:
    """Add a box of plain colour that is only seen; lengths in metres."""
    shape = p.createVisualShape(p.GEOM_BOX, halfExtents=half_extents, rgbaColor=colour, physicsClientId=client)
    p.createMultiBody(baseVisualShapeIndex=shape, basePosition=position, physicsClientId=client)
