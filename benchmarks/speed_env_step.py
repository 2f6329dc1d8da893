"""Time of `env.step` with pixels against the same PyBullet calls without an environment around them.

The baseline repeats, for recorded actions, the simulator calls of a step and the merging of the two layers
of the picture; the last column leaves the merging out. CPU time of one process, medians over alternating
blocks. Run: python benchmarks/speed_env_step.py
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import pybullet as p

from srl_bench.environments import kuka_button as kuka
from srl_bench.environments.drawing import to_rgb
from srl_bench.environments.kuka_button import KukaButton
from srl_bench.environments.mobile_robot import UPRIGHT, MobileRobot
from srl_bench.environments.simulator import SimulatorEnv

EPISODES, STEPS = 25, 40


def mobile_calls(env: MobileRobot, state: np.ndarray) -> None:
    p.resetBasePositionAndOrientation(env._robot, (*state[:2], 0.0), UPRIGHT, physicsClientId=env._world)


def kuka_calls(env: KukaButton, goals: tuple[list[float], list[float]]) -> None:
    client, arm = env._world, env._robot
    tip, joints = goals
    p.calculateInverseKinematics(arm, kuka.TIP, tip, kuka.DOWN, jointDamping=kuka.IK_DAMPING, physicsClientId=client)
    p.setJointMotorControlArray(
        arm,
        kuka.JOINTS,
        p.POSITION_CONTROL,
        targetPositions=joints,
        forces=kuka.FORCES,
        positionGains=kuka.POSITION_GAINS,
        velocityGains=kuka.VELOCITY_GAINS,
        physicsClientId=client,
    )
    p.stepSimulation(physicsClientId=client)
    p.getJointStates(arm, kuka.JOINTS, physicsClientId=client)
    p.getLinkState(arm, kuka.TIP, computeForwardKinematics=True, physicsClientId=client)
    p.getContactPoints(arm, env._table_body, physicsClientId=client)
    p.getContactPoints(arm, env._button_body, physicsClientId=client)


def record(env: SimulatorEnv, seed: int) -> tuple[list[int], list]:
    """Return random actions, and what the raw calls need to repeat their steps."""
    env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    actions, notes = [], []
    for _ in range(STEPS):
        actions.append(env.scripted_action(rng, 1.0))
        state = env.step(actions[-1])[-1]["state"]
        notes.append((list(env._tip_goal), list(env._joint_goals)) if isinstance(env, KukaButton) else state)
    return actions, notes


def milliseconds(env: SimulatorEnv, seed: int, block: Callable[[], None]) -> float:
    env.reset(seed=seed)
    start = time.process_time()
    block()
    return (time.process_time() - start) * 1000 / STEPS


def measure(env: SimulatorEnv, calls: Callable) -> tuple[float, float, float]:
    """Median milliseconds of env.step, of the calls with merging, and of the calls alone."""
    blocks = []
    for seed in range(EPISODES):
        actions, notes = record(env, seed)

        def step(actions: list[int] = actions) -> None:
            for action in actions:
                env.step(action)

        def merged(notes: list = notes) -> None:
            behind, depth_behind = env._backdrop(env.image_size)
            for note in notes:
                calls(env, note)
                colour, depth = env.camera.draw(env._world, env.image_size)
                to_rgb(np.where(depth < depth_behind, colour, behind))

        def bare(notes: list = notes) -> None:
            for note in notes:
                calls(env, note)
                env.camera.draw(env._world, env.image_size)

        blocks.append([milliseconds(env, seed, block) for block in (step, merged, bare)])
    ours, raw, bare_calls = (statistics.median(column) for column in zip(*blocks, strict=True))
    return ours, raw, bare_calls


def main() -> None:
    print(f"{'milliseconds of CPU time to a step':36}{'raw':>8}{'ours':>8}{'ratio':>8}{'target':>9}{'bare':>8}")
    for env, calls in ((KukaButton(), kuka_calls), (MobileRobot(), mobile_calls)):
        ours, raw, bare = measure(env, calls)
        name = f"{type(env).__name__}, 64 x 64 pixels"
        print(f"{name:36}{raw:8.3f}{ours:8.3f}{ours / raw:8.3f}{'<= 1.05':>9}{ours / bare:8.3f}")


if __name__ == "__main__":
    main()
