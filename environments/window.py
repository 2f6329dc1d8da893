"""A window for people: what the camera sees, and which keys are down."""

from __future__ import annotations

import importlib.util
import os
import sys

import numpy as np
from numpy.typing import NDArray

from srl_bench.errors import ConfigError

SIZE = 512
TITLE = "srl_bench"


def has_display() -> bool:
    """Return whether a window can open."""
    variables = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    return not sys.platform.startswith("linux") or any(os.environ.get(name) for name in variables)


class Window:
    """A square window.

    Raises:
        ConfigError: there is no display, or pygame is not installed.
    """

    def __init__(self) -> None:
        if not has_display():
            raise ConfigError("render_mode='human' needs a display (DISPLAY is not set); use render_mode='rgb_array'.")
        if importlib.util.find_spec("pygame") is None:
            raise ConfigError("render_mode='human' needs pygame: pip install 'srl-bench[play]'.")
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        import pygame

        self._pygame = pygame
        pygame.display.init()
        pygame.display.set_caption(TITLE)
        self._surface = pygame.display.set_mode((SIZE, SIZE))

    def show(self, image: NDArray[np.uint8]) -> None:
        """Show a picture (H, W, 3)."""
        picture = self._pygame.surfarray.make_surface(image.swapaxes(0, 1))
        self._surface.blit(self._pygame.transform.scale(picture, (SIZE, SIZE)), (0, 0))
        self._pygame.event.pump()
        self._pygame.display.flip()

    def keys(self) -> set[str]:
        """Return the names of the keys that are down; "x" also when the window was closed."""
        self._pygame.event.pump()
        names = {chr(code) for code in (*range(ord("a"), ord("z") + 1), *range(ord("0"), ord("9") + 1))}
        codes = {name: self._pygame.key.key_code(name) for name in (*names, "right", "left", "up", "down")}
        state = self._pygame.key.get_pressed()
        closed = {"x"} if self._pygame.event.peek(self._pygame.QUIT) else set()
        return closed | {name for name, code in codes.items() if state[code]}

    def close(self) -> None:
        """Close the window."""
        self._pygame.display.quit()
