"""Time of a picture: ours against PyBullet's stock Kuka scene, and layered against drawn all at once.

CPU time of one process, medians over alternating blocks. Run: python benchmarks/speed_render.py
"""

import statistics
import time
from collections.abc import Callable

import gymnasium
import pybullet as p
import pybullet_data

from srl_bench.environments import make_environment
from srl_bench.environments.drawing import Light
from srl_bench.environments.kuka import KukaArm
from srl_bench.environments.simulator import SimulatorEnv

EPISODES, FRAMES = 9, 20


def milliseconds(draw: Callable[[], object]) -> float:
    """CPU time of one of `FRAMES` pictures."""
    start = time.process_time()
    for _ in range(FRAMES):
        draw()
    return (time.process_time() - start) * 1000 / FRAMES


def compare(env: SimulatorEnv, *draw: Callable[[], object]) -> list[float]:
    """Median time of each picture over the first states of several episodes."""
    blocks = []
    for seed in range(EPISODES):
        env.reset(seed=seed)
        blocks.append([milliseconds(task) for task in draw])
    return [statistics.median(column) for column in zip(*blocks, strict=True)]


def stock_scene(env: KukaArm) -> Callable[[], object]:
    """Return a task that draws the stock arm, in the pose of `env`, on the stock plane and table with its goals."""
    client = p.connect(p.DIRECT)
    p.setAdditionalSearchPath(pybullet_data.getDataPath(), physicsClientId=client)
    p.loadURDF("plane.urdf", [0, 0, -0.63], physicsClientId=client)
    p.loadURDF("table/table.urdf", [0.4, 0, -0.63], physicsClientId=client)
    env.load_goals(client)
    arm = p.loadURDF("kuka_iiwa/model.urdf", useFixedBase=True, physicsClientId=client)
    camera = env.camera(env.views[0])

    def draw() -> object:
        for joint in range(7):
            p.resetJointState(arm, joint, env._joints[joint], physicsClientId=client)
        return p.getCameraImage(
            env.image_size,
            env.image_size,
            *camera.matrices,
            Light().direction,
            shadow=0,
            renderer=p.ER_TINY_RENDERER,
            physicsClientId=client,
        )

    return draw


def row(name: str, baseline: float, ours: float, target: int) -> None:
    print(f"{name:52}{baseline:8.3f}{ours:8.3f}{baseline / ours:8.1f}{'>= ' + str(target):>8}")


def main() -> None:
    print(f"{'milliseconds of CPU time to a picture':52}{'theirs':>8}{'ours':>8}{'ratio':>8}{'target':>8}")
    for name in sorted(name for name in gymnasium.registry if name.startswith("srl_bench/")):
        for size, target in ((64, 8), (128, 6)):
            env = make_environment(name, {"image_size": size}).unwrapped
            view = env.views[0]
            layered = lambda env=env, size=size, view=view: env._frame(size, view)  # noqa: E731
            plain, ours = compare(env, env.render_plain, layered)
            row(f"{name} {size}, drawn all at once", plain, ours, 3)
            if isinstance(env, KukaArm):
                stock, ours = compare(env, stock_scene(env), layered)
                row(f"{name} {size}, stock Kuka scene", stock, ours, target)


if __name__ == "__main__":
    main()
