"""A camera moves through a room of objects and looks for a red ball.

Scenes as in Neural scene representation and rendering (Eslami et al., Science 2018): one view shows part of
the room, and several views from known poses tell what stands where.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pybullet as p

from srl_bench.environments.drawing import HIDDEN, UPRIGHT, Camera, Colour, Pose, add_box, add_mesh
from srl_bench.environments.options import check_integer, continuous_action, discrete_action, register
from srl_bench.environments.simulator import ASSETS, SimulatorEnv
from srl_bench.factors import Factor

ROOM, WALL_HEIGHT = 4.0, 0.5
STEP, TURN = 0.1, math.radians(15)
# forward, left, turn to the left
MOVES = ((1.0, 0.0, 0.0), (-1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0), (0.0, -1.0, 0.0))
REACH, CENTRED = 0.6, math.radians(10)
CAMERA_MARGIN, CLEARANCE, LOOK_AHEAD = 0.2, 0.3, 0.8
# six discs of this radius cannot cover the square of the objects: there is always room for one more
OBJECT_MARGIN, APART = 0.65, 0.75

# mesh and diameter, height in metres
SHAPES = (("box", 0.30, 0.26), ("cylinder", 0.26, 0.46), ("cone", 0.36, 0.36))
BALL = 0.30
# a face that touches the floor is not clearly in front of it
GAP = 0.005
BALL_COLOUR = (0.92, 0.10, 0.10, 1.0)
OBJECT_COLOURS: tuple[Colour, ...] = (
    (0.10, 0.30, 0.85, 1.0),
    (0.95, 0.80, 0.10, 1.0),
    (0.10, 0.60, 0.20, 1.0),
    (0.96, 0.96, 0.96, 1.0),
    (0.10, 0.10, 0.12, 1.0),
    (0.55, 0.30, 0.10, 1.0),
)
FLOOR_COLOUR = (0.70, 0.69, 0.66, 1.0)
WALL_COLOURS: tuple[Colour, ...] = (
    (0.55, 0.72, 0.85, 1.0),
    (0.90, 0.76, 0.55, 1.0),
    (0.66, 0.82, 0.60, 1.0),
    (0.80, 0.66, 0.80, 1.0),
)


def _factors(objects: int) -> tuple[Factor, ...]:
    def place(name: str) -> tuple[Factor, ...]:
        low, high = OBJECT_MARGIN, ROOM - OBJECT_MARGIN
        return tuple(Factor(f"{name}_{axis}", "m", low, high, scope="episode", observable="stack") for axis in "xy")

    table = [Factor(f"robot_{axis}", "m", CAMERA_MARGIN, ROOM - CAMERA_MARGIN, proprioceptive=True) for axis in "xy"]
    table += [Factor("robot_yaw", "rad", -math.pi, math.pi, kind="angular", proprioceptive=True), *place("goal")]
    for index in range(1, objects + 1):
        shape = Factor(f"object_{index}_shape", "", 0, 2, kind="categorical", scope="episode", observable="stack")
        table += [*place(f"object_{index}"), shape]
    return tuple(table)


class Room(SimulatorEnv):
    """A camera is to bring a red ball, among other objects, into the middle of its picture, from nearby.

    Actions move the camera, which looks ahead: 0 and 1 by 0.1 m forward and back, 2 and 3 turn it by 15 degrees to
    the left and to the right, 4 and 5 move it by 0.1 m to the left and to the right; "continuous" takes three
    numbers from -1 to 1: forward times 0.1 m, left times 0.1 m, then a turn to the left times 15 degrees. The
    camera stays where it is when a wall is nearer than 0.2 m to its new place, or the centre of an object nearer
    than 0.3 m; it can turn everywhere.

    Reward "sparse": +1 for the step that ends within 0.6 m of the centre of the ball, with the ball less than 10
    degrees off the middle of the picture. That ends the episode and is a success. "shaped": minus the distance to
    the ball in metres, minus the angle between it and the middle in radians. Episodes are truncated after
    `max_steps`. All places are drawn anew in every episode, the centres of objects at least 0.75 m apart.

    The camera stands on a small robot, which the view "top" shows. The shape of an object is 0 for a box, 1 for a
    cylinder, 2 for a cone; each has its own colour: blue, yellow, green, white, black, brown.

    Args:
        objects: number of objects besides the ball, 1 to 6.
        options: see `SimulatorEnv`.
    """

    factors = _factors(3)
    cameras = {
        "camera": Camera((0.0, 0.0, 0.35), (1.0, 0.0, 0.20), (0.0, 0.0, 1.0), 75.0, 0.05, 6.0),
        "top": Camera((2.0, 2.0, 10.0), (2.0, 2.0, 0.0), (0.0, 1.0, 0.0), 24.0, 5.0, 12.0),
    }
    recording_policy = "mixed"
    action_sizes = {"discrete": len(MOVES), "continuous": 3}
    default_max_steps = 200
    distractor_area = {"low": (0.3, 0.3), "high": (3.7, 3.7), "size": 0.1, "ground": 0.0}

    def __init__(self, *, objects: int = 3, **options: Any) -> None:
        check_integer("objects", objects, 1, len(OBJECT_COLOURS))
        self.objects = objects
        self.factors = _factors(objects)
        self._view = (ROOM / 2, ROOM / 2, 0.0)
        self._scene_factors: list[float] = []
        self._places: list[tuple[float, float]] = []
        self._poses: tuple[Pose, ...] = ()
        super().__init__(**options)

    def load_scenery(self, client: int) -> None:
        """Add floor and walls."""
        half, thick, high = ROOM / 2, 0.05, WALL_HEIGHT / 2
        add_box(client, (half, half, 0.01), (half, half, -0.01), FLOOR_COLOUR)
        for side, colour in ((-thick, WALL_COLOURS[0]), (ROOM + thick, WALL_COLOURS[1])):
            add_box(client, (thick, half, high), (side, half, high), colour)
        for side, colour in ((-thick, WALL_COLOURS[2]), (ROOM + thick, WALL_COLOURS[3])):
            add_box(client, (half + 2 * thick, thick, high), (half, side, high), colour)

    def load_goals(self, client: int) -> None:
        """Add the ball, and every object in all shapes."""
        add_mesh(client, str(ASSETS / "shapes" / "ball.obj"), HIDDEN[0], BALL_COLOUR, (BALL,) * 3)
        for colour in OBJECT_COLOURS[: self.objects]:
            for shape, width, height in SHAPES:
                if shape == "box":
                    add_box(client, (width / 2, width / 2, height / 2), HIDDEN[0], colour)
                else:
                    mesh = str(ASSETS / "shapes" / f"{shape}.obj")
                    add_mesh(client, mesh, HIDDEN[0], colour, (width, width, height))

    def load_robot(self, client: int) -> None:
        """Add the robot that carries the camera, too low to be seen by it."""
        p.loadURDF(str(ASSETS / "mobile_robot.urdf"), globalScaling=0.7, physicsClientId=client)

    def goal_poses(self) -> tuple[Pose, ...]:
        """Return the poses of the ball and of every object in all shapes, of which one is seen."""
        return self._poses

    def camera(self, view: str) -> Camera:
        """Return a camera; "camera" is the one that moves."""
        camera = self.cameras[view]
        if view != "camera":
            return camera
        x, y, yaw = self._view
        return replace(
            camera,
            eye=(x, y, camera.eye[2]),
            look_at=(x + math.cos(yaw), y + math.sin(yaw), camera.look_at[2]),
        )

    def _possible(self, values: list[float]) -> bool:
        camera, goal = values[:2], values[3:5]
        places = [goal, *(values[i : i + 2] for i in range(5, len(values), 3))]
        free = all(math.dist(camera, place) >= CLEARANCE for place in places)
        return free and all(math.dist(a, b) >= APART for a, b in combinations(places, 2))

    def _read_factors(self) -> list[float]:
        return [*self._view, *self._scene_factors]

    def _set_factors(self, values: list[float]) -> None:
        x, y, yaw = values[:3]
        self._scene_factors = values[3:]
        goal_x, goal_y, *objects = values[3:]
        self._places = [(goal_x, goal_y)]
        poses = [((goal_x, goal_y, GAP + BALL / 2), UPRIGHT)]
        for i in range(0, len(objects), 3):
            object_x, object_y, shape = objects[i : i + 3]
            self._places.append((object_x, object_y))
            for index, (_, _, height) in enumerate(SHAPES):
                poses.append(((object_x, object_y, GAP + height / 2), UPRIGHT) if index == shape else HIDDEN)
        self._poses = tuple(poses)
        self._put_camera(x, y, yaw)

    def _put_camera(self, x: float, y: float, yaw: float) -> None:
        self._view = (x, y, yaw)
        turned = (0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2))
        p.resetBasePositionAndOrientation(self._bodies[0], (x, y, 0.0), turned, physicsClientId=self._world)

    def _start_episode(self) -> None:
        self._set_factors(self._draw_factors(self.np_random))

    def _draw_factors(self, rng: np.random.Generator) -> list[float]:
        """Draw the factors of the task so that nothing overlaps: with six objects, few draws would do."""
        places: list[tuple[float, float]] = []
        while len(places) < 1 + self.objects:
            x, y = rng.uniform(OBJECT_MARGIN, ROOM - OBJECT_MARGIN, 2).tolist()
            if all(math.dist((x, y), other) >= APART for other in places):
                places.append((x, y))
        self._places = places
        while True:
            x, y = rng.uniform(CAMERA_MARGIN, ROOM - CAMERA_MARGIN, 2).tolist()
            if self._is_free(x, y):
                break
        objects = [value for place in places[1:] for value in (*place, float(rng.integers(len(SHAPES))))]
        return [x, y, rng.uniform(-math.pi, math.pi), *places[0], *objects]

    def _is_free(self, x: float, y: float) -> bool:
        """Return whether the camera can be in a place."""
        low, high = CAMERA_MARGIN, ROOM - CAMERA_MARGIN
        inside = low <= x <= high and low <= y <= high
        return inside and all(math.dist((x, y), place) >= CLEARANCE for place in self._places)

    def _act(self, action: Any) -> tuple[float, bool]:
        if self.action_type == "discrete":
            forward, left, turn = MOVES[discrete_action(action, len(MOVES))]
        else:
            forward, left, turn = continuous_action(action, 3)
        x, y, yaw = self._view
        cos, sin = STEP * math.cos(yaw), STEP * math.sin(yaw)
        new_x, new_y = x + forward * cos - left * sin, y + forward * sin + left * cos
        if self._is_free(new_x, new_y):
            x, y = new_x, new_y
        self._put_camera(x, y, math.remainder(yaw + TURN * turn, math.tau))
        distance, angle = self._goal_seen()
        self._solved = distance <= REACH and abs(angle) <= CENTRED
        reward = -distance - abs(angle) if self.reward_type == "shaped" else float(self._solved)
        return reward, self._solved

    def _goal_seen(self) -> tuple[float, float]:
        """Return the distance of the ball, and its direction from the middle of the picture to the left."""
        x, y, yaw = self._view
        dx, dy = self._places[0][0] - x, self._places[0][1] - y
        return math.hypot(dx, dy), math.remainder(math.atan2(dy, dx) - yaw, math.tau)

    def _greedy_action(self) -> Any:
        distance, angle = self._goal_seen()
        if distance > REACH:
            angle = self._way_around(distance, angle)
        if self.action_type == "continuous":
            return np.array([distance > REACH and angle == 0, 0.0, np.clip(angle / TURN, -1, 1)], np.float32)
        if abs(angle) <= TURN / 2:
            return 0
        return 2 if angle > 0 else 3

    def _way_around(self, distance: float, angle: float) -> float:
        """Return the turn, in whole actions, after which nothing is in the way, nearest to the ball's direction."""
        x, y, yaw = self._view
        ways = np.arange(STEP, min(distance - CLEARANCE, LOOK_AHEAD), STEP).tolist()

        def off(turn: float) -> float:
            return abs(math.remainder(turn - angle, math.tau))

        for turn in sorted((TURN * k for k in range(-11, 13)), key=off):
            cos, sin = math.cos(yaw + turn), math.sin(yaw + turn)
            if all(self._is_free(x + way * cos, y + way * sin) for way in ways):
                return turn
        return angle


register("srl_bench/Room-v0", "srl_bench.environments.room:Room")
