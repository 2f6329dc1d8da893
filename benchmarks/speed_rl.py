"""PPO with `srl.encode` against the other ways to give an agent images: steps per CPU second.

One thread, 8 environments, SB3's defaults with 256 steps per rollout; medians of alternating runs.
Run: python benchmarks/speed_rl.py
"""

import statistics
import tempfile
import time
from pathlib import Path

import gymnasium
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

import srl_bench as srl
from srl_bench.environments import make_environment
from srl_bench.vecenv import EncodedObservation

ENVIRONMENTS = ("srl_bench/MobileRobot-v0", "srl_bench/KukaButton-v0")
N_ENVS, STEPS, ROUNDS = 8, 2_048, 3
TARGETS = {"CnnPolicy on pixels": 3, "encoder in each environment": 1.3, "frozen features extractor": 1.5}


class FrozenExtractor(BaseFeaturesExtractor):
    """A frozen encoder inside the policy: every sample is encoded again in every epoch."""

    def __init__(self, observation_space: gymnasium.Space, encoder: srl.Encoder) -> None:
        super().__init__(observation_space, encoder.state_dim)
        self.encoder = encoder

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.encoder(observations)


def main() -> None:
    torch.set_num_threads(1)
    for environment in ENVIRONMENTS:
        cost = measure(environment)
        print(f"{environment}, PPO, {N_ENVS} environments: CPU ms per environment step")
        for name, seconds in cost.items():
            gain = f"{seconds / cost['srl.encode']:6.2f}x   target >= {TARGETS[name]}x" if name in TARGETS else ""
            print(f"{name:30}{1000 * seconds:7.2f}  {gain}")


def measure(environment: str) -> dict[str, float]:
    """Return CPU seconds per step of each way."""
    with tempfile.TemporaryDirectory() as folder:
        rollouts = srl.record(environment, frames=2_000, seed=0, out=Path(folder) / "data", workers=1)
        encoder = srl.pretrain("random", rollouts, latent_dim=32, seed=0)
        single = lambda: EncodedObservation(make_environment(environment, {}), encoder)  # noqa: E731
        extractor = {
            "features_extractor_class": FrozenExtractor,
            "features_extractor_kwargs": {"encoder": encoder},
            "ortho_init": False,  # it would initialise the frozen encoder anew
        }
        ways = {
            "srl.encode": lambda: agent(srl.encode(srl.make_vec_env(environment, N_ENVS), encoder)),
            "CnnPolicy on pixels": lambda: agent(srl.make_vec_env(environment, N_ENVS), "CnnPolicy"),
            "encoder in each environment": lambda: agent(DummyVecEnv([single] * N_ENVS)),
            "frozen features extractor": lambda: agent(srl.make_vec_env(environment, N_ENVS), "CnnPolicy", extractor),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        agents = {name: make() for name, make in ways.items()}
        for _ in range(ROUNDS + 1):
            for name, model in agents.items():
                started = time.process_time()
                model.learn(STEPS, reset_num_timesteps=False)
                times[name].append((time.process_time() - started) / STEPS)
        return {name: statistics.median(series[1:]) for name, series in times.items()}


def agent(venv: VecEnv, policy: str = "MlpPolicy", policy_kwargs: dict | None = None) -> PPO:
    np.random.seed(0)  # noqa: NPY002  (SB3 shuffles with it)
    return PPO(policy, venv, n_steps=2_048 // N_ENVS, seed=0, device="cpu", policy_kwargs=policy_kwargs)


if __name__ == "__main__":
    main()
