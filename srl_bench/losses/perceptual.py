"""Reconstruction as a trained network sees it."""

from __future__ import annotations

from torch import Tensor, nn

from srl_bench.batch import Batch
from srl_bench.errors import ConfigError
from srl_bench.losses.autoencoding import decode, shared_decoder
from srl_bench.objective import Loss, Spec


def perceptual_error(features: nn.Module, prediction: Tensor, target: Tensor) -> Tensor:
    """Return (B,) ||J(prediction) - J(target)||^2, summed over all but the batch, for the features J of images."""
    return (features(prediction) - features(target)).square().flatten(1).sum(1)


class PerceptualReconstruction(Loss):
    """Decode an image that a frozen denoising autoencoder encodes like the observation (Higgins et al. 2017).

    The gradient passes through the frozen encoder into the decoder. The distance is between standardised states, as
    minus the log-likelihood of a Gaussian with deviation `sigma`, up to a constant.
    """

    sigma: float = 0.1

    needs = ("obs",)
    teacher = "denoising_autoencoder"
    symbol = r"\mathbb{E}\, \lVert J(g(s_t)) - J(o_t) \rVert^2 / 2 \sigma^2"

    def __post_init__(self) -> None:
        if self.sigma <= 0:
            raise ConfigError(f"sigma must be positive, not {self.sigma}.")

    def build(self, spec: Spec) -> None:
        if spec.teacher is None:
            raise ConfigError("perceptual_reconstruction needs a frozen encoder, which `pretrain` trains first.")
        self.decoder = shared_decoder(spec)
        self.features = spec.teacher

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) the scaled squared distance of the features."""
        prediction = decode(self.decoder, batch, batch.state)
        return perceptual_error(self.features, prediction, batch.obs) / (2 * self.sigma**2)
