"""How a scene looks: light, colours, textures, camera pose, lens and sensor, drawn at random or fixed.

Domain randomisation (Tobin et al. 2017, arXiv:1703.06907): an encoder that is to leave the simulator must not
depend on these. Every value is a ground-truth factor, so that a score can tell how much of it is in a state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srl_bench.environments.drawing import Camera, Colour, Layer, Light, Vector
from srl_bench.factors import Factor

TEXTURES = tuple(sorted((Path(__file__).resolve().parent / "assets" / "textures").glob("*.png")))
NOISE_FRAMES = 4


@dataclass(frozen=True)
class Look:
    """One look; the defaults are the simulator's own.

    Tints multiply the red, green and blue of all bodies of a group: what never moves ("scenery"), what moves
    between episodes ("goal"), and what moves within one ("robot"). `texture` 0 is plain, i the i-th image of
    the assets, on all boxes of the scenery. The camera turns by yaw and pitch about the point it looks at,
    then shifts. `lens` is the first radial distortion coefficient at the corner of the picture, `gamma` the
    exponent of its values, `noise` the standard deviation of Gaussian noise on values in [0, 1].
    """

    light_azimuth: float = -56.3
    light_elevation: float = 59.0
    light_ambient: float = 0.6
    light_diffuse: float = 0.35
    light_warmth: float = 0.0
    camera_yaw: float = 0.0
    camera_pitch: float = 0.0
    camera_x: float = 0.0
    camera_y: float = 0.0
    camera_z: float = 0.0
    camera_zoom: float = 1.0
    scenery_red: float = 1.0
    scenery_green: float = 1.0
    scenery_blue: float = 1.0
    goal_red: float = 1.0
    goal_green: float = 1.0
    goal_blue: float = 1.0
    robot_red: float = 1.0
    robot_green: float = 1.0
    robot_blue: float = 1.0
    texture: float = 0.0
    lens: float = 0.0
    gamma: float = 1.0
    noise: float = 0.0

    @property
    def light(self) -> Light:
        """The lamp."""
        azimuth, elevation = math.radians(self.light_azimuth), math.radians(self.light_elevation)
        warmth = self.light_warmth
        return Light(
            direction=(
                math.cos(azimuth) * math.cos(elevation),
                math.sin(azimuth) * math.cos(elevation),
                math.sin(elevation),
            ),
            colour=(1 + min(warmth, 0), 1 - abs(warmth) / 2, 1 - max(warmth, 0)),
            ambient=self.light_ambient,
            diffuse=self.light_diffuse,
        )

    def move(self, camera: Camera) -> Camera:
        """Return the camera where this look has it."""
        offset = np.subtract(camera.eye, camera.look_at)
        up = np.asarray(camera.up, dtype=float)
        offset = _rotate(offset, up, math.radians(self.camera_yaw))
        offset = _rotate(offset, np.cross(up, offset), math.radians(self.camera_pitch))
        centre = np.add(camera.look_at, (self.camera_x, self.camera_y, self.camera_z))
        return replace(
            camera,
            eye=_vector(centre + offset),
            look_at=_vector(centre),
            field_of_view=camera.field_of_view * self.camera_zoom,
        )

    def paint(self, layer: Layer) -> None:
        """Colour the bodies of each group; distractors keep their colours."""
        for group in layer.groups.keys() & {"scenery", "goal", "robot"}:
            tint = [getattr(self, f"{group}_{channel}") for channel in ("red", "green", "blue")]

            def tinted(colour: Colour, tint: list[float] = tint) -> Colour:
                red, green, blue = (min(value * factor, 1.0) for value, factor in zip(colour, tint, strict=False))
                return red, green, blue, colour[3]

            texture = int(self.texture) if group == "scenery" else 0
            layer.paint(tinted, layer.groups[group], TEXTURES[texture - 1] if texture else None)

    def develop(self, image: NDArray[np.uint8], shot: int) -> NDArray[np.uint8]:
        """Return the picture (H, W, 3) that lens and sensor make of an ideal one; `shot` selects the noise."""
        if self.lens:
            image = image.reshape(-1, 3)[_lens_indices(len(image), self.lens)].reshape(image.shape)
        if self.gamma != 1:
            image = _gamma_table(self.gamma)[image]
        if self.noise:
            bank = _noise_bank(image.size)
            start = shot * 7919 * 3 % (len(bank) - image.size)
            grain = bank[start : start + image.size].reshape(image.shape) * np.float32(255 * self.noise)
            image = np.clip(image + grain, 0, 255).astype(np.uint8)
        return image


SIM = Look()
# Values outside the ranges of randomisation where a real camera would be, too: this look is never drawn.
TWIN = Look(
    light_azimuth=105.0,
    light_elevation=48.0,
    light_ambient=0.5,
    light_diffuse=0.45,
    light_warmth=0.24,
    camera_yaw=3.0,
    camera_pitch=-2.5,
    camera_x=0.02,
    camera_y=-0.02,
    camera_z=0.01,
    camera_zoom=1.03,
    scenery_red=1.05,
    scenery_green=0.8,
    scenery_blue=0.48,
    goal_red=0.85,
    goal_green=1.2,
    goal_blue=1.6,
    robot_red=1.25,
    robot_green=0.85,
    robot_blue=0.65,
    texture=float(len(TEXTURES)),
    lens=0.12,
    gamma=1.25,
    noise=0.025,
)
# name: ranges of the levels mild and strong. The last texture is the twin's.
RANGES = {
    "light_azimuth": ((-76.0, -36.0), (-116.0, 4.0)),
    "light_elevation": ((49.0, 69.0), (40.0, 80.0)),
    "light_ambient": ((0.5, 0.7), (0.4, 0.8)),
    "light_diffuse": ((0.25, 0.45), (0.15, 0.6)),
    "light_warmth": ((-0.1, 0.1), (-0.2, 0.2)),
    "camera_yaw": ((-1.5, 1.5), (-5.0, 5.0)),
    "camera_pitch": ((-1.5, 1.5), (-5.0, 5.0)),
    "camera_x": ((-0.01, 0.01), (-0.03, 0.03)),
    "camera_y": ((-0.01, 0.01), (-0.03, 0.03)),
    "camera_z": ((-0.01, 0.01), (-0.03, 0.03)),
    "camera_zoom": ((0.98, 1.02), (0.95, 1.05)),
    "scenery_red": ((0.75, 1.15), (0.5, 1.3)),
    "scenery_green": ((0.75, 1.15), (0.5, 1.3)),
    "scenery_blue": ((0.75, 1.15), (0.5, 1.3)),
    "goal_red": ((0.85, 1.1), (0.7, 1.2)),
    "goal_green": ((0.85, 1.1), (0.7, 1.2)),
    "goal_blue": ((0.85, 1.1), (0.7, 1.2)),
    "robot_red": ((0.85, 1.1), (0.7, 1.2)),
    "robot_green": ((0.85, 1.1), (0.7, 1.2)),
    "robot_blue": ((0.85, 1.1), (0.7, 1.2)),
    "texture": ((0.0, 0.0), (0.0, float(len(TEXTURES) - 1))),
    "lens": ((-0.03, 0.03), (-0.1, 0.1)),
    "gamma": ((0.9, 1.1), (0.8, 1.2)),
    "noise": ((0.0, 0.005), (0.0, 0.02)),
}
LEVELS = ("none", "mild", "strong")
UNITS = {"light_azimuth": "deg", "light_elevation": "deg", "camera_yaw": "deg", "camera_pitch": "deg"} | dict.fromkeys(
    ("camera_x", "camera_y", "camera_z"), "m"
)


def look_factors(level: str) -> tuple[Factor, ...]:
    """Return what varies at a level of randomisation, all as nuisance factors of an episode."""
    if level == "none":
        return ()
    ranges = {name: pair[LEVELS.index(level) - 1] for name, pair in RANGES.items()}
    return tuple(
        Factor(
            name,
            UNITS.get(name, ""),
            low,
            high,
            kind="categorical" if name == "texture" else "continuous",
            scope="episode",
            role="nuisance",
        )
        for name, (low, high) in ranges.items()
        if low < high
    )


def draw_look(base: Look, factors: tuple[Factor, ...], rng: np.random.Generator) -> Look:
    """Return a look with each factor drawn uniformly from its range, and the others of `base`."""
    return replace(base, **{factor.name: factor.sample(rng) for factor in factors})


def _rotate(vector: NDArray, axis: NDArray, angle: float) -> NDArray:
    """Rotate about an axis (Rodrigues' formula)."""
    if angle == 0:
        return vector
    axis = axis / np.linalg.norm(axis)
    along = axis * (axis @ vector)
    return along + math.cos(angle) * (vector - along) + math.sin(angle) * np.cross(axis, vector)


def _vector(values: NDArray) -> Vector:
    x, y, z = values.tolist()
    return x, y, z


@lru_cache(maxsize=64)
def _lens_indices(size: int, coefficient: float) -> NDArray[np.intp]:
    """Return, for each pixel of a square picture, the flat index of the pixel that the lens shows there."""
    axis = (np.arange(size) + 0.5) * 2 / size - 1
    y, x = np.meshgrid(axis, axis, indexing="ij")
    # a barrel shows more than the picture holds, so it is enlarged until its corners coincide
    scale = (1 + coefficient * (x**2 + y**2) / 2) / (1 + max(coefficient, 0.0))
    rows, columns = (np.clip(((c * scale + 1) * size / 2).astype(int), 0, size - 1) for c in (y, x))
    return (rows * size + columns).ravel()


@lru_cache(maxsize=64)
def _gamma_table(gamma: float) -> NDArray[np.uint8]:
    return np.round(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)


@lru_cache(maxsize=4)
def _noise_bank(values: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(NOISE_FRAMES * values, dtype=np.float32)
