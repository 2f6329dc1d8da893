"""Time of a picture: ours against PyBullet's stock Kuka scene, and layered against drawn all at once.

CPU time of one process, medians over alternating blocks. Run: python benchmarks/speed_render.py
"""

import statistics
import time
from collections.abc import Callable

import pybullet as p
import pybullet_data

from srl_bench.environments.drawing import LIGHT_DIRECTION
from srl_bench.environments.kuka_button import KukaButton
from srl_bench.environments.mobile_robot import MobileRobot
from srl_bench.environments.simulator import ASSETS, SimulatorEnv

EPISODES, FRAMES = 25, 20


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


def stock_scene(env: KukaButton) -> Callable[[], object]:
    """Return a task that draws the stock arm in the pose of `env` on plane and table, with the button."""
    client = p.connect(p.DIRECT)
    p.setAdditionalSearchPath(pybullet_data.getDataPath(), physicsClientId=client)
    p.loadURDF("plane.urdf", [0, 0, -0.63], physicsClientId=client)
    p.loadURDF("table/table.urdf", [0.4, 0, -0.63], physicsClientId=client)
    p.loadURDF(str(ASSETS / "button.urdf"), [0.55, 0, 0.03], physicsClientId=client)
    arm = p.loadURDF("kuka_iiwa/model.urdf", useFixedBase=True, physicsClientId=client)

    def draw() -> object:
        env._place_robot(client, arm)
        return p.getCameraImage(
            env.image_size,
            env.image_size,
            *env.camera.matrices,
            LIGHT_DIRECTION,
            shadow=0,
            renderer=p.ER_TINY_RENDERER,
            physicsClientId=client,
        )

    return draw


def row(name: str, baseline: float, ours: float, target: int) -> None:
    print(f"{name:42}{baseline:8.3f}{ours:8.3f}{baseline / ours:8.1f}{'>= ' + str(target):>8}")


def main() -> None:
    print(f"{'milliseconds of CPU time to a picture':42}{'theirs':>8}{'ours':>8}{'ratio':>8}{'target':>8}")
    for size, target in ((64, 8), (128, 6)):
        kuka, mobile = KukaButton(image_size=size), MobileRobot(image_size=size)
        stock, plain, ours = compare(
            kuka, stock_scene(kuka), kuka.render_plain, lambda env=kuka: env._frame(env.image_size)
        )
        row(f"KukaButton {size}, stock Kuka scene", stock, ours, target)
        row(f"KukaButton {size}, drawn all at once", plain, ours, 3)
        plain, ours = compare(mobile, mobile.render_plain, lambda env=mobile: env._frame(env.image_size))
        row(f"MobileRobot {size}, drawn all at once", plain, ours, 3)


if __name__ == "__main__":
    main()
