"""Reinforcement learning on frozen encoders with Stable-Baselines3: the downstream track that decides."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from safetensors.torch import save_file
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from srl_bench.config import RAW_PIXELS, RLConfig, options
from srl_bench.device import cpu_threads, resolve_device
from srl_bench.encoder import Encoder
from srl_bench.errors import ConfigError, DataError, TrainingError
from srl_bench.progress import progress
from srl_bench.provenance import code_version, provenance
from srl_bench.rollouts import atomic_folder
from srl_bench.vecenv import encode, make_vec_env

EVALUATION_SEED = 20_180_925
ROLLOUT = 2_048
Source = Encoder | Literal["raw_pixels"]


def train_agent(
    environment: str,
    source: Source,
    *,
    environment_kwargs: dict[str, Any] | None = None,
    out: str | Path | None = None,
    config: RLConfig | None = None,
    **settings: Any,
) -> pd.DataFrame:
    """Train an agent on the states of a frozen encoder, and evaluate it on fixed episodes as it learns.

    Args:
        environment: Gymnasium id.
        source: a frozen encoder, or "raw_pixels" for a convolutional policy trained end to end.
        environment_kwargs: keyword arguments of the environment.
        out: folder for `evaluations.csv`, the agent's weights and its provenance; what exists is returned.
        config: the settings as one object; `settings` are its fields, given singly.

    Returns:
        One row per evaluation episode: step, episode, return, length, seconds (of training so far).

    Raises:
        ConfigError: a setting is wrong, or environment and encoder do not fit.
        DataError: `out` holds another agent, or other files.
        TrainingError: the encoder's weights changed.
    """
    if config is not None and settings:
        raise ConfigError("give either config or single settings, not both.")
    config = config or options(RLConfig, settings)
    folder = Path(out) if out is not None else None
    kwargs = dict(environment_kwargs or {})
    if isinstance(source, Encoder) and source.observation == "state":
        kwargs["obs_type"] = "state"
    request = {
        "environment": environment,
        "environment_kwargs": kwargs,
        "encoder_sha256": weights_hash(source),
        "rl": asdict(config),
        "code_version": code_version(),
    }
    if folder is not None and folder.exists() and any(folder.iterdir()):
        return _finished(folder, request)
    with cpu_threads(config.threads):
        training = _observed(make_vec_env(environment, config.n_envs, seed=config.seed, **kwargs), source)
        evaluation = _observed(make_vec_env(environment, config.eval_episodes, **kwargs), source)
        agent = _make_agent(training, source, config)
        recorder = _Evaluations(evaluation, config)
        started = time.perf_counter()
        agent.learn(config.steps, callback=recorder)
        seconds = time.perf_counter() - started
        training.close()
        evaluation.close()
    if weights_hash(source) != request["encoder_sha256"]:
        raise TrainingError("the weights of the frozen encoder changed during training; its results are void.")
    table = pd.DataFrame(recorder.rows)
    if folder is not None:
        about = provenance(
            **request,
            encoder=source.provenance if isinstance(source, Encoder) else source,
            seconds=seconds,
            steps_per_second=agent.num_timesteps / seconds,
        )
        with atomic_folder(folder) as path:
            table.to_csv(path / "evaluations.csv", index=False)
            (path / "config.json").write_text(json.dumps(about, indent=1))
            weights = {name: value.detach().cpu().clone() for name, value in agent.policy.state_dict().items()}
            save_file(weights, path / "agent.safetensors")
    return table


def _finished(folder: Path, request: dict[str, Any]) -> pd.DataFrame:
    """Return the stored evaluations of the same request.

    Raises:
        DataError: the folder holds something else.
    """
    stored = {}
    if (folder / "evaluations.csv").exists() and (folder / "config.json").exists():
        stored = json.loads((folder / "config.json").read_text())
    differs = [key for key, value in json.loads(json.dumps(request)).items() if stored.get(key) != value]
    if differs:
        raise DataError(f"{folder} holds something else (differs in {', '.join(differs)}); give another folder.")
    return pd.read_csv(folder / "evaluations.csv")


def _observed(venv: VecEnv, source: Source) -> VecEnv:
    return encode(venv, source) if isinstance(source, Encoder) else venv


def _make_agent(venv: VecEnv, source: Source, config: RLConfig) -> BaseAlgorithm:
    if not isinstance(source, Encoder) and source != RAW_PIXELS:
        raise ConfigError(f"an agent learns from an Encoder or from {RAW_PIXELS!r}, not from {source!r}.")
    pixels = source == RAW_PIXELS
    device = resolve_device(config.device) if pixels or config.device != "auto" else "cpu"
    arguments = {"n_steps": max(1, ROLLOUT // config.n_envs), "seed": config.seed, **config.hyperparameters}
    try:
        return PPO("CnnPolicy" if pixels else "MlpPolicy", venv, device=device, **arguments)
    except (TypeError, ValueError, AssertionError) as error:
        raise ConfigError(f"PPO does not take these hyperparameters {config.hyperparameters}: {error}.") from error


class _Evaluations(BaseCallback):
    """Plays the evaluation episodes before training, at fixed steps and at the end."""

    def __init__(self, venv: VecEnv, config: RLConfig) -> None:
        super().__init__()
        self.venv = venv
        self.config = config
        self.rows: list[dict[str, float]] = []

    def _on_training_start(self) -> None:
        self._started = time.perf_counter()
        self._bar = progress()
        self._bar.start()
        self._task = self._bar.add_task("train agent", total=self.config.steps, status="")
        self._evaluate()
        self._next = self.config.eval_every

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self._bar.update(self._task, completed=min(self.num_timesteps, self.config.steps))

    def _on_rollout_start(self) -> None:
        # The policy changes only between rollouts, so evaluations belong there.
        if self.num_timesteps >= self._next:
            self._evaluate()
            self._next += self.config.eval_every

    def _on_training_end(self) -> None:
        if self.rows[-1]["step"] < self.num_timesteps:
            self._evaluate()
        self._bar.stop()

    def _evaluate(self) -> None:
        seconds = time.perf_counter() - self._started
        episodes = play(self.model, self.venv)
        self._bar.update(self._task, status=f"return {np.mean([row['return'] for row in episodes]):.2f}")
        self.rows += [{"step": self.num_timesteps, **row, "seconds": seconds} for row in episodes]


def play(agent: BaseAlgorithm, venv: VecEnv) -> list[dict[str, float]]:
    """Play one episode in each environment with the agent's most likely actions.

    Returns:
        For each episode its number, return and length. The episodes are the same at every call.
    """
    venv.seed(EVALUATION_SEED)
    observations: Any = venv.reset()
    returns, lengths = np.zeros(venv.num_envs), np.zeros(venv.num_envs, dtype=np.int64)
    running = np.ones(venv.num_envs, dtype=bool)
    while running.any():
        actions, _ = agent.predict(observations, deterministic=True)
        observations, rewards, dones, _ = venv.step(actions)
        returns += rewards * running
        lengths += running
        running &= ~dones
    pairs = zip(returns.tolist(), lengths.tolist(), strict=True)
    return [{"episode": index, "return": total, "length": length} for index, (total, length) in enumerate(pairs)]


def weights_hash(source: Source) -> str:
    """Return the sha256 of all weights of an encoder, "" for other sources."""
    digest = hashlib.sha256()
    if not isinstance(source, Encoder):
        return ""
    for name, value in sorted(source.state_dict().items()):
        digest.update(name.encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest()
