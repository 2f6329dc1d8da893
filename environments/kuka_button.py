"""A Kuka iiwa arm presses a button on a table.

The arm task of the S-RL Toolbox (Raffin et al., 2018), with real joint dynamics: a picture shows seven
joints and a button, and the reward depends on the position of the gripper relative to the button.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pybullet as p
from numpy.typing import NDArray

from srl_bench.environments.drawing import Camera, add_box
from srl_bench.environments.simulator import (
    ASSETS,
    SimulatorEnv,
    check_choice,
    continuous_action,
    discrete_action,
    register,
)
from srl_bench.errors import ConfigError
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
TIME_STEP, SUBSTEPS, SOLVER_ITERATIONS = 0.1, 10, 10
FORCES, POSITION_GAINS, VELOCITY_GAINS = (200.0,) * 7, (0.3,) * 7, (1.0,) * 7
IK_DAMPING = (0.03,) * 7

BUTTON_CENTRE, BUTTON_RANGE = (0.55, 0.0), (0.14, 0.30)
BUTTON_RADIUS, BUTTON_HEIGHT = 0.045, 0.06
TOUCH = 0.001
PRESSES = 5
HOVER = 0.12

TABLE_HALF, TABLE_CENTRE = (0.55, 0.55, 0.02), (0.37, 0.0, -0.02)
TABLE_COLOUR = (0.62, 0.50, 0.38, 1.0)
FLOOR_COLOUR = (0.84, 0.86, 0.88, 1.0)
BASE_COLOUR = (0.2, 0.2, 0.2, 1.0)


class KukaButton(SimulatorEnv):
    """An arm over a table is to press a button five times.

    Actions, ten per simulated second: "discrete" 0 to 5 move the gripper's target by +0.05 or -0.05 m along
    x, y or z; "continuous" takes three numbers from -1 to 1, times 0.05 m; "joints" takes seven, times
    0.1 rad. The gripper points down except with "joints". Inverse kinematics gives the joint angles, which
    motors then follow under gravity and contact.

    Reward "sparse": +1 for every step that ends in contact with the button; -1, which takes precedence, when
    the gripper is more than `max_distance` metres away from the button or any part of the arm touches the
    table. "shaped": minus the distance in metres from the gripper's tip to the top of the button. Episodes
    terminate after five steps in contact, or when the arm touches the table, and are truncated after
    `max_steps`. Every episode begins with another pose and, with `random_button`, another button position.

    The joint angles determine the position of the gripper: `set_factors` uses the angles and ignores ee_x,
    ee_y and ee_z, so these come back as given only where they agree with the angles (to 1e-6 m).
    """

    factors = (
        *(
            Factor(f"ee_{axis}", "m", low, high)
            for axis, low, high in zip("xyz", WORKSPACE_LOW, WORKSPACE_HIGH, strict=True)
        ),
        *(
            Factor(f"button_{axis}", "m", centre - reach, centre + reach, scope="episode")
            for axis, centre, reach in zip("xy", BUTTON_CENTRE, BUTTON_RANGE, strict=True)
        ),
        *(Factor(f"joint_{i + 1}", "rad", -limit, limit) for i, limit in enumerate(JOINT_LIMITS)),
    )
    camera = Camera((1.55, -0.85, 0.95), (0.32, 0.0, 0.28), (0.0, 0.0, 1.0), 43.0, 0.3, 5.0)
    action_sizes = {"discrete": 6, "continuous": 3, "joints": 7}

    def __init__(
        self,
        *,
        random_button: bool = True,
        max_distance: float = 0.8,
        obs_type: str = "pixels",
        image_size: int = 64,
        action_type: str = "discrete",
        reward_type: str = "sparse",
        max_steps: int = 1000,
        render_mode: str | None = None,
    ) -> None:
        check_choice("random_button", random_button, (True, False))
        if not max_distance > 0:
            raise ConfigError(f"max_distance={max_distance!r} is not accepted; give a positive number of metres.")
        self.random_button = random_button
        self.max_distance = max_distance
        super().__init__(
            obs_type=obs_type,
            image_size=image_size,
            action_type=action_type,
            reward_type=reward_type,
            max_steps=max_steps,
            render_mode=render_mode,
        )
        self._add_physics()
        self._button = BUTTON_CENTRE
        self._presses = 0
        self._joint_goals: list[float]
        self._tip_goal: list[float]
        self._set_joints(HOME)

    def get_factors(self) -> NDArray[np.float64]:
        """Return the tip (3) and button (2) in metres and the joint angles (7) in radians."""
        return np.array((*self._tip, *self._button, *self._joints))

    def _set_factors(self, values: list[float]) -> None:
        self._place_button((values[3], values[4]))
        self._set_joints(values[5:])

    def _start_episode(self) -> None:
        self._presses = 0
        offset = self.np_random.uniform(-1, 1, 2).tolist() if self.random_button else (0.0, 0.0)
        x, y = (centre + reach * u for centre, reach, u in zip(BUTTON_CENTRE, BUTTON_RANGE, offset, strict=True))
        self._place_button((x, y))
        start = self.np_random.uniform((*WORKSPACE_LOW[:2], START_LOW), WORKSPACE_HIGH).tolist()
        self._set_joints(HOME)
        for _ in range(3):
            self._set_joints(self._inverse_kinematics(start))

    def _act(self, action: Any) -> tuple[float, bool]:
        if self.action_type == "joints":
            moves = continuous_action(action, 7)
            goals = [
                min(max(angle + JOINT_STEP * move, -limit), limit)
                for angle, move, limit in zip(self._joint_goals, moves, JOINT_LIMITS, strict=True)
            ]
        else:
            if self.action_type == "discrete":
                axis, backwards = divmod(discrete_action(action, 6), 2)
                self._tip_goal[axis] += -STEP if backwards else STEP
            else:
                for axis, move in enumerate(continuous_action(action, 3)):
                    self._tip_goal[axis] += STEP * move
            for axis, (low, high) in enumerate(zip(WORKSPACE_LOW, WORKSPACE_HIGH, strict=True)):
                self._tip_goal[axis] = min(max(self._tip_goal[axis], low), high)
            goals = self._inverse_kinematics(self._tip_goal)
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
        p.stepSimulation(physicsClientId=self._world)
        self._sense()
        return self._judge()

    def _judge(self) -> tuple[float, bool]:
        """Return the reward of the present state and whether it ends the episode."""
        hit_table = self._touches(self._table_body)
        pressed = self._touches(self._button_body)
        self._presses += pressed
        distance = math.dist(self._tip, (*self._button, BUTTON_HEIGHT))
        terminated = hit_table or self._presses >= PRESSES
        if self.reward_type == "shaped":
            return -distance, terminated
        if hit_table or distance > self.max_distance:
            return -1.0, terminated
        return float(pressed), terminated

    def _touches(self, body: int) -> bool:
        points = p.getContactPoints(self._robot, body, physicsClientId=self._world)
        return any(point[8] <= TOUCH for point in points)

    def _greedy_action(self) -> Any:
        x, y = self._button
        above = abs(x - self._tip[0]) < STEP / 1.5 and abs(y - self._tip[1]) < STEP / 1.5
        waypoint = (x, y, BUTTON_HEIGHT - STEP if above else HOVER)
        way = (np.array(waypoint) - self._tip) / STEP
        if self.action_type == "discrete":
            axis = int(np.abs(way).argmax())
            return 2 * axis + int(way[axis] < 0)
        if self.action_type == "joints":
            tip = np.array(self._tip) + STEP * np.clip(way, -1, 1)
            way = (np.array(self._inverse_kinematics(tip.tolist())) - self._joint_goals) / JOINT_STEP
        return np.clip(way, -1, 1).astype(np.float32)

    def _inverse_kinematics(self, tip: list[float]) -> list[float]:
        """Return joint angles, near the present ones, that bring the tip there, pointing down."""
        angles = p.calculateInverseKinematics(
            self._robot, TIP, tip, DOWN, jointDamping=IK_DAMPING, physicsClientId=self._world
        )
        return [min(max(a, -limit), limit) for a, limit in zip(angles, JOINT_LIMITS, strict=True)]

    def _set_joints(self, angles: Any) -> None:
        """Put the arm at rest into a pose; goals start from there."""
        for joint in JOINTS:
            p.resetJointState(self._robot, joint, angles[joint], physicsClientId=self._world)
        self._sense()
        self._joint_goals = list(self._joints)
        self._tip_goal = list(self._tip)

    def _sense(self) -> None:
        states = p.getJointStates(self._robot, JOINTS, physicsClientId=self._world)
        self._joints = [state[0] for state in states]
        self._tip = p.getLinkState(self._robot, TIP, computeForwardKinematics=True, physicsClientId=self._world)[4]

    def _place_button(self, position: tuple[float, float]) -> None:
        self._button = position
        self._place_goal(self._world, self._button_body)

    def _add_physics(self) -> None:
        """Give the world gravity, a time step, and a solid but invisible table and button."""
        p.setGravity(0, 0, -9.81, physicsClientId=self._world)
        p.setPhysicsEngineParameter(
            fixedTimeStep=TIME_STEP,
            numSubSteps=SUBSTEPS,
            numSolverIterations=SOLVER_ITERATIONS,
            deterministicOverlappingPairs=1,
            physicsClientId=self._world,
        )
        client = {"physicsClientId": self._world}
        # a body without a visual shape is drawn as its collision shape: give it one that is out of sight
        hidden = p.createVisualShape(p.GEOM_BOX, halfExtents=(1e-6,) * 3, visualFramePosition=(0, 0, -100), **client)
        table = p.createCollisionShape(p.GEOM_BOX, halfExtents=TABLE_HALF, **client)
        button = p.createCollisionShape(p.GEOM_CYLINDER, radius=BUTTON_RADIUS, height=BUTTON_HEIGHT, **client)
        self._table_body = p.createMultiBody(0, table, hidden, TABLE_CENTRE, **client)
        self._button_body = p.createMultiBody(0, button, hidden, **client)

    def _load_robot(self, client: int) -> int:
        return p.loadURDF(str(ASSETS / "kuka" / "kuka.urdf"), useFixedBase=True, physicsClientId=client)

    def _place_robot(self, client: int, body: int) -> None:
        for joint in JOINTS:
            p.resetJointState(body, joint, self._joints[joint], physicsClientId=client)

    def _load_scenery(self, client: int) -> int:
        add_box(client, (3.0, 3.0, 0.01), (0.3, 0.0, -0.5), FLOOR_COLOUR)
        add_box(client, TABLE_HALF, TABLE_CENTRE, TABLE_COLOUR)
        base = p.createVisualShape(
            p.GEOM_MESH,
            fileName=str(ASSETS / "kuka" / "link_0.obj"),
            rgbaColor=BASE_COLOUR,
            physicsClientId=client,
        )
        p.createMultiBody(baseVisualShapeIndex=base, physicsClientId=client)
        return p.loadURDF(str(ASSETS / "button.urdf"), useFixedBase=True, physicsClientId=client)

    def _place_goal(self, client: int, body: int) -> None:
        position = (*self._button, BUTTON_HEIGHT / 2)
        p.resetBasePositionAndOrientation(body, position, (0.0, 0.0, 0.0, 1.0), physicsClientId=client)

    def _scenery_key(self) -> tuple[float, float]:
        return self._button


register("srl_bench/KukaButton-v0", "srl_bench.environments.kuka_button:KukaButton")
