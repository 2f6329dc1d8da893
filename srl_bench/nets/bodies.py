"""Bodies: observations to features. `body.width` is the number of features."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from srl_bench.errors import ConfigError
from srl_bench.registry import body


@body("nature")
class Nature(nn.Sequential):
    """The convolutional body of Mnih et al. 2015 (Nature 518), with 256 features.

    Adaptive pooling to 4 x 4 makes it fit every image size of 48 pixels or more (it is the identity at 64).
    """

    width = 256

    def __init__(self, observation_shape: tuple[int, ...]) -> None:
        height, image_width, channels = require_image("nature", observation_shape, minimum=48)
        super().__init__(
            nn.Conv2d(channels, 32, 8, stride=4),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, stride=2),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3),
            nn.ReLU(),
            nn.Identity() if height == image_width == 64 else nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(1024, self.width),
            nn.ReLU(),
        )


@body("flatten")
class Flatten(nn.Module):
    """The observation itself as features; with a linear head this is a linear encoder."""

    def __init__(self, observation_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.width = math.prod(observation_shape)

    def forward(self, observations: Tensor) -> Tensor:
        """Return (B, width) features."""
        return torch.flatten(observations, start_dim=1)


def require_image(name: str, shape: tuple[int, ...], minimum: int) -> tuple[int, int, int]:
    """Return (H, W, C).

    Raises:
        ConfigError: `shape` is no image, or smaller than the body can take.
    """
    if len(shape) != 3 or min(shape[:2]) < minimum:
        raise ConfigError(
            f"the body {name!r} takes images (H, W, C) of at least {minimum} pixels, not observations of shape {shape}."
        )
    return shape[0], shape[1], shape[2]
