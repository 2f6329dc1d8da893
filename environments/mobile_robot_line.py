"""A mobile robot looks for a line across its arena: the line-target task of the S-RL Toolbox (Raffin et al., 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from srl_bench.environments.drawing import UPRIGHT, add_box
from srl_bench.environments.mobile_robot import ARENA, ROBOT_FACTORS, TARGET_COLOUR, TARGET_MARGIN, MobileRobot
from srl_bench.environments.options import register
from srl_bench.factors import Factor

HALF_WIDTH = 0.1
FIXED_LINE = 3.0


class MobileRobotLine(MobileRobot):
    """The robot of `MobileRobot` is to drive onto a band that crosses the arena along y.

    Actions are those of `MobileRobot`. Reward "sparse": +1 for every step that ends within 0.1 m of the middle of
    the band, which is 0.2 m wide, -1 for a step into a wall, which leaves the robot where it is. "shaped": minus
    the distance to the middle of the band. Episodes are truncated after `max_steps` and never terminate. An
    episode is a success once the robot is on the band. Options are those of `MobileRobot`.
    """

    factors = (*ROBOT_FACTORS, Factor("line_x", "m", TARGET_MARGIN, ARENA - TARGET_MARGIN, scope="episode"))
    reach = HALF_WIDTH

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._set_line(FIXED_LINE)

    def load_goals(self, client: int) -> None:
        """Add the band, flat, between the walls and a little above the floor."""
        add_box(client, (HALF_WIDTH, ARENA / 2 - 0.01, 0.005), (0.0, 0.0, 0.0), TARGET_COLOUR)

    def _draw_goal(self) -> Sequence[float]:
        return super()._draw_goal()[:1] if self.random_target else (FIXED_LINE,)

    def _way(self) -> tuple[float, float]:
        return self._line - self._position[0], 0.0

    def _read_factors(self) -> tuple[float, ...]:
        return (*self._position, self._line)

    def _set_factors(self, values: list[float]) -> None:
        x, y, line = values
        self._set_line(line)
        self._place_robot(x, y)

    def _set_line(self, x: float) -> None:
        self._line = x
        self._poses = (((x, ARENA / 2, 0.01), UPRIGHT),)


register("srl_bench/MobileRobotLine-v0", "srl_bench.environments.mobile_robot_line:MobileRobotLine")
