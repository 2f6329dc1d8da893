"""Distances between moments of a video: near in time is near in the state."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from srl_bench.batch import Batch
from srl_bench.errors import ConfigError
from srl_bench.losses.moments import far, near
from srl_bench.objective import Loss


def triplet(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 0.2) -> Tensor:
    """Return (B,) max(0, ||a - p||^2 - ||a - n||^2 + margin) of states (B, d)."""
    to_positive = (anchor - positive).square().sum(-1)
    return (to_positive - (anchor - negative).square().sum(-1) + margin).clamp(min=0)


class Triplet(Loss):
    """Time-contrastive triplets (Sermanet et al. 2018, 1704.06888).

    Of a single view: the positive is at most `window` steps from the anchor, the negative of the same episode and more
    than twice as far, so that no negative is as good as a positive. With `multi_view` the positive is the same moment
    seen by the second camera of the recording, whatever is near in time. With `normalize` distances are between
    directions, for which the margin is made; the state itself is handed on as it is. A constant state has the
    margin as its loss. It costs a pass of its own through the encoder.
    """

    margin: float = 0.2
    window: int = 2
    normalize: bool = True
    multi_view: bool = False

    needs = ("obs",)
    symbol = r"\mathbb{E}\left[\lVert s_t - s_{t^+} \rVert^2 - \lVert s_t - s_{t^-} \rVert^2 + \alpha\right]_+"

    def __post_init__(self) -> None:
        if self.margin <= 0 or self.window < 1:
            raise ConfigError(f"margin must be positive and window at least 1, not {self.margin} and {self.window}.")

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) the loss of each anchor, 0 for those whose episode is too short for a triplet."""
        negative, exists = far(batch.row, *batch.episode_rows, 2 * self.window)
        if self.multi_view:
            others = torch.cat([batch.encode_view(batch.row), batch.encode_rows(negative)])
        else:
            positive, has_positive = near(batch.row, *batch.episode_rows, self.window)
            others, exists = batch.encode_rows(torch.cat([positive, negative])), exists & has_positive
        states = torch.cat([batch.state, others])
        if self.normalize:
            states = functional.normalize(states, dim=-1)
        anchors, positives, negatives = states.chunk(3)
        return triplet(anchors, positives, negatives, self.margin) * exists
