"""Agents with `srl.encode` against the other ways to give them images: CPU time per environment step, replay memory.

One thread, 8 environments, medians of alternating runs. Run: python benchmarks/speed_rl.py
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

import srl_bench as srl
from srl_bench.environments import make_environment
from srl_bench.vecenv import EncodedObservation, EncoderExtractor

ENVIRONMENTS = ("srl_bench/MobileRobot-v0", "srl_bench/KukaButton-v0")
N_ENVS, ROUNDS = 8, 3
PPO_STEPS, SAC_STEPS = 2_048, 128
CONTINUOUS = {"action_type": "continuous"}
Way = Callable[[int], None]


def main() -> None:
    torch.set_num_threads(1)
    for environment in ENVIRONMENTS:
        with tempfile.TemporaryDirectory() as folder:
            rollouts = srl.record(environment, frames=2_000, seed=0, out=Path(folder) / "data", workers=1)
            encoder = srl.pretrain("random", rollouts, latent_dim=32, seed=0)
        print(f"{environment}, {N_ENVS} environments: CPU ms per environment step")
        ppo(environment, encoder)
        sac(environment, encoder)


def ppo(environment: str, encoder: srl.Encoder) -> None:
    """Compare the ways to give PPO an encoder, and the best one with the sum of its parts."""
    single = lambda: EncodedObservation(make_environment(environment, {}), encoder)  # noqa: E731
    inside = {"features_extractor_class": EncoderExtractor, "features_extractor_kwargs": {"encoder": encoder}}

    def agent(venv: VecEnv, policy: str = "MlpPolicy", policy_kwargs: dict | None = None) -> Way:
        steps = PPO_STEPS // N_ENVS
        return learner(PPO(policy, venv, n_steps=steps, seed=0, device="cpu", policy_kwargs=policy_kwargs))

    cost = measure(
        {
            "srl.encode": agent(srl.encode(make(environment), encoder)),
            "CnnPolicy on pixels": agent(make(environment), "CnnPolicy"),
            "encoder in each environment": agent(DummyVecEnv([single] * N_ENVS)),
            "frozen features extractor": agent(make(environment), "CnnPolicy", inside),
            "ground truth": agent(make(environment, obs_type="state")),
            "environments, encoded by hand": stepper(make(environment), encoder),
            "environments without pictures": stepper(make(environment, obs_type="state")),
        },
        PPO_STEPS,
    )
    parts = cost["environments, encoded by hand"] + cost["ground truth"] - cost["environments without pictures"]
    show("PPO, srl.encode", cost["srl.encode"])
    for name, target in (
        ("CnnPolicy on pixels", 3),
        ("encoder in each environment", 1.3),
        ("frozen features extractor", 1.5),
    ):
        show(f"PPO, {name}", cost[name], f"{cost[name] / cost['srl.encode']:6.2f}x   target >= {target}x")
    show("PPO, sum of the parts", parts, f"{cost['srl.encode'] / parts:6.2f}x   target <= 1.15x")


def sac(environment: str, encoder: srl.Encoder) -> None:
    """Compare SAC with one gradient step of 64 transitions per environment step on states, factors and pixels."""

    def agent(venv: VecEnv, policy: str = "MlpPolicy") -> SAC:
        options = {"batch_size": 64, "gradient_steps": -1, "learning_starts": N_ENVS, "buffer_size": 4_000}
        return SAC(policy, venv, seed=0, device="cpu", **options)

    agents = {
        "srl.encode": agent(srl.encode(make(environment, **CONTINUOUS), encoder)),
        "CnnPolicy on pixels": agent(make(environment, **CONTINUOUS), "CnnPolicy"),
        "ground truth": agent(make(environment, obs_type="state", **CONTINUOUS)),
    }
    cost = measure({name: learner(model) for name, model in agents.items()}, SAC_STEPS)
    ours = cost["srl.encode"]
    show("SAC, srl.encode", ours)
    pixels, truth = cost["CnnPolicy on pixels"], cost["ground truth"]
    show("SAC, CnnPolicy on pixels", pixels, f"{pixels / ours:6.2f}x   target >= 5x")
    show("SAC, ground truth", truth, f"{ours / truth:6.2f}x   target <= 1.2x")
    sizes = {name: replay_bytes(agents[name]) for name in ("srl.encode", "CnnPolicy on pixels")}
    ratio = sizes["CnnPolicy on pixels"] / sizes["srl.encode"]
    each = ", ".join(f"{name} {size / 4_000:,.0f}" for name, size in sizes.items())
    print(f"replay buffer, bytes per transition: {each}: {ratio:.0f}x smaller   target >= 50x")


def make(environment: str, **kwargs: str) -> VecEnv:
    return srl.make_vec_env(environment, N_ENVS, **kwargs)


def learner(agent: BaseAlgorithm) -> Way:
    agent.set_logger(Logger(None, []))  # SB3's own makes a folder in /tmp
    return lambda steps: agent.learn(steps, reset_num_timesteps=False) and None


def stepper(venv: VecEnv, encoder: srl.Encoder | None = None) -> Way:
    """Return a function that steps environments with random actions and encodes what they give."""
    venv.reset()
    random = np.random.default_rng(0)

    def run(steps: int) -> None:
        for _ in range(steps // N_ENVS):
            observations, *_ = venv.step(random.integers(venv.action_space.n, size=N_ENVS))  # type: ignore[attr-defined]
            if encoder is not None:
                encoder.encode(observations)  # type: ignore[arg-type]

    return run


def measure(ways: dict[str, Way], steps: int) -> dict[str, float]:
    """Return CPU seconds per environment step of each way."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS + 1):
        for name, run in ways.items():
            started = time.process_time()
            run(steps)
            times[name].append((time.process_time() - started) / steps)
    return {name: statistics.median(series[1:]) for name, series in times.items()}


def replay_bytes(agent: SAC) -> int:
    """Return the size of a replay buffer."""
    buffer = agent.replay_buffer
    assert buffer is not None
    return sum(value.nbytes for value in vars(buffer).values() if isinstance(value, np.ndarray))


def show(name: str, seconds: float, verdict: str = "") -> None:
    print(f"{name:34}{1000 * seconds:8.2f}  {verdict}")


if __name__ == "__main__":
    main()
