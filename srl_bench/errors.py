"""Errors a user can act on: each message says what was given, what is accepted, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SrlBenchError(Exception):
    """Base of every error that srl_bench raises on purpose."""


class ConfigError(SrlBenchError, ValueError):
    """An option, expression or suite file is wrong."""


class DataError(SrlBenchError, ValueError):
    """A data set or stored encoder is incomplete, damaged, or does not fit the request."""


class TrainingError(SrlBenchError, RuntimeError):
    """Training cannot go on, for example because the loss is not finite."""


class WorkerError(SrlBenchError, RuntimeError):
    """A worker process failed or died."""


class UnknownNameError(ConfigError, KeyError):
    """A name that nothing is registered under."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        nearest = difflib.get_close_matches(str(name).lower(), known, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(nearest)}?" if nearest else ""
        super().__init__(f"unknown {kind} {name!r}.{hint} Known: {', '.join(known) or 'none'}.")
        self._given = kind, name, known

    def __reduce__(self) -> tuple[type[UnknownNameError], tuple[str, str, list[str]]]:  # from one process to another
        return type(self), self._given

    def __str__(self) -> str:  # KeyError would print the repr of the message
        return str(self.args[0])
