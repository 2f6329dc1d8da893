"""Loss terms: pure functions on tensors, each with a thin `Loss` on top. The functions are exported here."""

from srl_bench.losses.autoencoding import pixel_mse, pixel_nll
from srl_bench.losses.contrastive import triplet
from srl_bench.losses.dynamics import intrinsic_reward
from srl_bench.losses.e2c import e2c_kl
from srl_bench.losses.priors import causality, proportionality, repeatability
from srl_bench.losses.rewards import reward_correlation
from srl_bench.losses.slowness import temporal_coherence, variability
from srl_bench.losses.variational import gaussian_kl

__all__ = [
    "causality",
    "e2c_kl",
    "gaussian_kl",
    "intrinsic_reward",
    "pixel_mse",
    "pixel_nll",
    "proportionality",
    "repeatability",
    "reward_correlation",
    "temporal_coherence",
    "triplet",
    "variability",
]
