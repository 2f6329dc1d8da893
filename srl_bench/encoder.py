"""The frozen encoder: the one object that scoring, RL and users get."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from srl_bench.batch import as_tensor
from srl_bench.errors import DataError, SrlBenchError
from srl_bench.hub import FORMS, local_folder
from srl_bench.nets.encoder import EncoderNetwork
from srl_bench.rollouts import Rollouts, atomic_folder, check_own_folder
from srl_bench.weights import load_weights

FORMAT = 1
CHUNK = 512
GATHERED = 4096


class Encoder(nn.Module):
    """A frozen map from observations to standardised states.

    An encoder with a memory, or of stacks of frames (`is_recurrent`), makes states of the history of an episode: `step`
    takes one step of n episodes, `encode_episodes` whole ones. All others see single frames: `encode`.

    Attributes:
        network: the encoder network, in evaluation mode, without gradients.
        observation: "pixels" or "state", what the network reads.
        provenance: method, objective, data hash, training episodes, seed and versions behind the weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: EncoderNetwork, observation: str, provenance: dict[str, Any]) -> None:
        super().__init__()
        self.network = network
        self.observation = observation
        self.provenance = provenance
        self.register_buffer("mean", torch.zeros(self.state_dim))
        self.register_buffer("std", torch.ones(self.state_dim))
        self.requires_grad_(False)
        self.zero_grad(set_to_none=True)
        self.train(False)
        # One memory layout, so that a trained and a reloaded encoder give the same bits.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def train(self, mode: bool = True) -> Encoder:
        """Stay in evaluation mode: agents switch their modules, a frozen encoder must not follow."""
        return super().train(False)

    @property
    def state_dim(self) -> int:
        """Dimensions of the state."""
        memory = self.network.memory
        return self.network.state_dim if memory is None else memory.state_dim

    @property
    def is_recurrent(self) -> bool:
        """Whether states depend on earlier frames, through a memory or a stack of frames."""
        return self.network.memory is not None or self.network.frame_stack > 1

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """(H, W, C) of the images, or (K,) of the vectors, that the encoder reads."""
        return tuple(self.network.config["observation_shape"])  # type: ignore[arg-type]

    @property
    def device(self) -> torch.device:
        """The device that holds the weights."""
        return self.mean.device

    def forward(self, observations: Tensor) -> Tensor:
        """Return standardised states (B, d) of float images (B, C, H, W) in [0, 1] or vectors (B, K).

        Raises:
            DataError: the encoder is recurrent.
        """
        if self.is_recurrent:
            raise DataError("states depend on earlier frames: take `step`s, or give episodes to `encode_episodes`.")
        mean, _ = self.network(observations)
        return (mean - self.mean) / self.std

    def encode(self, observations: NDArray) -> NDArray[np.float32]:
        """Return the states (..., d), float32, of observations.

        Args:
            observations: uint8 images (..., H, W, C) or (..., C, H, W), or float vectors (..., K), with any
                leading dimensions.

        Raises:
            DataError: shape or type is not the one that the encoder was trained on, or the encoder is recurrent.
        """
        batch, leading = self._as_batch(np.asarray(observations))
        states = [
            self(as_tensor(batch[start : start + CHUNK], self.device)).cpu() for start in range(0, len(batch), CHUNK)
        ]
        flat = torch.cat(states) if states else torch.empty(0, self.state_dim)
        return flat.numpy().reshape(*leading, self.state_dim)

    def initial_state(self, n: int) -> NDArray[np.float32]:
        """Return (n, size) what is held at the start of n episodes; size 0 for an encoder of single frames."""
        memory, stack = self.network.memory, self.network.frame_stack
        size = memory.size if memory is not None else 1 + (stack - 1) * math.prod(self.observation_shape)
        return np.zeros((n, size if self.is_recurrent else 0), dtype=np.float32)

    @torch.no_grad()
    def step(
        self, held: NDArray[np.float32], observations: NDArray, actions: NDArray
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Take one step of n episodes.

        Args:
            held: (n, size) what was held before, `initial_state` at the start of an episode.
            observations: (n, ...) the new frames.
            actions: (n,) int or (n, m) float, the actions that led to them; without effect at the start of an episode.

        Returns:
            What is held now, and the states (n, d).
        """
        if not self.is_recurrent:
            return held, self.encode(observations)
        frames = as_tensor(self._as_batch(np.asarray(observations))[0], self.device)
        before = torch.from_numpy(held).to(self.device)
        if self.network.frame_stack > 1:
            now, states = self._stack(before, frames)
        else:
            now, states = self._remember(before, self.network(frames)[0], actions)
        return now.cpu().numpy(), states.cpu().numpy()

    @torch.no_grad()
    def encode_episodes(
        self, observations: NDArray, actions: NDArray, episodes: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return the states (N, d) of all rows of whole episodes.

        Args:
            observations: (N, ...) of all rows; may be memory-mapped.
            actions: (N,) int or (N, m) float, row t the action taken in frame t.
            episodes: (E + 1,) offsets: episode e has the rows episodes[e]:episodes[e + 1].
        """
        parts = [slice(start, start + CHUNK) for start in range(0, len(observations), CHUNK)]
        if not self.is_recurrent:
            return np.concatenate([self.encode(observations[part]) for part in parts])
        if self.network.frame_stack > 1:
            return self.encode_stacks(observations, episodes, np.arange(len(observations)))
        frames = (as_tensor(self._as_batch(observations[part])[0], self.device) for part in parts)
        encoded = torch.cat([self.network(part)[0] for part in frames])
        states = torch.empty(len(encoded), self.state_dim, device=self.device)
        held = torch.from_numpy(self.initial_state(len(episodes) - 1)).to(self.device)
        lengths = np.diff(episodes)
        for t in range(int(lengths.max())):
            running = np.flatnonzero(lengths > t)
            rows = episodes[running] + t
            held[running], states[rows] = self._remember(held[running], encoded[rows], actions[rows - (t > 0)])
        return states.cpu().numpy()

    def _stack(self, held: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Put frames (n, C, H, W) before those that are held; return what is held then and the standardised states."""
        begun, older = held[:, :1, None, None] > 0, held[:, 1:].unflatten(1, (-1, *frames.shape[1:])).flatten(1, 2)
        again = frames.repeat(1, self.network.frame_stack - 1, 1, 1)
        stacks = torch.cat([frames, torch.where(begun, older, again)], dim=1)
        newest = stacks[:, : older.shape[1]].flatten(1)
        mean, _ = self.network(stacks.contiguous(memory_format=torch.channels_last))
        return torch.cat([torch.ones_like(held[:, :1]), newest], dim=1), (mean - self.mean) / self.std

    @torch.no_grad()
    def encode_stacks(
        self, observations: NDArray, episodes: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return the states (n, d) of rows (n,), from their frames and those before them in their episodes.

        Arguments as in `encode_episodes`; for an encoder of stacks of frames.
        """
        starts = np.repeat(episodes[:-1], np.diff(episodes))
        states = []
        for part in np.array_split(rows, max(1, len(rows) // CHUNK)):
            index = [np.maximum(part - back, starts[part]) for back in range(self.network.frame_stack)]
            frames = [as_tensor(self._as_batch(observations[at])[0], self.device) for at in index]
            mean, _ = self.network(torch.cat(frames, dim=1).contiguous(memory_format=torch.channels_last))
            states.append(((mean - self.mean) / self.std).cpu())
        return torch.cat(states).numpy()

    def _remember(self, held: Tensor, encoded: Tensor, actions: NDArray) -> tuple[Tensor, Tensor]:
        """Take one step of the memory; return what it holds and the standardised states."""
        memory = self.network.memory
        assert memory is not None
        vectors = torch.from_numpy(np.ascontiguousarray(actions)).to(self.device)
        if vectors.ndim == 1:
            vectors = functional.one_hot(vectors.long(), memory.action_dim)
        held, states = memory(held, encoded, vectors.float() * held[:, :1])
        return held, (states - self.mean) / self.std

    def _as_batch(self, observations: NDArray) -> tuple[NDArray, tuple[int, ...]]:
        expected = self.observation_shape
        rank = len(expected)
        if rank == 3 and observations.dtype != np.uint8:
            raise DataError(f"the encoder reads uint8 images, not {observations.dtype}.")
        leading, shape = observations.shape[:-rank], observations.shape[-rank:]
        batch = observations.reshape(math.prod(leading), *shape) if observations.ndim >= rank else observations
        if shape == expected:
            return batch, leading
        if rank == 3 and shape == (expected[2], *expected[:2]):
            return batch.transpose(0, 2, 3, 1), leading
        raise DataError(
            f"the encoder was trained on observations of shape {expected}, not {shape}; make the environment "
            f"with image_size={expected[0]}, or pretrain on the other size."
        )

    def standardise_on(self, states: NDArray[np.float32]) -> None:
        """Set mean and standard deviation from unstandardised training states (N, d).

        Dimensions that do not vary keep the standard deviation 1.
        """
        std = states.std(axis=0, dtype=np.float64)
        self.mean.copy_(torch.from_numpy(states.mean(axis=0, dtype=np.float64)))
        self.std.copy_(torch.from_numpy(np.where(std < 1e-6, 1.0, std)))

    def save(self, folder: str | Path) -> None:
        """Write `config.json` and `model.safetensors` to a folder; an encoder that is there is replaced.

        Raises:
            DataError: the folder holds other files.
        """
        check_own_folder(Path(folder), ("config.json", "model.safetensors"))
        with atomic_folder(Path(folder), replace=True) as path:
            config = {
                "format": FORMAT,
                "network": self.network.config,
                "observation": self.observation,
                "provenance": self.provenance,
            }
            (path / "config.json").write_text(json.dumps(config, indent=1))
            save_file({k: v.contiguous().cpu() for k, v in self.state_dict().items()}, path / "model.safetensors")

    @staticmethod
    def load(folder: str | Path, device: str | torch.device = "cpu") -> Encoder:
        """Read a saved encoder. No code from the files is executed.

        Raises:
            DataError: a file is missing, damaged, or does not match the other.
            UnknownNameError: the network body is one of a plug-in that is not loaded.
        """
        folder = Path(folder)
        for name in ("config.json", "model.safetensors"):
            if not (folder / name).is_file():
                raise DataError(f"{folder} is no encoder: {name} is missing; {FORMS}.")
        try:
            config = json.loads((folder / "config.json").read_text())
            if config["format"] != FORMAT:
                raise DataError(f"{folder}/config.json has format {config['format']}; this version reads {FORMAT}.")
            if config["observation"] not in ("pixels", "state") or not isinstance(config["provenance"], dict):
                raise DataError(f"{folder}/config.json has an unknown observation or a provenance that is no object.")
            for key, known in (("environment", str), ("environment_kwargs", dict)):
                if not isinstance(config["provenance"].get(key, known()), known):
                    raise DataError(f"{folder}/config.json has an {key} that is no {known.__name__}.")
            for key, kind in (("training_episodes", int), ("training_hashes", str)):
                if not all(isinstance(item, kind) for item in config["provenance"].get(key, ())):
                    raise DataError(f"{folder}/config.json has {key} that are no list of {kind.__name__}.")
            with torch.device("meta"):
                encoder = Encoder(EncoderNetwork(**config["network"]), config["observation"], config["provenance"])
        except SrlBenchError:
            raise
        except (
            json.JSONDecodeError,
            UnicodeDecodeError,
            RecursionError,
            KeyError,
            TypeError,
            ValueError,
            RuntimeError,
        ) as error:
            raise DataError(f"{folder}/config.json is damaged: {error!r}.") from error
        load_weights(encoder, folder / "model.safetensors")
        return encoder.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def load_encoder(folder: str | Path, device: str | torch.device = "cpu") -> Encoder:
    """Read an encoder that `Encoder.save` wrote. No code from the files is executed.

    Args:
        folder: its folder, or "hf://user/name[@revision]": one on the Hugging Face Hub, which is fetched once.
        device: where its weights shall be.

    Raises:
        ConfigError, DataError, UnknownNameError: as `fetch_encoder` and `Encoder.load`.
    """
    return Encoder.load(local_folder(folder), device)


def observations_for(encoder: Encoder, rollouts: Rollouts) -> NDArray:
    """Return what the encoder reads out of rollouts: the images or the factors."""
    return rollouts.observations if encoder.observation == "pixels" else rollouts.factors.astype(np.float32)


def encode_rows(encoder: Encoder, rollouts: Rollouts, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the states (n, d) of some rows of rollouts, given what came before them where the encoder asks for it."""
    observations = observations_for(encoder, rollouts)
    if encoder.network.frame_stack > 1:
        return encoder.encode_stacks(observations, rollouts.episodes, rows)
    if encoder.is_recurrent:
        return encoder.encode_episodes(observations, rollouts.actions, rollouts.episodes)[rows]
    parts = [rows[start : start + GATHERED] for start in range(0, len(rows), GATHERED)]
    return np.concatenate([encoder.encode(observations[part]) for part in parts])
