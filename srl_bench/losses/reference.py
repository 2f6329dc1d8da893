"""The reference-point prior: one place of the robot, one state, whatever the episode."""

from __future__ import annotations

import torch
from torch import Tensor

from srl_bench.batch import Batch
from srl_bench.errors import ConfigError, DataError
from srl_bench.objective import Loss, Spec


class ReferencePoint(Loss):
    """States of frames in which the robot is at its reference point are equal (Lesort et al. 2017, 1709.05185).

    It reads what the robot knows of itself, its proprioceptive factors, in units of their deviation. The reference is
    the median of the training rows, or the median of their first frames with `at="start"`; all within `reach` of it
    in every factor count. `pairs` random pairs of them are encoded at each step. A constant state is perfect.
    """

    at: str = "median"
    reach: float = 0.5
    pairs: int = 16

    needs = ("obs",)
    prevents_collapse = False
    symbol = r"\mathbb{E}_{p_i, p_j \approx p_\text{ref}}\, \lVert s_i - s_j \rVert^2"

    def __post_init__(self) -> None:
        if self.at not in ("median", "start") or self.reach <= 0 or self.pairs < 1:
            raise ConfigError(
                f"at must be 'median' or 'start', reach positive and pairs at least 1, not {self.at!r}, {self.reach} "
                f"and {self.pairs}."
            )

    def build(self, spec: Spec) -> None:
        known, rows = spec.proprioception, spec.rows
        if known is None or rows is None or not known.shape[1]:
            raise DataError(
                "the reference point is a place of the robot, but these data have no proprioceptive factor."
            )
        start = torch.cat([torch.ones(1, dtype=torch.bool), rows.diff() > 1])
        reference = (known[start] if self.at == "start" else known).median(0).values
        near = rows[((known - reference).abs() <= self.reach).all(1)]
        if len(near) < 2:
            raise DataError(
                f"the robot is within {self.reach} of its reference point in {len(near)} frames; raise reach."
            )
        self.register_buffer("near", near)

    def forward(self, batch: Batch) -> Tensor:
        """Return the scalar mean of ||s_i - s_j||^2 over random pairs of frames at the reference point."""
        near = self.get_buffer("near")
        rows = near[torch.randint(len(near), (2 * self.pairs,), device=near.device)]
        first, second = batch.encode_rows(rows).chunk(2)
        return (first - second).square().sum(1).mean()
