"""Reconstruction from feature points: the state is where things are."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from srl_bench.batch import Batch
from srl_bench.errors import ConfigError
from srl_bench.losses.autoencoding import decode, foreground_error
from srl_bench.nets.heads import LinearDecoder, PointDecoder
from srl_bench.objective import Loss, Spec

GRID = 16


class SpatialReconstruction(Loss):
    """Decode the observation from a state of feature points (x_1, y_1, ..., x_n, y_n).

    The `decoder_kind` "linear" is that of Finn et al. 2016 (1509.06113): one linear layer to a grey image of 16 x 16,
    too weak to do anything but follow places. "blobs" draws a blob at each point and paints them (`PointDecoder`):
    it can say exactly where things are, and so can the points. The error is `foreground_error`: without a weight of
    their own, objects of a few pixels lose their points to the large ones.
    """

    decoder_kind: str = "blobs"
    foreground: float = 20.0

    needs = ("obs",)
    symbol = r"\mathbb{E}\,\ell_w\left(g(s_t),\, o_t\right)"

    def __post_init__(self) -> None:
        if self.decoder_kind not in ("blobs", "linear") or self.foreground < 0:
            raise ConfigError(
                "decoder_kind must be 'blobs' or 'linear' and foreground not negative, not "
                f"{self.decoder_kind!r} and {self.foreground}."
            )

    def build(self, spec: Spec) -> None:
        if spec.state_dim % 2:
            raise ConfigError(f"feature points have two coordinates each; {spec.state_dim} dimensions are no points.")
        if self.decoder_kind == "linear":
            self.decoder: nn.Module = LinearDecoder(spec.state_dim, shrunk(spec.pixel_mean[None])[0])
        else:
            decoder = PointDecoder(spec.state_dim, spec.pixel_mean, spec.pixel_std)
            self.decoder = decoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) the error of o_t."""
        target = shrunk(batch.obs) if self.decoder_kind == "linear" else batch.obs
        prediction = decode(self.decoder, batch, batch.state)
        return foreground_error(prediction, target, self.decoder.get_buffer("mean"), self.foreground)


def shrunk(images: Tensor) -> Tensor:
    """Return grey images (B, 1, 16, 16) of images (B, C, H, W)."""
    return functional.adaptive_avg_pool2d(images.mean(1, keepdim=True), GRID)
