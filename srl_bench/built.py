"""An objective with its heads, as training uses it."""

from __future__ import annotations

import copy
import dataclasses
import math

import torch
from torch import Tensor, nn

from srl_bench.batch import Batch
from srl_bench.errors import TrainingError
from srl_bench.nets.heads import DECODERS
from srl_bench.objective import Objective, Spec


class BuiltObjective(nn.Module):
    """An objective with its heads, ready to train; it owns copies of the losses."""

    def __init__(self, objective: Objective, spec: Spec) -> None:
        super().__init__()
        self.objective, self.state_dim = objective, spec.state_dim
        # One copy to a term: a loss that stands in two terms has two heads, as its printed form says.
        self.terms = tuple(dataclasses.replace(term, loss=copy.deepcopy(term.loss)) for term in objective.terms)
        self.bounds = [term.bounds(spec.state_dim) for term in self.terms]
        self.losses = nn.ModuleList(term.loss for term in self.terms)
        self.labels = objective.labels
        for term, (start, stop) in zip(self.terms, self.bounds, strict=True):
            seen = spec.state_dim if term.detach else stop - start
            term.loss.build(dataclasses.replace(spec, state_dim=seen, _slice=(start, stop)))

    def forward(self, batch: Batch, progress: float = 1.0) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum, a scalar, and the raw mean of each term by label."""
        total = torch.zeros((), device=batch.device)
        values: dict[str, Tensor] = {}
        batch.progress = progress
        for label, term, (start, stop) in zip(self.labels, self.terms, self.bounds, strict=True):
            value = term.loss(batch.of_state(start, stop, term.detach)).mean()
            values[label] = value
            total = total + term.weight_at(progress) * value
        return total, values

    @property
    def decoder(self) -> tuple[nn.Module, tuple[int, int]] | None:
        """The first decoder of states to images, and the part of the state that it reads; None if there is none."""
        for term, (start, stop) in zip(self.terms, self.bounds, strict=True):
            decoder = dict(term.loss.named_children()).get("decoder")
            if type(decoder) in DECODERS.values():
                assert decoder is not None
                return decoder, (0, self.state_dim) if term.detach else (start, stop)
        return None

    def weights(self, progress: float) -> dict[str, float]:
        """Return the weight of each term at a progress in [0, 1]."""
        return {label: term.weight_at(progress) for label, term in zip(self.labels, self.terms, strict=True)}

    def gradient_norms(self, values: dict[str, Tensor], encodings: list[Tensor], progress: float) -> dict[str, float]:
        """Return the norm of each weighted term's gradient on the encoder's outputs."""
        norms = {}
        for label, weight in self.weights(progress).items():
            if not values[label].requires_grad:
                norms[label] = 0.0
                continue
            gradients = torch.autograd.grad(
                values[label], encodings, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            norms[label] = abs(weight) * math.hypot(*(float(gradient.norm()) for gradient in gradients))
        return norms


def check_finite(values: dict[str, float], step: int) -> None:
    """Stop training at the first loss that is not finite.

    Raises:
        TrainingError: it names the term and the step.
    """
    broken = [f"{label} = {value}" for label, value in values.items() if not math.isfinite(value)]
    if broken:
        raise TrainingError(
            f"the loss is not finite at step {step}: {', '.join(broken)}. Lower the learning rate, or the "
            "weight of that term; the last checkpoint is kept."
        )
