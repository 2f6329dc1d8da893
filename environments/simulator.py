"""The common base of the simulated robots: a private PyBullet world, seeding, layered rendering.

Rendering in layers: TinyRenderer spends its time on every triangle and every covered pixel, so the static
scenery is drawn once, with its depth, in a client of its own. A frame then draws only the moving bodies and
keeps those pixels that lie in front of the scenery. Without shadows this equals the plain picture of
everything in one client, pixel by pixel (`render_plain` draws that one for comparison).
"""

from __future__ import annotations

import math
import weakref
from abc import abstractmethod
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pybullet as p
from numpy.typing import NDArray

from srl_bench.environments.drawing import Camera, to_rgb
from srl_bench.errors import ConfigError
from srl_bench.factors import Factor

ASSETS = Path(__file__).resolve().parent / "assets"
IMAGE_SIZES = (48, 256)
RENDER_SIZE = 224


class SimulatorEnv(gymnasium.Env[Any, Any]):
    """A robot in its own PyBullet world, seen by a fixed camera.

    Observations are uint8 images (H, W, 3) ("pixels"), the vector of ground-truth factors ("state", nothing
    is drawn), or a dictionary of both ("pixels+state"). `info["state"]` always holds the factors as float64,
    in the order of `factors`.

    Subclasses name their factors, camera and actions, load and place their bodies, and define `_act` and
    `_start_episode`. Every PyBullet call names its client: environments of one process share nothing.

    Args:
        obs_type: "pixels", "state" or "pixels+state".
        image_size: height and width of the image in pixels, 48 to 256.
        action_type: one of the class's `action_sizes`.
        reward_type: "sparse" or "shaped" (minus the distance to the goal, in metres).
        max_steps: steps until an episode is truncated.
        render_mode: None, or "rgb_array" for `render()` to return a picture of at least 224 pixels.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    factors: tuple[Factor, ...]
    camera: Camera
    action_sizes: dict[str, int]

    def __init__(
        self,
        *,
        obs_type: str,
        image_size: int,
        action_type: str,
        reward_type: str,
        max_steps: int,
        render_mode: str | None,
    ) -> None:
        check_choice("obs_type", obs_type, ("pixels", "state", "pixels+state"))
        check_choice("action_type", action_type, tuple(self.action_sizes))
        check_choice("reward_type", reward_type, ("sparse", "shaped"))
        check_choice("render_mode", render_mode, (None, "rgb_array"))
        check_integer("image_size", image_size, *IMAGE_SIZES)
        check_integer("max_steps", max_steps, 1, 10**9)
        self.obs_type = obs_type
        self.image_size = image_size
        self.action_type = action_type
        self.reward_type = reward_type
        self.max_steps = max_steps
        self.render_mode = render_mode

        self.action_space = self._make_action_space()
        self.observation_space = self._make_observation_space()
        self._elapsed = 0

        self._clients: list[int] = []
        self._disconnect = weakref.finalize(self, _disconnect, self._clients)
        self._backdrops: dict[int, tuple[Hashable, NDArray[np.uint32], NDArray[np.float32]]] = {}
        self._scenery: tuple[int, int] | None = None
        self._plain: tuple[int, int, int] | None = None
        self._world = self._connect()
        self._robot = self._load_robot(self._world)

    @abstractmethod
    def _load_robot(self, client: int) -> int:
        """Load what moves within an episode; return its body."""

    @abstractmethod
    def _load_scenery(self, client: int) -> int:
        """Load what stands still within an episode; return the body of the goal."""

    @abstractmethod
    def _place_robot(self, client: int, body: int) -> None:
        """Give the robot of `client` its present pose."""

    @abstractmethod
    def _place_goal(self, client: int, body: int) -> None:
        """Give the goal of `client` its present pose."""

    @abstractmethod
    def _scenery_key(self) -> Hashable:
        """Return what the look of the scenery depends on; it is drawn again when this changes."""

    @abstractmethod
    def _start_episode(self) -> None:
        """Draw the start of an episode with `np_random`."""

    @abstractmethod
    def _act(self, action: Any) -> tuple[float, bool]:
        """Carry out one action; return the reward and whether the episode has terminated."""

    @abstractmethod
    def get_factors(self) -> NDArray[np.float64]:
        """Return the ground-truth factors of the present state, in the order of `factors`."""

    @abstractmethod
    def _set_factors(self, values: list[float]) -> None:
        """Put the simulator into the state with these factors."""

    @abstractmethod
    def _greedy_action(self) -> Any:
        """Return the action that leads towards the goal."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode; the scene stays loaded. There are no options."""
        if options:
            raise ConfigError(f"reset options {options!r} are not accepted; give them to the constructor.")
        super().reset(seed=seed)
        self._elapsed = 0
        self._start_episode()
        state = self.get_factors()
        return self._observation(state), {"state": state}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Act once; `truncated` is set from step `max_steps` on."""
        reward, terminated = self._act(action)
        self._elapsed += 1
        state = self.get_factors()
        return self._observation(state), reward, terminated, self._elapsed >= self.max_steps, {"state": state}

    def set_factors(self, factors: Sequence[float] | NDArray[np.floating]) -> None:
        """Put the simulator, at rest, into the state with the given factors; the episode's counts go on.

        `get_factors` returns them unchanged (to 1e-9; see the class for factors that depend on others).

        Raises:
            ConfigError: the vector has the wrong length or is not finite.
        """
        values = np.asarray(factors, dtype=np.float64)
        if values.shape != (len(self.factors),) or not np.isfinite(values).all():
            names = ", ".join(factor.name for factor in self.factors)
            raise ConfigError(f"factors of {type(self).__name__} are {names}, all finite; got {factors!r}.")
        self._set_factors(values.tolist())

    def observe(self, factors: Sequence[float] | NDArray[np.floating]) -> Any:
        """Return the observation of the given state; the simulator stays in it."""
        self.set_factors(factors)
        return self._observation(self.get_factors())

    def scripted_action(self, rng: np.random.Generator, noise: float) -> Any:
        """Return the action that leads towards the goal, or with probability `noise` a random one."""
        if rng.random() >= noise:
            return self._greedy_action()
        size = self.action_sizes[self.action_type]
        if self.action_type == "discrete":
            return int(rng.integers(size))
        return rng.uniform(-1, 1, size).astype(np.float32)

    def render(self) -> Any:
        """Return the camera's picture of at least 224 x 224 pixels, or None without a render mode."""
        if self.render_mode is None:
            return None
        return self._frame(max(self.image_size, RENDER_SIZE))

    def render_plain(self, size: int | None = None) -> NDArray[np.uint8]:
        """Return the picture of scenery and robot drawn together in one client: slow, for comparison."""
        if self._plain is None:
            client = self._connect()
            self._plain = client, self._load_scenery(client), self._load_robot(client)
        client, goal, robot = self._plain
        self._place_goal(client, goal)
        self._place_robot(client, robot)
        colour, _ = self.camera.draw(client, size or self.image_size)
        return to_rgb(colour)

    def close(self) -> None:
        """Disconnect from the simulator; safe to call again."""
        self._disconnect()

    def _make_action_space(self) -> gymnasium.Space[Any]:
        size = self.action_sizes[self.action_type]
        if self.action_type == "discrete":
            return gymnasium.spaces.Discrete(size)
        return gymnasium.spaces.Box(-1, 1, (size,), np.float32)

    def _make_observation_space(self) -> gymnasium.Space[Any]:
        pixels = gymnasium.spaces.Box(0, 255, (self.image_size, self.image_size, 3), np.uint8)
        state = gymnasium.spaces.Box(-np.inf, np.inf, (len(self.factors),), np.float32)
        if self.obs_type == "pixels+state":
            return gymnasium.spaces.Dict({"pixels": pixels, "state": state})
        return pixels if self.obs_type == "pixels" else state

    def _observation(self, state: NDArray[np.float64]) -> Any:
        if self.obs_type == "pixels":
            return self._frame(self.image_size)
        vector = state.astype(np.float32)
        if self.obs_type == "state":
            return vector
        return {"pixels": self._frame(self.image_size), "state": vector}

    def _frame(self, size: int) -> NDArray[np.uint8]:
        behind, depth_behind = self._backdrop(size)
        colour, depth = self.camera.draw(self._world, size)
        return to_rgb(np.where(depth < depth_behind, colour, behind))

    def _backdrop(self, size: int) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        key = self._scenery_key()
        cached = self._backdrops.get(size)
        if cached is None or cached[0] != key:
            if self._scenery is None:
                client = self._connect()
                self._scenery = client, self._load_scenery(client)
            client, goal = self._scenery
            self._place_goal(client, goal)
            cached = self._backdrops[size] = (key, *self.camera.draw(client, size))
        return cached[1], cached[2]

    def _connect(self) -> int:
        client = p.connect(p.DIRECT)
        if client < 0:
            raise RuntimeError("PyBullet has no free client: close() environments that are no longer used.")
        self._clients.append(client)
        return client


