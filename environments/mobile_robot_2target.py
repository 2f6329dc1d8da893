"""A mobile robot visits two targets in order: the two-target task of the S-RL Toolbox (Raffin et al., 2018).

What to do next depends on the past, which a single picture need not show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from srl_bench.environments.drawing import HIDDEN, UPRIGHT, add_box, add_cylinder
from srl_bench.environments.mobile_robot import (
    FIXED_TARGET,
    GAP,
    REACH,
    ROBOT_FACTORS,
    TARGET_COLOUR,
    TARGET_FACTORS,
    MobileRobot,
)
from srl_bench.environments.options import check_choice, register
from srl_bench.factors import Factor

FIXED_SECOND_TARGET = (0.4, 3.0)
SECOND_COLOUR = (0.10, 0.60, 0.20, 1.0)
HEIGHTS = (0.30, 0.26)
APART = 2 * REACH


class MobileRobot2Target(MobileRobot):
    """The robot of `MobileRobot` is to drive to the red target first, then to the green one.

    Actions are those of `MobileRobot`. Reward "sparse": +1 for every step that ends within 0.4 m of the target
    whose turn it is, which is the green one from the step after the red one was reached; -1 for a step into a
    wall, which leaves the robot where it is. "shaped": minus the distance to the target whose turn it is. Episodes
    are truncated after `max_steps` and never terminate. The targets stand at least 0.8 m apart. An episode is a
    success once the robot has been at both, in order.

    The factor phase is 0 while it is the red target's turn, then 1.

    Args:
        reached: whether the red target, once reached, "stays", so that no picture shows the phase, or "vanishes".
        options: see `MobileRobot`.
    """

    recording_policy = "mixed"
    factors = (
        *ROBOT_FACTORS,
        *(replace(factor, name=f"red_{factor.name}") for factor in TARGET_FACTORS),
        *(replace(factor, name=f"green_{factor.name}") for factor in TARGET_FACTORS),
        Factor("phase", "", 0, 1, kind="categorical", observable="never"),
    )

    def __init__(self, *, reached: str = "stays", **options: Any) -> None:
        check_choice("reached", reached, ("stays", "vanishes"))
        self.reached = reached
        if reached == "vanishes":
            self.factors = (*self.factors[:-1], replace(self.factors[-1], observable="frame"))
        super().__init__(**options)
        self._targets = (FIXED_TARGET, FIXED_SECOND_TARGET)
        self._set_phase(0)

    def load_goals(self, client: int) -> None:
        """Add the targets, both taller than the robot."""
        add_cylinder(client, 0.16, HEIGHTS[0], HIDDEN[0], TARGET_COLOUR)
        add_box(client, (0.15, 0.15, HEIGHTS[1] / 2), HIDDEN[0], SECOND_COLOUR)

    def _possible(self, values: list[float]) -> bool:
        return math.dist(values[2:4], values[4:6]) >= APART

    def _draw_goal(self) -> Sequence[float]:
        if not self.random_target:
            return (*FIXED_TARGET, *FIXED_SECOND_TARGET, 0)
        while True:
            red, green = super()._draw_goal(), super()._draw_goal()
            if math.dist(red, green) >= APART:
                return (*red, *green, 0)

    def _way(self) -> tuple[float, float]:
        target = self._targets[self._phase]
        return target[0] - self._position[0], target[1] - self._position[1]

    def _arrive(self) -> None:
        if self._phase:
            self._solved = True
        else:
            self._set_phase(1)

    def _set_phase(self, phase: int) -> None:
        self._phase = phase
        red, green = self._targets
        gone = phase == 1 and self.reached == "vanishes"
        first = HIDDEN if gone else ((*red, GAP + HEIGHTS[0] / 2), UPRIGHT)
        self._poses = (first, ((*green, GAP + HEIGHTS[1] / 2), UPRIGHT))

    def _read_factors(self) -> tuple[float, ...]:
        red, green = self._targets
        return self._position + red + green + (self._phase,)

    def _set_factors(self, values: list[float]) -> None:
        x, y, *targets, phase = values
        self._targets = ((targets[0], targets[1]), (targets[2], targets[3]))
        self._set_phase(int(phase))
        self._place_robot(x, y)


register("srl_bench/MobileRobot2Target-v0", "srl_bench.environments.mobile_robot_2target:MobileRobot2Target")
