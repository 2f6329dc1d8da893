"""What logged data cannot show: encoders on states that a simulator was put into.

In logged data factors depend on each other. Here they are drawn uniformly over the states that are possible, one is
held while all others change, or only the distractors change. Where few states are possible, as of an arm whose tip has
to stay in a small box, factors still depend on each other. The environment has to be one that can be put into a state
(`set_factors`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from srl_bench.encoder import Encoder
from srl_bench.errors import ConfigError
from srl_bench.metrics.interventions import Interventions, paired_interventions
from srl_bench.metrics.probes import ridge_scores
from srl_bench.metrics.sampling import beta_vae_from_labels, factor_vae_from_labels
from srl_bench.metrics.shift import paired_ratio

CHUNK = 512


class Simulator:
    """An environment that is put into states, seen through a frozen encoder.

    Args:
        encoder: a frozen encoder.
        environment: Gymnasium id; by default the one that the encoder was trained on.
        environment_kwargs: its keyword arguments; by default those of the encoder's data.

    Raises:
        ConfigError: there is no environment, or it cannot be put into a state.
    """

    def __init__(
        self, encoder: Encoder, environment: str | None = None, environment_kwargs: dict[str, Any] | None = None
    ) -> None:
        name = environment or encoder.provenance.get("environment")
        if name is None:
            raise ConfigError("the encoder belongs to no environment; name one.")
        kwargs = encoder.provenance.get("environment_kwargs", {}) if environment_kwargs is None else environment_kwargs
        self.encoder = encoder
        if encoder.observation == "state":
            kwargs = {**kwargs, "obs_type": "state"}
        made: Any = gymnasium.make(name, **kwargs)
        self.env = made.unwrapped
        if not all(hasattr(self.env, method) for method in ("observe", "possible", "sample_factors")):
            raise ConfigError(f"{name} cannot be put into a state; it needs observe, possible and sample_factors.")
        self.env.reset(seed=0)
        # a factor that follows from others is not set, and one that an option holds fixed has one value only
        self.settable = np.array([np.isfinite(f.tolerance) and f.low < f.high for f in self.env.factors])

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def encode(self, factors: NDArray) -> NDArray[np.float64]:
        """Render factors (n, K) and return their states (n, d)."""
        parts = []
        for start in range(0, len(factors), CHUNK):
            observations = np.stack([self.env.observe(row) for row in factors[start : start + CHUNK]])
            parts.append(self.encoder.encode(observations))
        return np.concatenate(parts).astype(np.float64)

    def independent(self, n_rows: int, seed: int = 0) -> tuple[NDArray, NDArray]:
        """Return states (n, d) and factors (n, K) of random states, uniform over the possible ones, for any metric."""
        random = np.random.default_rng(seed)
        factors = np.array([self.env.sample_factors(random) for _ in range(n_rows)])
        return self.encode(factors), factors

    def interventions(self, groups: int = 40, size: int = 64, seed: int = 0) -> Interventions:
        """Return states of groups that share exactly one factor; see `paired_interventions`."""
        return paired_interventions(
            self.env.sample_factors,
            self.env.possible,
            self.encode,
            intervened=self.settable,
            groups=groups,
            size=size,
            seed=seed,
        )

    def distractor_ratio(self, n_rows: int = 1_000, seed: int = 0) -> float:
        """Return how far new distractors move a state, as a share of how far two random states are apart.

        0 if the encoder ignores them; 1 minus it is the denoising score. NaN in an environment without distractors
        and without a look that is drawn.
        """
        other = np.array([factor.role != "task" for factor in self.env.factors]) & self.settable
        if not other.any():
            return float("nan")
        random = np.random.default_rng(seed)
        pairs: list[tuple[NDArray, NDArray]] = []
        while len(pairs) < n_rows:
            before, drawn = self.env.sample_factors(random), self.env.sample_factors(random)
            after = np.where(other, drawn, before)
            if self.env.possible(after):
                pairs.append((before, after))
        states = [self.encode(np.array(side)) for side in zip(*pairs, strict=True)]
        return paired_ratio(states[0], shifted_states=states[1])


def distractor_curve(
    encoder: Encoder,
    environment: str | None = None,
    environment_kwargs: dict[str, Any] | None = None,
    *,
    levels: Sequence[int] = (0, 1, 2, 3, 4),
    n_rows: int = 2_000,
    seed: int = 0,
) -> dict[str, float]:
    """Measure what more and more distractors cost a ridge probe that was fitted at the first level.

    Args:
        encoder: a frozen encoder of images.
        environment: Gymnasium id with the argument `distractors`; by default the one that the encoder was trained on.
        environment_kwargs: its other keyword arguments; by default those of the encoder's data.
        levels: numbers of distractors, ascending.
        n_rows: states, the same ones at every level; a quarter of them is tested.
        seed: seed of the states and of the places of the distractors.

    Returns:
        "level_<n>", the mean of max(0, R^2) over task factors at each level; "area" under the curve as a share of the
        range of levels, and "slope" of its least-squares line, per distractor.

    Raises:
        ConfigError: the encoder does not see images, levels do not ascend, or the environment has no distractors.
    """
    if encoder.observation == "state" or len(levels) < 2 or sorted(set(levels)) != list(levels):
        raise ConfigError(f"distractor_curve needs an encoder of images and ascending levels, not {levels!r}.")
    kwargs = encoder.provenance.get("environment_kwargs", {}) if environment_kwargs is None else environment_kwargs
    truth: NDArray | None = None
    seen, found = [], {}
    for level in levels:
        simulator = Simulator(encoder, environment, {**kwargs, "distractors": level})
        random = np.random.default_rng((seed, level))
        try:
            table = simulator.env.factors
            task = np.array([factor.role == "task" for factor in table])
            if truth is None:
                truth = np.array([simulator.env.sample_factors(random) for _ in range(n_rows)])[:, task]
            drawn = np.array([[factor.sample(random) for factor in table] for _ in range(n_rows)])
            drawn[:, task] = truth
            seen.append(simulator.encode(drawn))
        finally:
            simulator.close()
        kinds = [factor.kind for factor in table if factor.role == "task"]
        split = np.repeat([0, 1, 2], [n_rows // 2, n_rows // 4, n_rows - n_rows // 2 - n_rows // 4])
        states = np.where((split == 2)[:, None], seen[-1], seen[0])
        found[f"level_{level}"] = float(np.maximum(ridge_scores(states, truth, split=split, kinds=kinds).r2, 0).mean())
    curve = list(found.values())
    area = float(np.trapezoid(curve, levels) / (levels[-1] - levels[0]))
    return {**found, "area": area, "slope": float(np.polyfit(levels, curve, 1)[0])}


def intervention_scores(
    encoder: Encoder,
    environment: str | None = None,
    environment_kwargs: dict[str, Any] | None = None,
    *,
    groups: int = 40,
    size: int = 64,
    seed: int = 0,
) -> dict[str, float]:
    """Score an encoder by true interventions.

    Args:
        encoder: a frozen encoder.
        environment: Gymnasium id; by default the one that the encoder was trained on.
        environment_kwargs: its keyword arguments; by default those of the encoder's data.
        groups: values per factor.
        size: states per value; factors * groups * size states are rendered.
        seed: seed of the draws.

    Returns:
        beta_vae and factor_vae, distractor_ratio (NaN without distractors), and rejected, the share of draws that no
        state belongs to.

    Raises:
        ConfigError: there is no environment, or it cannot be put into a state.
    """
    simulator = Simulator(encoder, environment, environment_kwargs)
    try:
        states, labels, rejected = simulator.interventions(groups, size, seed)
        ratio = simulator.distractor_ratio(seed=seed)
    finally:
        simulator.close()
    # batches of half a group differ from each other
    batch = max(2, size // 2)
    return {
        "beta_vae": beta_vae_from_labels(states, labels, seed=seed, train_points=2_000, test_points=1_000),
        "factor_vae": factor_vae_from_labels(
            states, labels, seed=seed, train_votes=2_000, test_votes=1_000, batch=batch
        ),
        "distractor_ratio": ratio,
        "rejected": rejected,
    }
