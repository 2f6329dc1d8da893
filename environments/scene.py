"""What a camera sees of an environment, drawn in layers.

TinyRenderer spends its time on every triangle and every covered pixel, so what stands still is drawn once,
with its depth, in clients of its own: the scenery for as long as its look and the camera stay the same, goals
for as long as they are not moved. A picture then draws only the moving bodies and keeps those pixels that lie
in front. Without shadows this equals the picture of everything in one client, pixel by pixel (`plain` draws
that one for comparison).
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from srl_bench.environments.drawing import Camera, Layer, Picture, over, paste, to_rgb
from srl_bench.environments.looks import SIM, Look

if TYPE_CHECKING:
    from srl_bench.environments.simulator import SimulatorEnv


class Scene:
    """The bodies of one environment.

    Attributes:
        robots: the layer of what moves within an episode, in which the physics takes place.
    """

    def __init__(self, env: SimulatorEnv, look: Look) -> None:
        # a strong reference would keep the clients of forgotten environments until the next garbage collection
        self._env = weakref.proxy(env)
        self._layers: dict[str, Layer] = {}
        self._scenery: dict[tuple[str, int], tuple[Any, Picture]] = {}
        self._still: dict[tuple[str, int], tuple[Any, tuple[NDArray[np.uint8], NDArray[np.float32]]]] = {}
        self.look = look
        self.robots = self._layer("robots", "robot", "distractor")

    @property
    def look(self) -> Look:
        """How everything looks; what is set is painted at once."""
        return self._look

    @look.setter
    def look(self, look: Look) -> None:
        self._look = look
        self._light = look.light
        self._cameras: dict[str, tuple[Camera, Camera]] = {}
        for layer in self._layers.values():
            look.paint(layer)

    def picture(self, size: int, view: str) -> NDArray[np.uint8]:
        """Return RGB (size, size, 3) of what a camera sees, before lens and sensor."""
        camera: Camera = self._env.camera(view)
        if camera is not self._env.cameras[view]:
            return self.plain(size, view)  # from a camera that moves, nothing stands still
        camera = self._seen(view, camera)
        behind, depth = self._behind(size, view, camera)
        return paste(self.robots.draw(camera, size, self._light), behind, depth)

    def plain(self, size: int, view: str) -> NDArray[np.uint8]:
        """Return the same, drawn at once."""
        layer = self._layer("plain", "scenery", "goal", "robot", "distractor")
        layer.place("goal", self._env.goal_poses())
        layer.copy("robot", self.robots)
        layer.copy("distractor", self.robots)
        return to_rgb(layer.draw(self._seen(view, self._env.camera(view)), size, self._light)[0])

    def close(self) -> None:
        """Disconnect from the simulator; safe to call again."""
        for layer in self._layers.values():
            layer.close()

    def _seen(self, view: str, camera: Camera) -> Camera:
        """Return where the look has a camera."""
        if self._look is SIM:
            return camera
        kept = self._cameras.get(view)
        if kept is None or kept[0] is not camera:
            kept = self._cameras[view] = camera, self._look.move(camera)
        return kept[1]

    def _layer(self, name: str, *groups: str) -> Layer:
        if name not in self._layers:
            loaders = {
                "scenery": self._env.load_scenery,
                "goal": self._env.load_goals,
                "robot": self._env.load_robot,
                "distractor": self._env.load_distractors,
            }
            layer = Layer({group: loaders[group] for group in groups})
            if self._look is not SIM:
                self._look.paint(layer)
            self._layers[name] = layer
        return self._layers[name]

    def _behind(self, size: int, view: str, camera: Camera) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return RGB and depth of all that stands still."""
        poses = self._env.goal_poses()
        key = (camera, self._look, poses)
        kept = self._still.get((view, size))
        if kept is not None and kept[0] == key:
            return kept[1]
        scenery = self._scenery.get((view, size))
        if scenery is None or scenery[0] != key[:2]:
            scenery = (key[:2], self._layer("scenery", "scenery").draw(camera, size, self._light))
            self._scenery[view, size] = scenery
        picture = scenery[1]
        if poses:
            layer = self._layer("goals", "goal")
            layer.place("goal", poses)
            picture = over(layer.draw(camera, size, self._light), picture)
        still = to_rgb(picture[0]), picture[1]
        self._still[view, size] = (key, still)
        return still
