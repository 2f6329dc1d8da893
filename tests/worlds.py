"""Synthetic worlds: a blob that actions move, drawn into small images, as real rollouts on disk."""

import numpy as np

from srl_bench.factors import Factor
from srl_bench.rollouts import atomic_folder, open_rollouts
from srl_bench.writer import RolloutWriter

STEP = 0.2
WALL = 0.8
MOVES = np.array([[STEP, 0.0], [-STEP, 0.0], [0.0, STEP], [0.0, -STEP]])
FACTORS = [
    Factor("agent_x", "m", -WALL, WALL, proprioceptive=True),
    Factor("agent_y", "m", -WALL, WALL, proprioceptive=True),
    Factor("target_x", "m", -WALL, WALL, scope="episode"),
    Factor("target_y", "m", -WALL, WALL, scope="episode"),
]


def draw(factors, size=48):
    """Return uint8 images (N, size, size, 3): a red blob at (x, y), a green one at (target_x, target_y)."""
    axis = np.linspace(-1, 1, size)
    images = np.full((len(factors), size, size, 3), 40.0)
    for channel, (x, y) in enumerate((factors[:, :2].T, factors[:, 2:].T)):
        columns = np.exp(-((axis - x[:, None]) ** 2) / (2 * 0.15**2))
        rows = np.exp(-((axis - y[:, None]) ** 2) / (2 * 0.15**2))
        images[..., channel] += 200 * rows[:, :, None] * columns[:, None, :]
    return images.clip(0, 255).astype(np.uint8)


def simulate(episodes=40, steps=25, *, continuous=False, seed=0, size=48):
    """Return episodes for `RolloutWriter`: random walks; reward +1 in the upper right corner, -1 at a wall."""
    random = np.random.default_rng(seed)
    return [_episode(random, steps, continuous, size) for _ in range(episodes)]


def _episode(random, steps, continuous, size):
    positions, rewards, actions = [random.uniform(-WALL, WALL, 2)], [], []
    for _ in range(steps):
        action = random.uniform(-1, 1, 2) if continuous else random.integers(4)
        wanted = positions[-1] + (STEP * action if continuous else MOVES[action])
        bumped = bool((np.abs(wanted) > WALL).any())
        positions.append(positions[-1] if bumped else wanted)
        rewards.append(-1.0 if bumped else float((positions[-1] > 0.3).all()))
        actions.append(action)
    factors = np.hstack([positions, np.tile(random.uniform(-WALL, WALL, 2), (steps + 1, 1))])
    idle = np.zeros(2) if continuous else 0
    return {
        "observations": draw(factors, size),
        "actions": np.array([*actions, idle], dtype=np.float32 if continuous else np.int64),
        "rewards": np.array([*rewards, 0.0], dtype=np.float32),
        "terminated": np.zeros(steps + 1, dtype=bool),
        "truncated": np.arange(steps + 1) == steps - 1,
        "factors": factors,
    }


def write(folder, episodes, *, seed=0, factors=FACTORS):
    """Write episodes as a data set and open it."""
    info = {
        "environment": "tests/Blobs-v0",
        "environment_kwargs": {},
        "recording": {},
        "n_actions": 4 if episodes[0]["actions"].ndim == 1 else 0,
        "factors": [factor.to_dict() for factor in factors],
    }
    with atomic_folder(folder) as path:
        writer = RolloutWriter(path)
        for episode in episodes:
            writer.append(episode)
        writer.seal(info, seed=seed)
    return open_rollouts(folder)


def ridge_r2(states, factors, split):
    """Return R2 (K,) on test rows of a ridge regression fitted on training rows, independent of `srl_bench`."""
    columns = np.hstack([states, np.ones((len(states), 1))]).astype(np.float64)
    train, test = columns[split == 0], columns[split == 2]
    weights = np.linalg.solve(train.T @ train + 1e-3 * np.eye(columns.shape[1]), train.T @ factors[split == 0])
    residual = ((test @ weights - factors[split == 2]) ** 2).sum(0)
    return 1 - residual / ((factors[split == 2] - factors[split == 2].mean(0)) ** 2).sum(0)
