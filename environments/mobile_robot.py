"""A mobile robot looks for a target in a walled arena.

The navigation task of the S-RL Toolbox (Raffin et al., 2018): the smallest environment in which a picture
hides a robot's position behind many pixels.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pybullet as p
from numpy.typing import NDArray

from srl_bench.environments.drawing import Camera, add_box
from srl_bench.environments.simulator import (
    ASSETS,
    SimulatorEnv,
    check_choice,
    continuous_action,
    discrete_action,
    register,
)
from srl_bench.factors import Factor

ARENA = 4.0
STEP = 0.1
REACH = 0.4
ROBOT_MARGIN = 0.25
TARGET_MARGIN = 0.4
FIXED_TARGET = (3.6, 3.0)
MOVES = ((STEP, 0.0), (-STEP, 0.0), (0.0, STEP), (0.0, -STEP))

UPRIGHT = (0.0, 0.0, 0.0, 1.0)
FLOOR_COLOUR = (0.80, 0.80, 0.76, 1.0)
WALL_COLOUR = (0.45, 0.32, 0.24, 1.0)
TARGET_COLOUR = (0.90, 0.12, 0.12, 1.0)


class MobileRobot(SimulatorEnv):
    """A robot in a square arena of 4 m, seen from above, is to drive to a target.

    Actions move the robot: 0 and 1 by +0.1 and -0.1 m along x (right and left in the image), 2 and 3 along
    y (up and down); "continuous" takes two numbers from -1 to 1, times 0.1 m. The robot keeps its
    orientation and moves kinematically.

    Reward "sparse": +1 for every step that ends within 0.4 m of the target, -1 for a step into a wall,
    which leaves the robot where it is. "shaped": minus the distance to the target. Episodes are truncated
    after `max_steps` and never terminate. The start, and with `random_target` the target, are drawn anew in
    every episode.
    """

    factors = (
        Factor("robot_x", "m", ROBOT_MARGIN, ARENA - ROBOT_MARGIN),
        Factor("robot_y", "m", ROBOT_MARGIN, ARENA - ROBOT_MARGIN),
        Factor("target_x", "m", TARGET_MARGIN, ARENA - TARGET_MARGIN, scope="episode"),
        Factor("target_y", "m", TARGET_MARGIN, ARENA - TARGET_MARGIN, scope="episode"),
    )
    camera = Camera((2.0, 2.0, 10.0), (2.0, 2.0, 0.0), (0.0, 1.0, 0.0), 24.0, 5.0, 12.0)
    action_sizes = {"discrete": len(MOVES), "continuous": 2}

    def __init__(
        self,
        *,
        random_target: bool = True,
        obs_type: str = "pixels",
        image_size: int = 64,
        action_type: str = "discrete",
        reward_type: str = "sparse",
        max_steps: int = 250,
        render_mode: str | None = None,
    ) -> None:
        check_choice("random_target", random_target, (True, False))
        self.random_target = random_target
        self._position = (ARENA / 2, ARENA / 2)
        self._target = FIXED_TARGET
        super().__init__(
            obs_type=obs_type,
            image_size=image_size,
            action_type=action_type,
            reward_type=reward_type,
            max_steps=max_steps,
            render_mode=render_mode,
        )

    def get_factors(self) -> NDArray[np.float64]:
        """Return robot_x, robot_y, target_x, target_y in metres."""
        return np.array(self._position + self._target)

    def _set_factors(self, values: list[float]) -> None:
        self._position = (values[0], values[1])
        self._target = (values[2], values[3])
        self._place_robot(self._world, self._robot)

    def _start_episode(self) -> None:
        x, y = (ARENA / 2 + self.np_random.uniform(-ARENA / 3, ARENA / 3, 2)).tolist()
        target = FIXED_TARGET
        if self.random_target:
            target = tuple(self.np_random.uniform(TARGET_MARGIN, ARENA - TARGET_MARGIN, 2).tolist())
        self._set_factors([x, y, *target])

    def _act(self, action: Any) -> tuple[float, bool]:
        if self.action_type == "discrete":
            dx, dy = MOVES[discrete_action(action, len(MOVES))]
        else:
            dx, dy = (STEP * value for value in continuous_action(action, 2))
        x, y = self._position[0] + dx, self._position[1] + dy
        low, high = ROBOT_MARGIN, ARENA - ROBOT_MARGIN
        bumped = not (low <= x <= high and low <= y <= high)
        if not bumped:
            self._position = (x, y)
            self._place_robot(self._world, self._robot)
        distance = math.dist(self._position, self._target)
        if self.reward_type == "shaped":
            return -distance, False
        if bumped:
            return -1.0, False
        return float(distance <= REACH), False

    def _greedy_action(self) -> Any:
        dx, dy = self._target[0] - self._position[0], self._target[1] - self._position[1]
        if self.action_type == "continuous":
            return np.clip(np.array([dx, dy], np.float32) / STEP, -1, 1)
        if abs(dx) > abs(dy):
            return 0 if dx > 0 else 1
        return 2 if dy > 0 else 3

    def _load_robot(self, client: int) -> int:
        return p.loadURDF(str(ASSETS / "mobile_robot.urdf"), physicsClientId=client)

    def _place_robot(self, client: int, body: int) -> None:
        p.resetBasePositionAndOrientation(body, (*self._position, 0.0), UPRIGHT, physicsClientId=client)

    def _load_scenery(self, client: int) -> int:
        half, thick = ARENA / 2, 0.05
        add_box(client, (half, half, 0.01), (half, half, -0.01), FLOOR_COLOUR)
        for side in (-thick, ARENA + thick):
            add_box(client, (thick, half + 2 * thick, 0.15), (side, half, 0.15), WALL_COLOUR)
            add_box(client, (half + 2 * thick, thick, 0.15), (half, side, 0.15), WALL_COLOUR)
        # taller than the robot, so that a robot standing on the target does not hide it
        shape = p.createVisualShape(
            p.GEOM_CYLINDER, radius=0.16, length=0.3, rgbaColor=TARGET_COLOUR, physicsClientId=client
        )
        return p.createMultiBody(baseVisualShapeIndex=shape, physicsClientId=client)

    def _place_goal(self, client: int, body: int) -> None:
        p.resetBasePositionAndOrientation(body, (*self._target, 0.15), UPRIGHT, physicsClientId=client)

    def _scenery_key(self) -> tuple[float, float]:
        return self._target


register("srl_bench/MobileRobot-v0", "srl_bench.environments.mobile_robot:MobileRobot")
