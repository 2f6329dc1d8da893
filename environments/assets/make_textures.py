"""Draw the images of `textures/`, grey so that tints decide their colour. Run: python make_textures.py"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

FOLDER = Path(__file__).resolve().parent / "textures"
SIZE = 64


def main() -> None:
    """Write five images; the last in alphabetical order is the one of the twin domain."""
    rows, columns = np.indices((SIZE, SIZE))
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.uniform(0.65, 1.0, (16, 16)), np.ones((4, 4)))
    rings = np.hypot(rows - 90.0, (columns - 32.0) / 4)
    patterns = {
        "blocks": blocks,
        "checks": np.where((rows // 8 + columns // 8) % 2, 1.0, 0.7),
        "dots": np.where((rows % 16 - 8) ** 2 + (columns % 16 - 8) ** 2 < 20, 0.65, 1.0),
        "stripes": 0.85 + 0.15 * np.sin(rows * 2 * np.pi / 16),
        "wood": 0.8 + 0.2 * np.sin(rings) * np.cos(columns / 11),
    }
    FOLDER.mkdir(exist_ok=True)
    for name, values in patterns.items():
        grey = np.round(255 * np.clip(values, 0, 1)).astype(np.uint8)
        Image.fromarray(np.repeat(grey[..., None], 3, axis=2)).save(FOLDER / f"{name}.png")


if __name__ == "__main__":
    main()
