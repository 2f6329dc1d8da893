"""Statistics of features as LeRobot stores them: https://huggingface.co/docs/lerobot/lerobot-dataset-v3"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}


def column_stats(values: NDArray) -> dict[str, Any]:
    """Return min, max, mean, std, count and quantiles over rows (T,) or (T, d), each a list of d numbers."""
    table = values.reshape(len(values), -1)
    numbers = table.astype(np.float64)
    stats = {"min": table.min(axis=0), "max": table.max(axis=0)}
    stats |= {"mean": numbers.mean(axis=0), "std": numbers.std(axis=0)}
    stats |= {name: np.quantile(numbers, q, axis=0) for name, q in QUANTILES.items()}
    return {name: value.tolist() for name, value in stats.items()} | {"count": [len(table)]}


def histogram(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return how often each value occurs in each channel (3, 256) of images (T, H, W, 3)."""
    return np.stack([np.bincount(images[..., channel].ravel(), minlength=256) for channel in range(3)])


def image_stats(counts: NDArray[np.int64], frames: int) -> dict[str, Any]:
    """Return the statistics of pixels in [0, 1] per channel, each nested lists of shape (3, 1, 1).

    Args:
        counts: the histogram (3, 256) of all images.
        frames: the number of images, which is the entry "count".
    """
    values = np.arange(256) / 255
    share = counts / counts.sum(axis=1, keepdims=True)
    mean = share @ values
    cumulated = np.cumsum(counts, axis=1)
    stats = {
        "min": values[(counts > 0).argmax(axis=1)],
        "max": values[255 - (counts[:, ::-1] > 0).argmax(axis=1)],
        "mean": mean,
        "std": np.sqrt(np.maximum((share * (values - mean[:, None]) ** 2).sum(axis=1), 0)),
    }
    for name, q in QUANTILES.items():
        stats[name] = values[(cumulated >= q * cumulated[:, -1:]).argmax(axis=1)]
    return {name: value.reshape(3, 1, 1).tolist() for name, value in stats.items()} | {"count": [frames]}
