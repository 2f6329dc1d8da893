"""The encoder network: a body, a linear head, perhaps a memory. One class for training, freezing and loading."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from srl_bench.errors import ConfigError
from srl_bench.nets.memory import Memory
from srl_bench.registry import BODIES, MEMORIES

MAX_STACK = 16


def pixel_statistics(images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
    """Return the mean image (C, H, W) of uint8 images (N, H, W, C), in [0, 1], and the deviation from it."""
    values = images.astype(np.float32) / 255
    mean = values.mean(axis=0)
    return mean.transpose(2, 0, 1), float(max((values - mean).std(), 1e-3))


class EncoderNetwork(nn.Module):
    """Observations to states, or to the mean and log-variance of a Gaussian over states.

    Args:
        observation_shape: (H, W, C) of images, (K,) of vectors. Images are fed as (B, C, H, W) in [0, 1].
        state_dim: dimensions of the encoding of a frame: of the state, unless a memory makes states of encodings.
        body: a registered body.
        variational: whether the head has a log-variance for each dimension of the state.
        head: "linear", or "none" for a body whose features are the state.
        memory: name and options of a registered memory.
        frame_stack: images that are seen at once, (B, frame_stack C, H, W), the newest first.

    Raises:
        ConfigError: the body has another width than a state without a head, or frames of another kind are stacked.
    """

    input_scale: Tensor
    input_offset: Tensor
    head: nn.Linear

    def __init__(
        self,
        observation_shape: tuple[int, ...],
        state_dim: int,
        body: str = "nature",
        variational: bool = False,
        head: str = "linear",
        memory: dict[str, Any] | None = None,
        frame_stack: int = 1,
    ) -> None:
        super().__init__()
        if not 1 <= frame_stack <= MAX_STACK or (frame_stack > 1 and (memory or len(observation_shape) != 3)):
            raise ConfigError(
                f"frame_stack must be 1 to {MAX_STACK}, and 1 for vectors and for encoders with a memory, "
                f"not {frame_stack}."
            )
        self.config = {
            "observation_shape": list(observation_shape),
            "state_dim": state_dim,
            "body": body,
            "variational": variational,
            "head": head,
            "memory": memory,
            "frame_stack": frame_stack,
        }
        self.frame_stack = frame_stack
        self.state_dim = state_dim
        self.register_buffer("input_scale", torch.ones(()))
        self.register_buffer("input_offset", torch.zeros(tuple(observation_shape)))
        self.variational = variational
        *sizes, channels = observation_shape
        self.body = BODIES[body]((*sizes, channels * frame_stack))
        outputs = state_dim * (2 if variational else 1)
        if head == "none" and self.body.width != outputs:
            raise ConfigError(f"the body {body!r} has {self.body.width} features where {outputs} are the encoding.")
        self.has_head = head != "none"
        if self.has_head:
            self.head = nn.Linear(self.body.width, outputs)
        options = dict(memory or {})
        self.memory: Memory | None = MEMORIES[options.pop("name")](state_dim, **options) if options else None

    def centre_on(self, images: NDArray[np.uint8]) -> None:
        """Centre every pixel on its mean over training images (N, H, W, C) and divide by one deviation.

        Without it the static scene dwarfs what moves, and dynamics losses stay at chance for thousands of
        steps. (Jonschkowski & Brock 2015 preprocess their images this way.)
        """
        mean, std = pixel_statistics(images)
        self.input_scale.fill_(1 / std)
        self.input_offset.copy_(torch.from_numpy(-mean / std).permute(1, 2, 0))

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the mean (B, d) and the log-variance (B, d), clamped to [-10, 4], or None."""
        # A view with channels last in memory, for the sum to have that layout, too.
        offset = self.input_offset.permute(2, 0, 1) if self.input_offset.ndim == 3 else self.input_offset
        if self.frame_stack > 1:
            offset = offset.repeat(self.frame_stack, 1, 1)
        features = self.body(torch.addcmul(offset, observations, self.input_scale))
        # States keep full precision when the body runs in bfloat16.
        with torch.autocast(features.device.type, enabled=False):
            out = self.head(features.float()) if self.has_head else features.float()
        if not self.variational:
            return out, None
        mean, logvar = out.chunk(2, dim=-1)
        return mean, logvar.clamp(-10, 4)
