"""Random moments of the episodes that a minibatch is drawn from, as rows of the data."""

from __future__ import annotations

import torch
from torch import Tensor


def near(row: Tensor, first: Tensor, last: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Return (B,) rows of the same episode, other than `row`, at most `window` steps away, and where there are any.

    `first` and `last` (B,) bound the episodes. Where an episode has no such row, `row` itself stands in.
    """
    low, high = torch.maximum(row - window, first), torch.minimum(row + window, last)
    drawn = low + below(high - low)
    exists = high > low
    return torch.where(exists, drawn + (drawn >= row), row), exists


def far(row: Tensor, first: Tensor, last: Tensor, distance: int) -> tuple[Tensor, Tensor]:
    """Return (B,) rows of the same episode more than `distance` steps away, and where there are any."""
    before, after = (row - distance - first).clamp(min=0), (last - row - distance).clamp(min=0)
    drawn = below(before + after)
    exists = before + after > 0
    chosen = torch.where(drawn < before, first + drawn, row + distance + 1 + drawn - before)
    return torch.where(exists, chosen, row), exists


def below(count: Tensor) -> Tensor:
    """Return random integers (B,) from 0 to count - 1, each with its own count; 0 where that is less than 1."""
    return (torch.rand(count.shape, device=count.device) * count.clamp(min=0)).long()
