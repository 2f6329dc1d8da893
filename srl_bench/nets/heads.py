"""Heads that losses build on the state: decoders and small fully connected networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class PixelShuffleDecoder(nn.Module):
    """States to images by sub-pixel convolution (Shi et al. 2016): no convolution at full resolution.

    About twice as fast as transposed convolutions at the same reconstruction error
    (`benchmarks/speed_training.py`). The output is the mean training image plus what the state adds to it.
    """

    mean: Tensor

    def __init__(self, input_dim: int, mean: Tensor, std: float) -> None:
        super().__init__()
        channels, self.height, self.width = mean.shape
        self.std = std
        self.register_buffer("mean", mean)
        self.grid = (math.ceil(self.height / 8), math.ceil(self.width / 8))
        self.project = nn.Linear(input_dim, 32 * self.grid[0] * self.grid[1])
        self.upsample = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(32, 128, 3, padding=1),
            nn.PixelShuffle(2),
            nn.ReLU(),
            nn.Conv2d(32, 16 * channels, 3, padding=1),
            nn.PixelShuffle(4),
        )

    def forward(self, state: Tensor) -> Tensor:
        """Return (B, C, H, W) images in about [0, 1]."""
        image = self.upsample(self.project(state).unflatten(1, (32, *self.grid)))
        return torch.add(self.mean, image[..., : self.height, : self.width], alpha=self.std)


class PointDecoder(nn.Module):
    """Feature points to images: each point is drawn as a Gaussian blob, and convolutions paint the blobs.

    The bottleneck of Jakab et al. 2018 (1806.07823): the decoder learns what is there, once for all places, and the
    points must say where. The blobs' widths are learned; they begin wide, so that a point far from an object still
    hears of it. The output is the mean image plus what the points add.
    """

    mean: Tensor

    def __init__(self, input_dim: int, mean: Tensor, std: float) -> None:
        super().__init__()
        n_points = input_dim // 2
        channels, self.height, self.width = mean.shape
        self.std = std
        self.register_buffer("mean", mean)
        rows, columns = (torch.linspace(-1, 1, math.ceil(size / 4)) for size in (self.height, self.width))
        self.register_buffer("rows", rows)
        self.register_buffer("columns", columns)
        self.log_width = nn.Parameter(torch.full((n_points, 1), math.log(0.3)))
        self.paint = nn.Sequential(
            nn.Conv2d(n_points, 128, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(128, 16 * channels, 3, padding=1),
            nn.PixelShuffle(4),
        )

    def forward(self, points: Tensor) -> Tensor:
        """Return (B, C, H, W) images of points (B, 2 n): x and y of each, in [-1, 1]."""
        x, y = points.unflatten(1, (-1, 2)).float().unbind(-1)
        scale = (-2 * self.log_width).exp()  # 1 / width^2
        across = torch.exp(-0.5 * scale * (self.get_buffer("columns") - x[..., None]).square())
        down = torch.exp(-0.5 * scale * (self.get_buffer("rows") - y[..., None]).square())
        image = self.paint(down[..., :, None] * across[..., None, :])  # (B, n, H / 4, W / 4) blobs
        return torch.add(self.mean, image[..., : self.height, : self.width], alpha=self.std)


class LinearDecoder(nn.Module):
    """States to images by one linear layer. The output is the mean image plus what the state adds."""

    mean: Tensor

    def __init__(self, input_dim: int, mean: Tensor, std: float = 1.0) -> None:
        super().__init__()
        self.std = std
        self.register_buffer("mean", mean)
        self.project = nn.Linear(input_dim, mean.numel())

    def forward(self, state: Tensor) -> Tensor:
        """Return (B, C, H, W) images in about [0, 1]."""
        return torch.add(self.mean, self.project(state).unflatten(1, self.mean.shape), alpha=self.std)


DECODERS: dict[str, type[PixelShuffleDecoder | PointDecoder | LinearDecoder]] = {
    "pixel_shuffle": PixelShuffleDecoder,
    "points": PointDecoder,
    "linear": LinearDecoder,
}


def mlp(sizes: Sequence[int]) -> nn.Sequential:
    """Return linear layers of the given sizes with ReLU between them."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
