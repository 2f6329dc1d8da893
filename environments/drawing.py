"""Pictures from PyBullet's software renderer, without shadows, and the clients that hold what they show."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pybullet as p
from numpy.typing import NDArray

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]
Colour = tuple[float, float, float, float]
Pose = tuple[Vector, Quaternion]
Picture = tuple[NDArray[np.uint32], NDArray[np.float32]]
# the arguments of PyBullet's getCameraImage
Shot = tuple[tuple[Any, ...], dict[str, Any]]

# a pixel as one item; also the first three bytes of an RGBA word
RGB = np.dtype("V3")

UPRIGHT: Quaternion = (0.0, 0.0, 0.0, 1.0)
# The renderer compares depths that are finer than those it returns, and rounds these by several units in the last place
UNSURE = np.float32(2**-20)
# the depth from which on nothing was drawn
EMPTY = 1 - UNSURE
# within the range of depths that pictures can hold, but behind everything
HIDDEN: Pose = ((0.0, 0.0, -1000.0), UPRIGHT)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera; lengths in metres, field of view in degrees."""

    eye: Vector
    look_at: Vector
    up: Vector
    field_of_view: float
    near: float
    far: float

    @cached_property
    def matrices(self) -> tuple[Sequence[float], Sequence[float]]:
        """PyBullet's view and projection matrices of a square picture."""
        view = p.computeViewMatrix(self.eye, self.look_at, self.up)
        return view, p.computeProjectionMatrixFOV(self.field_of_view, 1.0, self.near, self.far)


@dataclass(frozen=True)
class Light:
    """A distant lamp; coefficients as in PyBullet's getCameraImage."""

    direction: Vector = (2.0, -3.0, 6.0)
    colour: Vector = (1.0, 1.0, 1.0)
    ambient: float = 0.6
    diffuse: float = 0.35


class Layer:
    """Groups of bodies in a PyBullet client of their own, their colours, their picture.

    Args:
        loaders: for each group, a function that adds its bodies to a client.
    """

    def __init__(self, loaders: dict[str, Callable[[int], object]]) -> None:
        self.client = p.connect(p.DIRECT)
        if self.client < 0:
            raise RuntimeError("PyBullet has no free client: close() environments that are no longer used.")
        self.close = weakref.finalize(self, _disconnect, self.client)
        self.groups: dict[str, list[int]] = {}
        for group, load in loaders.items():
            first = p.getNumBodies(physicsClientId=self.client)
            load(self.client)
            last = p.getNumBodies(physicsClientId=self.client)
            self.groups[group] = [p.getBodyUniqueId(i, physicsClientId=self.client) for i in range(first, last)]
        self._colours: dict[tuple[int, int], Colour] = {}
        self._textures: dict[Path, int] = {}
        self._poses: dict[str, Sequence[Pose]] = {}
        self._hidden: set[int] = set()

    def place(self, group: str, poses: Sequence[Pose]) -> None:
        """Give the bodies of a group, in the order of loading, positions and orientations."""
        if self._poses.get(group) == poses:
            return
        self._poses[group] = poses
        for body, (position, orientation) in zip(self.groups[group], poses, strict=True):
            p.resetBasePositionAndOrientation(body, position, orientation, physicsClientId=self.client)
            self.show(body, (position, orientation) != HIDDEN)

    def show(self, body: int, shown: bool) -> None:
        """Draw a body, or leave it out: out of sight, it would take half the time that it takes to draw it."""
        if shown == (body not in self._hidden):
            return
        self._hidden ^= {body}
        for shape in p.getVisualShapeData(body, physicsClientId=self.client):
            colour = (*shape[7][:3], float(shown))
            p.changeVisualShape(body, shape[1], rgbaColor=colour, physicsClientId=self.client)

    def paint(self, paint: Callable[[Colour], Colour], bodies: Sequence[int], texture: Path | None) -> None:
        """Give every link of some bodies the colour that `paint` makes of its first one, and boxes a texture."""
        for body in bodies:
            for shape in p.getVisualShapeData(body, physicsClientId=self.client):
                link = shape[1]
                red, green, blue, _ = paint(self._colours.setdefault((body, link), shape[7]))
                colour = (red, green, blue, float(body not in self._hidden))
                image = self._texture(texture) if shape[2] == p.GEOM_BOX else -1
                p.changeVisualShape(body, link, rgbaColor=colour, textureUniqueId=image, physicsClientId=self.client)

    def _texture(self, file: Path | None) -> int:
        if file is None:
            return -1
        if file not in self._textures:
            self._textures[file] = p.loadTexture(str(file), physicsClientId=self.client)
        return self._textures[file]

    def copy(self, group: str, other: Layer) -> None:
        """Give the bodies of a group the poses and joint positions of the same group elsewhere."""
        for body, original in zip(self.groups[group], other.groups[group], strict=True):
            pose = p.getBasePositionAndOrientation(original, physicsClientId=other.client)
            p.resetBasePositionAndOrientation(body, *pose, physicsClientId=self.client)
            for joint in range(p.getNumJoints(original, physicsClientId=other.client)):
                angle = p.getJointState(original, joint, physicsClientId=other.client)[0]
                p.resetJointState(body, joint, angle, physicsClientId=self.client)

    def aim(self, camera: Camera, size: int, light: Light) -> Shot:
        """Return what `draw` takes: putting it together takes a while, and it can be used again."""
        options = {
            "lightAmbientCoeff": light.ambient,
            "lightDiffuseCoeff": light.diffuse,
            "shadow": 0,
            "renderer": p.ER_TINY_RENDERER,
            "flags": p.ER_NO_SEGMENTATION_MASK,
            "physicsClientId": self.client,
        }
        return (size, size, *camera.matrices, light.direction, light.colour), options

    def draw(self, shot: Shot) -> Picture:
        """Return colour, one RGBA word to a pixel, and depth (size, size) of all bodies."""
        arguments, options = shot
        _, _, rgba, depth, _ = p.getCameraImage(*arguments, **options)
        return rgba.view(np.uint32)[..., 0], depth


