"""The Kuka iiwa arm over a table that the arm tasks share: bodies, motors, inverse kinematics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from operator import le
from typing import Any, ClassVar

import numpy as np
import pybullet as p

from srl_bench.environments.drawing import Camera, Vector, add_box, add_mesh
from srl_bench.environments.options import continuous_action, discrete_action
from srl_bench.environments.simulator import ASSETS, SimulatorEnv
from srl_bench.factors import Factor

JOINTS = tuple(range(7))
JOINT_LIMITS = (2.967, 2.094, 2.967, 2.094, 2.967, 2.094, 3.054)
HOME = (0.0, 0.6, 0.0, -1.4, 0.0, 1.1, 0.0)
TIP = 7
DOWN = (0.0, 1.0, 0.0, 0.0)
WORKSPACE_LOW, WORKSPACE_HIGH = (0.40, -0.35, -0.02), (0.72, 0.35, 0.35)
START_LOW = 0.15

STEP = 0.05
JOINT_STEP = 0.1
TIME_STEP, SUBSTEPS, SOLVER_ITERATIONS = 0.1, 5, 20
FORCES, POSITION_GAINS, VELOCITY_GAINS = (200.0,) * 7, (0.5,) * 7, (1.0,) * 7
IK_DAMPING = (0.03,) * 7
TOUCH = 0.001
# how deep (m) a gripper is pressed into something, but for about one step in two thousand
DEPTH = 0.03
OVERSHOOT = 0.02

TABLE_HALF, TABLE_CENTRE = (0.55, 0.55, 0.02), (0.37, 0.0, -0.02)
TABLE_COLOUR = (0.62, 0.50, 0.38, 1.0)
FLOOR_COLOUR = (0.84, 0.86, 0.88, 1.0)
BASE_COLOUR = (0.2, 0.2, 0.2, 1.0)


def tip_factors(low: Vector, high: Vector) -> tuple[Factor, ...]:
    """Return the factors of a tip that is sent to places within a box."""
    return tuple(
        Factor(f"ee_{axis}", "m", start - OVERSHOOT, end + OVERSHOOT, tolerance=float("inf"), proprioceptive=True)
        for axis, start, end in zip("xyz", low, high, strict=True)
    )


def joint_factors(*ranges: tuple[float, float]) -> tuple[Factor, ...]:
    """Return the factors of the seven joints that are kept within these ranges (rad) while the gripper points down.

    The arm can reach every place in a task's workspace in more than one way: ranges beyond those that a task needs
    would be visited by chance only, and a recording would not cover them.
    """
    return tuple(
        Factor(f"joint_{i + 1}", "rad", low, high, proprioceptive=True)
        for i, (low, high) in zip(JOINTS, ranges, strict=True)
    )


TIP_FACTORS = tip_factors(WORKSPACE_LOW, WORKSPACE_HIGH)
# where the tip (m) gets when joints turn freely
ANYWHERE = {"ee_x": (-1.15, 1.15), "ee_y": (-1.15, 1.15), "ee_z": (-0.55, 1.6)}
# a joint may turn beyond the last angle that it is sent to by this much (rad)
GIVE = 0.05
FREE = ANYWHERE | {f"joint_{i + 1}": (-limit - GIVE, limit + GIVE) for i, limit in enumerate(JOINT_LIMITS)}


class KukaArm(SimulatorEnv):
    """An arm whose base stands at the origin, on a table with its top at z = 0.

    Actions, ten per simulated second: "discrete" 0 to 5 move the gripper's target by +0.05 or -0.05 m along
    x, y or z; "continuous" takes three numbers from -1 to 1, times 0.05 m; "joints" takes seven, times
    0.1 rad. The gripper points down except with "joints". Inverse kinematics gives the joint angles, which
    motors then follow under gravity and contact. A step that would take a joint or the tip out of its range,
    as contact can, is a protective stop: the arm stays where it was.

    The joint angles determine the position of the gripper, ee_x, ee_y and ee_z: `set_factors` follows the
    angles.
    """

    cameras = {
        "front": Camera((1.55, -0.85, 0.95), (0.32, 0.0, 0.28), (0.0, 0.0, 1.0), 43.0, 0.3, 5.0),
        "top": Camera((0.45, 0.0, 2.2), (0.45, 0.0, 0.0), (1.0, 0.0, 0.0), 34.0, 0.5, 4.0),
        "side": Camera((0.45, -1.9, 0.95), (0.37, 0.0, 0.23), (0.0, 0.0, 1.0), 38.0, 0.3, 5.0),
    }
    recording_policy = "mixed"
    action_sizes = {"discrete": 6, "continuous": 3, "joints": 7}
    distractor_area = {"low": (0.35, -0.45), "high": (0.85, 0.45), "size": 0.025, "ground": 0.0}
    # where the tip can be sent: the corners of a box, in metres
    workspace: ClassVar[tuple[Vector, Vector]] = (WORKSPACE_LOW, WORKSPACE_HIGH)
    # by how much (rad) joint_3, which moves the elbow aside, is turned at most when an episode starts
    elbow: ClassVar[float] = 0.0

    def __init__(self, **options: Any) -> None:
        self._joint_goals: list[float]
        self._tip_goal: list[float]
        if options.get("action_type") == "joints":
            self.factors = tuple(
                replace(f, low=FREE[f.name][0], high=FREE[f.name][1]) if f.name in FREE else f for f in self.factors
            )
        ranges = {f.name: (f.low, f.high) for f in self.factors}
        arm = [*(f"joint_{i + 1}" for i in JOINTS), "ee_x", "ee_y", "ee_z"]
        self._low, self._high = zip(*(ranges[name] for name in arm), strict=True)
        super().__init__(**options)
        self._set_joints(HOME)

    def load_scenery(self, client: int) -> None:
        """Add floor, table and the base of the arm."""
        add_box(client, (3.0, 3.0, 0.01), (0.3, 0.0, -0.5), FLOOR_COLOUR)
        add_box(client, TABLE_HALF, TABLE_CENTRE, TABLE_COLOUR)
        add_mesh(client, str(ASSETS / "kuka" / "link_0.obj"), (0.0, 0.0, 0.0), BASE_COLOUR)

    def load_robot(self, client: int) -> None:
        """Add the arm."""
        p.loadURDF(str(ASSETS / "kuka" / "kuka.urdf"), useFixedBase=True, physicsClientId=client)

    def _add_physics(self) -> None:
        """Give the world gravity, a time step, and a solid but invisible table."""
        self._robot = self._bodies[0]
        p.setGravity(0, 0, -9.81, physicsClientId=self._world)
        p.setPhysicsEngineParameter(
            fixedTimeStep=TIME_STEP,
            numSubSteps=SUBSTEPS,
            numSolverIterations=SOLVER_ITERATIONS,
            deterministicOverlappingPairs=1,
            physicsClientId=self._world,
        )
        self._table_body = self._add_solid(p.GEOM_BOX, TABLE_CENTRE, halfExtents=TABLE_HALF)

    def _add_solid(self, kind: int, position: tuple[float, float, float], **shape: Any) -> int:
        """Add an invisible, immovable body to the world."""
        client = {"physicsClientId": self._world}
        # a body without a visual shape is drawn as its collision shape; what is transparent is left out
        hidden = p.createVisualShape(p.GEOM_SPHERE, radius=1.0, rgbaColor=(0.0, 0.0, 0.0, 0.0), **client)
        return p.createMultiBody(0, p.createCollisionShape(kind, **shape, **client), hidden, position, **client)

    def _start_arm(self) -> None:
        """Draw a pose of the arm with the tip above the table."""
        low, high = self.workspace
        start = self.np_random.uniform((*low[:2], START_LOW), high).tolist()
        elbow = self.np_random.uniform(-self.elbow, self.elbow) if self.elbow else 0.0
        self._set_joints((*HOME[:2], elbow, *HOME[3:]))
        for _ in range(3):
            self._set_joints(self._inverse_kinematics(start))

    def _drive(self, action: Any) -> None:
        """Carry out an action of the arm."""
        self._follow(self._goals_after(action))

    def _goals_after(self, action: Any) -> list[float]:
        """Return the joint angles that an action asks for."""
        if self.action_type == "joints":
            self._tip_goal = list(self._tip)
            moves = continuous_action(action, 7)
            return self._limited(a + JOINT_STEP * move for a, move in zip(self._joint_goals, moves, strict=True))
        if self.action_type == "discrete":
            axis, backwards = divmod(discrete_action(action, 6), 2)
            self._tip_goal[axis] += -STEP if backwards else STEP
        else:
            for axis, move in enumerate(continuous_action(action, 3)):
                self._tip_goal[axis] += STEP * move
        low, high = self._reachable()
        self._tip_goal = [min(max(v, a), b) for v, a, b in zip(self._tip_goal, low, high, strict=True)]
        return self._inverse_kinematics(self._tip_goal)

    def _reachable(self) -> tuple[Sequence[float], Sequence[float]]:
        """Return the corners of the box in which the tip can be sent to places."""
        return self.workspace

    def _follow(self, goals: list[float]) -> None:
        """Let the motors turn the joints to these angles for the time of one step."""
        self._joint_goals = goals
        p.setJointMotorControlArray(
            self._robot,
            JOINTS,
            p.POSITION_CONTROL,
            targetPositions=goals,
            forces=FORCES,
            positionGains=POSITION_GAINS,
            velocityGains=VELOCITY_GAINS,
            physicsClientId=self._world,
        )
        before, excess = self._joints, self._excess()
        p.stepSimulation(physicsClientId=self._world)
        self._sense()
        if self._excess() > excess:
            self._set_joints(before)

    def _excess(self) -> float:
        """Return by how much a joint or the tip is out of its range, at most; 0 if none is."""
        arm = self._joints + self._tip
        if all(map(le, self._low, arm)) and all(map(le, arm, self._high)):
            return 0.0
        return max(max(low - value, value - high) for low, value, high in zip(self._low, arm, self._high, strict=True))

    def _possible(self, values: list[float]) -> bool:
        """Put the arm there; return whether all joints and the tip are in range and it goes through nothing."""
        self._set_factors(values)
        if self._excess():
            return False
        p.performCollisionDetection(physicsClientId=self._world)
        points = p.getContactPoints(self._robot, physicsClientId=self._world)
        return all(point[8] >= -DEPTH for point in points)

    def _touches(self, body: int) -> bool:
        """Return whether any part of the arm touches a body."""
        points = p.getContactPoints(self._robot, body, physicsClientId=self._world)
        return bool(points) and min(point[8] for point in points) <= TOUCH

    def _action_towards(self, waypoint: Sequence[float]) -> Any:
        """Return the action that brings the tip nearer to a place."""
        way = (np.array(waypoint) - self._tip) / STEP
        if self.action_type == "discrete":
            axis = int(np.abs(way).argmax())
            return 2 * axis + int(way[axis] < 0)
        if self.action_type == "joints":
            tip = np.array(self._tip) + STEP * np.clip(way, -1, 1)
            way = (np.array(self._inverse_kinematics(tip.tolist())) - self._joint_goals) / JOINT_STEP
            # joints that keep their proportions move the tip along a straight line
            way /= max(1.0, np.abs(way).max())
        return np.clip(way, -1, 1).astype(np.float32)

    def _inverse_kinematics(self, tip: list[float]) -> list[float]:
        """Return joint angles, near the present ones, that bring the tip there, pointing down."""
        angles = p.calculateInverseKinematics(
            self._robot, TIP, tip, DOWN, jointDamping=IK_DAMPING, physicsClientId=self._world
        )
        return self._limited(angles)

    def _limited(self, angles: Iterable[float]) -> list[float]:
        """Return the angles nearest to these that joints are sent to."""
        return [
            min(max(angle, low + GIVE), high - GIVE)
            for angle, low, high in zip(angles, self._low, self._high, strict=False)
        ]

    def _set_joints(self, angles: Any) -> None:
        """Put the arm at rest into a pose; goals start from there."""
        for joint in JOINTS:
            p.resetJointState(self._robot, joint, angles[joint], physicsClientId=self._world)
        self._sense()
        self._joint_goals = list(self._joints)
        self._tip_goal = list(self._tip)

    def _sense(self) -> None:
        states = p.getJointStates(self._robot, JOINTS, physicsClientId=self._world)
        self._joints = tuple([state[0] for state in states])
        self._tip = p.getLinkState(self._robot, TIP, computeForwardKinematics=True, physicsClientId=self._world)[4]
