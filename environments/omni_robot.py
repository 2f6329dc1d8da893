"""An omnidirectional robot drives to a marker, seen from above by a camera with real-world defects.

The sim-to-real task of the S-RL Toolbox (Raffin et al., 2018): a robot whose position and heading are printed
on top of it, and a simulator whose light, lens, image noise and actuation noise can be set.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pybullet as p

from srl_bench.environments.drawing import Camera, add_box, add_mesh
from srl_bench.environments.looks import SIM, Look
from srl_bench.environments.mobile_robot import STEP, TARGET_COLOUR, WALL_COLOUR, MobileRobot
from srl_bench.environments.options import check_number, register
from srl_bench.environments.simulator import ASSETS
from srl_bench.factors import Factor

ARENA_HALF, ROBOT_HALF, GOAL_HALF = 1.0, 0.85, 0.7
REACH = 0.2
FIXED_TARGET = (0.6, 0.4)
TURN_NOISE = 0.05

FLOOR_COLOUR = (0.62, 0.68, 0.66, 1.0)


class OmniRobot(MobileRobot):
    """A robot with three wheels in a square arena of 2 m is to drive to a red marker.

    Actions move the robot without turning it: 0 and 1 by +0.1 and -0.1 m along x (right and left in the image), 2
    and 3 along y (up and down); "continuous" takes two numbers, shortened to at most length 1, times 0.1 m. Noise
    is added to every move, and the heading drifts by a normal 0.05 rad per step. The robot moves kinematically.

    Reward "sparse": +1 for every step that ends within 0.2 m of the marker's centre, -1 for a step into a wall,
    which leaves the robot where it is. "shaped": minus the distance to the centre. Episodes are truncated after
    `max_steps` and never terminate. The start, the heading and with `random_target` the marker are drawn anew in
    every episode. An episode is a success once the robot is at the marker.

    Args:
        image_noise: standard deviation of noise on pixels with values in [0, 1].
        light: brightness of the lamp, 1 as in other environments.
        lens: first radial distortion coefficient, positive for a barrel.
        pose_noise: standard deviation in metres of noise on x and on y of every move.
        options: see `MobileRobot` and `SimulatorEnv`. The domain "twin" keeps its own noise, light and lens, and
            "randomised" varies them.
    """

    factors = (
        Factor("robot_x", "m", -ROBOT_HALF, ROBOT_HALF, proprioceptive=True),
        Factor("robot_y", "m", -ROBOT_HALF, ROBOT_HALF, proprioceptive=True),
        Factor("robot_heading", "rad", -math.pi, math.pi, kind="angular", proprioceptive=True),
        Factor("target_x", "m", -GOAL_HALF, GOAL_HALF, scope="episode"),
        Factor("target_y", "m", -GOAL_HALF, GOAL_HALF, scope="episode"),
    )
    cameras = {
        "top": Camera((0.0, 0.0, 2.9), (0.0, 0.0, 0.0), (0.0, 1.0, 0.0), 41.0, 1.0, 4.0),
        "side": Camera((0.0, -2.6, 2.0), (0.0, -0.05, 0.0), (0.0, 0.0, 1.0), 42.0, 1.0, 6.0),
    }
    distractor_area = {"low": (-0.85, -0.85), "high": (0.85, 0.85), "size": 0.06, "ground": 0.0}
    robot_range = (-ROBOT_HALF, ROBOT_HALF)
    reach = REACH
    target_height = 0.01

    def __init__(
        self,
        *,
        image_noise: float = 0.0,
        light: float = 1.0,
        lens: float = 0.0,
        pose_noise: float = 0.01,
        **options: Any,
    ) -> None:
        check_number("image_noise", image_noise, 0.0, 0.5)
        check_number("light", light, 0.1, 2.0)
        check_number("lens", lens, -0.3, 0.5)
        check_number("pose_noise", pose_noise, 0.0, 0.05)
        self.pose_noise = pose_noise
        self._heading = 0.0
        changes = {
            "noise": image_noise,
            "lens": lens,
            "light_ambient": SIM.light_ambient * light,
            "light_diffuse": SIM.light_diffuse * light,
        }
        look = replace(SIM, **changes)
        self._plain_look = SIM if look == SIM else look
        super().__init__(**options)

    def _sim_look(self) -> Look:
        return self._plain_look

    def load_scenery(self, client: int) -> None:
        """Add floor and walls."""
        half, thick = ARENA_HALF, 0.03
        add_box(client, (half, half, 0.01), (0.0, 0.0, -0.01), FLOOR_COLOUR)
        for side in (-half - thick, half + thick):
            add_box(client, (thick, half + 2 * thick, 0.05), (side, 0.0, 0.05), WALL_COLOUR)
            add_box(client, (half + 2 * thick, thick, 0.05), (0.0, side, 0.05), WALL_COLOUR)

    def load_goals(self, client: int) -> None:
        """Add the marker: flat, but wider than the robot."""
        disc = str(ASSETS / "shapes" / "cylinder.obj")
        add_mesh(client, disc, (0.0, 0.0, 0.0), TARGET_COLOUR, (2 * REACH, 2 * REACH, 0.01))

    def load_robot(self, client: int) -> None:
        """Add the robot."""
        p.loadURDF(str(ASSETS / "omni_robot.urdf"), physicsClientId=client)

    def _read_factors(self) -> tuple[float, ...]:
        x, y = self._position
        target_x, target_y = self._target
        return x, y, self._heading, target_x, target_y

    def _set_factors(self, values: list[float]) -> None:
        x, y, self._heading, *target = values
        self._set_target(*target)
        self._place_robot(x, y)

    def _place_robot(self, x: float, y: float) -> None:
        self._position = (x, y)
        turned = (0.0, 0.0, math.sin(self._heading / 2), math.cos(self._heading / 2))
        p.resetBasePositionAndOrientation(self._bodies[0], (x, y, 0.0), turned, physicsClientId=self._world)

    def _start_episode(self) -> None:
        start = self.np_random.uniform(-GOAL_HALF, GOAL_HALF, 2).tolist()
        heading = self.np_random.uniform(-math.pi, math.pi)
        self._set_factors([*start, heading, *self._draw_goal()])

    def _draw_goal(self) -> Sequence[float]:
        return self.np_random.uniform(-GOAL_HALF, GOAL_HALF, 2).tolist() if self.random_target else FIXED_TARGET

    def _drive(self, action: Any) -> bool:
        dx, dy = self._displacement(action)
        if self.action_type == "continuous" and (length := math.hypot(dx, dy)) > STEP:
            dx, dy = dx * STEP / length, dy * STEP / length
        slip_x, slip_y, turn = self.np_random.standard_normal(3).tolist()
        self._heading = math.remainder(self._heading + TURN_NOISE * turn, math.tau)
        bumped = self._move(dx + self.pose_noise * slip_x, dy + self.pose_noise * slip_y)
        if bumped:
            self._place_robot(*self._position)
        return bumped


register("srl_bench/OmniRobot-v0", "srl_bench.environments.omni_robot:OmniRobot")
