"""A Kuka iiwa arm presses two buttons on a table, one after the other.

The task with two buttons of the S-RL Toolbox (Raffin et al., 2018): one picture does not tell which button is
next, so that an agent without memory needs a state that does.
"""

from __future__ import annotations

import math
from typing import Any

import pybullet as p

from srl_bench.environments.drawing import UPRIGHT, Colour
from srl_bench.environments.kuka import TIP_FACTORS, joint_factors
from srl_bench.environments.kuka_button import BUTTON_CENTRE, BUTTON_HEIGHT, BUTTON_RANGE, KukaButton
from srl_bench.environments.options import check_choice, register
from srl_bench.environments.simulator import ASSETS
from srl_bench.factors import Factor, fix_factors

APART = 0.2  # wider than the diagonal of a button's plate
FIXED = ((0.55, -0.15), (0.55, 0.15))
SUNK = 0.04
CAP = 0
JOINT_RANGES = ((-0.9, 0.9), (0.03, 1.48), (-0.6, 0.6), (-2.1, 0.1), (-0.6, 0.6), (0.2, 1.95), (-1.0, 1.0))
SECOND_COLOUR: Colour = (0.10, 0.30, 0.90, 1.0)


class Kuka2Button(KukaButton):
    """An arm over a table is to press a red button five times, then a blue one; see `KukaArm` for the actions.

    Reward "sparse": +1 for every step that ends in contact with the button that is next; -1, which takes
    precedence, when the gripper is more than `max_distance` metres away from that button or any part of the arm
    touches the table. "shaped": minus the distance in metres from the gripper's tip to the top of the button
    that is next, but -250 when the arm touches the table. Episodes terminate after five steps in contact with
    each button, which is a success, or when the arm touches the table, and are truncated after `max_steps`.
    Buttons stand at least 0.2 m apart. The factor `phase` is 0 while the red button is next, then 1; no picture
    shows it without `latch`.

    Args:
        button: where the buttons stand: "random", drawn for every episode, or "fixed".
        latch: whether the red button stays down once it has been pressed.
        options: see `KukaButton`.
    """

    default_max_steps = 1500

    def __init__(self, *, button: str = "random", latch: bool = False, **options: Any) -> None:
        check_choice("button", button, ("random", "fixed"))
        check_choice("latch", latch, (True, False))
        self.latch = latch
        self.factors = (
            *TIP_FACTORS,
            *(
                Factor(f"button_{number}_{axis}", "m", centre - reach, centre + reach, scope="episode")
                for number in (1, 2)
                for axis, centre, reach in zip("xy", BUTTON_CENTRE, BUTTON_RANGE, strict=True)
            ),
            Factor("phase", "", 0, 1, kind="categorical", observable="frame" if latch else "never"),
            *joint_factors(*JOINT_RANGES),
        )
        if button == "fixed":
            names = (f"button_{number}_{axis}" for number in (1, 2) for axis in "xy")
            self.factors = fix_factors(self.factors, dict(zip(names, FIXED[0] + FIXED[1], strict=True)))
        super().__init__(button=button, **options)
        self._place_buttons(FIXED, 0)

    def load_goals(self, client: int) -> None:
        """Add the buttons."""
        super().load_goals(client)
        second = p.loadURDF(str(ASSETS / "button.urdf"), useFixedBase=True, physicsClientId=client)
        p.changeVisualShape(second, CAP, rgbaColor=SECOND_COLOUR, physicsClientId=client)

    def _add_physics(self) -> None:
        super()._add_physics()
        self._button_bodies = (self._button_body, self._add_button())

    def _read_factors(self) -> tuple[float, ...]:
        first, second = self._buttons
        return self._tip + first + second + (self._phase,) + self._joints

    def _set_factors(self, values: list[float]) -> None:
        first, second, phase = (values[3], values[4]), (values[5], values[6]), int(values[7])
        self._place_buttons((first, second), phase)
        self._set_joints(values[8:])

    def _possible(self, values: list[float]) -> bool:
        return math.dist(values[3:5], values[5:7]) >= APART and super()._possible(values)

    def _place_buttons(self, places: tuple[tuple[float, float], tuple[float, float]], phase: int) -> None:
        self._buttons, self._phase = places, phase
        sunk = SUNK if self.latch and phase else 0.0
        heights = (BUTTON_HEIGHT / 2 - sunk, BUTTON_HEIGHT / 2)
        self._poses = tuple(((*place, height), UPRIGHT) for place, height in zip(places, heights, strict=True))
        for body, pose in zip(self._button_bodies, self._poses, strict=True):
            p.resetBasePositionAndOrientation(body, *pose, physicsClientId=self._world)
        self._button, self._button_body = places[phase], self._button_bodies[phase]

    def _start_episode(self) -> None:
        self._presses = 0
        places = FIXED
        if self.button == "random":
            first = second = BUTTON_CENTRE
            while math.dist(first, second) < APART:
                first, second = self._draw_place(), self._draw_place()
            places = first, second
        self._place_buttons(places, 0)
        self._start_arm()

    def _finish(self) -> None:
        """Go on to the second button, or note that it has been pressed."""
        if self._phase:
            self._solved = True
        else:
            self._presses = 0
            self._place_buttons(self._buttons, 1)


register("srl_bench/Kuka2Button-v0", "srl_bench.environments.kuka_2button:Kuka2Button")
