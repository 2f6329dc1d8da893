"""A cart balances a pole, or swings it up first.

The classic task of Barto, Sutton and Anderson (1983), and its harder form of the DeepMind Control Suite (Tassa
et al., 2018), seen by a camera: one frame shows cart and pole, only several show their velocities.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pybullet as p

from srl_bench.environments.drawing import Camera, add_box
from srl_bench.environments.mechanism import Mechanism
from srl_bench.environments.options import check_choice, register
from srl_bench.factors import Factor

RAIL, RAIL_HEIGHT = 1.8, 1.25
# to where the buffers at the ends of the rail give
FARTHEST = 1.9
# the drive brakes a cart that is faster than this, in m/s; no pole turns faster than that, in rad/s
MAX_FORCE, CART_SPEED, MAX_SPEED = 10.0, 2.5, 10.0
FALLEN = 0.4
UPRIGHT_ANGLE, BALANCED_STEPS = 0.2, 100
# of the pole about the hinge, and the torque of its weight when level
INERTIA, WEIGHT = 0.1 / 3, 0.1 * 9.81 / 2
# where, from the start of an episode on, a pole that has not fallen takes position and velocity of the cart and its own
BALANCING = (FARTHEST, CART_SPEED, 0.6, 5.0)
# how far from rest in the middle these are when an episode starts
STARTS = {"balance": (1.0, 0.05, 0.05, 0.05), "swing_up": (0.05, 0.05, 0.05, 0.05)}
# newtons per x, v, angle, angular velocity: the LQR of the linearised model in steps of 0.04 s, for the
# cost x^2 + 0.1 v^2 + angle^2 + 0.1 velocity^2 + 0.1 force^2
GAINS = (2.6, 4.9, 36.6, 9.4)
# of the swing-up: found by trial
CATCH, PUMP, HOLD, DAMP = 0.3, 40.0, 15.0, 3.0
DEAD_BAND = 0.1

FLOOR_COLOUR = (0.72, 0.74, 0.70, 1.0)
WALL_COLOUR = (0.90, 0.90, 0.84, 1.0)
RAIL_COLOUR = (0.35, 0.36, 0.38, 1.0)


class CartPolePixels(Mechanism):
    """A cart of 1 kg on a rail of 3.6 m carries a pole of 0.1 kg and 1 m on a hinge.

    Actions are forces along the rail of at most 10 N, 25 per simulated second, see `Mechanism`. The rail brakes
    the cart with 1 N per m/s, and the drive limits it to 2.5 m/s. Factors: position and velocity of the cart, the
    angle of the pole, 0 when upright, positive clockwise, and its angular velocity.

    Task "balance" starts within 1 m of the middle and 0.05 rad of upright, and ends when the pole leans by more than
    0.4 rad; reward "sparse" is +1 for every step. "swing_up" starts in the middle with the pole hanging; "sparse" is
    +1 for every step that ends within 0.2 rad of upright. In both tasks episodes also end when the cart is more than
    1.8 m away from the middle, the reward "shaped" is (1 + cos(angle)) / 2 (1 - (x / 1.8 m)^2 / 2), and an episode is
    a success once 100 steps in a row end within 0.2 rad of upright. Episodes are truncated after `max_steps`.

    Args:
        task: "balance" or "swing_up".
        options: see `SimulatorEnv`.
    """

    factors: tuple[Factor, ...] = (
        Factor("cart_x", "m", -FARTHEST, FARTHEST, proprioceptive=True),
        Factor("cart_velocity", "m/s", -CART_SPEED, CART_SPEED, observable="stack", proprioceptive=True),
        Factor("pole_angle", "rad", -math.pi, math.pi, kind="angular", proprioceptive=True),
        Factor("pole_velocity", "rad/s", -MAX_SPEED, MAX_SPEED, observable="stack", proprioceptive=True),
    )
    cameras = {
        "front": Camera((0.0, -6.0, 1.9), (0.0, 0.0, 1.25), (0.0, 0.0, 1.0), 40.0, 3.0, 12.0),
        "corner": Camera((3.6, -4.8, 2.8), (0.0, 0.0, 1.15), (0.0, 0.0, 1.0), 40.0, 3.0, 14.0),
    }
    default_max_steps = 250
    distractor_area = {"low": (-1.7, 0.5), "high": (1.7, 1.3), "size": 0.15, "ground": 0.0}
    urdf = "cart_pole.urdf"
    base = (0.0, 0.0, RAIL_HEIGHT)
    joints = (0, 1)
    strength = MAX_FORCE
    time_step = 0.04
    max_velocity = MAX_SPEED

    def __init__(self, *, task: str = "balance", **options: Any) -> None:
        check_choice("task", task, ("balance", "swing_up"))
        self.task = task
        self._motion = [0.0] * 4
        self._balanced = 0
        if task == "balance":
            self.factors = tuple(replace(f, low=-e, high=e) for f, e in zip(self.factors, BALANCING, strict=True))
        super().__init__(**options)

    def load_scenery(self, client: int) -> None:
        """Add floor, wall and the rail on two posts."""
        add_box(client, (10.0, 4.0, 0.05), (0.0, -1.0, -0.05), FLOOR_COLOUR)
        add_box(client, (10.0, 0.05, 4.0), (0.0, 1.6, 3.0), WALL_COLOUR)
        add_box(client, (RAIL + 0.35, 0.05, 0.04), (0.0, 0.0, RAIL_HEIGHT), RAIL_COLOUR)
        for x in (-RAIL - 0.3, RAIL + 0.3):
            add_box(client, (0.06, 0.06, RAIL_HEIGHT / 2), (x, 0.0, RAIL_HEIGHT / 2 + 0.06), RAIL_COLOUR)

    def _start_episode(self) -> None:
        self._balanced = 0
        start = self.np_random.uniform(-1.0, 1.0, 4) * STARTS[self.task]
        if self.task == "swing_up":
            start[2] = math.remainder(start[2] + math.pi, 2 * math.pi)
        self._set_factors(start.tolist())

    def _act(self, action: Any) -> tuple[float, bool]:
        self._push(action)
        x, velocity, angle, _ = self._motion
        if abs(velocity) > CART_SPEED:
            velocity = math.copysign(CART_SPEED, velocity)
            p.resetJointState(self._robot, 0, x, velocity, physicsClientId=self._world)
            self._motion[1] = velocity
        upright = abs(angle) < UPRIGHT_ANGLE
        self._balanced = self._balanced + 1 if upright else 0
        self._solved = self._solved or self._balanced >= BALANCED_STEPS
        terminated = abs(x) > RAIL or (self.task == "balance" and abs(angle) > FALLEN)
        if self.reward_type == "shaped":
            return (1 + math.cos(angle)) / 2 * (1 - (x / RAIL) ** 2 / 2), terminated
        return float(upright or self.task == "balance"), terminated

    def _greedy_action(self) -> Any:
        x, v, angle, speed = self._motion
        # the pole falls as exp(t sqrt(WEIGHT / INERTIA))
        if abs(angle + speed * math.sqrt(INERTIA / WEIGHT)) < CATCH:
            force = sum(gain * value for gain, value in zip(GAINS, self._motion, strict=True))
        else:
            missing = WEIGHT * (1 - math.cos(angle)) - INERTIA * speed**2 / 2
            force = -PUMP * missing * speed * math.cos(angle) - HOLD * x - DAMP * v
        push = min(max(force / MAX_FORCE, -1.0), 1.0)
        if self.action_type == "discrete":
            return 1 + (push > DEAD_BAND) - (push < -DEAD_BAND)
        return np.array([push], np.float32)


register("srl_bench/CartPolePixels-v0", "srl_bench.environments.cart_pole:CartPolePixels")
