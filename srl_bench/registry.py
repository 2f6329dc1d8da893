"""Names for plug-ins: methods, losses, metrics, network bodies.

A plug-in registers itself by decorator when its file is imported. The built-in rooms are imported on the
first look-up; third-party code enters by `load_plugin("my_file.py")` or the entry-point group
`srl_bench.plugins`. Nothing has to be listed by hand.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, Literal, TypeVar

from srl_bench.errors import ConfigError, UnknownNameError
from srl_bench.provenance import source_version

ENTRY_POINTS = "srl_bench.plugins"
T = TypeVar("T")


class Registry(Generic[T]):
    """Entries of one kind by name; `room` is the package whose modules hold the built-in ones."""

    def __init__(self, kind: str, room: str) -> None:
        self.kind = kind
        self.room = room
        self._entries: dict[str, tuple[T, str]] = {}
        self._loaded = False

    def add(self, name: str, entry: T, origin: Any) -> None:
        """Register `entry`, defined by the class or function `origin`.

        Raises:
            ConfigError: another module holds the name. A module may redefine its own entry (notebooks do).
        """
        place = f"{origin.__module__}.{origin.__qualname__}"
        if name in self._entries and self._entries[name][1] != place:
            raise ConfigError(f"{self.kind} name {name!r} of {place} is taken by {self._entries[name][1]}; rename one.")
        self._entries[name] = (entry, place)

    def __getitem__(self, name: str) -> T:
        if name not in self._entries:
            self._load()
        if name not in self._entries:
            raise UnknownNameError(self.kind, name, self._entries)
        return self._entries[name][0]

    def __contains__(self, name: str) -> bool:
        self._load()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(sorted(self._entries))

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        import_room(self.room)
        for entry_point in importlib.metadata.entry_points(group=ENTRY_POINTS):
            entry_point.load()


@dataclass(frozen=True)
class Metric:
    """A scoring function `(states, factors, **needs) -> float | dict[str, float]` and how to read its value.

    `needs` are the keyword arguments that the scoring protocol has to supply, out of: episode_ids, steps,
    split, kinds, roles, names, actions, rewards, seed, shared (whether one learner may serve all factors); and where
    the caller has them, shifted_states (of the same rows with another look), other_states (of encoders of other
    seeds), expert_actions and expert_returns (of the environment's expert from each row). `shifts` is the number of
    circular shifts that estimate the floor (fewer for metrics that fit models). `core` metrics are computed unless
    others are named. `resample` tells how an interval is found (see `srl_bench.metrics.resampling`); without it there
    is none.
    """

    name: str
    function: Callable[..., float | dict[str, float]]
    better: Literal["higher", "lower", "neither"]
    range: tuple[float, float]
    needs: tuple[str, ...] = ()
    shifts: int = 9
    version: str = "1"
    core: bool = True
    resample: Any = None


METRICS: Registry[Metric] = Registry("metric", "srl_bench.metrics")
METHODS: Registry[Any] = Registry("method", "srl_bench.baselines")
LOSSES: Registry[Any] = Registry("loss", "srl_bench.losses")
BODIES: Registry[Any] = Registry("network body", "srl_bench.nets")
MEMORIES: Registry[Any] = Registry("memory", "srl_bench.nets")


def metric(
    name: str,
    *,
    better: Literal["higher", "lower", "neither"],
    range: tuple[float, float],
    needs: tuple[str, ...] = (),
    shifts: int = 9,
    version: str = "1",
    core: bool = True,
    resample: Any = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a metric; the function itself stays a plain function."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        METRICS.add(name, Metric(name, function, better, range, needs, shifts, version, core, resample), function)
        return function

    return register


def method(name: str) -> Callable[[type[T]], type[T]]:
    """Register a `Method` dataclass under `name`."""

    def register(cls: type[T]) -> type[T]:
        cls.name = name  # type: ignore[attr-defined]
        METHODS.add(name, cls, cls)
        return cls

    return register


def body(name: str) -> Callable[[type[T]], type[T]]:
    """Register a network body: `cls(input_shape)`, images to features of size `cls.width`."""

    def register(cls: type[T]) -> type[T]:
        BODIES.add(name, cls, cls)
        return cls

    return register


def memory(name: str) -> Callable[[type[T]], type[T]]:
    """Register a memory: `cls(encoded_dim, **options)`, as `srl_bench.nets.memory` describes it."""

    def register(cls: type[T]) -> type[T]:
        MEMORIES.add(name, cls, cls)
        return cls

    return register


def import_room(package: str) -> list[ModuleType]:
    """Import every module of a package, in alphabetical order."""
    room = importlib.import_module(package)
    return [importlib.import_module(f"{package}.{item.name}") for item in pkgutil.iter_modules(room.__path__)]


def load_plugin(plugin: str) -> ModuleType:
    """Import a third party's plug-in, given as a path to a Python file or a dotted module name.

    Raises:
        ConfigError: there is no such file or module.
    """
    if not plugin.endswith(".py"):
        try:
            return importlib.import_module(plugin)
        except ModuleNotFoundError as error:
            if error.name is not None and plugin.startswith(error.name):
                raise ConfigError(
                    f"plug-in {plugin!r} is neither a Python file (my_loss.py) nor an importable module."
                ) from error
            raise
    path = Path(plugin).resolve()
    if not path.is_file():
        raise ConfigError(f"plug-in file {plugin!r} does not exist (looked at {path}).")
    name = f"srl_bench_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def plugin_version(plugins: Iterable[str]) -> str:
    """Return 12 hex digits of the hash of the source files of plug-ins; "" if there are none.

    `plugins` are paths or module names as in `load_plugin`; those of the entry-point group are added.
    """
    given = [load_plugin(plugin).__name__ for plugin in plugins]
    installed = [entry_point.module for entry_point in importlib.metadata.entry_points(group=ENTRY_POINTS)]
    return source_version([*given, *installed])
