"""A pendulum is to swing up and stand.

The classic task of Gymnasium's Pendulum-v1, with the dynamics of its rod, seen by a camera: one frame shows
the angle, only several show the velocity.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from srl_bench.environments.drawing import Camera, add_box
from srl_bench.environments.mechanism import Mechanism
from srl_bench.environments.options import register
from srl_bench.factors import Factor

MAX_TORQUE, MAX_SPEED = 2.0, 8.0
UPRIGHT_ANGLE, UPRIGHT_SPEED, UPRIGHT_STEPS = 0.2, 1.0, 20
PIVOT = (0.0, 0.0, 1.2)
INERTIA, WEIGHT = 1 / 3, 9.81 / 2  # of the rod about the pivot; torque of its weight when level

FLOOR_COLOUR = (0.75, 0.76, 0.72, 1.0)
WALL_COLOUR = (0.86, 0.89, 0.92, 1.0)
STAND_COLOUR = (0.45, 0.36, 0.28, 1.0)


class PendulumPixels(Mechanism):
    """A rod of 1 m and 1 kg hangs from a motor that is too weak to lift it: 2 N m, and 4.9 N m are needed.

    Actions are torques, 20 per simulated second, see `Mechanism`. Factors: the angle, 0 when upright, positive
    clockwise, and the angular velocity, at most 8 rad/s. Episodes start at any angle and up to 1 rad/s.

    Reward "sparse": +1 for every step that ends upright, within 0.2 rad and slower than 1 rad/s. "shaped": that
    of Pendulum-v1, -(angle^2 + 0.1 velocity^2 + 0.001 torque^2), of the state after the step. Episodes are
    truncated after `max_steps` and never terminate. An episode is a success once 20 steps in a row end upright.
    """

    factors = (
        Factor("angle", "rad", -math.pi, math.pi, kind="angular", proprioceptive=True),
        Factor("angular_velocity", "rad/s", -MAX_SPEED, MAX_SPEED, observable="stack", proprioceptive=True),
    )
    cameras = {
        "front": Camera((0.0, -4.6, 1.5), (0.0, 0.0, 1.16), (0.0, 0.0, 1.0), 31.0, 2.5, 9.0),
        "corner": Camera((3.0, -3.6, 2.4), (0.0, 0.0, 1.12), (0.0, 0.0, 1.0), 31.0, 2.5, 9.0),
    }
    default_max_steps = 200
    distractor_area = {"low": (-1.1, 0.3), "high": (1.1, 0.9), "size": 0.1, "ground": 0.0}
    urdf = "pendulum.urdf"
    base = PIVOT
    joints = (0,)
    strength = MAX_TORQUE
    time_step = 0.05
    max_velocity = MAX_SPEED

    def __init__(self, **options: Any) -> None:
        self._motion = [0.0, 0.0]
        self._upright = 0
        super().__init__(**options)

    def load_scenery(self, client: int) -> None:
        """Add floor, wall and the stand of the motor."""
        add_box(client, (8.0, 3.0, 0.05), (0.0, -1.0, -0.05), FLOOR_COLOUR)
        add_box(client, (8.0, 0.05, 3.0), (0.0, 1.15, 2.0), WALL_COLOUR)
        add_box(client, (0.08, 0.05, 0.64), (0.0, 0.16, 0.64), STAND_COLOUR)
        add_box(client, (0.3, 0.12, 0.03), (0.0, 0.16, 0.031), STAND_COLOUR)

    def _start_episode(self) -> None:
        self._upright = 0
        angle, speed = self.np_random.uniform((-math.pi, -1.0), (math.pi, 1.0)).tolist()
        self._set_factors([angle, speed])

    def _act(self, action: Any) -> tuple[float, bool]:
        torque = self._push(action)
        angle, speed = self._motion
        upright = abs(angle) < UPRIGHT_ANGLE and abs(speed) < UPRIGHT_SPEED
        self._upright = self._upright + 1 if upright else 0
        self._solved = self._solved or self._upright >= UPRIGHT_STEPS
        if self.reward_type == "shaped":
            return -(angle**2 + 0.1 * speed**2 + 0.001 * torque**2), False
        return float(upright), False

    def _greedy_action(self) -> Any:
        angle, speed = self._motion
        # the rod falls as exp(t sqrt(WEIGHT / INERTIA)), unless the motor can stop it
        if abs(angle + speed * math.sqrt(INERTIA / WEIGHT)) < 0.9 * MAX_TORQUE / WEIGHT:
            torque = -20 * angle - 5 * speed
        else:
            missing = WEIGHT * (1 - math.cos(angle)) - INERTIA * speed**2 / 2
            torque = math.copysign(MAX_TORQUE, missing * speed)
        push = min(max(torque / MAX_TORQUE, -1.0), 1.0)
        return round(push) + 1 if self.action_type == "discrete" else np.array([push], np.float32)


register("srl_bench/PendulumPixels-v0", "srl_bench.environments.pendulum:PendulumPixels")
