"""The minibatches that losses read."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srl_bench.errors import ConfigError, DataError
from srl_bench.nets.encoder import EncoderNetwork
from srl_bench.nets.memory import Memory
from srl_bench.resident import ResidentData

FIELDS = ("obs", "next_obs", "action", "reward", "terminated", "episode", "step", "factors")
WINDOW_FIELDS = ("observations", "actions", "rewards", "states")
STATE_FIELDS = frozenset(
    {"state", "next_state", "states", "target_state", "target_next_state"}
    | {"mean", "next_mean", "logvar", "next_logvar"}
)


class Batch:
    """A minibatch of windows of consecutive frames; a field is gathered when it is first read, encoded at most once.

    A window begins at o_t and has as many frames as the longest `horizon` among the terms: one, two for transitions.

    Attributes:
        obs, next_obs: (B, C, H, W) float images in [0, 1].
        action: (B,) int64 or (B, m) float in [-1, 1]; `action_vector` is its one-hot or float vector.
        reward: (B,) the reward that `action` produced.
        terminated: (B,) whether the step ended the episode.
        episode, step: (B,) indices.
        factors: (B, K) ground truth; reserved for reference rows such as `supervised`.
        state, next_state: (B, d); a sample from the Gaussian if the objective is variational.
        mean, logvar, next_mean, next_logvar: (B, d) of the Gaussian over states.
        observations, states: (B, T, ...) of the whole windows.
        actions, rewards: (B, T - 1, ...) between their frames; the actions are vectors.
        progress: share of the training that is done, in [0, 1]; 1 in validation.
    """

    progress = 1.0

    def __init__(
        self,
        data: ResidentData,
        rows: Tensor,
        network: EncoderNetwork,
        *,
        horizon: int = 1,
        precision: torch.dtype = torch.float32,
        target: EncoderNetwork | None = None,
    ) -> None:
        self._data = data
        self._rows = rows
        self._network = network
        self.horizon = horizon
        self.precision = precision
        self._target = target
        self.device = data.device
        self.encodings: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._rows)

    def __getattr__(self, name: str) -> Any:
        if name in self._data.fields:
            value = self._data.fields[name][self._rows]
            setattr(self, name, value)
            return value
        if name.startswith("_"):
            raise AttributeError(name)
        known = ", ".join(sorted({*FIELDS, *WINDOW_FIELDS, *STATE_FIELDS, "action_vector"}))
        raise DataError(f"a loss reads the batch field {name!r}, which these rollouts do not have; there are: {known}.")

    @cached_property
    def _window_rows(self) -> Tensor:
        """(T, B) the rows of the windows: frames of one time lie together."""
        return self._rows + torch.arange(self.horizon, device=self.device)[:, None]

    @cached_property
    def _images(self) -> Tensor:
        return self._data.images(self._window_rows.flatten())

    @cached_property
    def _inputs(self) -> Tensor:
        """What the encoder reads of the windows: the images, or stacks of them."""
        stack = self._network.frame_stack
        return self._images if stack == 1 else self._data.stacked_images(self._window_rows.flatten(), stack)

    @property
    def obs(self) -> Tensor:
        return self._images[: len(self)]

    @property
    def next_obs(self) -> Tensor:
        return self._next(self._images)

    @property
    def observations(self) -> Tensor:
        """(B, T, C, H, W)."""
        return self._by_window(self._images)

    @cached_property
    def action_vector(self) -> Tensor:
        """(B, m) float: the continuous action, or the discrete one as a one-hot vector."""
        return self._data.action_vectors(self._rows)

    @cached_property
    def actions(self) -> Tensor:
        """(B, T - 1, m) float."""
        return self._data.action_vectors(self._window_rows[:-1].T)

    @cached_property
    def rewards(self) -> Tensor:
        """(B, T - 1)."""
        return self._data.fields["reward"][self._window_rows[:-1].T]

    @cached_property
    def encoded(self) -> tuple[Tensor, Tensor | None]:
        """Mean and log-variance of all frames of the batch: the one pass through the encoder."""
        return self._encode(self._inputs)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == torch.bfloat16)

    def _encode(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        with self._autocast():
            mean, logvar = self._network(images)
        self.encodings += [mean] if logvar is None else [mean, logvar]
        return mean, logvar

    def encode(self, images: Tensor) -> Tensor:
        """Return the states (N, d), means if they are Gaussian, of other images (N, C, H, W) in [0, 1].

        It costs a pass through the encoder: for losses on changed images, or on moments outside the batch.

        Raises:
            ConfigError: the encoder reads stacks of frames.
        """
        if self._network.frame_stack > 1:
            raise ConfigError("a loss encodes images of its own, which are no stacks; give frame_stack=1.")
        return self._encode(images)[0]

    def encode_rows(self, rows: Tensor) -> Tensor:
        """Return the states (N, d) of other rows (N,) of the data."""
        stack = self._network.frame_stack
        images = self._data.other_images(rows) if stack == 1 else self._data.stacked_images(rows, stack)
        return self._encode(images)[0]

    def encode_view(self, rows: Tensor, view: int = 1) -> Tensor:
        """Return the states (N, d) of rows (N,) of the data as another camera saw them, the second by default."""
        return self.encode(self._data.other_images(rows, view))

    @property
    def row(self) -> Tensor:
        """(B,) the row of the data that obs is."""
        return self._rows

    @property
    def episode_rows(self) -> tuple[Tensor, Tensor]:
        """(B,) the first and (B,) the last row of the episode that obs is of."""
        return self._data.episodes[self.episode], self._data.episodes[self.episode + 1] - 1

    @cached_property
    def _states(self) -> Tensor:
        mean, logvar = self.encoded
        return mean if logvar is None else mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)

    @property
    def state(self) -> Tensor:
        return self._states[: len(self)]

    @property
    def next_state(self) -> Tensor:
        return self._next(self._states)

    @property
    def states(self) -> Tensor:
        return self._by_window(self._states)

    @cached_property
    def _target_states(self) -> Tensor:
        if self._target is None:
            raise DataError("a loss reads states of the target network; give its class a `target_rate`.")
        with torch.no_grad(), self._autocast():
            return self._target(self._inputs)[0]

    @property
    def target_state(self) -> Tensor:
        """(B, d) as the target network sees obs, without gradient."""
        return self._target_states[: len(self)]

    @property
    def target_next_state(self) -> Tensor:
        """(B, d) as the target network sees next_obs, without gradient."""
        return self._next(self._target_states)

    @property
    def memory(self) -> Memory | None:
        """The network's memory, which makes states of encoded frames, if it has one."""
        return self._network.memory

    @property
    def mean(self) -> Tensor:
        return self.encoded[0][: len(self)]

    @property
    def next_mean(self) -> Tensor:
        return self._next(self.encoded[0])

    @property
    def logvar(self) -> Tensor:
        return self._logvar[: len(self)]

    @property
    def next_logvar(self) -> Tensor:
        return self._next(self._logvar)

    @property
    def _logvar(self) -> Tensor:
        logvar = self.encoded[1]
        if logvar is None:
            raise DataError("a loss reads the log-variance of the state; set `variational = True` in its class.")
        return logvar

    def _next(self, stacked: Tensor) -> Tensor:
        if self.horizon < 2:
            raise DataError("a loss reads the next frame; add 'next_obs' to the `needs` of its class.")
        return stacked[len(self) : 2 * len(self)]

    def _by_window(self, stacked: Tensor) -> Tensor:
        return stacked.unflatten(0, (self.horizon, len(self))).transpose(0, 1)

    def of_state(self, start: int, stop: int, detach: bool = False) -> Batch:
        """Return this batch as seen by a loss on the dimensions start:stop of the state.

        With `detach` the loss sees the others, too, but no gradient reaches them.
        """
        if (start, stop) == (0, self._network.state_dim):
            return self
        return _BatchOfSlice(self, slice(start, stop), detach)


