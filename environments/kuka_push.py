"""A Kuka iiwa arm pushes an object to a place on a table.

Pushing as in "Learning to Poke by Poking" (Agrawal et al., 2016, arXiv:1606.07419): what the arm does to the
objects depends on contact, and the goal says which of several objects matters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain, combinations
from typing import Any

import numpy as np
import pybullet as p

from srl_bench.environments.drawing import HIDDEN, UPRIGHT, Camera, Pose, add_mesh
from srl_bench.environments.kuka import STEP, SUBSTEPS, KukaArm, joint_factors, tip_factors
from srl_bench.environments.options import check_integer, register
from srl_bench.environments.simulator import ASSETS
from srl_bench.factors import Factor

MAX_OBJECTS = 4
JOINT_RANGES = ((-0.75, 0.75), (0.1, 1.5), (-0.45, 0.45), (-2.1, 0.05), (-0.5, 0.5), (0.3, 1.9), (-0.9, 0.9))
# where pucks start and marks lie, and where the gripper can push a puck
START_LOW, START_HIGH = (0.49, -0.25), (0.68, 0.25)
AREA_LOW, AREA_HIGH = (0.36, -0.44), (0.82, 0.44)
RADIUS, HEIGHT = 0.035, 0.05
# newtons; a puck of 0.2 kg that the gripper lets go stops within 5 mm. A motor's force counts for each substep.
FRICTION = 6.0 / SUBSTEPS
APART = 0.1
# how deep (m) pucks that are pushed go into each other
PRESSED = 0.005
REACH = 0.04
TIP_WEIGHT = 0.1
GRIPPER_HALF = (0.015, 0.0525)
LOW, HOVER = 0.02, 0.12
# a discrete step ends within half its length of every place
SLACK = STEP / 2 + 0.001
GAPS = (0.03, 0.08, 0.13)
COLOURS = ((0.85, 0.10, 0.10, 1.0), (0.10, 0.30, 0.85, 1.0), (0.95, 0.80, 0.10, 1.0), (0.95, 0.95, 0.95, 1.0))
MARKER = str(ASSETS / "shapes" / "cylinder.obj")


class KukaPush(KukaArm):
    """An arm over a table is to push the right one of several pucks to a mark; see `KukaArm` for the actions.

    The pucks slide with friction, push each other, and stay where they are left. The mark has the colour of the
    puck that is to be pushed: red, blue, yellow or white, the factor `task`. Every episode begins with other
    places of mark and pucks, at least 0.1 m apart: those of the mark and of that puck are where the gripper can get
    behind it from all sides, those of the others anywhere that pushing can bring them.

    Reward "sparse": +1 when that puck is within 0.04 m of the mark, which is a success and terminates the
    episode. "shaped": minus the distance in metres from puck to mark, minus a tenth of that from the gripper's
    tip to the puck. Episodes are truncated after `max_steps`.

    Args:
        objects: number of pucks, 1 to 4.
        task: which puck is to be pushed, from 1; or "random", drawn for every episode.
        options: see `SimulatorEnv`.
    """

    default_max_steps = 300
    elbow = 0.4
    workspace = ((0.42, -0.34, LOW), (0.75, 0.34, 0.35))
    cameras = {
        "front": Camera((1.40, -0.50, 1.15), (0.49, 0.0, 0.12), (0.0, 0.0, 1.0), 35.0, 0.3, 5.0),
        "top": Camera((0.52, 0.0, 2.0), (0.52, 0.0, 0.0), (1.0, 0.0, 0.0), 28.0, 0.5, 4.0),
        "side": KukaArm.cameras["side"],
    }

    def __init__(self, *, objects: int = 2, task: int | str = "random", **options: Any) -> None:
        check_integer("objects", objects, 1, MAX_OBJECTS)
        if task != "random":
            check_integer("task", task, 1, objects)
        self.objects = objects
        self._tasks = (1, objects) if task == "random" else (int(task), int(task))
        self.factors = (
            *tip_factors(*self.workspace),
            *joint_factors(*JOINT_RANGES),
            *(
                Factor(f"object_{index + 1}_{axis}", "m", low, high)
                for index in range(objects)
                for axis, low, high in zip("xy", AREA_LOW, AREA_HIGH, strict=True)
            ),
            *(
                Factor(f"goal_{axis}", "m", low, high, scope="episode")
                for axis, low, high in zip("xy", START_LOW, START_HIGH, strict=True)
            ),
            Factor("task", "", *self._tasks, kind="categorical", scope="episode"),
        )
        self._places = [AREA_LOW] * objects
        self._set_goal(*START_HIGH, 1)
        super().__init__(**options)

    def load_goals(self, client: int) -> None:
        """Add a mark of every colour."""
        for colour in COLOURS[: self.objects]:
            add_mesh(client, MARKER, HIDDEN[0], colour, (2 * REACH, 2 * REACH, 0.006))

    def load_robot(self, client: int) -> None:
        """Add the arm and the pucks."""
        super().load_robot(client)
        for colour in COLOURS[: self.objects]:
            place = (0.0, 0.0, HEIGHT / 2 + 0.005)
            puck = p.loadURDF(str(ASSETS / "puck.urdf"), place, useFixedBase=True, physicsClientId=client)
            p.changeVisualShape(puck, 1, rgbaColor=colour, physicsClientId=client)

    def goal_poses(self) -> tuple[Pose, ...]:
        """Return the poses of the marks: only one is on the table."""
        return self._poses

    def _add_physics(self) -> None:
        super()._add_physics()
        client = {"physicsClientId": self._world}
        self._pucks = self._bodies[1:]
        for puck in self._pucks:
            # the motors that brake the two joints stand for the friction of the table
            p.setCollisionFilterPair(puck, self._table_body, 1, -1, 0, **client)
            p.setJointMotorControlArray(puck, (0, 1), p.VELOCITY_CONTROL, forces=(FRICTION, FRICTION), **client)

    def _read_factors(self) -> tuple[float, ...]:
        return (*self._tip, *self._joints, *chain.from_iterable(self._places), *self._goal, self._wanted + 1)

    def _set_factors(self, values: list[float]) -> None:
        *places, x, y, task = values[10:]
        self._set_goal(x, y, int(task))
        for index, puck in enumerate(self._pucks):
            for axis in (0, 1):
                p.resetJointState(puck, axis, places[2 * index + axis], physicsClientId=self._world)
        self._locate()
        self._set_joints(values[3:10])

    def _set_goal(self, x: float, y: float, task: int) -> None:
        self._goal, self._wanted = (x, y), task - 1
        mark = ((x, y, 0.0), UPRIGHT)
        self._poses: tuple[Pose, ...] = tuple(mark if i == self._wanted else HIDDEN for i in range(self.objects))

    def _possible(self, values: list[float]) -> bool:
        places = np.reshape(values[10 : 10 + 2 * self.objects], (-1, 2))
        return _apart(places.tolist(), 2 * RADIUS - PRESSED) and super()._possible(values)

    def _locate(self) -> None:
        client = {"physicsClientId": self._world}
        for index, puck in enumerate(self._pucks):
            (x, *_), (y, *_) = p.getJointStates(puck, (0, 1), **client)
            if not (AREA_LOW[0] <= x <= AREA_HIGH[0] and AREA_LOW[1] <= y <= AREA_HIGH[1]):
                # an arm that presses down with all its force pushes a puck through the edge
                x, y = min(max(x, AREA_LOW[0]), AREA_HIGH[0]), min(max(y, AREA_LOW[1]), AREA_HIGH[1])
                p.resetJointState(puck, 0, x, **client)
                p.resetJointState(puck, 1, y, **client)
            self._places[index] = x, y

    def _start_episode(self) -> None:
        task = self.np_random.integers(*self._tasks, endpoint=True)
        low, high = (np.tile(corner, (self.objects + 1, 1)) for corner in (AREA_LOW, AREA_HIGH))
        for pushed in (task - 1, self.objects):
            low[pushed], high[pushed] = START_LOW, START_HIGH
        places = self.np_random.uniform(low, high)
        while not _apart(places.tolist(), APART):
            places = self.np_random.uniform(low, high)
        self._start_arm()
        self._set_factors([*self._tip, *self._joints, *places.ravel().tolist(), float(task)])

    def _act(self, action: Any) -> tuple[float, bool]:
        self._drive(action)
        self._locate()
        place = self._places[self._wanted]
        distance = math.dist(place, self._goal)
        self._solved = distance <= REACH
        if self.reward_type == "shaped":
            return -distance - TIP_WEIGHT * math.dist(self._tip, (*place, HEIGHT / 2)), self._solved
        return float(self._solved), self._solved

    def _greedy_action(self) -> Any:
        """Push along one axis after the other: hover behind the puck, lower the gripper, push, raise it again."""
        tip, place = self._tip, self._places[self._wanted]
        errors = [end - here for end, here in zip(self._goal, place, strict=True)]
        longest = int(abs(errors[1]) > abs(errors[0]))
        if tip[2] < LOW + STEP / 2:
            for axis in (longest, 1 - longest):
                if self._pushes(axis, errors[axis]):
                    contact = _contact(axis, errors[axis])
                    return self._action_towards(_moved(tip, axis, self._goal[axis] - contact))
            return self._action_towards((tip[0], tip[1], HOVER))
        x, y = self._spot(longest, errors[longest])
        if max(abs(x - tip[0]), abs(y - tip[1])) < SLACK:
            return self._action_towards((tip[0], tip[1], LOW))
        rising = tip[2] < HOVER - STEP / 2
        return self._action_towards((tip[0], tip[1], HOVER) if rising else (x, y, HOVER))

    def _pushes(self, axis: int, error: float) -> bool:
        """Return whether a step along an axis brings the puck nearer to the mark, or the gripper to the puck."""
        tip, place, contact = self._tip, self._places[self._wanted], _contact(axis, error)
        beside = abs(tip[1 - axis] - place[1 - axis]) < SLACK
        behind = (place[axis] - tip[axis]) / contact > 0.8
        # discrete steps may end behind the mark
        step = min(abs(error), STEP) if self.action_type != "discrete" else STEP
        excess = (tip[axis] + contact - self._goal[axis]) * math.copysign(1, error) + step
        return beside and behind and excess < abs(error) - 0.002

    def _spot(self, axis: int, error: float) -> tuple[float, float]:
        """Return where to lower the gripper behind the puck, with room between the others."""
        place, contact = self._places[self._wanted], _contact(axis, error)
        for gap in GAPS:
            behind = place[axis] - contact - math.copysign(gap, error)
            low, high = (corner[axis] for corner in self.workspace)
            x, y = _moved(place, axis, min(max(behind, low), high))
            aside = (max(abs(x - a) - GRIPPER_HALF[0], abs(y - b) - GRIPPER_HALF[1]) for a, b in self._places)
            if min(aside) > RADIUS:
                break
        return x, y


def _contact(axis: int, error: float) -> float:
    """Return how far a puck is ahead of a gripper that pushes it along an axis."""
    return math.copysign(RADIUS + GRIPPER_HALF[axis], error)


def _moved(point: Sequence[float], axis: int, value: float) -> list[float]:
    """Return a point with another coordinate."""
    return [*point[:axis], value, *point[axis + 1 :]]


def _apart(places: list[list[float]], distance: float) -> bool:
    """Return whether no two places are nearer to each other than a distance."""
    return all(math.dist(a, b) >= distance for a, b in combinations(places, 2))


register("srl_bench/KukaPush-v0", "srl_bench.environments.kuka_push:KukaPush")
