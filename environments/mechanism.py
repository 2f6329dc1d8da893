"""Mechanisms of a few joints, one of them driven by a motor, that classic control tasks share."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pybullet as p

from srl_bench.environments.options import continuous_action, discrete_action
from srl_bench.environments.simulator import ASSETS, SimulatorEnv

SUBSTEPS = 5


class Mechanism(SimulatorEnv):
    """A body whose joints move freely; a motor drives the first.

    The factors are the position and the velocity of every joint, in the order of the joints; a last joint that
    turns is at angle 0 when upright. Actions: "discrete" 0, 1 and 2 push with -`strength`, 0 and +`strength`,
    in newtons or newton metres; "continuous" takes one number from -1 to 1, times `strength`.
    """

    action_sizes = {"discrete": 3, "continuous": 1}
    urdf: ClassVar[str]
    base: ClassVar[tuple[float, float, float]]
    joints: ClassVar[tuple[int, ...]]
    strength: ClassVar[float]
    time_step: ClassVar[float]
    # the solver cuts velocities off here
    max_velocity: ClassVar[float]

    def load_robot(self, client: int) -> None:
        """Add the mechanism."""
        flags = p.URDF_USE_INERTIA_FROM_FILE
        p.loadURDF(str(ASSETS / self.urdf), self.base, useFixedBase=True, flags=flags, physicsClientId=client)

    def _add_physics(self) -> None:
        self._robot = self._bodies[0]
        client = {"physicsClientId": self._world}
        p.setGravity(0, 0, -9.81, **client)
        p.setPhysicsEngineParameter(
            fixedTimeStep=self.time_step, numSubSteps=SUBSTEPS, deterministicOverlappingPairs=1, **client
        )
        p.changeDynamics(self._robot, -1, linearDamping=0, angularDamping=0, **client)
        for joint in self.joints:
            p.changeDynamics(self._robot, joint, maxJointVelocity=self.max_velocity, **client)
            # every joint comes with a brake
            p.setJointMotorControl2(self._robot, joint, p.VELOCITY_CONTROL, force=0, **client)

    def _push(self, action: Any) -> float:
        """Carry out one action; return its force or torque."""
        if self.action_type == "discrete":
            force = self.strength * (discrete_action(action, 3) - 1)
        else:
            force = self.strength * continuous_action(action, 1)[0]
        joint = self.joints[0]
        p.setJointMotorControl2(self._robot, joint, p.TORQUE_CONTROL, force=force, physicsClientId=self._world)
        p.stepSimulation(physicsClientId=self._world)
        self._sense()
        return force

    def _sense(self) -> None:
        motion: list[float] = []
        for state in p.getJointStates(self._robot, self.joints, physicsClientId=self._world):
            motion += state[:2]
        motion[-2] = math.remainder(motion[-2], math.tau)
        self._motion = motion

    def _read_factors(self) -> list[float]:
        return self._motion

    def _set_factors(self, values: list[float]) -> None:
        for joint, position, velocity in zip(self.joints, values[::2], values[1::2], strict=True):
            p.resetJointState(self._robot, joint, position, velocity, physicsClientId=self._world)
        self._sense()
