"""Bodies: observations to features. `body.width` is the number of features."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

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


@body("impala")
class Impala(nn.Sequential):
    """The residual body of Espeholt et al. 2018 (1802.01561), with 256 features and 622,144 parameters.

    Three stages of 16, 32 and 32 channels: a convolution, max pooling by two, two residual blocks. Adaptive
    pooling to 8 x 8 makes it fit every image size of 48 pixels or more (it is the identity at 64). Nine
    times the arithmetic of "nature".
    """

    width = 256

    def __init__(self, observation_shape: tuple[int, ...]) -> None:
        height, image_width, channels = require_image("impala", observation_shape, minimum=48)
        stages: list[nn.Module] = []
        for inputs, outputs in pairwise((channels, 16, 32, 32)):
            stages += [
                nn.Conv2d(inputs, outputs, 3, padding=1),
                nn.MaxPool2d(3, stride=2, padding=1),
                ImpalaBlock(outputs),
                ImpalaBlock(outputs),
            ]
        super().__init__(
            *stages,
            nn.ReLU(),
            nn.Identity() if height == image_width == 64 else nn.AdaptiveAvgPool2d(8),
            nn.Flatten(),
            nn.Linear(2048, self.width),
            nn.ReLU(),
        )


class ImpalaBlock(nn.Module):
    """x plus two convolutions of it, each after a ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        return x + self.second(functional.relu(self.first(functional.relu(x))))


@body("spatial_softmax")
class SpatialSoftmax(nn.Module):
    """Feature points of deep spatial autoencoders (Finn et al. 2016, 1509.06113): where, not what.

    Convolutions of 5 x 5 with stride 2, 3 x 3 and 3 x 3 with 32, 32 and 16 channels (the paper's are 7 x 7, 5 x 5
    and 5 x 5 with 64, 32 and 16), then the expected position of each channel's activation: 16 points, 32 features,
    16,289 parameters for colour images. The map has no ReLU, so that no channel dies, and no bias, to which a softmax
    is blind. A point that is hidden or of which there are two drifts to the mean of what is left.
    """

    width = 32

    def __init__(self, observation_shape: tuple[int, ...]) -> None:
        super().__init__()
        _, _, channels = require_image("spatial_softmax", observation_shape, minimum=48)
        self.maps = nn.Sequential(
            nn.Conv2d(channels, 32, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 16, 3, padding=1, bias=False),
        )
        self.log_temperature = nn.Parameter(torch.tensor(math.log(math.e - 1)))  # softplus of it is 1

    def forward(self, observations: Tensor) -> Tensor:
        """Return (B, 32) features: x and y of each channel."""
        return expected_positions(self.maps(observations), functional.softplus(self.log_temperature))


def expected_positions(maps: Tensor, temperature: Tensor | float) -> Tensor:
    """Return (B, 2 C): x and y in [-1, 1], rightwards and downwards, expected under softmax(maps / temperature).

    `maps` is (B, C, H, W). The positions are computed in full precision: bfloat16 cannot tell 256 columns apart.
    """
    height, width = maps.shape[-2:]
    weights = (maps.float() / temperature).flatten(2).softmax(-1).unflatten(2, (height, width))
    x = (weights.sum(2) * torch.linspace(-1, 1, width, device=maps.device)).sum(-1)
    y = (weights.sum(3) * torch.linspace(-1, 1, height, device=maps.device)).sum(-1)
    return torch.stack([x, y], dim=-1).flatten(1)


@body("resnet18")
class ResNet18(nn.Sequential):
    """The residual network of He et al. 2016 (1512.03385) with 18 layers, 512 features, 11,176,512 parameters.

    Normalised by groups (Wu & He 2018, 1803.08494), not by batches: no sample sees another, and a frozen encoder
    computes what the trained one did. It ends in the average over all positions, as the original does, so that
    where something is must be told from the borders of the image. For large images and much data; at 64
    pixels it leaves 2 x 2 positions.
    """

    width = 512

    def __init__(self, observation_shape: tuple[int, ...]) -> None:
        _, _, channels = require_image("resnet18", observation_shape, minimum=48)
        blocks: list[nn.Module] = []
        for inputs, outputs in pairwise((64, 64, 128, 256, 512)):
            blocks += [ResNetBlock(inputs, outputs), ResNetBlock(outputs, outputs)]
        super().__init__(
            nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False),
            nn.GroupNorm(32, 64),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
            *blocks,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class ResNetBlock(nn.Module):
    """Two normalised convolutions beside a shortcut; halves the image where it changes the number of channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        stride = 1 if inputs == outputs else 2
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.GroupNorm(32, outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.GroupNorm(32, outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride == 2:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=2, bias=False), nn.GroupNorm(32, outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outputs, H, W), or half of H and W."""
        return functional.relu(self.residual(x) + self.shortcut(x))


@body("mlp")
class MLP(nn.Sequential):
    """Two fully connected layers of 256 for vectors, and for images small enough to be read as vectors.

    The size of the agents' networks in Haarnoja et al. 2018 (1801.01290). For K inputs it has 256 K + 66,048
    parameters: 3 million for 64 x 64 colour images.
    """

    width = 256

    def __init__(self, observation_shape: tuple[int, ...]) -> None:
        super().__init__(
            nn.Flatten(),
            nn.Linear(math.prod(observation_shape), self.width),
            nn.ReLU(),
            nn.Linear(self.width, self.width),
            nn.ReLU(),
        )


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
