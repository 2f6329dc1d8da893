"""A Kuka iiwa arm takes an object of the right class out of a bin.

Semantic grasping (Jang et al., 2017, arXiv:1707.01932): which object is right depends on its class, and the labels can
condition the step from simulated to real pictures. A suction cup that holds what it touches takes the place of the
mechanics of fingers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain, combinations
from typing import Any

import numpy as np
import pybullet as p

from srl_bench.environments.drawing import HIDDEN, UPRIGHT, Camera, Colour, Pose, Vector, add_box, add_mesh
from srl_bench.environments.kuka import ANYWHERE, STEP, KukaArm, joint_factors, tip_factors
from srl_bench.environments.options import check_choice, check_integer, continuous_action, discrete_action, register
from srl_bench.environments.simulator import ASSETS
from srl_bench.factors import Factor

CLASSES = ("box", "cylinder", "cone", "ball")
MAX_OBJECTS = 6
JOINT_RANGES = ((-0.7, 0.7), (0.1, 1.35), (-0.5, 0.45), (-2.1, -0.05), (-0.4, 0.5), (0.35, 1.85), (-0.9, 0.9))
SIZE, APART = 0.07, 0.09
# where objects start and, but for what motors overshoot, are carried
PLACE_LOW, PLACE_HIGH = (0.47, -0.22), (0.69, 0.22)
OVERSHOOT = 0.01
FLOOR = 0.011
TOP = FLOOR + SIZE
# of the tip from the middle of an object's top
GRASP_RADIUS, GRASP_HEIGHT = 0.04, 0.03
# of the tip from what it carries, at most
CARRIED = 0.06
LIFT = 0.1
HOVER = TOP + STEP
# a discrete step ends within half its length of every place
SLACK = STEP / 2 + 0.001

BIN_COLOUR: Colour = (0.30, 0.32, 0.36, 1.0)
# half extents and centres of floor and walls
BIN: tuple[tuple[Vector, Vector], ...] = (
    ((0.155, 0.27, 0.005), (0.58, 0.0, 0.005)),
    ((0.005, 0.27, 0.02), (0.42, 0.0, 0.02)),
    ((0.005, 0.27, 0.02), (0.74, 0.0, 0.02)),
    ((0.165, 0.005, 0.02), (0.58, -0.275, 0.02)),
    ((0.165, 0.005, 0.02), (0.58, 0.275, 0.02)),
)
WRONG_CLASS = -250.0
# plate and model on the table, or neither
SIGN: tuple[Pose, ...] = (((0.50, 0.42, 0.01), UPRIGHT), ((0.50, 0.42, 0.02 + SIZE), UPRIGHT))
NO_SIGN: tuple[Pose, ...] = (HIDDEN, HIDDEN)
SIGN_POSES = tuple(NO_SIGN * target + SIGN + NO_SIGN * (len(CLASSES) - 1 - target) for target in range(len(CLASSES)))
SIGN_COLOURS: tuple[Colour, ...] = (
    (0.80, 0.10, 0.10, 1.0),
    (0.10, 0.55, 0.20, 1.0),
    (0.10, 0.25, 0.80, 1.0),
    (0.90, 0.75, 0.10, 1.0),
)
WHITE: Colour = (0.95, 0.95, 0.95, 1.0)
COLOURS: tuple[Colour, ...] = (
    (0.90, 0.20, 0.20, 1.0),
    (0.30, 0.60, 0.95, 1.0),
    (0.95, 0.80, 0.15, 1.0),
    (0.75, 0.40, 0.85, 1.0),
    (0.95, 0.95, 0.95, 1.0),
    (0.45, 0.85, 0.35, 1.0),
)


class KukaGrasp(KukaArm):
    """An arm over a bin is to lift an object of the class that a sign beside the bin shows.

    Classes are 0 box, 1 cylinder, 2 cone, 3 ball; the first object is red, then follow blue, yellow, purple, white
    and green ones. Besides the actions of `KukaArm` there is one that grasps: 6 in "discrete", a last number above
    0 in "continuous" and "joints". It attaches the nearest object whose top is within 0.04 m sideways and 0.03 m in
    height of the tip. What is held stays so, and is carried only where objects start, clear of the walls of the bin,
    except with "joints"; a step that would take it into another object is a protective stop, too. Objects that are
    not held stand fast. Every episode begins with other classes, places and another target, of which there is at
    least one object.

    Reward "sparse": +1 when an object of the class has been lifted by 0.1 m, which is a success; -1 when one of
    another class is grasped; both terminate the episode. "shaped": -250 for the wrong class, so that no one hurries to
    an end that way, otherwise minus the distance in metres from tip to the nearest object of the class, minus what is
    missing of 0.1 m of lift. Episodes are truncated after `max_steps`. The factor `held` is 0, or the number of an
    object.

    Args:
        objects: number of objects, 1 to 6.
        target: the class to be lifted, "box", "cylinder", "cone" or "ball"; or "random", drawn for every episode.
        options: see `SimulatorEnv`.
    """

    action_sizes = {"discrete": 7, "continuous": 4, "joints": 8}
    default_max_steps = 200
    elbow = 0.4
    workspace = ((0.44, -0.27, 0.06), (0.73, 0.27, 0.35))
    cameras = {
        "front": Camera((1.40, -0.50, 1.15), (0.50, 0.03, 0.12), (0.0, 0.0, 1.0), 35.0, 0.3, 5.0),
        "top": Camera((0.52, 0.06, 2.0), (0.52, 0.06, 0.0), (1.0, 0.0, 0.0), 27.0, 0.5, 4.0),
        "side": KukaArm.cameras["side"],
    }
    # beside the bin
    distractor_area = {"low": (0.2, -0.5), "high": (0.85, -0.32), "size": 0.025, "ground": 0.0}

    def __init__(self, *, objects: int = 4, target: str = "random", **options: Any) -> None:
        check_integer("objects", objects, 1, MAX_OBJECTS)
        check_choice("target", target, ("random", *CLASSES))
        self.objects = objects
        last = len(CLASSES) - 1
        tip = tip_factors(*self.workspace)
        (low, high), give = (PLACE_LOW, PLACE_HIGH), OVERSHOOT
        if options.get("action_type") == "joints":
            low, high = zip(*(ANYWHERE[f"ee_{axis}"] for axis in "xy"), strict=True)
            give = GRASP_RADIUS
        self._area = np.array(low) - give, np.array(high) + give
        self._targets = (0, last) if target == "random" else (CLASSES.index(target),) * 2
        self.factors = (
            *tip,
            *joint_factors(*JOINT_RANGES),
            *(
                Factor(f"object_{index + 1}_{axis}", "m", start, end)
                for index in range(objects)
                for axis, start, end in zip("xy", *self._area, strict=True)
            ),
            *(
                Factor(f"object_{index + 1}_class", "", 0, last, kind="categorical", scope="episode")
                for index in range(objects)
            ),
            Factor("held", "", 0, objects, kind="categorical"),
            Factor("target", "", *self._targets, kind="categorical", scope="episode"),
        )
        self._places = [list(PLACE_LOW)] * objects
        self._classes = [0] * objects
        self._held: int | None = None
        self._target = 0
        super().__init__(**options)

    def load_scenery(self, client: int) -> None:
        """Add floor, table, the base of the arm and the bin."""
        super().load_scenery(client)
        for half, centre in BIN:
            add_box(client, half, centre, BIN_COLOUR)

    def load_goals(self, client: int) -> None:
        """Add a sign for every class: a white model on a coloured plate."""
        for name, colour in zip(CLASSES, SIGN_COLOURS, strict=True):
            add_box(client, (0.09, 0.09, 0.01), HIDDEN[0], colour)
            _add_shape(client, name, 2 * SIZE, WHITE)

    def load_robot(self, client: int) -> None:
        """Add the arm, and every object in the shape of every class."""
        super().load_robot(client)
        for colour in COLOURS[: self.objects]:
            for name in CLASSES:
                _add_shape(client, name, SIZE, colour)

    def goal_poses(self) -> tuple[Pose, ...]:
        """Return the poses of the signs: only one is on the table."""
        return SIGN_POSES[self._target]

    def _add_physics(self) -> None:
        super()._add_physics()
        self._shapes = np.reshape(self._bodies[1:], (self.objects, len(CLASSES))).tolist()
        for half, centre in BIN:
            self._add_solid(p.GEOM_BOX, centre, halfExtents=half)
        # one shape is enough for what the gripper comes down upon
        self._solids = [
            self._add_solid(p.GEOM_CYLINDER, HIDDEN[0], radius=SIZE / 2, height=SIZE) for _ in range(self.objects)
        ]

    def _read_factors(self) -> tuple[float, ...]:
        held = 0 if self._held is None else self._held + 1
        places = chain.from_iterable(self._places)
        return (*self._tip, *self._joints, *places, *self._classes, held, self._target)

    def _set_factors(self, values: list[float]) -> None:
        self._set_joints(values[3:10])
        places, classes, (held, target) = np.split(np.array(values[10:]), [2 * self.objects, 3 * self.objects])
        self._arrange(places.reshape(-1, 2).tolist(), classes.astype(int).tolist(), int(target), int(held))

    def _arrange(self, places: list[list[float]], classes: list[int], target: int, held: int = 0) -> None:
        """Put all objects into their places."""
        self._places, self._classes, self._target = places, classes, target
        self._held = held - 1 if held else None
        for index, shapes in enumerate(self._shapes):
            for label, body in enumerate(shapes):
                self._put(body, self._pose(index) if label == classes[index] else HIDDEN)
                self._scene.robots.show(body, label == classes[index])
            self._put(self._solids[index], HIDDEN if index == self._held else self._pose(index))

    def _pose(self, index: int) -> Pose:
        """Return the pose of an object: in the bin or below the tip."""
        x, y = self._places[index]
        top = max(self._tip[2], TOP) if index == self._held else TOP
        return (x, y, top - SIZE / 2), UPRIGHT

    def _put(self, body: int, pose: Pose) -> None:
        p.resetBasePositionAndOrientation(body, *pose, physicsClientId=self._world)

    def _draw_places(self, rng: np.random.Generator) -> list[list[float]]:
        """Draw places in the bin that keep objects apart."""
        places: list[list[float]] = []
        while len(places) < self.objects:
            place = rng.uniform(PLACE_LOW, PLACE_HIGH).tolist()
            if all(math.dist(place, other) >= APART for other in places):
                places.append(place)
        return places

    def _draw_factors(self, rng: np.random.Generator) -> list[float]:
        values = super()._draw_factors(rng)
        end = 10 + 2 * self.objects
        values[10:end] = np.ravel(self._draw_places(rng)).tolist()
        values[end + int(rng.integers(self.objects))] = values[-1]
        if held := int(values[-2]):
            # hardly any other place is possible
            self._set_joints(values[3:10])
            values[8 + 2 * held : 10 + 2 * held] = np.clip(self._tip[:2], *self._area).tolist()
        return values

    def _possible(self, values: list[float]) -> bool:
        places = np.reshape(values[10 : 10 + 2 * self.objects], (-1, 2)).tolist()
        *classes, held, target = values[10 + 2 * self.objects :]
        if target not in classes:
            return False
        self._set_joints(values[3:10])
        if held:
            place = places.pop(int(held) - 1)
            if math.dist(place, self._tip[:2]) > CARRIED or self._bumps(place, places):
                return False
        inside = all(low <= v <= high for xy in places for v, low, high in zip(xy, PLACE_LOW, PLACE_HIGH, strict=True))
        apart = all(math.dist(a, b) >= APART for a, b in combinations(places, 2))
        return inside and apart and super()._possible(values)

    def _bumps(self, place: list[float], others: list[list[float]]) -> bool:
        """Return whether an object that is held in a place is among the others."""
        return self._tip[2] < TOP + SIZE and any(math.dist(place, other) < SIZE for other in others)

    def _start_episode(self) -> None:
        self._start_arm()
        target = int(self.np_random.integers(*self._targets, endpoint=True))
        classes = self.np_random.integers(len(CLASSES), size=self.objects)
        classes[self.np_random.integers(self.objects)] = target
        self._arrange(self._draw_places(self.np_random), classes.tolist(), target)

    def _act(self, action: Any) -> tuple[float, bool]:
        tip, joints = self._tip, self._joints
        grasps = self._move(action)
        if self._held is not None:
            moved = zip(self._places[self._held], self._tip, tip, strict=False)
            place = np.clip([value + new - old for value, new, old in moved], *self._area).tolist()
            if self._bumps(place, self._places[: self._held] + self._places[self._held + 1 :]):
                self._set_joints(joints)
            else:
                self._places[self._held] = place
        elif grasps:
            self._held = self._within_reach()
            if self._held is not None:
                self._put(self._solids[self._held], HIDDEN)
        if self._held is None:
            return self._reward(lift=0.0), False
        self._put(self._shapes[self._held][self._classes[self._held]], self._pose(self._held))
        if self._classes[self._held] != self._target:
            return WRONG_CLASS if self.reward_type == "shaped" else -1.0, True
        lift = self._tip[2] - TOP
        self._solved = lift >= LIFT
        return self._reward(lift), self._solved

    def _reachable(self) -> tuple[Sequence[float], Sequence[float]]:
        low, high = super()._reachable()
        if self._held is None:
            return low, high
        ahead = np.subtract(self._places[self._held], self._tip[:2])
        inner = [np.array(corner) - ahead for corner in (PLACE_LOW, PLACE_HIGH)]
        return (*np.maximum(inner[0], low[:2]).tolist(), low[2]), (*np.minimum(inner[1], high[:2]).tolist(), high[2])

    def _move(self, action: Any) -> bool:
        """Carry out the part of an action that moves the arm; return whether the other one grasps."""
        size = self.action_sizes[self.action_type]
        if self.action_type == "discrete":
            index = discrete_action(action, size)
            grasps = index == size - 1
            self._follow(self._joint_goals if grasps else self._goals_after(index))
        else:
            *move, grip = continuous_action(action, size)
            grasps = grip > 0
            self._follow(self._goals_after(move))
        return grasps

    def _within_reach(self) -> int | None:
        """Return the object that the gripper can hold."""
        nearest = min(range(self.objects), key=lambda index: math.dist(self._tip[:2], self._places[index]))
        near = math.dist(self._tip[:2], self._places[nearest]) <= GRASP_RADIUS
        return nearest if near and abs(self._tip[2] - TOP) <= GRASP_HEIGHT else None

    def _wanted(self) -> list[float]:
        """Return the top of the nearest object of the class, or the tip if there is none."""
        tops = [
            [*place, TOP] for place, label in zip(self._places, self._classes, strict=True) if label == self._target
        ]
        return min(tops, key=lambda top: math.dist(top, self._tip), default=list(self._tip))

    def _reward(self, lift: float) -> float:
        if self.reward_type == "sparse":
            return float(self._solved)
        distance = math.dist(self._tip, self._wanted()) if self._held is None else 0.0
        return -distance - min(max(LIFT - lift, 0.0), LIFT)

    def _greedy_action(self) -> Any:
        x, y, top = self._wanted()
        above = max(abs(x - self._tip[0]), abs(y - self._tip[1])) < SLACK
        grasps = above and self._held is None and self._within_reach() is not None
        if self.action_type == "discrete" and grasps:
            return self.action_sizes["discrete"] - 1
        if self._held is not None:
            x, y, z = self._tip[0], self._tip[1], self.workspace[1][2]
        else:
            z = top if above else HOVER
        action = self._action_towards((x, y, z))
        return action if self.action_type == "discrete" else np.append(action, np.float32(1 if grasps else -1))


def _add_shape(client: int, name: str, size: float, colour: Colour) -> None:
    """Add a hidden object of a class."""
    if name == "box":
        add_box(client, (size / 2,) * 3, HIDDEN[0], colour)
    else:
        add_mesh(client, str(ASSETS / "shapes" / f"{name}.obj"), HIDDEN[0], colour, (size,) * 3)


register("srl_bench/KukaGrasp-v0", "srl_bench.environments.kuka_grasp:KukaGrasp")
