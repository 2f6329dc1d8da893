"""Time of a picture: ours against PyBullet's stock Kuka scene, and in layers against drawn all at once.

CPU time of one process, medians over alternating blocks. Run: python benchmarks/speed_render.py
"""

import statistics
import time
from collections.abc import Callable
from itertools import product

import gymnasium
import numpy as np
import pybullet as p
import pybullet_data

from srl_bench.environments import make_environment
from srl_bench.environments.drawing import Light
from srl_bench.environments.kuka import KukaArm
from srl_bench.environments.simulator import DOMAINS, SimulatorEnv

EPISODES, FRAMES = 5, 20


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


def differing(env: SimulatorEnv) -> int:
    """Number of pixels in which the layered picture differs from the one drawn at once, over an episode's start."""
    env.reset(seed=0)
    rng, count = np.random.default_rng(0), 0
    for _ in range(FRAMES):
        picture = env.step(env.scripted_action(rng, 0.5))[0]
        count += int((picture != env.render_plain()).any(axis=-1).sum())
    return count


def stock_rows(arms: list[str]) -> None:
    print(f"{'milliseconds of CPU time to a picture':44}{'stock':>8}{'ours':>8}{'ratio':>8}{'target':>8}")
    for name in arms:
        for size, target in ((64, 8), (128, 6)):
            env = make_environment(name, {"image_size": size}).unwrapped
            stock, ours = compare(env, stock_scene(env), lambda env=env, size=size: env._frame(size, env.views[0]))
            print(f"{f'{name} {size}':44}{stock:8.3f}{ours:8.3f}{stock / ours:8.1f}{'>= ' + str(target):>8}")


def layer_rows(names: list[str]) -> None:
    print(
        "\npictures drawn at once against drawn in layers: ratio in each domain, target >= 3 where cameras stand still"
    )
    print(f"{'':44}{''.join(f'{domain:>11}' for domain in DOMAINS)}   differing pixels, target 0")
    for name, size in product(names, (64, 128)):
        for view in make_environment(name, {}).unwrapped.cameras:
            ratios, pixels = [], 0
            for domain in DOMAINS:
                arguments = {"image_size": size, "views": (view,), "domain": domain}
                env = make_environment(name, arguments).unwrapped
                pixels += differing(env)
                plain, layered = compare(env, env.render_plain, lambda env=env, size=size, v=view: env._frame(size, v))
                ratios.append(plain / layered)
            print(f"{f'{name} {size} {view}':44}{''.join(f'{ratio:11.1f}' for ratio in ratios)}{pixels:9}", flush=True)


def main() -> None:
    names = sorted(name for name in gymnasium.registry if name.startswith("srl_bench/"))
    stock_rows([name for name in names if isinstance(make_environment(name, {}).unwrapped, KukaArm)])
    layer_rows(names)


if __name__ == "__main__":
    main()
