"""Reconstruction of clean images from states of corrupted ones."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from srl_bench.batch import Batch
from srl_bench.errors import ConfigError
from srl_bench.losses.autoencoding import Reconstruction, decode
from srl_bench.objective import Spec

AMOUNTS = {"rectangle": 0.5, "noise": 0.1, "dropout": 0.2}


def corrupt(images: Tensor, mean: Tensor, corruption: str, amount: float) -> Tensor:
    """Return corrupted copies of images (B, C, H, W), each image differently.

    Args:
        images: in [0, 1].
        mean: (C, H, W) the mean image, which takes the place of what is hidden. The encoder's input is centred
            on it, so that hidden pixels carry nothing.
        corruption: "rectangle" hides a box of random place and size, "dropout" single pixels, "noise" adds
            Gaussian noise.
        amount: the longest side as a share of the image's, the share of pixels, or the deviation.
    """
    if corruption == "noise":
        return images + amount * torch.randn_like(images)
    if corruption == "rectangle":
        rows, columns = (_interval(len(images), size, amount, images.device) for size in images.shape[-2:])
        hidden = rows[:, None, :, None] & columns[:, None, None, :]
    else:
        hidden = torch.rand_like(images[:, :1]) < amount
    return torch.where(hidden, mean, images)


def _interval(count: int, size: int, longest: float, device: torch.device) -> Tensor:
    """Return (count, size) masks of one random interval each: from one end, to at most `longest` beside it."""
    start = torch.randint(size, (count,), device=device)
    reach = longest * size
    low, high = (start - reach).clamp(min=0), (start + reach).clamp(max=size)
    end = (low + (high - low) * torch.rand(count, device=device)).round()
    axis = torch.arange(size, device=device)
    return (axis >= torch.minimum(start, end)[:, None]) & (axis < torch.maximum(start, end)[:, None])


class Denoising(Reconstruction):
    """Decode the clean observation from the state of a corrupted one (Vincent et al. 2008, ICML).

    The decoder is that of `Reconstruction`, and so are `likelihood` and `sigma`. `corruption` and `amount` are
    those of `corrupt`; an amount of 0 stands for the usual one: sides up to half the image, a deviation of 0.1,
    a fifth of the pixels. It costs a pass of its own through the encoder.
    """

    corruption: str = "rectangle"
    amount: float = 0.0

    single_frames: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("obs",)
    symbol = r"\mathbb{E}\,\ell\left(g(\phi(\tilde o_t)),\, o_t\right)"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.corruption not in AMOUNTS:
            raise ConfigError(f"corruption is one of {', '.join(AMOUNTS)}, not {self.corruption!r}.")
        if self.amount < 0 or (self.corruption != "noise" and self.amount > 1):
            raise ConfigError(f"amount is a share or a deviation, or 0 for the usual one, not {self.amount}.")

    def build(self, spec: Spec) -> None:
        super().build(spec)
        self.register_buffer("hidden", spec.pixel_mean)

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) the reconstruction error of o_t."""
        amount = self.amount or AMOUNTS[self.corruption]
        corrupted = corrupt(batch.obs, self.get_buffer("hidden"), self.corruption, amount)
        return self.error(decode(self.decoder, batch, batch.encode(corrupted)), batch.obs)