def over(front: Picture, behind: Picture) -> Picture | None:
    """Return two pictures merged by depth, or None where that does not tell which of two bodies is seen."""
    nearer = front[1] < behind[1]
    if (np.abs(front[1] - behind[1])[front[1] < EMPTY] < UNSURE).any():
        return None
    return np.where(nearer, front[0], behind[0]), np.where(nearer, front[1], behind[1])


def unsure(depth: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the depths before which something is surely in front of a picture's, and behind which it surely is not."""
    drawn = depth < EMPTY
    return np.where(drawn, depth - UNSURE, EMPTY), np.where(drawn, np.minimum(depth + UNSURE, EMPTY), EMPTY)


def paste(
    front: Picture, behind: NDArray[np.uint8], surely: NDArray[np.float32], maybe: NDArray[np.float32]
) -> NDArray[np.uint8] | None:
    """Return RGB (H, W, 3) of `behind` with the pixels of `front` that are nearer than both depths.

    None if one of them lies between the depths: which body is seen has then to be left to the renderer.
    """
    nearer = front[1] < maybe
    if nearer.tobytes() != (front[1] < surely).tobytes():  # takes less time than np.array_equal
        return None
    image = behind.copy()
    # whole pixels at once: several times faster than a mask over the last axis
    np.copyto(image.view(RGB)[..., 0], front[0].getfield(RGB), where=nearer)
    return image


def to_rgb(colour: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Return the RGB bytes (H, W, 3) of RGBA words (H, W)."""
    rgba = colour[..., None].view(np.uint8)
    rgb = np.empty((*colour.shape, 3), np.uint8)
    for channel in range(3):  # four times faster than copying the slice at once
        rgb[..., channel] = rgba[..., channel]
    return rgb


def add_box(client: int, half_extents: Vector, position: Vector, colour: Colour) -> int:
    """Add a box of plain colour that is only seen; lengths in metres."""
    shape = p.createVisualShape(p.GEOM_BOX, halfExtents=half_extents, rgbaColor=colour, physicsClientId=client)
    return p.createMultiBody(baseVisualShapeIndex=shape, basePosition=position, physicsClientId=client)


def add_cylinder(client: int, radius: float, height: float, position: Vector, colour: Colour) -> int:
    """Add an upright cylinder of plain colour that is only seen; lengths in metres."""
    shape = p.createVisualShape(p.GEOM_CYLINDER, radius=radius, length=height, rgbaColor=colour, physicsClientId=client)
    return p.createMultiBody(baseVisualShapeIndex=shape, basePosition=position, physicsClientId=client)


def add_mesh(client: int, file: str, position: Vector, colour: Colour, scale: Vector = (1.0, 1.0, 1.0)) -> int:
    """Add a mesh of plain colour that is only seen, stretched along its axes."""
    shape = p.createVisualShape(p.GEOM_MESH, fileName=file, meshScale=scale, rgbaColor=colour, physicsClientId=client)
    return p.createMultiBody(baseVisualShapeIndex=shape, basePosition=position, physicsClientId=client)


def _disconnect(client: int) -> None:
    p.disconnect(client)
