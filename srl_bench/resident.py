"""Training data on the device: fields as tensors, frames as uint8."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from srl_bench.errors import DataError
from srl_bench.rollouts import Rollouts


class ResidentData:
    """Rollouts as tensors on the device, frames as uint8.

    On a CPU, and beside a GPU that they would fill, the frames stay in the memory-mapped file, so that the page
    cache holds what fits. Images are gathered into buffers that the next batch overwrites.
    """

    def __init__(self, rollouts: Rollouts, device: torch.device) -> None:
        self.device = device
        self.n_actions = rollouts.n_actions
        frames = torch.from_numpy(rollouts.observations)
        self.frames = frames.to(device) if fits(frames.nbytes, device) else frames
        self.views = None if rollouts.views is None else torch.from_numpy(rollouts.views)
        self.fields = {
            "action": torch.from_numpy(rollouts.actions).to(device),
            "reward": torch.from_numpy(rollouts.rewards).to(device),
            "terminated": torch.from_numpy(rollouts.terminated).to(device),
            "episode": torch.from_numpy(rollouts.episode_ids).to(device),
            "step": torch.from_numpy(rollouts.steps).to(device),
            "factors": torch.from_numpy(rollouts.factors.astype(np.float32)).to(device),
        }
        self.episodes = torch.from_numpy(rollouts.episodes).to(device)
        self._buffers: dict[int, tuple[Tensor, Tensor]] = {}

    def action_vectors(self, rows: Tensor) -> Tensor:
        """Return (..., m) float: continuous actions, or discrete ones as one-hot vectors."""
        actions = self.fields["action"][rows]
        return functional.one_hot(actions, self.n_actions).float() if self.n_actions else actions

    def images(self, rows: Tensor) -> Tensor:
        """Return (B, C, H, W) float images in [0, 1], channels last in memory, valid until the next call."""
        if len(rows) not in self._buffers:
            shape = (len(rows), *self.frames.shape[1:])
            self._buffers[len(rows)] = (
                torch.empty(shape, dtype=torch.uint8, device=self.frames.device),
                torch.empty(shape, device=self.device).permute(0, 3, 1, 2),
            )
        raw, images = self._buffers[len(rows)]
        torch.index_select(self.frames, 0, rows.to(raw.device), out=raw)
        return images.copy_(raw.to(self.device).permute(0, 3, 1, 2)).mul_(1 / 255)

    def stacked_images(self, rows: Tensor, count: int) -> Tensor:
        """Return (B, count C, H, W): the images of rows (B,) and those before them, the newest first.

        The first image of an episode stands in for those that would be before it.
        """
        before = rows[:, None] - torch.arange(count, device=rows.device)
        index = torch.maximum(before, self.episodes[self.fields["episode"][rows]][:, None])
        raw = self.frames.index_select(0, index.flatten().to(self.frames.device)).unflatten(0, index.shape)
        side_by_side = raw.permute(0, 2, 3, 1, 4).flatten(3).to(self.device)
        return side_by_side.permute(0, 3, 1, 2).float().mul_(1 / 255)

    def other_images(self, rows: Tensor, view: int = 0) -> Tensor:
        """Return the same in memory of its own, or what another camera saw.

        Raises:
            DataError: there is no such camera.
        """
        frames = self.frames
        if view:
            if self.views is None or self.views.shape[1] < view:
                raise DataError(
                    f"a loss reads camera {view + 1} of each moment; record with as many cameras: --set views=..."
                )
            frames = self.views[:, view - 1]
        raw = frames.index_select(0, rows.to(frames.device)).to(self.device)
        return raw.permute(0, 3, 1, 2).float().mul_(1 / 255)


def fits(size: int, device: torch.device) -> bool:
    """Return whether `size` bytes leave a fifth of the memory that is free on a GPU to networks and batches."""
    return device.type != "cuda" or size <= 0.8 * torch.cuda.mem_get_info(device)[0]
