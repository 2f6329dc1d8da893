"""The bound of deep variational Bayes filters (Karl, Soelch, Bayer & van der Smagt 2017, 1605.06432)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from srl_bench.batch import Batch
from srl_bench.errors import ConfigError
from srl_bench.losses.autoencoding import decode, pixel_nll, shared_decoder, shared_deviation
from srl_bench.losses.variational import gaussian_log_density
from srl_bench.nets.memory import VariationalFilter
from srl_bench.objective import Loss, Spec


class SequenceBound(Loss):
    """The annealed negative evidence bound of windows of `horizon` frames, per frame.

    Frames are decoded from states that the network's memory, a `VariationalFilter`, composes of noise: no state is
    encoded from its own frame, so that reconstruction must pass through the transition. A weight c rises to 1 over
    the share `annealing` of training: with `anneal="data"` likelihood and prior are weighed with 0.01 + c, the entropy
    is not (eq. 14); with "divergence" the noise's divergence from its prior is. The former asks for much noise first,
    in which an object of a few pixels is not found; the latter lets frames be reconstructed first, as in a VAE.
    `sigma` is the deviation of pixels, 0 to learn it.
    """

    horizon: int = 8  # type: ignore[misc]
    matrices: int = 16
    annealing: float = 0.4
    anneal: str = "divergence"
    sigma: float = 0.0

    needs = ("obs", "action")
    symbol = (
        r"\mathbb{E}_q \sum_t \left[-c \log p(o_t \mid z_t) - c \log p(w_t) + \log q(w_t \mid z_{t-1}, o_t, a_{t-1})"
        r"\right]"
    )

    def __post_init__(self) -> None:
        if self.horizon < 2 or self.matrices < 1 or not 0 < self.annealing <= 1 or self.sigma < 0:
            raise ConfigError(
                f"horizon must be at least 2, matrices at least 1, annealing in (0, 1] and sigma not negative, not "
                f"{self.horizon}, {self.matrices}, {self.annealing} and {self.sigma}."
            )

        if self.anneal not in ("divergence", "data"):
            raise ConfigError(f"anneal must be 'divergence' or 'data', not {self.anneal!r}.")

    def memory(self, state_dim: int, n_actions: int, action_dim: int) -> dict[str, Any]:
        return {"name": "variational_filter", "action_dim": action_dim, "matrices": self.matrices}

    def build(self, spec: Spec) -> None:
        self.decoder = shared_decoder(spec)
        if self.sigma == 0:
            self.deviation = shared_deviation(spec)

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) the bound of each window in nats per frame."""
        memory = batch.memory
        assert isinstance(memory, VariationalFilter)
        rising = min(1.0, batch.progress / self.annealing)
        data, prior, entropy = (rising + 0.01,) * 2 + (1.0,) if self.anneal == "data" else (1.0, rising, rising)
        data, prior = min(1.0, data), min(1.0, prior)
        encoded, actions = batch.states[:, : self.horizon], batch.actions
        mean, logvar = memory.recognise_first(encoded[:, 0])
        noise = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
        states = [memory.first_state(noise)]
        cost = entropy * gaussian_log_density(noise, mean, logvar) - prior * gaussian_log_density(noise)
        for t in range(1, self.horizon):
            mean, logvar = memory.recognise(states[-1], encoded[:, t], actions[:, t - 1])
            noise = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
            states.append(memory.transition(states[-1], actions[:, t - 1], noise))
            cost = cost + entropy * gaussian_log_density(noise, mean, logvar) - prior * gaussian_log_density(noise)
        frames = batch.observations[:, : self.horizon].flatten(0, 1)
        decoded = decode(self.decoder, batch, torch.stack(states, 1).flatten(0, 1))
        errors = pixel_nll(decoded, frames, self.sigma or self.deviation())
        return (cost + data * errors.unflatten(0, (-1, self.horizon)).sum(1)) / self.horizon
