"""A mobile robot looks for a target on a line: the S-RL Toolbox's navigation task in one dimension."""

from __future__ import annotations

from collections.abc import Sequence

from srl_bench.environments.drawing import add_box
from srl_bench.environments.mobile_robot import ARENA, ROBOT_FACTORS, TARGET_FACTORS, MobileRobot
from srl_bench.environments.options import register

LANE = ARENA / 2
LANE_COLOUR = (0.60, 0.60, 0.56, 1.0)


class MobileRobot1D(MobileRobot):
    """The robot of `MobileRobot` moves along the middle of the arena, where the target is, too.

    Actions move the robot: 0 and 1 by +0.1 and -0.1 m along x (right and left in the image); "continuous" takes
    one number from -1 to 1, times 0.1 m. Reward, endings, success and options are those of `MobileRobot`.
    """

    factors = (ROBOT_FACTORS[0], TARGET_FACTORS[0])
    action_sizes = {"discrete": 2, "continuous": 1}

    def load_scenery(self, client: int) -> None:
        """Add floor, walls, and a stripe along the robot's way."""
        super().load_scenery(client)
        add_box(client, (ARENA / 2 - 0.01, 0.1, 0.001), (ARENA / 2, LANE, 0.002), LANE_COLOUR)

    def _draw_goal(self) -> Sequence[float]:
        return super()._draw_goal()[:1]

    def _read_factors(self) -> tuple[float, ...]:
        return self._position[0], self._target[0]

    def _set_factors(self, values: list[float]) -> None:
        robot, target = values
        super()._set_factors([robot, LANE, target, LANE])


register("srl_bench/MobileRobot1D-v0", "srl_bench.environments.mobile_robot_1d:MobileRobot1D")
