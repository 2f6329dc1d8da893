r"""Principal component analysis of the pixels (Pearson 1901; in robot control Curran et al. 2015, 1505.00322).

    s = W^\top (o - \mu), \quad W = \text{leading eigenvectors of } \mathrm{Cov}(o)

The best linear code of pixel variance. It fails where variance is not what matters: a small object counts
for as little as its few pixels.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from sklearn.decomposition import PCA as SklearnPCA

from srl_bench.errors import DataError
from srl_bench.method import Method
from srl_bench.nets.encoder import EncoderNetwork
from srl_bench.registry import method
from srl_bench.rollouts import Rollouts
from srl_bench.seeding import generator

MAX_FRAMES = 20_000


@method("pca")
@dataclass(frozen=True)
class PCA(Method):
    """Projection on the leading principal components of the training frames (at most 20,000 of them)."""

    single_frames: ClassVar[bool] = True

    def objective(self, state_dim: int) -> None:
        """Return None: the solution is in closed form."""
        return

    def body(self, default: str) -> str:
        """Return the identity: the encoder is linear."""
        return "flatten"

    @torch.no_grad()
    def fit(self, network: EncoderNetwork, rollouts: Rollouts, seed: int) -> EncoderNetwork:
        """Set the linear head to the components, each with its largest loading positive."""
        rows = np.flatnonzero(rollouts.split == 0)
        if len(rows) > MAX_FRAMES:
            rows = np.sort(generator(seed, "pca").choice(rows, MAX_FRAMES, replace=False))
        if len(rows) < network.state_dim:
            raise DataError(f"pca to {network.state_dim} dimensions needs as many frames, not {len(rows)}.")
        images = rollouts.observations[rows].transpose(0, 3, 1, 2).reshape(len(rows), -1)
        fitted = SklearnPCA(network.state_dim, random_state=seed % 2**32).fit(images.astype(np.float32) / 255)
        components = fitted.components_
        largest = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, None], axis=1)
        components = torch.from_numpy(components * np.sign(largest))
        # The network's input is centred and scaled; undo the scale, and the rest of the centring.
        centre = -(network.input_offset / network.input_scale).permute(2, 0, 1).flatten()
        network.head.weight.copy_(components / network.input_scale)
        network.head.bias.copy_(components @ (centre - torch.from_numpy(fitted.mean_)))
        return network
