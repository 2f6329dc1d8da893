"""A Kuka iiwa arm presses a button on a table.

The arm task of the S-RL Toolbox (Raffin et al., 2018), with real joint dynamics: a picture shows seven
joints and a button, and the reward depends on the position of the gripper relative to the button.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pybullet as p

from srl_bench.environments.drawing import UPRIGHT, Pose
from srl_bench.environments.kuka import STEP, TIP_FACTORS, KukaArm, joint_factors
from srl_bench.environments.options import check_choice, check_number, register
from srl_bench.environments.simulator import ASSETS
from srl_bench.factors import Factor, fix_factors

BUTTON_CENTRE, BUTTON_RANGE = (0.55, 0.0), (0.14, 0.30)
BUTTON_RADIUS, BUTTON_HEIGHT = 0.045, 0.06
BUTTON_SPEED = 0.005
PRESSES = 5
CRASH = -250.0
HOVER = 0.12
JOINT_RANGES = ((-0.8, 0.8), (0.03, 1.5), (-0.45, 0.45), (-2.1, 0.05), (-0.5, 0.5), (0.2, 1.95), (-1.0, 1.0))

BUTTON_FACTORS = tuple(
    Factor(f"button_{axis}", "m", centre - reach, centre + reach, scope="episode")
    for axis, centre, reach in zip("xy", BUTTON_CENTRE, BUTTON_RANGE, strict=True)
)


class KukaButton(KukaArm):
    """An arm over a table is to press a button five times; see `KukaArm` for the actions.

    Reward "sparse": +1 for every step that ends in contact with the button; -1, which takes precedence, when
    the gripper is more than `max_distance` metres away from the button or any part of the arm touches the
    table. "shaped": minus the distance in metres from the gripper's tip to the top of the button, but -250 when
    the arm touches the table, so that an early end does not pay. Episodes terminate after five steps in contact,
    which is a success, or when the arm touches the table, and are truncated after `max_steps`. Every episode
    begins with another pose of the arm.

    Args:
        button: where the button stands: "random", drawn for every episode; "fixed"; or "moving", which starts
            at random and slides along y by 0.005 m a step, to and fro: the factor button_direction is 1 while
            y grows, else 0.
        max_distance: in metres; see the reward.
        options: see `SimulatorEnv`.
    """

    factors = (*TIP_FACTORS, *BUTTON_FACTORS, *joint_factors(*JOINT_RANGES))
    default_max_steps = 1000

    def __init__(self, *, button: str = "random", max_distance: float = 0.8, **options: Any) -> None:
        check_choice("button", button, ("random", "fixed", "moving"))
        check_number("max_distance", max_distance, 1e-9, math.inf)
        self.button = button
        self.max_distance = max_distance
        self._speed = 0.0
        self._presses = 0
        if button == "fixed":
            self.factors = fix_factors(self.factors, dict(zip(("button_x", "button_y"), BUTTON_CENTRE, strict=True)))
        if button == "moving":
            self.factors = tuple(replace(f, scope="step") if f.name == "button_y" else f for f in self.factors)
            self.factors += (Factor("button_direction", "", 0, 1, kind="categorical", observable="stack"),)
        super().__init__(**options)
        self._place_button(*BUTTON_CENTRE)

    def load_goals(self, client: int) -> None:
        """Add the button."""
        p.loadURDF(str(ASSETS / "button.urdf"), useFixedBase=True, physicsClientId=client)

    def goal_poses(self) -> tuple[Pose, ...]:
        """Return the pose of the button."""
        return self._poses

    def _add_physics(self) -> None:
        super()._add_physics()
        self._button_body = self._add_button()

    def _add_button(self) -> int:
        """Add a solid but invisible button to the world."""
        return self._add_solid(p.GEOM_CYLINDER, (0.0, 0.0, 0.0), radius=BUTTON_RADIUS, height=BUTTON_HEIGHT)

    def _read_factors(self) -> tuple[float, ...]:
        direction = (float(self._speed > 0),) if self.button == "moving" else ()
        return self._tip + self._button + self._joints + direction

    def _set_factors(self, values: list[float]) -> None:
        self._place_button(values[3], values[4])
        self._set_joints(values[5:12])
        if self.button == "moving":
            self._speed = BUTTON_SPEED if values[12] else -BUTTON_SPEED

    def _start_episode(self) -> None:
        self._presses = 0
        x, y = BUTTON_CENTRE if self.button == "fixed" else self._draw_place()
        self._speed = float(self.np_random.choice((-BUTTON_SPEED, BUTTON_SPEED))) if self.button == "moving" else 0.0
        self._place_button(x, y)
        self._start_arm()

    def _draw_place(self) -> tuple[float, float]:
        """Draw a place for a button."""
        x, y = (np.array(BUTTON_CENTRE) + BUTTON_RANGE * self.np_random.uniform(-1, 1, 2)).tolist()
        return x, y

    def _act(self, action: Any) -> tuple[float, bool]:
        if self._speed:
            self._slide_button()
        self._drive(action)
        hit_table = self._touches(self._table_body)
        pressed = self._touches(self._button_body)
        distance = math.dist(self._tip, (*self._button, BUTTON_HEIGHT))
        self._presses += pressed
        if self._presses >= PRESSES:
            self._finish()
        terminated = hit_table or self._solved
        if self.reward_type == "shaped":
            return CRASH if hit_table else -distance, terminated
        if hit_table or distance > self.max_distance:
            return -1.0, terminated
        return float(pressed), terminated

    def _finish(self) -> None:
        """Note that the button has been pressed often enough."""
        self._solved = True

    def _slide_button(self) -> None:
        x, y = self._button
        if abs(y + self._speed - BUTTON_CENTRE[1]) > BUTTON_RANGE[1]:
            self._speed = -self._speed
        self._place_button(x, y + self._speed)

    def _greedy_action(self) -> Any:
        x, y = self._button
        above = abs(x - self._tip[0]) < STEP / 1.5 and abs(y - self._tip[1]) < STEP / 1.5
        if not above and self._tip_goal[2] < BUTTON_HEIGHT:
            # sideways from here the arm would touch the table
            return self._action_towards((*self._tip[:2], HOVER))
        # who presses harder and harder slips off
        pressing = self._tip_goal[2] < BUTTON_HEIGHT - STEP / 2
        return self._action_towards((x, y, BUTTON_HEIGHT - STEP if above and not pressing else HOVER))

    def _place_button(self, x: float, y: float) -> None:
        self._button = (x, y)
        self._poses: tuple[Pose, ...] = (((x, y, BUTTON_HEIGHT / 2), UPRIGHT),)
        p.resetBasePositionAndOrientation(self._button_body, *self._poses[0], physicsClientId=self._world)


register("srl_bench/KukaButton-v0", "srl_bench.environments.kuka_button:KukaButton")
