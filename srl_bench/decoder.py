"""The frozen decoder of a method that reconstructs: what its states say is in the picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from srl_bench.encoder import Encoder
from srl_bench.errors import DataError, SrlBenchError
from srl_bench.nets.heads import DECODERS
from srl_bench.rollouts import atomic_folder, check_own_folder
from srl_bench.weights import load_weights

FORMAT = 1
CHUNK = 256
KINDS: dict[type[nn.Module], str] = {cls: kind for kind, cls in DECODERS.items()}


class Decoder(nn.Module):
    """A frozen map from an encoder's standardised states to images.

    Attributes:
        network: one of `DECODERS`, on the part of the state that the reconstruction was trained on.
        part: the first dimension of that part of the state, and the one after its last.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, part: tuple[int, int], mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.network, self.part = network, part
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.requires_grad_(False)
        self.eval()

    @property
    def state_dim(self) -> int:
        """Dimensions of the states."""
        return len(self.mean)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the images."""
        channels, height, width = self.network.get_buffer("mean").shape
        return height, width, channels

    @torch.no_grad()
    def decode(self, states: NDArray) -> NDArray[np.uint8]:
        """Return the images (n, H, W, C) of standardised states (n, d).

        Raises:
            DataError: the states have another dimension than the encoder's.
        """
        if states.ndim != 2 or states.shape[1] != self.state_dim:
            raise DataError(f"the decoder reads states of shape (n, {self.state_dim}), not {states.shape}.")
        parts = torch.from_numpy(np.asarray(states, dtype=np.float32)).split(CHUNK)
        raw = (part.to(self.mean.device) * self.std + self.mean for part in parts)
        images = torch.cat([self.network(part[:, slice(*self.part)]).cpu() for part in raw])
        return (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()

    def save(self, folder: str | Path) -> None:
        """Write `config.json` and `model.safetensors` to a folder; a decoder that is there is replaced.

        Raises:
            DataError: the folder holds other files.
        """
        check_own_folder(Path(folder), ("config.json", "model.safetensors"))
        config = {
            "format": FORMAT,
            "kind": KINDS[type(self.network)],
            "image": list(self.network.get_buffer("mean").shape),
            "std": self.network.std,
            "part": list(self.part),
            "state_dim": self.state_dim,
        }
        with atomic_folder(Path(folder), replace=True) as path:
            (path / "config.json").write_text(json.dumps(config, indent=1))
            save_file({k: v.contiguous().cpu() for k, v in self.state_dict().items()}, path / "model.safetensors")


def decoder_of(encoder: Encoder, network: nn.Module, part: tuple[int, int]) -> Decoder:
    """Return the frozen decoder to an encoder whose states are standardised already."""
    return Decoder(network.cpu(), part, encoder.mean.cpu().clone(), encoder.std.cpu().clone())


def load_decoder(folder: str | Path) -> Decoder:
    """Read the decoder that pretraining wrote beside the encoder. No code from the files is executed.

    Raises:
        DataError: a file is missing or damaged, or does not match the other.
    """
    folder = Path(folder)
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise DataError(f"{folder} is no decoder: {name} is missing. Only methods that reconstruct have one.")
    try:
        decoder = _unfilled(json.loads((folder / "config.json").read_text()))
    except SrlBenchError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, RecursionError, OverflowError) as error:
        raise DataError(f"{folder}/config.json is damaged: {error!r}.") from error
    load_weights(decoder, folder / "model.safetensors")
    return decoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _unfilled(config: dict[str, Any]) -> Decoder:
    """Return a decoder on the meta device."""
    if config["format"] != FORMAT:
        raise DataError(f"the decoder has format {config['format']}; this version reads {FORMAT}.")
    start, stop = (int(bound) for bound in config["part"])
    channels, height, width = (int(size) for size in config["image"])
    if not 0 <= start < stop <= int(config["state_dim"]) or min(channels, height, width) < 1:
        raise DataError(f"part {config['part']} of {config['state_dim']} dimensions is none, or the image is empty.")
    with torch.device("meta"):
        mean = torch.empty(channels, height, width)
        network = DECODERS[config["kind"]](stop - start, mean, float(config["std"]))
        states = torch.empty(2, int(config["state_dim"]))
        return Decoder(network, (start, stop), states[0], states[1])
