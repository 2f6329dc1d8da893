"""The common base of the simulated robots: episodes, seeding, factors, observations."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pybullet as p
from numpy.typing import NDArray

from srl_bench.environments.distractors import MAX_DISTRACTORS, Distractors
from srl_bench.environments.drawing import Camera, Pose
from srl_bench.environments.looks import LEVELS, SIM, TWIN, Look, draw_look, look_factors
from srl_bench.environments.options import check_choice, check_factors, check_integer
from srl_bench.environments.scene import Scene
from srl_bench.environments.window import Window, has_display
from srl_bench.errors import ConfigError
from srl_bench.factors import Factor

ASSETS = Path(__file__).resolve().parent / "assets"
IMAGE_SIZES = (48, 256)
RENDER_SIZE = 224
DOMAINS = ("sim", "twin", "randomised")


class SimulatorEnv(gymnasium.Env[Any, Any]):
    """A robot in its own PyBullet world, seen by cameras.

    Observations are uint8 images (H, W, 3) ("pixels"), the vector of ground-truth factors ("state", nothing
    is drawn), or a dictionary of both ("pixels+state"). With several views the dictionary holds an image under
    the name of each view. `info["state"]` always holds the factors as float64, in the order of `factors`, and
    `info["is_success"]` whether the task has been solved in this episode.

    Subclasses name their task's factors, cameras and actions, add their bodies, and define `_start_episode`,
    `_act`, `_read_factors`, `_set_factors` and `_greedy_action`. Every PyBullet call names its client:
    environments of one process share nothing.

    Args:
        obs_type: "pixels", "state" or "pixels+state".
        image_size: height and width of the images in pixels, 48 to 256.
        action_type: one of the class's `action_sizes`, by default the first.
        reward_type: "sparse" or "shaped".
        views: names of the class's `cameras`; by default the first.
        domain: "sim"; "twin", the same dynamics with another fixed look (light, colours, textures, camera pose,
            lens, sensor noise) in the place of a real robot; or "randomised", a new look in every episode.
        randomise: how much "randomised" varies: "none", "mild" or "strong"; by default "strong". Other domains do not
            take it.
        distractors: number of moving bodies, 0 to 8, that have nothing to do with the task.
        max_steps: steps until an episode is truncated; by default the class's `default_max_steps`.
        render_mode: None, "rgb_array" for `render()` to return a picture of at least 224 pixels, or "human" for
            a window, which needs a display.
    """

    # checkers try every mode that is listed, so a window only where one can open
    metadata = {"render_modes": ["rgb_array", "human"] if has_display() else ["rgb_array"], "render_fps": 10}
    factors: tuple[Factor, ...]
    cameras: ClassVar[dict[str, Camera]]
    action_sizes: ClassVar[dict[str, int]]
    default_max_steps: ClassVar[int]
    distractor_area: ClassVar[dict[str, Any]]
    # "mixed" where random actions hardly ever meet what the task is about
    recording_policy: ClassVar[str] = "random"

    def __init__(
        self,
        *,
        obs_type: str = "pixels",
        image_size: int = 64,
        action_type: str | None = None,
        reward_type: str = "sparse",
        views: Sequence[str] | None = None,
        domain: str = "sim",
        randomise: str | None = None,
        distractors: int = 0,
        max_steps: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        action_type = next(iter(self.action_sizes)) if action_type is None else action_type
        max_steps = self.default_max_steps if max_steps is None else max_steps
        check_choice("obs_type", obs_type, ("pixels", "state", "pixels+state"))
        check_choice("action_type", action_type, tuple(self.action_sizes))
        check_choice("reward_type", reward_type, ("sparse", "shaped"))
        check_choice("domain", domain, DOMAINS)
        check_choice("randomise", randomise, (None, *LEVELS))
        if randomise is not None and domain != "randomised":
            raise ConfigError(f"randomise={randomise!r} needs domain='randomised', not {domain!r}.")
        check_choice("render_mode", render_mode, (None, "rgb_array", "human"))
        check_integer("image_size", image_size, *IMAGE_SIZES)
        check_integer("distractors", distractors, 0, MAX_DISTRACTORS)
        check_integer("max_steps", max_steps, 1, 10**9)
        names = tuple(self.cameras)[:1] if views is None else views
        if not isinstance(names, tuple | list) or not names or len(set(map(str, names))) < len(names):
            raise ConfigError(f"views={views!r} is not accepted; list different ones of {', '.join(self.cameras)}.")
        for view in names:
            check_choice("views", view, tuple(self.cameras))
        self.views = tuple(names)
        self.obs_type = obs_type
        self.image_size = image_size
        self.action_type = action_type
        self.reward_type = reward_type
        self.domain = domain
        self.max_steps = max_steps
        self.render_mode = render_mode
        self._only_view = self.views[0] if obs_type == "pixels" and len(self.views) == 1 else None

        self._look_factors = look_factors(randomise or "strong") if domain == "randomised" else ()
        self._distractors = Distractors(distractors, **self.distractor_area)
        self._task_factors = len(self.factors)
        self._has_more_factors = bool(distractors or self._look_factors)
        self.factors = (*self.factors, *self._distractors.factors, *self._look_factors)
        self.action_space = self._make_action_space()
        self.observation_space = self._make_observation_space()
        self._elapsed = 0
        self._noise_start = 0
        self._solved = False
        self._window = Window() if render_mode == "human" else None
        self._scene = Scene(self, TWIN if domain == "twin" else self._sim_look())
        self._world, self._bodies = self._scene.robots.client, self._scene.robots.groups["robot"]
        self._add_physics()
        # Bullet's solver starts from the contacts of the last step, so every episode begins from this one state
        self._pristine = p.saveState(physicsClientId=self._world)

    @property
    def look(self) -> Look:
        """How everything looks at present."""
        return self._scene.look

    @abstractmethod
    def load_scenery(self, client: int) -> None:
        """Add what never moves."""

    def load_goals(self, client: int) -> None:
        """Add what moves seldom, such as once per episode."""

    @abstractmethod
    def load_robot(self, client: int) -> None:
        """Add what moves within an episode; in the world, these are `_bodies`."""

    def _add_physics(self) -> None:
        """Add invisible bodies and settings to the world of the robot."""

    def load_distractors(self, client: int) -> None:
        """Add the distractors."""
        self._distractors.load(client)

    def goal_poses(self) -> tuple[Pose, ...]:
        """Return the present poses of the goals, in the order of loading."""
        return ()

    def camera(self, view: str) -> Camera:
        """Return a camera where it is now; only one that moves differs from the class's."""
        return self.cameras[view]

    def _sim_look(self) -> Look:
        """Return the look of the domain "sim", from which "randomised" departs."""
        return SIM

    @abstractmethod
    def _start_episode(self) -> None:
        """Draw the start of an episode with `np_random`."""

    @abstractmethod
    def _act(self, action: Any) -> tuple[float, bool]:
        """Carry out one action, note in `_solved` a success; return the reward and whether this is the end."""

    @abstractmethod
    def _read_factors(self) -> Sequence[float]:
        """Return the values of the task's factors."""

    @abstractmethod
    def _set_factors(self, values: list[float]) -> None:
        """Put the simulator into the state with these factors of the task."""

    def _possible(self, values: list[float]) -> bool:
        """Return whether there is a state with these factors: bodies may not overlap. It may be left in that state."""
        return True

    def _draw_factors(self, rng: np.random.Generator) -> list[float]:
        """Draw values of the task's factors, possible or not."""
        return [factor.sample(rng) for factor in self.factors[: self._task_factors]]

    @abstractmethod
    def _greedy_action(self) -> Any:
        """Return the action that leads towards the goal."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode; the scene stays loaded. There are no options."""
        if options:
            raise ConfigError(f"reset options {options!r} are not accepted; give them to the constructor.")
        super().reset(seed=seed)
        p.restoreState(self._pristine, physicsClientId=self._world)
        if self._look_factors or self._distractors.count or self._scene.look.noise:
            # streams of their own, so that the task is the same in every domain
            if seed is not None or not hasattr(self, "_look_rng"):
                self._look_rng = np.random.default_rng((self.np_random_seed, 1))
                self._distractor_rng = np.random.default_rng((self.np_random_seed, 2))
            if self._look_factors:
                self._scene.look = draw_look(self._sim_look(), self._look_factors, self._look_rng)
            self._noise_start = int(self._look_rng.integers(2**20))
            self._distractors.start(self._distractor_rng)
            self._place_distractors()
        self._elapsed = 0
        self._solved = False
        self._start_episode()
        state = self.get_factors()
        if self._window is not None:
            self.render()
        return self._observation(state), {"state": state, "is_success": False}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Act once; `truncated` is set from step `max_steps` on."""
        reward, terminated = self._act(action)
        if self._distractors.count:
            self._distractors.move()
            self._place_distractors()
        self._elapsed += 1
        state = self.get_factors()
        info = {"state": state, "is_success": self._solved}
        if self._window is not None:
            self.render()
        return self._observation(state), reward, terminated, self._elapsed >= self.max_steps, info

    def get_factors(self) -> NDArray[np.float64]:
        """Return the ground-truth factors of the present state, in the order of `factors`."""
        values = self._read_factors()
        if self._has_more_factors:
            look = [getattr(self._scene.look, factor.name) for factor in self._look_factors]
            values = [*values, *self._distractors.positions.ravel().tolist(), *look]
        # takes half as long as np.array
        return np.fromiter(values, np.float64, len(values))

    def set_factors(self, factors: Sequence[float] | NDArray[np.floating]) -> None:
        """Put the simulator into the state with the given factors, at rest as far as these are no velocities.

        The episode's counts go on.

        `get_factors` returns them unchanged, to within the `tolerance` of each.

        Raises:
            ConfigError: the vector has the wrong length, is not finite, or has an unknown category.
        """
        values = check_factors(self.factors, factors)
        own, others = values[: self._task_factors], values[self._task_factors :]
        count = 2 * self._distractors.count
        self._distractors.positions = np.array(others[:count]).reshape(-1, 2)
        if self._look_factors:
            names = (factor.name for factor in self._look_factors)
            self._scene.look = replace(self._sim_look(), **dict(zip(names, others[count:], strict=True)))
        self._place_distractors()
        self._set_factors(own)

    def possible(self, factors: Sequence[float] | NDArray[np.floating]) -> bool:
        """Return whether there is a state with these factors, which `set_factors` does not check.

        Factors that follow from others are not looked at. The simulator may be left in the state that was tried.
        """
        values = check_factors(self.factors, factors)
        settable = zip(self.factors, values, strict=True)
        if any(not f.low <= value <= f.high for f, value in settable if f.tolerance < np.inf):
            return False
        return self._possible(values[: self._task_factors])

    def sample_factors(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Put the simulator into a random state, every factor that does not follow from others drawn uniformly.

        States that are not possible are drawn again, so that factors depend on each other where few are.

        Returns:
            The factors of that state.
        """
        own = self._draw_factors(rng)
        while not self._possible(own):
            own = self._draw_factors(rng)
        self.set_factors([*own, *(factor.sample(rng) for factor in self.factors[self._task_factors :])])
        return self.get_factors()

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
        """Return the first view in at least 224 x 224 pixels, show it in a window, or nothing: see `render_mode`."""
        if self.render_mode is None:
            return None
        picture = self._frame(max(self.image_size, RENDER_SIZE), self.views[0])
        if self._window is None:
            return picture
        self._window.show(picture)
        return None

    def pressed_keys(self) -> set[str]:
        """Return the names of the keys that are down in the window, none without one."""
        return self._window.keys() if self._window is not None else set()

    def render_plain(self, size: int | None = None, view: str | None = None) -> NDArray[np.uint8]:
        """Return the picture of all bodies drawn together in one client: slow, for comparison."""
        camera, shot = self.camera(view or self.views[0]), self._noise_start + self._elapsed
        return self._scene.plain(size or self.image_size, camera, self.goal_poses(), shot)

    def close(self) -> None:
        """Disconnect from the simulator; safe to call again."""
        self._scene.close()
        if self._window is not None:
            self._window.close()

    def _make_action_space(self) -> gymnasium.Space[Any]:
        size = self.action_sizes[self.action_type]
        if self.action_type == "discrete":
            return gymnasium.spaces.Discrete(size)
        return gymnasium.spaces.Box(-1, 1, (size,), np.float32)

    def _make_observation_space(self) -> gymnasium.Space[Any]:
        pixels = gymnasium.spaces.Box(0, 255, (self.image_size, self.image_size, 3), np.uint8)
        state = gymnasium.spaces.Box(-np.inf, np.inf, (len(self.factors),), np.float32)
        if self.obs_type == "state":
            return state
        names = ("pixels",) if len(self.views) == 1 else self.views
        parts: dict[str, gymnasium.Space[Any]] = dict.fromkeys(names, pixels)
        if self.obs_type == "pixels+state":
            return gymnasium.spaces.Dict({**parts, "state": state})
        return pixels if len(self.views) == 1 else gymnasium.spaces.Dict(parts)

    def _observation(self, state: NDArray[np.float64]) -> Any:
        if self._only_view is not None:
            return self._frame(self.image_size, self._only_view)
        vector = state.astype(np.float32)
        if self.obs_type == "state":
            return vector
        names = ("pixels",) if len(self.views) == 1 else self.views
        parts = {name: self._frame(self.image_size, view) for name, view in zip(names, self.views, strict=True)}
        return parts if self.obs_type == "pixels" else {**parts, "state": vector}

    def _frame(self, size: int, view: str) -> NDArray[np.uint8]:
        return self._scene.picture(size, view, self.camera(view), self.goal_poses(), self._noise_start + self._elapsed)

    def _place_distractors(self) -> None:
        if self._distractors.count:
            self._scene.robots.place("distractor", self._distractors.poses())
