"""What a camera sees of an environment, drawn in layers.

TinyRenderer spends its time on every triangle and every covered pixel, so what stands still is drawn once,
with its depth, in clients of its own: the scenery for as long as its look and the camera stay the same, goals
for as long as they are not moved. A picture then draws only the moving bodies and keeps those pixels that lie
in front. Without shadows this equals the picture of everything in one client, pixel by pixel. That one (`plain`)
is drawn where depths are too close to tell who is in front, which is rare.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from srl_bench.environments.drawing import Camera, Layer, Picture, Pose, Shot, over, paste, to_rgb, unsure
from srl_bench.environments.looks import SIM, Look

if TYPE_CHECKING:
    from srl_bench.environments.simulator import SimulatorEnv

# what stands still, as a camera sees it: camera and goals that it holds for, how to draw the rest, RGB, and the depths
# in front of which the rest surely and maybe is seen
Still = tuple[tuple[Camera, tuple[Pose, ...]], Shot, NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]


class Scene:
    """The bodies of one environment.

    Attributes:
        robots: the layer of what moves within an episode, in which the physics takes place.
    """

    def __init__(self, env: SimulatorEnv, look: Look) -> None:
        # a strong reference would keep the clients of forgotten environments until the next garbage collection
        self._env = weakref.proxy(env)
        self._layers: dict[str, Layer] = {}
        self._paint(look)
        self.robots = self._layer("robots", "robot", "distractor")

    @property
    def look(self) -> Look:
        """How everything looks; what is set is painted at once."""
        return self._look

    @look.setter
    def look(self, look: Look) -> None:
        if look != self._look:
            self._paint(look)

    def _paint(self, look: Look) -> None:
        self._look = look
        self._light = look.light
        self._scenery: dict[tuple[str, int], tuple[Camera, Picture]] = {}
        self._still: dict[tuple[str, int], Still] = {}
        for layer in self._layers.values():
            look.paint(layer)

    def picture(self, size: int, view: str, camera: Camera, goals: tuple[Pose, ...], shot: int) -> NDArray[np.uint8]:
        """Return RGB (size, size, 3) of what a camera sees.

        Args:
            size: of the picture in pixels.
            view: name of the camera.
            camera: where it is now.
            goals: where the goals are.
            shot: selects the noise of the camera's sensor.
        """
        still = self._still.get((view, size))
        if still is None or still[0] != (camera, goals):
            if camera is not self._env.cameras[view]:
                return self.plain(size, camera, goals, shot)  # from a camera that moves, nothing stands still
            still = self._still[view, size] = self._draw_still(size, view, camera, goals)
        _, rest, behind, surely, maybe = still
        image = paste(self.robots.draw(rest), behind, surely, maybe)
        if image is None:
            return self.plain(size, camera, goals, shot)
        return image if self._look is SIM else self._look.develop(image, shot)

    def plain(self, size: int, camera: Camera, goals: tuple[Pose, ...], shot: int) -> NDArray[np.uint8]:
        """Return the same, drawn at once."""
        layer = self._layer("plain", "scenery", "goal", "robot", "distractor")
        layer.place("goal", goals)
        layer.copy("robot", self.robots)
        layer.copy("distractor", self.robots)
        image = to_rgb(layer.draw(layer.aim(self._seen(camera), size, self._light))[0])
        return image if self._look is SIM else self._look.develop(image, shot)

    def close(self) -> None:
        """Disconnect from the simulator; safe to call again."""
        for layer in self._layers.values():
            layer.close()

    def _seen(self, camera: Camera) -> Camera:
        """Return where the look has a camera."""
        return camera if self._look is SIM else self._look.move(camera)

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

    def _draw_still(self, size: int, view: str, camera: Camera, goals: tuple[Pose, ...]) -> Still:
        if (view, size) not in self._scenery:
            seen, layer = self._seen(camera), self._layer("scenery", "scenery")
            self._scenery[view, size] = seen, layer.draw(layer.aim(seen, size, self._light))
        seen, picture = self._scenery[view, size]
        if goals:
            picture = self._with_goals(picture, seen, size, goals)
        return (camera, goals), self.robots.aim(seen, size, self._light), to_rgb(picture[0]), *unsure(picture[1])

    def _with_goals(self, scenery: Picture, seen: Camera, size: int, goals: tuple[Pose, ...]) -> Picture:
        def drawn(layer: Layer) -> Picture:
            layer.place("goal", goals)
            return layer.draw(layer.aim(seen, size, self._light))

        merged = over(drawn(self._layer("goals", "goal")), scenery)
        return drawn(self._layer("still", "scenery", "goal")) if merged is None else merged