class _BatchOfSlice(Batch):
    """A batch whose state is cut to a slice, or detached outside it; all else is read from the whole batch."""

    def __init__(self, whole: Batch, part: slice, detach: bool) -> None:
        self._whole = whole
        self._part = part
        self._detach = detach

    def __getattribute__(self, name: str) -> Any:
        if name in ("_whole", "_part", "_detach", "_cut"):
            return object.__getattribute__(self, name)
        value = getattr(self._whole, name)
        if name in ("encode", "encode_rows", "encode_view"):
            return lambda given: self._cut(value(given))
        return self._cut(value) if name in STATE_FIELDS else value

    def _cut(self, state: Tensor) -> Tensor:
        if not self._detach:
            return state[..., self._part]
        outside = state.detach()
        low, high = self._part.start, self._part.stop
        return torch.cat([outside[..., :low], state[..., low:high], outside[..., high:]], dim=-1)

    def __len__(self) -> int:
        return len(self._whole)


def as_tensor(values: NDArray, device: torch.device) -> Tensor:
    """Return float images (B, C, H, W) in [0, 1] from uint8 (B, H, W, C), or float vectors as they are."""
    tensor = torch.from_numpy(np.ascontiguousarray(values)).to(device)
    if tensor.dtype == torch.uint8:
        return tensor.permute(0, 3, 1, 2).float().mul_(1 / 255)
    return tensor.float()
