"""Rollouts to a frozen encoder: any method, resumable."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from srl_bench.config import TrainConfig, options
from srl_bench.decoder import decoder_of
from srl_bench.device import cpu_threads
from srl_bench.encoder import Encoder, encode_rows, load_encoder
from srl_bench.errors import ConfigError, DataError
from srl_bench.method import Method, as_objective, check_stack, describe, resolve
from srl_bench.nets.encoder import EncoderNetwork
from srl_bench.objective import Loss, Objective
from srl_bench.provenance import provenance
from srl_bench.resident import ResidentData
from srl_bench.rollouts import Rollouts
from srl_bench.seeding import derive_seed
from srl_bench.trainer import Trainer, action_dim, training_images


def pretrain(
    method: str | Method | Objective | Loss,
    rollouts: Rollouts,
    *,
    out: str | Path | None = None,
    config: TrainConfig | None = None,
    **settings: Any,
) -> Encoder:
    """Train an encoder on the training episodes and return it frozen.

    Args:
        method: a name ("vae"), a name with options ("vae(beta=4.0)"), an expression
            ("inverse + autoencoder[:12]"), a `Method`, or an `Objective`.
        rollouts: the data.
        out: folder for the encoder, the decoder if the method has one, `train.csv` and the checkpoint, from which an
            interrupted call resumes.
        config: the settings as one object; `settings` are its fields, given singly.

    Raises:
        ConfigError: the method or an option is wrong.
        DataError: the data lack what the method needs, or `out` holds another run, or one of other code.
        TrainingError: the loss is not finite.
    """
    if config is not None and settings:
        raise ConfigError("give either config or single settings, not both.")
    config = config or options(TrainConfig, settings)
    chosen = resolve(method)
    check_stack(chosen, config.frame_stack, chosen.state_dim(config.latent_dim, rollouts.factors.shape[1]))
    folder = Path(out) if out is not None else None
    origin = origin_of(chosen, rollouts, config)
    if folder is not None and (folder / "encoder").exists():
        return finished(folder / "encoder", origin)
    started = time.perf_counter()
    with cpu_threads(config.threads), torch.random.fork_rng():
        if chosen.objective(chosen.state_dim(config.latent_dim, rollouts.factors.shape[1])) is None:
            torch.manual_seed(derive_seed(config.seed, "network"))
            network = chosen.fit(make_network(chosen, rollouts, config), rollouts, config.seed)
            return freeze(network, None, chosen, rollouts, origin, started, folder)
        trainer = make_trainer(chosen, rollouts, config, folder)
        trainer.run()
        return freeze(trainer.network, trainer.objective.decoder, chosen, rollouts, origin, started, folder)


def origin_of(method: Method, rollouts: Rollouts, config: TrainConfig) -> dict[str, Any]:
    """Return the provenance of an encoder before it is trained."""
    state_dim = method.state_dim(config.latent_dim, rollouts.factors.shape[1])
    return provenance(
        **describe(method, state_dim, method.body(config.body)),
        train=asdict(config),
        environment=rollouts.environment,
        environment_kwargs=rollouts.environment_kwargs,
        data_hash=rollouts.data_hash,
        training_episodes=list(rollouts.info["split"]["train"]),
        training_hashes=rollouts.episode_hashes("train"),
    )


def make_network(method: Method, rollouts: Rollouts, config: TrainConfig) -> EncoderNetwork:
    """Return the untrained network of a method for these data; its weights are drawn from the global generator."""
    pixels = method.observation == "pixels"
    state_dim = method.state_dim(config.latent_dim, rollouts.factors.shape[1])
    objective = as_objective(method, state_dim)
    network = EncoderNetwork(
        rollouts.observations.shape[1:] if pixels else rollouts.factors.shape[1:],
        state_dim,
        method.body(config.body),
        objective is not None and objective.variational,
        method.head,
        method.memory(state_dim, rollouts.n_actions, action_dim(rollouts)),
        config.frame_stack if pixels else 1,
    )
    if pixels:
        network.centre_on(training_images(rollouts))
    return network


def make_trainer(
    method: Method,
    rollouts: Rollouts,
    config: TrainConfig,
    folder: Path | None = None,
    data: ResidentData | None = None,
) -> Trainer:
    """Return what trains a method that has an objective, its weights drawn by the seed of `config`.

    A teacher is trained first, with the same settings. `data` are those of the rollouts that are on the device already.
    """
    torch.manual_seed(derive_seed(config.seed, "network"))
    network = make_network(method, rollouts, config)
    objective = as_objective(method, network.state_dim)
    assert objective is not None
    teacher = None
    if objective.teacher:
        place = folder / "teacher" if folder is not None else None
        teacher = pretrain(objective.teacher, rollouts, out=place, config=config)
    return Trainer(method, objective, network, rollouts, config, folder, teacher, data)


def freeze(
    network: EncoderNetwork,
    decoder: tuple[nn.Module, tuple[int, int]] | None,
    method: Method,
    rollouts: Rollouts,
    origin: dict[str, Any],
    started: float,
    folder: Path | None,
) -> Encoder:
    """Return the encoder of a trained network, and write it, and what decodes a part of its states, to the folder."""
    encoder = Encoder(network.to("cpu"), method.observation, origin)
    encoder.standardise_on(encode_rows(encoder, rollouts, np.flatnonzero(rollouts.split == 0)))
    encoder.provenance["seconds"] = time.perf_counter() - started
    encoder.provenance["parameters"] = sum(p.numel() for p in encoder.network.parameters())
    if folder is not None:
        if decoder is not None:
            decoder_of(encoder, *decoder).save(folder / "decoder")
        encoder.save(folder / "encoder")
        (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    return encoder


def finished(path: Path, origin: dict[str, Any]) -> Encoder:
    """Return the encoder that is there already.

    Raises:
        DataError: it is another one.
    """
    encoder = load_encoder(path)
    facts = ("method", "train", "data_hash", "code_version", "plugins")
    differs = [key for key in facts if encoder.provenance.get(key) != origin[key]]
    if differs:
        raise DataError(f"{path} holds another encoder (differs in {', '.join(differs)}); give another folder.")
    return encoder