def register(name: str, entry_point: str) -> None:
    """Register a Gymnasium id, unless it is there already."""
    if name not in gymnasium.registry:
        gymnasium.register(id=name, entry_point=entry_point)


def check_choice(option: str, value: Any, accepted: tuple[Any, ...]) -> None:
    """Raise ConfigError unless `value` is among the accepted ones."""
    if value not in accepted:
        raise ConfigError(f"{option}={value!r} is unknown; choose one of {', '.join(map(repr, accepted))}.")


def check_integer(option: str, value: Any, low: int, high: int) -> None:
    """Raise ConfigError unless `value` is an integer from `low` to `high`."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(f"{option}={value!r} is not accepted; give an integer from {low} to {high}.")


def discrete_action(action: Any, size: int) -> int:
    """Return the action as an index below `size`, or raise ConfigError."""
    if not (0 <= action < size and int(action) == action):
        raise ConfigError(f"action {action!r} is not accepted; give an integer from 0 to {size - 1}.")
    return int(action)


def continuous_action(action: Any, size: int) -> list[float]:
    """Return the action clipped to [-1, 1], or raise ConfigError unless it is `size` finite numbers."""
    values = np.asarray(action, dtype=np.float64).tolist()
    if not isinstance(values, list) or len(values) != size or not all(map(math.isfinite, values)):
        raise ConfigError(f"action {action!r} is not accepted; give {size} numbers from -1 to 1.")
    return [min(max(value, -1.0), 1.0) for value in values]


def _disconnect(clients: list[int]) -> None:
    for client in clients:
        p.disconnect(client)
