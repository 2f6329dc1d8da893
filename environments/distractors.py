"""Moving things that have nothing to do with the task."""

from __future__ import annotations

import numpy as np

from srl_bench.environments.drawing import UPRIGHT, Colour, Pose, add_box, add_cylinder
from srl_bench.factors import Factor

MAX_DISTRACTORS = 8
# a face that touches the floor is not clearly in front of it
GAP = 0.005
SPEED = 0.02
COLOURS: tuple[Colour, ...] = (
    (0.55, 0.20, 0.75, 1.0),
    (0.95, 0.55, 0.10, 1.0),
    (0.10, 0.70, 0.75, 1.0),
    (0.90, 0.45, 0.70, 1.0),
)


class Distractors:
    """Bodies that cross a rectangle at constant speed and bounce off its sides; they are only seen.

    Args:
        count: how many.
        low, high: corners of the rectangle of their centres, (x, y) in metres.
        size: half their height and width in metres.
        ground: height of the floor that they stand on.
    """

    def __init__(
        self, count: int, low: tuple[float, float], high: tuple[float, float], size: float, ground: float
    ) -> None:
        self.count = count
        self.low, self.high = np.array(low), np.array(high)
        self.size = size
        self.height = ground + GAP + size
        self.factors = tuple(
            Factor(f"distractor_{index + 1}_{axis}", "m", low[dimension], high[dimension], role="distractor")
            for index in range(count)
            for dimension, axis in enumerate("xy")
        )
        self.positions = np.zeros((count, 2))
        self._velocities = np.zeros((count, 2))

    def load(self, client: int) -> None:
        """Add the bodies: boxes and cylinders by turns."""
        for index in range(self.count):
            colour = COLOURS[index % len(COLOURS)]
            if index % 2:
                add_cylinder(client, self.size, 2 * self.size, (0.0, 0.0, self.height), colour)
            else:
                add_box(client, (self.size,) * 3, (0.0, 0.0, self.height), colour)

    def start(self, rng: np.random.Generator) -> None:
        """Draw places and directions for an episode."""
        angles = rng.uniform(0, 2 * np.pi, self.count)
        speed = SPEED * (self.high - self.low).min()
        self._velocities = speed * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        self.positions = rng.uniform(self.low, self.high, (self.count, 2))

    def move(self) -> None:
        """Go on by one step."""
        self.positions += self._velocities
        outside = (self.positions < self.low) | (self.positions > self.high)
        self._velocities[outside] *= -1
        np.clip(self.positions, self.low, self.high, out=self.positions)

    def poses(self) -> list[Pose]:
        """Return where the bodies are."""
        return [((x, y, self.height), UPRIGHT) for x, y in self.positions.tolist()]
