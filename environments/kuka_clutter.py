"""A Kuka iiwa arm presses a button on a cluttered table, across which a ball rolls.

After the task with random objects of the S-RL Toolbox (Raffin et al., 2018): most of what a picture shows, and
the only thing that moves by itself, has nothing to do with the task.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pybullet as p

from srl_bench.environments.drawing import HIDDEN, UPRIGHT, Colour, Pose, add_box, add_mesh
from srl_bench.environments.kuka_button import BUTTON_RADIUS, KukaButton
from srl_bench.environments.options import check_choice, check_integer, register
from srl_bench.environments.simulator import ASSETS
from srl_bench.factors import Factor

MAX_OBJECTS = 8
OBJECT_LOW, OBJECT_HIGH = (0.40, -0.42), (0.80, 0.42)
BALL_LOW, BALL_HIGH = (0.18, -0.51), (0.88, 0.51)
RADIUS, HEIGHT, BALL_RADIUS = 0.04, 0.08, 0.04
# between centres; the gripper needs room beside the button
APART, APART_FROM_BUTTON = 0.1, 0.15
PUSH_STEPS, PUSH_SPEEDS = (3, 15), (0.4, 1.0)
BALL_JOINTS = (0, 1)
# the solver cuts the ball's velocity off here, in m/s
BALL_SPEED = PUSH_SPEEDS[1]
# how deep (m) the ball goes into what it bumps into
PRESSED = 0.01
SHAPES = ("box", "cylinder", "cone", "wedge")
COLOURS: tuple[Colour, ...] = (
    (0.15, 0.35, 0.85, 1.0),
    (0.95, 0.80, 0.10, 1.0),
    (0.55, 0.15, 0.65, 1.0),
    (0.10, 0.65, 0.70, 1.0),
    (0.15, 0.15, 0.18, 1.0),
    (0.90, 0.50, 0.75, 1.0),
    (0.40, 0.25, 0.12, 1.0),
    (0.55, 0.80, 0.30, 1.0),
)


class KukaClutter(KukaButton):
    """An arm over a table is to press a button five times, among objects that do not matter; see `KukaButton`.

    Solid boxes, cylinders, cones and roofs of different colours stand on the table, elsewhere in every episode. A
    white ball rests until, after 3 to 15 steps, it is pushed in a random direction; it rolls, bumps into arm,
    button and objects, and turns back at the edges of the table. Their places and the ball's velocity are factors
    with the role "distractor". Reward and endings are those of `KukaButton`.

    Args:
        objects: number of objects besides the ball, 0 to 8.
        button: where the button stands: "random", drawn for every episode, or "fixed".
        options: see `KukaButton`.
    """

    def __init__(self, *, objects: int = 4, button: str = "random", **options: Any) -> None:
        check_integer("objects", objects, 0, MAX_OBJECTS)
        check_choice("button", button, ("random", "fixed"))
        self.objects = objects
        self._object_places = (0.0,) * (2 * objects)
        self._ball = BALL_LOW
        self._ball_velocity = (0.0, 0.0)
        self._push = (0, 0.0, 0.0)
        self.factors = (
            *KukaButton.factors,
            *(
                Factor(f"object_{index + 1}_{axis}", "m", low, high, scope="episode", role="distractor")
                for index in range(objects)
                for axis, low, high in zip("xy", OBJECT_LOW, OBJECT_HIGH, strict=True)
            ),
            *(
                Factor(f"ball_{axis}", "m", low, high, role="distractor")
                for axis, low, high in zip("xy", BALL_LOW, BALL_HIGH, strict=True)
            ),
            *(
                Factor(f"ball_velocity_{axis}", "m/s", -BALL_SPEED, BALL_SPEED, role="distractor", observable="stack")
                for axis in "xy"
            ),
        )
        super().__init__(button=button, **options)
        self._poses += (HIDDEN,) * objects

    def load_goals(self, client: int) -> None:
        """Add the button and the objects."""
        super().load_goals(client)
        for index in range(self.objects):
            shape, colour = SHAPES[index % len(SHAPES)], COLOURS[index]
            if shape == "box":
                add_box(client, (0.8 * RADIUS, 0.8 * RADIUS, HEIGHT / 2), HIDDEN[0], colour)
            else:
                file = str(ASSETS / "shapes" / f"{shape}.obj")
                add_mesh(client, file, HIDDEN[0], colour, (2 * RADIUS, 2 * RADIUS, HEIGHT))

    def load_robot(self, client: int) -> None:
        """Add the arm and the ball."""
        super().load_robot(client)
        centre = (0.0, 0.0, BALL_RADIUS + 0.001)
        p.loadURDF(str(ASSETS / "ball.urdf"), centre, useFixedBase=True, physicsClientId=client)

    def _add_physics(self) -> None:
        super()._add_physics()
        self._ball_body = self._bodies[1]
        client = {"physicsClientId": self._world}
        p.setCollisionFilterPair(self._ball_body, self._table_body, BALL_JOINTS[-1], -1, 0, **client)
        p.changeDynamics(self._ball_body, -1, linearDamping=0, angularDamping=0, **client)
        for joint in BALL_JOINTS:
            p.changeDynamics(self._ball_body, joint, maxJointVelocity=BALL_SPEED, **client)
        # every joint comes with a brake
        p.setJointMotorControlArray(self._ball_body, BALL_JOINTS, p.VELOCITY_CONTROL, forces=(0.0, 0.0), **client)
        # one shape is enough for all that an arm bumps into
        self._object_bodies = [
            self._add_solid(p.GEOM_CYLINDER, HIDDEN[0], radius=RADIUS, height=HEIGHT) for _ in range(self.objects)
        ]

    def _read_factors(self) -> tuple[float, ...]:
        return super()._read_factors() + self._object_places + self._ball + self._ball_velocity

    def _set_factors(self, values: list[float]) -> None:
        own = len(KukaButton.factors)
        super()._set_factors(values[:own])
        *places, velocity = zip(values[own::2], values[own + 1 :: 2], strict=True)
        self._place_clutter(places, velocity)

    def _place_clutter(self, places: list[tuple[float, float]], velocity: tuple[float, float]) -> None:
        """Put objects and ball into places, and the ball into motion."""
        *objects, ball = places
        self._object_places = tuple(value for place in objects for value in place)
        poses: list[Pose] = [((x, y, HEIGHT / 2), UPRIGHT) for x, y in objects]
        self._poses = (self._poses[0], *poses)
        for body, pose in zip(self._object_bodies, poses, strict=True):
            p.resetBasePositionAndOrientation(body, *pose, physicsClientId=self._world)
        self._roll(ball, velocity)

    def _roll(self, place: Sequence[float], velocity: Sequence[float]) -> None:
        """Put the ball into a place and into motion."""
        self._ball, self._ball_velocity = (place[0], place[1]), (velocity[0], velocity[1])
        for joint, position, speed in zip(BALL_JOINTS, place, velocity, strict=True):
            p.resetJointState(self._ball_body, joint, position, speed, physicsClientId=self._world)

    def _possible(self, values: list[float]) -> bool:
        own = len(KukaButton.factors)
        *objects, ball, _ = zip(values[own::2], values[own + 1 :: 2], strict=True)
        button = values[3], values[4]
        room = [math.dist(ball, place) - RADIUS for place in objects] + [math.dist(ball, button) - BUTTON_RADIUS]
        return (
            min(room) >= BALL_RADIUS - PRESSED
            and all(_free(place, button, objects[:i]) for i, place in enumerate(objects))
            and super()._possible(values)
        )

    def _draw_factors(self, rng: np.random.Generator) -> list[float]:
        values, own = super()._draw_factors(rng), len(KukaButton.factors)
        places = _draw_places(rng, self.objects, (values[3], values[4]))
        values[own : own + 2 * self.objects] = [value for place in places for value in place]
        return values

    def _start_episode(self) -> None:
        super()._start_episode()
        self._place_clutter(_draw_places(self.np_random, self.objects + 1, self._button), (0.0, 0.0))
        angle, speed = self.np_random.uniform((0, PUSH_SPEEDS[0]), (2 * math.pi, PUSH_SPEEDS[1])).tolist()
        step = int(self.np_random.integers(*PUSH_STEPS, endpoint=True))
        self._push = (step, speed * math.cos(angle), speed * math.sin(angle))

    def _act(self, action: Any) -> tuple[float, bool]:
        step, *velocity = self._push
        if self._elapsed == step:
            self._roll(self._ball, velocity)
        result = super()._act(action)
        self._follow_ball()
        return result

    def _follow_ball(self) -> None:
        """See where the ball is, and turn it back at the edges of the table."""
        states = p.getJointStates(self._ball_body, BALL_JOINTS, physicsClientId=self._world)
        (x, speed_x, *_), (y, speed_y, *_) = states
        self._ball, self._ball_velocity = (x, y), (speed_x, speed_y)
        if not (BALL_LOW[0] <= x <= BALL_HIGH[0] and BALL_LOW[1] <= y <= BALL_HIGH[1]):
            place = [
                min(max(value, low), high) for value, low, high in zip(self._ball, BALL_LOW, BALL_HIGH, strict=True)
            ]
            velocity = [v if a == b else -v for (a, v, *_), b in zip(states, place, strict=True)]
            self._roll(place, velocity)


def _draw_places(rng: np.random.Generator, count: int, button: tuple[float, float]) -> list[tuple[float, float]]:
    """Draw places on the table with room between them and around the button."""
    places: list[tuple[float, float]] = []
    while len(places) < count:
        x, y = rng.uniform(OBJECT_LOW, OBJECT_HIGH).tolist()
        if _free((x, y), button, places):
            places.append((x, y))
    return places


def _free(place: tuple[float, float], button: tuple[float, float], others: list[tuple[float, float]]) -> bool:
    """Return whether there is room for something in a place."""
    return math.dist(place, button) >= APART_FROM_BUTTON and all(math.dist(place, o) >= APART for o in others)


register("srl_bench/KukaClutter-v0", "srl_bench.environments.kuka_clutter:KukaClutter")
