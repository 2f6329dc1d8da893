"""A mobile robot looks for a target in a walled arena.

The navigation task of the S-RL Toolbox (Raffin et al., 2018): the smallest environment in which a picture
hides a robot's position behind many pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pybullet as p

from srl_bench.environments.drawing import UPRIGHT, Camera, Pose, add_box, add_cylinder
from srl_bench.environments.options import check_choice, continuous_action, discrete_action, register
from srl_bench.environments.simulator import ASSETS, SimulatorEnv
from srl_bench.factors import Factor, fix_factors

ARENA = 4.0
STEP = 0.1
REACH = 0.4
ROBOT_MARGIN = 0.25
TARGET_MARGIN = 0.4
FIXED_TARGET = (3.6, 3.0)
# a face that touches the floor is not clearly in front of it
GAP = 0.005
MOVES = ((STEP, 0.0), (-STEP, 0.0), (0.0, STEP), (0.0, -STEP))

FLOOR_COLOUR = (0.80, 0.80, 0.76, 1.0)
WALL_COLOUR = (0.45, 0.32, 0.24, 1.0)
TARGET_COLOUR = (0.90, 0.12, 0.12, 1.0)

ROBOT_FACTORS = (
    Factor("robot_x", "m", ROBOT_MARGIN, ARENA - ROBOT_MARGIN, proprioceptive=True),
    Factor("robot_y", "m", ROBOT_MARGIN, ARENA - ROBOT_MARGIN, proprioceptive=True),
)
TARGET_FACTORS = (
    Factor("target_x", "m", TARGET_MARGIN, ARENA - TARGET_MARGIN, scope="episode"),
    Factor("target_y", "m", TARGET_MARGIN, ARENA - TARGET_MARGIN, scope="episode"),
)


class MobileRobot(SimulatorEnv):
    """A robot in a square arena of 4 m, seen from above, is to drive to a target.

    Actions move the robot: 0 and 1 by +0.1 and -0.1 m along x (right and left in the image), 2 and 3 along
    y (up and down); "continuous" takes two numbers from -1 to 1, times 0.1 m. The robot keeps its
    orientation and moves kinematically.

    Reward "sparse": +1 for every step that ends within 0.4 m of the target, -1 for a step into a wall,
    which leaves the robot where it is. "shaped": minus the distance to the target. Episodes are truncated
    after `max_steps` and never terminate. The start, and with `random_target` the target, are drawn anew in
    every episode. An episode is a success once the robot is at the target. Besides the view from above there
    are one from the side and the robot's own camera ("onboard"), which looks along x.

    Args:
        random_target: whether the target is elsewhere in every episode, or always in one place.
        options: see `SimulatorEnv`.
    """

    factors: tuple[Factor, ...] = (*ROBOT_FACTORS, *TARGET_FACTORS)
    cameras = {
        "top": Camera((2.0, 2.0, 10.0), (2.0, 2.0, 0.0), (0.0, 1.0, 0.0), 24.0, 5.0, 12.0),
        "side": Camera((2.0, -5.0, 5.0), (2.0, 1.9, 0.0), (0.0, 0.0, 1.0), 36.0, 3.0, 14.0),
        "onboard": Camera((0.25, 0.0, 0.40), (1.0, 0.0, 0.25), (0.0, 0.0, 1.0), 100.0, 0.05, 6.0),
    }
    action_sizes = {"discrete": len(MOVES), "continuous": 2}
    default_max_steps = 250
    distractor_area = {"low": (0.3, 0.3), "high": (3.7, 3.7), "size": 0.12, "ground": 0.0}
    robot_range: ClassVar[tuple[float, float]] = (ROBOT_MARGIN, ARENA - ROBOT_MARGIN)
    reach: ClassVar[float] = REACH
    target_height: ClassVar[float] = GAP + 0.15

    def __init__(self, *, random_target: bool = True, **options: Any) -> None:
        check_choice("random_target", random_target, (True, False))
        self.random_target = random_target
        if not random_target:
            goal = self._draw_goal()
            names = [factor.name for factor in self.factors[-len(goal) :] if factor.scope == "episode"]
            self.factors = fix_factors(self.factors, dict(zip(names, goal, strict=False)))
        self._position = (ARENA / 2, ARENA / 2)
        self._set_target(*FIXED_TARGET)
        super().__init__(**options)

    def load_scenery(self, client: int) -> None:
        """Add floor and walls."""
        half, thick = ARENA / 2, 0.05
        add_box(client, (half, half, 0.01), (half, half, -0.01), FLOOR_COLOUR)
        for side in (-thick, ARENA + thick):
            add_box(client, (thick, half + 2 * thick, 0.15), (side, half, 0.15), WALL_COLOUR)
            add_box(client, (half + 2 * thick, thick, 0.15), (half, side, 0.15), WALL_COLOUR)

    def load_goals(self, client: int) -> None:
        """Add the target, taller than the robot: one that stands on it does not hide it."""
        add_cylinder(client, 0.16, 0.3, (0.0, 0.0, 0.15), TARGET_COLOUR)

    def load_robot(self, client: int) -> None:
        """Add the robot."""
        p.loadURDF(str(ASSETS / "mobile_robot.urdf"), physicsClientId=client)

    def goal_poses(self) -> tuple[Pose, ...]:
        """Return the pose of the target."""
        return self._poses

    def camera(self, view: str) -> Camera:
        """Return a camera; "onboard" stands on the robot."""
        camera = self.cameras[view]
        if view != "onboard":
            return camera
        x, y = self._position
        (front, _, height), (ahead, _, aim) = camera.eye, camera.look_at
        return replace(camera, eye=(x + front, y, height), look_at=(x + ahead, y, aim))

    def _read_factors(self) -> tuple[float, ...]:
        return self._position + self._target

    def _set_factors(self, values: list[float]) -> None:
        x, y, *target = values
        self._set_target(*target)
        self._place_robot(x, y)

    def _set_target(self, x: float, y: float) -> None:
        self._target = (x, y)
        self._poses: tuple[Pose, ...] = (((x, y, self.target_height), UPRIGHT),)

    def _place_robot(self, x: float, y: float) -> None:
        self._position = (x, y)
        p.resetBasePositionAndOrientation(self._bodies[0], (x, y, 0.0), UPRIGHT, physicsClientId=self._world)

    def _start_episode(self) -> None:
        start = ARENA / 2 + self.np_random.uniform(-ARENA / 3, ARENA / 3, self.action_sizes["continuous"])
        self._set_factors([*start.tolist(), *self._draw_goal()])

    def _draw_goal(self) -> Sequence[float]:
        """Draw the factors that follow those of the robot, or return fixed ones."""
        if not self.random_target:
            return FIXED_TARGET
        return self.np_random.uniform(TARGET_MARGIN, ARENA - TARGET_MARGIN, 2).tolist()

    def _way(self) -> tuple[float, float]:
        """Return the displacement that leads to the goal."""
        return self._target[0] - self._position[0], self._target[1] - self._position[1]

    def _act(self, action: Any) -> tuple[float, bool]:
        bumped = self._drive(action)
        dx, dy = self._way()
        distance = math.hypot(dx, dy)
        arrived = distance <= self.reach
        if arrived:
            self._arrive()
        if self.reward_type == "shaped":
            return -distance, False
        if bumped:
            return -1.0, False
        return float(arrived), False

    def _arrive(self) -> None:
        """Note that the robot is at the goal."""
        self._solved = True

    def _drive(self, action: Any) -> bool:
        """Carry out an action; return whether a wall was in the way."""
        dx, dy = self._displacement(action)
        return self._move(dx, dy)

    def _move(self, dx: float, dy: float) -> bool:
        """Move the robot, unless a wall is in its way; return whether one is."""
        x, y = self._position
        x += dx
        y += dy
        low, high = self.robot_range
        if not (low <= x <= high and low <= y <= high):
            return True
        self._place_robot(x, y)
        return False

    def _displacement(self, action: Any) -> tuple[float, float]:
        """Return what an action asks for; an environment with fewer dimensions has fewer of its actions."""
        size = self.action_sizes[self.action_type]
        if self.action_type == "discrete":
            return MOVES[discrete_action(action, size)]
        dx, dy = (*(STEP * value for value in continuous_action(action, size)), 0.0)[:2]
        return dx, dy

    def _greedy_action(self) -> Any:
        dx, dy = self._way()
        if self.action_type == "continuous":
            way = np.array([dx, dy], np.float32)[: self.action_sizes["continuous"]]
            return np.clip(way / STEP, -1, 1)
        if abs(dx) > abs(dy):
            return 0 if dx > 0 else 1
        return 2 if dy > 0 else 3


register("srl_bench/MobileRobot-v0", "srl_bench.environments.mobile_robot:MobileRobot")
