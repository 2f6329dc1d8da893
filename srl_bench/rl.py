"""Reinforcement learning on encoders: the downstream track that decides."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from srl_bench.algorithms import check_algorithm, check_hyperparameters, hyperparameters, make_agent
from srl_bench.checkpoints import load_checkpoint, load_policy, save_policy
from srl_bench.config import RLConfig, options
from srl_bench.curiosity import CuriousVecEnv
from srl_bench.device import cpu_threads, resolve_device
from srl_bench.encoder import Encoder, load_encoder
from srl_bench.environments import make_environment, merged_arguments
from srl_bench.errors import ConfigError, DataError, TrainingError
from srl_bench.provenance import code_version, provenance
from srl_bench.segments import OnEvaluation, Segments
from srl_bench.sources import Source, as_source, check_source, split_source, weights_hash
from srl_bench.tracking import check_tracking, tensorboard_folder, tracked
from srl_bench.vecenv import check_observations, make_vec_env

NO_REWARD = (
    "no evaluation episode had any reward but 0, so these returns compare nothing; try reward_type=shaped, curiosity, "
    "or more steps."
)


def train_agent(
    environment: str,
    source: Encoder | Source | str,
    *,
    environment_kwargs: dict[str, Any] | None = None,
    out: str | Path | None = None,
    config: RLConfig | None = None,
    on_evaluation: OnEvaluation | None = None,
    **settings: Any,
) -> pd.DataFrame:
    """Train an agent, and evaluate it on fixed episodes as it learns.

    Args:
        environment: Gymnasium id.
        source: what the agent observes: an encoder or the folder of one, raw_pixels (a convolutional policy trained
            end to end), ground_truth or proprioception; see `srl_bench.sources.as_source`.
        environment_kwargs: keyword arguments of the environment.
        out: folder for `evaluations.csv`, the agent and its provenance. What is finished there is returned; what was
            interrupted goes on from its last evaluation.
        config: the settings as one object; `settings` are its fields, given singly.
        on_evaluation: called after each evaluation; what it raises ends the training.

    Returns:
        One row per evaluation episode: step, episode, return, length, success (1 or 0, NaN where the environment does
        not tell), seconds (of training so far).

    Raises:
        ConfigError: a setting is wrong, or environment, algorithm and encoder do not fit each other.
        DataError: `out` holds another agent, or other files, or another process writes there.
        TrainingError: the encoder's weights changed, or the agent's are not finite.
    """
    if config is not None and settings:
        raise ConfigError("give either config or single settings, not both.")
    config = config or options(RLConfig, settings)
    check_tracking(config, Path(out) if out is not None else None)
    chosen = as_source(source)
    kwargs = chosen.environment_kwargs(dict(environment_kwargs or {}))
    remarks = check_source(chosen, environment, kwargs, config)
    check_fit(environment, kwargs, config, chosen)
    request = {
        "environment": environment,
        "environment_kwargs": kwargs,
        "source": chosen.name,
        "encoder_sha256": weights_hash(chosen),
        "rl": asdict(config),
        "hyperparameters": hyperparameters(config.algorithm, environment, config.hyperparameters),
        "code_version": code_version(),
    }
    if out is None:
        return _train(chosen, request, config, None, remarks, on_evaluation)
    folder = Path(out)
    if (folder / "evaluations.csv").exists() or (folder.exists() and not _is_ours(folder)):
        return _finished(folder, request)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            if (folder / "config.json").exists():
                _check_same(folder, request)
            return _train(chosen, request, config, folder, remarks, on_evaluation)
    except Timeout as error:
        raise DataError(f"another process is training an agent in {folder}; wait, or give another folder.") from error


def check_fit(environment: str, kwargs: dict[str, Any], config: RLConfig, source: Source | None) -> None:
    """Raise `ConfigError` unless environment, algorithm, hyperparameters and encoder fit each other.

    Args:
        environment, kwargs: the environment, with the `obs_type` that the source needs.
        config: of the agent.
        source: what it observes; None for an encoder that has yet to be trained.
    """
    env = make_environment(environment, kwargs)
    try:
        images = config.encoder_mode != "frozen" or (source is not None and source.pixels)
        check_algorithm(config.algorithm, env, images=images)
        check_hyperparameters(config.algorithm, config.hyperparameters)
        if source is not None and source.encoder is not None:
            space = env.observation_space
            check_observations(space["pixels"] if isinstance(space, spaces.Dict) else space, source.encoder)
    finally:
        env.close()


def _is_ours(folder: Path) -> bool:
    """Return whether a folder is empty, but for what precedes training, or that of an agent."""
    return (folder / "config.json").exists() or not {path.name for path in folder.iterdir()} - {".lock", "pretraining"}


def _check_same(folder: Path, request: dict[str, Any]) -> None:
    file = folder / "config.json"
    stored = json.loads(file.read_text()) if file.exists() else {}
    if not stored:
        raise DataError(f"{folder} holds files that are not of an agent; give another folder.")
    differs = _differences(stored, json.loads(json.dumps(request)))
    if differs:
        raise DataError(f"{folder} holds another agent ({'; '.join(differs)}); give another folder.")


def _differences(stored: dict[str, Any], wanted: dict[str, Any], of: str = "") -> list[str]:
    """Return "name is A, not B" for everything wanted that is stored otherwise, names of parts with dots."""
    found = []
    for key, value in wanted.items():
        if isinstance(value, dict) and isinstance(stored.get(key), dict):
            found += _differences(stored[key], value, f"{of}{key}.")
            extra = sorted(set(stored[key]) - set(value))
            found += [f"{of}{key}.{name} is {stored[key][name]!r}, not absent" for name in extra]
        elif stored.get(key) != value:
            found.append(f"{of}{key} is {stored.get(key)!r}, not {value!r}")
    return found


def _finished(folder: Path, request: dict[str, Any]) -> pd.DataFrame:
    """Return the stored evaluations of the same request."""
    _check_same(folder, request)
    return pd.read_csv(folder / "evaluations.csv")


def _train(
    source: Source,
    request: dict[str, Any],
    config: RLConfig,
    folder: Path | None,
    remarks: list[str],
    on_evaluation: OnEvaluation | None,
) -> pd.DataFrame:
    with cpu_threads(config.threads):
        training = observed_environments(source, request, config, config.n_envs, training=True)
        evaluation = observed_environments(source, request, config, config.eval_episodes, training=False)
        agent = build_agent(source, request, config, training, tensorboard_folder(config, folder))
        share_statistics(training, evaluation)
        if folder is not None:
            (folder / "config.json").write_text(json.dumps(request, indent=1))
            if source.encoder is not None:
                source.encoder.save(folder / "encoder")
        checkpoint = folder / "checkpoint" if folder is not None else None
        segments = Segments(evaluation, config, checkpoint, on_evaluation)
        if checkpoint is not None and checkpoint.exists():
            segments.resume(load_checkpoint(checkpoint, agent))
        # SB3 resets environments that gave no observation yet; the segments do that
        agent._last_obs = np.empty(0)
        try:
            remaining = max(0, config.steps - agent.num_timesteps)
            with tracked(config, request, folder) as reports:
                agent.learn(remaining, callback=[segments, *reports], reset_num_timesteps=False, tb_log_name="agent")
        except ValueError as error:  # torch's distributions refuse what a diverged network gives
            if all(bool(value.isfinite().all()) for value in agent.policy.parameters()):
                raise
            message = f"the agent's weights are not finite at step {agent.num_timesteps}; lower its learning rate."
            raise TrainingError(message) from error
        finally:
            segments.stop()
            training.close()
            evaluation.close()
    if weights_hash(source) != request["encoder_sha256"]:
        raise TrainingError("the weights of the frozen encoder changed during training; its results are void.")
    table = pd.DataFrame(segments.rows)
    if not table["return"].any():
        remarks = [*remarks, NO_REWARD]
    if folder is not None:
        about = provenance(
            **request,
            encoder=source.encoder.provenance if source.encoder is not None else source.name,
            seconds=segments.seconds,
            steps_per_second=agent.num_timesteps / max(segments.seconds, 1e-9),
            notes=remarks,
        )
        save_policy(folder, agent)
        (folder / "config.json").write_text(json.dumps(about, indent=1))
        table.to_csv(folder / "evaluations.tmp", index=False)
        (folder / "evaluations.tmp").rename(folder / "evaluations.csv")
        shutil.rmtree(folder / "checkpoint", ignore_errors=True)
    return table


def observed_environments(
    source: Source, request: dict[str, Any], config: RLConfig, count: int, *, training: bool, base: VecEnv | None = None
) -> VecEnv:
    """Return `count` environments with what the agent observes; those of training have bonus and scaled rewards.

    `base` is what to use in place of new environments.
    """
    environment, kwargs = request["environment"], request["environment_kwargs"]
    base = base or make_vec_env(environment, count, seed=config.seed, **kwargs)
    venv = source.observe(base, config, environment, kwargs)
    gamma = float(request["hyperparameters"].get("gamma", 0.99))
    if config.curiosity and training:
        venv = CuriousVecEnv(venv, config.curiosity, gamma=gamma, seed=config.seed)
    if config.normalise:
        images = source.pixels or config.encoder_mode != "frozen"
        venv = VecNormalize(venv, training=training, norm_obs=not images, norm_reward=training, gamma=gamma)
    return venv


def build_agent(
    source: Source, request: dict[str, Any], config: RLConfig, venv: VecEnv, tensorboard: str | None = None
) -> BaseAlgorithm:
    """Make the agent of a configuration, untrained."""
    own_encoder = config.encoder_mode != "frozen"
    images = source.pixels or (own_encoder and source.encoder is not None and source.encoder.observation == "pixels")
    on_gpu = images or config.device != "auto"
    return make_agent(
        config.algorithm,
        venv,
        request["hyperparameters"],
        images=images,
        seed=config.seed,
        device=resolve_device(config.device) if on_gpu else "cpu",
        policy_kwargs=source.policy_kwargs(config.encoder_mode),
        tensorboard=tensorboard,
    )


def read_run(folder: Path) -> dict[str, Any]:
    """Return the contents of `config.json` of a finished training.

    Raises:
        DataError: the folder holds no finished agent.
    """
    try:
        about = json.loads((folder / "config.json").read_text())
        options(RLConfig, about["rl"])
        for name, kind in (("source", str), ("environment", str), ("environment_kwargs", dict)):
            if not isinstance(about[name], kind):
                raise TypeError(f"{name} is {about[name]!r}.")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder} holds no agent: {error}") from error
    if not (folder / "agent.safetensors").exists():
        raise DataError(f"the training in {folder} is not finished; run its command again.")
    return about


def load_run(
    folder: Path, base: VecEnv | None = None, **kwargs: Any
) -> tuple[BaseAlgorithm, VecEnv, Source, dict[str, Any]]:
    """Rebuild the agent of a finished training from its configuration; no code from the files is executed.

    Args:
        folder: what `train_agent` wrote.
        base: an environment to use in place of a new one.
        kwargs: arguments of the environment in place of those of the training.

    Returns:
        The agent, one environment with what it observes, its source and the contents of `config.json`.

    Raises:
        DataError: the folder holds no finished agent.
    """
    about = read_run(folder)
    about["environment_kwargs"] = merged_arguments(about["environment_kwargs"], kwargs)
    config, name, stored = options(RLConfig, about["rl"]), about["source"], folder / "encoder"
    source = Source(load_encoder(stored), split_source(name)[1]) if stored.is_dir() else as_source(name)
    venv = observed_environments(source, about, config, 1, training=False, base=base)
    agent = build_agent(source, about, config, venv)
    load_policy(folder, agent)
    return agent, venv, source, about


def share_statistics(training: VecEnv, evaluation: VecEnv) -> None:
    """Let environments of evaluation normalise observations as those of training do at that moment."""
    if isinstance(training, VecNormalize) and isinstance(evaluation, VecNormalize) and training.norm_obs:
        evaluation.obs_rms = training.obs_rms
