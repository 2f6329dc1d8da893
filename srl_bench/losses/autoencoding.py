"""Reconstruction of the observation from the state."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from srl_bench.batch import Batch
from srl_bench.errors import ConfigError
from srl_bench.nets.heads import PixelShuffleDecoder
from srl_bench.objective import Loss, Spec

FOREGROUND = 0.1


def pixel_mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error over pixels and channels of each image, (B,)."""
    return (prediction - target).square().flatten(1).mean(1)


def foreground_error(prediction: Tensor, target: Tensor, mean: Tensor, weight: float) -> Tensor:
    """Return (B,) squared errors relative to those of the mean image, the foreground weighed more.

    The foreground are the pixels that differ from the mean image (C, H, W) by more than 0.1 in some channel; they
    weigh 1 + `weight`. The mean image as the prediction has the error 1 wherever there is a foreground.
    """
    deviation = (target - mean).abs()
    weights = 1 + weight * (deviation.amax(1, keepdim=True) > FOREGROUND)
    error, unit = (
        (weights * difference.square()).flatten(1).mean(1) for difference in (prediction - target, deviation)
    )
    return error / (unit + 1e-4)


def pixel_nll(prediction: Tensor, target: Tensor, sigma: Tensor | float) -> Tensor:
    """Return -log N(target; prediction, sigma^2 I) summed over pixels and channels, (B,)."""
    error = (prediction - target).square().flatten(1)
    variance = torch.as_tensor(sigma) ** 2
    return error.sum(1) / (2 * variance) + 0.5 * error.shape[1] * (2 * math.pi * variance).log()


class Reconstruction(Loss):
    """Decode the observation from the state (Hinton & Salakhutdinov 2006).

    With the likelihood "mse" it is the mean squared error over the variance of the pixels around the mean
    image: 1 for decoding the mean image, whatever the contrast of the scene, and so on a scale with other
    terms. With "gaussian" it is the negative log-likelihood of a Gaussian with standard deviation `sigma`,
    summed over pixels, as a variational bound needs it. With `sigma=0` the deviation is learned (Rybkin et al.
    2021, 2006.13202); it starts at that of the pixels from the mean image, so that no data set is too faint to
    be worth encoding.

    A `foreground` weight, for "mse" only, lets pixels that differ from the mean image count so much more, that a
    small object is worth as much as it takes of an empty scene; see `foreground_error`.
    """

    likelihood: str = "mse"
    sigma: float = 0.0
    foreground: float = 0.0

    needs: ClassVar[tuple[str, ...]] = ("obs",)
    symbol = r"\mathbb{E}\,\ell\left(g(s_t),\, o_t\right)"

    def __post_init__(self) -> None:
        if self.likelihood not in ("mse", "gaussian"):
            raise ConfigError(f"likelihood must be 'mse' or 'gaussian', not {self.likelihood!r}.")
        if self.sigma < 0:
            raise ConfigError(f"sigma must be positive, or 0 to learn it, not {self.sigma}.")
        if self.foreground < 0 or (self.foreground and self.likelihood != "mse"):
            raise ConfigError(f"foreground is a weight for the likelihood 'mse', not {self.foreground} for 'gaussian'.")

    def build(self, spec: Spec) -> None:
        self.decoder = shared_decoder(spec)
        self.pixel_variance = spec.pixel_std**2
        self.register_buffer("background", spec.pixel_mean, persistent=False)
        if self.likelihood == "gaussian" and self.sigma == 0:
            self.deviation = shared_deviation(spec)

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) the reconstruction error of o_t."""
        return self.error(decode(self.decoder, batch, batch.state), batch.obs)

    def error(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return (B,) the error of predicted images under the chosen likelihood."""
        if self.foreground:
            return foreground_error(prediction, target, self.get_buffer("background"), self.foreground)
        if self.likelihood == "mse":
            return pixel_mse(prediction, target) / self.pixel_variance
        return pixel_nll(prediction, target, self.sigma or self.deviation())


def decode(decoder: nn.Module, batch: Batch, state: Tensor) -> Tensor:
    """Return (B, C, H, W) the image decoded from a state, at the precision of the batch."""
    with torch.autocast(batch.device.type, dtype=torch.bfloat16, enabled=batch.precision == torch.bfloat16):
        return decoder(state).float()


class Deviation(nn.Module):
    """The learned standard deviation of pixels around the decoded image, in [e^-7, e]."""

    def __init__(self, initial: float) -> None:
        super().__init__()
        self.log_sigma = nn.Parameter(torch.tensor(math.log(initial)))

    def forward(self) -> Tensor:
        """Return the deviation, a scalar."""
        return self.log_sigma.clamp(-7.0, 1.0).exp()


def shared_decoder(spec: Spec) -> nn.Module:
    """Return the decoder that all reconstructing losses on one slice of the state share."""
    return spec.shared(
        "decoder",
        lambda: PixelShuffleDecoder(spec.state_dim, spec.pixel_mean, spec.pixel_std).to(
            memory_format=torch.channels_last  # type: ignore[call-overload]
        ),
    )


def shared_deviation(spec: Spec) -> nn.Module:
    """Return the learned deviation that all likelihoods on one slice of the state share."""
    return spec.shared("deviation", lambda: Deviation(spec.pixel_std))
