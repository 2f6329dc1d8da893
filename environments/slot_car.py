"""A slot car is to go fast, but not in the sharp corners.

The slot-car task of Jonschkowski and Brock (Learning state representations with robotic priors, Autonomous
Robots 2015): most of what moves in the picture, another car, has nothing to do with the reward.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Iterator
from typing import Any

import numpy as np
import pybullet as p

from srl_bench.environments.drawing import Camera, Colour, Pose, Quaternion, add_box
from srl_bench.environments.options import continuous_action, discrete_action, register
from srl_bench.environments.simulator import ASSETS, SimulatorEnv
from srl_bench.factors import Factor

# The controlled car's slot is the hull of three circles (x, y, radius); the first is a gentle bend.
CIRCLES = ((0.0, 0.18, 0.30), (-0.46, -0.40, 0.08), (0.46, -0.40, 0.08))
LANES_APART = 0.12
SPEEDS = 25
FULL_SPEED, CORNER_SPEED, SPEED_NOISE = 0.1, 0.05, 0.1
PENALTY = 10.0
BLOCK = 32

FLOOR_COLOUR = (0.82, 0.80, 0.74, 1.0)
ROAD_COLOUR = (0.32, 0.32, 0.35, 1.0)
SLOT_COLOUR = (0.60, 0.60, 0.62, 1.0)
OTHER_COLOUR = (0.92, 0.10, 0.10, 1.0)


class Track:
    """A closed curve of arcs and straights, driven anticlockwise: the hull of three circles.

    Args:
        outside: distance from that hull in metres.
    """

    def __init__(self, outside: float) -> None:
        count = len(CIRCLES)
        pairs = [(CIRCLES[i], CIRCLES[(i + 1) % count]) for i in range(count)]
        # directions from the centres to the ends of the straight between two circles
        normals = [
            math.atan2(by - ay, bx - ax) - math.acos((a - b) / math.dist((ax, ay), (bx, by)))
            for (ax, ay, a), (bx, by, b) in pairs
        ]
        self.starts: list[float] = []
        # centre, diameter, half the angle of the car's first orientation, half the turn per metre
        self._arcs: list[tuple[float, float, float, float, float]] = []
        # first point, direction, orientation
        self._straights: list[tuple[float, float, float, float, Quaternion]] = []
        self.length = 0.0
        for i, ((x, y, radius), (next_x, next_y, next_radius)) in enumerate(pairs):
            turn = (normals[i] - normals[i - 1]) % math.tau
            straight = math.sqrt((next_x - x) ** 2 + (next_y - y) ** 2 - (next_radius - radius) ** 2)
            radius += outside
            cos, sin = math.cos(normals[i]), math.sin(normals[i])
            # a car has the normal on its right
            half, last_half = ((normal + math.pi / 2) / 2 for normal in (normals[i - 1], normals[i]))
            turned = (0.0, 0.0, math.sin(last_half), math.cos(last_half))
            self._arcs.append((x, y, 2 * radius, half, 0.5 / radius))
            self._straights.append((x + radius * cos, y + radius * sin, -sin, cos, turned))
            for length in (turn * radius, straight):
                self.starts.append(self.length)
                self.length += length
        self._metres = self.length / math.tau

    def pose(self, position: float) -> Pose:
        """Return the pose of a car at a position in radians, 2 pi to a lap."""
        along = position % math.tau * self._metres
        index = bisect(self.starts, along) - 1
        along -= self.starts[index]
        if index & 1:
            x, y, forward_x, forward_y, turned = self._straights[index >> 1]
            return (x + along * forward_x, y + along * forward_y, 0.0), turned
        x, y, diameter, half, bend = self._arcs[index >> 1]
        half += bend * along
        sin, cos = math.sin(half), math.cos(half)
        return (x + diameter * sin * cos, y + diameter * (0.5 - cos * cos), 0.0), (0.0, 0.0, sin, cos)


TRACK, OTHER_TRACK = Track(0.0), Track(LANES_APART)
# where the arcs of the second and the third circle begin and end, in metres along the track
CORNERS = ((TRACK.starts[2], TRACK.starts[3]), (TRACK.starts[4], TRACK.starts[5]))


class SlotCar(SimulatorEnv):
    """A green car on a track of 3.4 m with two sharp corners, and a red one that drives beside it as it likes.

    Actions are the velocity of the green car: "discrete" 0 to 24 for 0.004 to 0.1 m per step, "continuous" one
    number from -1 (0 m) to 1 (0.1 m). The car drives that distance, times a normal factor of standard deviation
    0.1, and cannot leave its slot. The red car's distance is drawn uniformly in every step.

    Reward "sparse": the velocity, 1 at full speed; or -10 when the car is thrown off, which is when any part of a
    step lies in a sharp corner and the velocity is above 0.05 m. It is put back where it would have been. "shaped":
    the distance driven, 1 for 0.1 m, and for being thrown off from 0 at 0.05 m to -10 at full speed. Episodes are
    truncated after `max_steps` and never terminate. An episode is a success once the car has driven a whole lap
    without being thrown off.

    A position is an angle, 2 pi to a lap; car_x and car_y, in metres, follow from it.
    """

    factors = (
        Factor("car_position", "rad", -math.pi, math.pi, kind="angular", proprioceptive=True),
        Factor("other_position", "rad", -math.pi, math.pi, kind="angular", role="distractor"),
        Factor("car_x", "m", -0.541, 0.541, tolerance=math.inf, proprioceptive=True),
        Factor("car_y", "m", -0.481, 0.481, tolerance=math.inf, proprioceptive=True),
    )
    cameras = {
        "top": Camera((0.0, 0.0, 3.0), (0.0, 0.0, 0.0), (0.0, 1.0, 0.0), 27.5, 1.0, 4.0),
        "side": Camera((0.0, -2.2, 1.6), (0.0, -0.05, 0.0), (0.0, 0.0, 1.0), 34.0, 1.0, 5.0),
    }
    action_sizes = {"discrete": SPEEDS, "continuous": 1}
    default_max_steps = 100
    distractor_area = {"low": (-0.2, -0.3), "high": (0.2, 0.25), "size": 0.04, "ground": 0.0}

    def __init__(self, **options: Any) -> None:
        self._values = (0.0,) * 4
        self._lap = 0.0
        self._noise = _noises(np.random.default_rng(0))
        super().__init__(**options)

    def load_scenery(self, client: int) -> None:
        """Add floor, road and slots."""
        add_box(client, (0.74, 0.74, 0.01), (0.0, 0.0, -0.01), FLOOR_COLOUR)
        _add_ribbon(client, Track(LANES_APART / 2), 0.26, 0.002, ROAD_COLOUR)
        for track in (TRACK, OTHER_TRACK):
            _add_ribbon(client, track, 0.02, 0.004, SLOT_COLOUR)

    def load_robot(self, client: int) -> None:
        """Add both cars."""
        p.loadURDF(str(ASSETS / "slot_car.urdf"), physicsClientId=client)
        other = p.loadURDF(str(ASSETS / "slot_car.urdf"), physicsClientId=client)
        p.changeVisualShape(other, -1, rgbaColor=OTHER_COLOUR, physicsClientId=client)

    def _read_factors(self) -> tuple[float, ...]:
        return self._values

    def _set_factors(self, values: list[float]) -> None:
        self._put(values[0], values[1])

    def _put(self, car: float, other: float) -> None:
        """Put the cars at positions on their tracks."""
        green, red = self._bodies
        place, turned = TRACK.pose(car)
        self._values = (car, other, place[0], place[1])
        p.resetBasePositionAndOrientation(green, place, turned, physicsClientId=self._world)
        place, turned = OTHER_TRACK.pose(other)
        p.resetBasePositionAndOrientation(red, place, turned, physicsClientId=self._world)

    def _start_episode(self) -> None:
        self._lap = 0.0
        self._noise = _noises(self.np_random)
        car, other = self.np_random.uniform(-math.pi, math.pi, 2).tolist()
        self._put(car, other)

    def _act(self, action: Any) -> tuple[float, bool]:
        if self.action_type == "discrete":
            velocity = FULL_SPEED * (discrete_action(action, SPEEDS) + 1) / SPEEDS
        else:
            velocity = FULL_SPEED * (continuous_action(action, 1)[0] + 1) / 2
        slip, pace = next(self._noise)
        driven = velocity * (1 + SPEED_NOISE * slip)
        thrown = velocity > CORNER_SPEED and self._touches_a_corner(driven)
        car, other, _, _ = self._values
        car += math.tau * driven / TRACK.length
        other += math.tau * FULL_SPEED * pace / OTHER_TRACK.length
        self._put(math.remainder(car, math.tau), math.remainder(other, math.tau))
        self._lap = 0.0 if thrown else self._lap + driven
        self._solved = self._solved or self._lap >= TRACK.length
        if self.reward_type == "shaped":
            excess = (velocity - CORNER_SPEED) / (FULL_SPEED - CORNER_SPEED) if thrown else 0.0
            return driven / FULL_SPEED - PENALTY * excess, False
        return -PENALTY if thrown else velocity / FULL_SPEED, False

    def _touches_a_corner(self, distance: float) -> bool:
        """Return whether any of the way ahead, up to a distance, lies in a sharp corner."""
        here = self._values[0] / math.tau % 1.0 * TRACK.length
        there = here + distance
        return (here < CORNERS[0][1] and there > CORNERS[0][0]) or (here < CORNERS[1][1] and there > CORNERS[1][0])

    def _greedy_action(self) -> Any:
        # five standard deviations of noise ahead
        longest = FULL_SPEED * (1 + 5 * SPEED_NOISE)
        speed = (CORNER_SPEED if self._touches_a_corner(longest) else FULL_SPEED) / FULL_SPEED
        if self.action_type == "discrete":
            return int(SPEEDS * speed) - 1
        return np.array([2 * speed - 1], np.float32)


def _noises(rng: np.random.Generator) -> Iterator[tuple[float, float]]:
    """Yield the noise of the green car and the pace of the red one, step by step.

    They are drawn in blocks: a draw of its own takes as long as it takes to move a car.
    """
    while True:
        yield from zip(rng.standard_normal(BLOCK).tolist(), rng.random(BLOCK).tolist(), strict=True)


def _add_ribbon(client: int, track: Track, width: float, height: float, colour: Colour) -> None:
    """Add a flat strip along a track, only to be seen."""
    corners, faces, count = [], [], 120
    for i in range(count):
        (x, y, _), (*_, sin, cos) = track.pose(math.tau * i / count)
        # of twice the angle
        right_x, right_y = sin * cos * width, (sin**2 - cos**2) * width / 2
        corners += [[x - right_x, y - right_y, height], [x + right_x, y + right_y, height]]
        left, right, next_left, next_right = ((2 * i + k) % (2 * count) for k in range(4))
        faces += [left, right, next_right, left, next_right, next_left]
    up = [[0.0, 0.0, 1.0]] * len(corners)
    shape = p.createVisualShape(
        p.GEOM_MESH, vertices=corners, indices=faces, normals=up, rgbaColor=colour, physicsClientId=client
    )
    p.createMultiBody(baseVisualShapeIndex=shape, physicsClientId=client)


register("srl_bench/SlotCar-v0", "srl_bench.environments.slot_car:SlotCar")
