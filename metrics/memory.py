"""Results of long computations, kept by content: metrics of one table ask for the same neighbours and fits."""

from __future__ import annotations

import functools
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

F = TypeVar("F", bound=Callable[..., Any])

MEGABYTES = 128
_results: OrderedDict[bytes, Any] = OrderedDict()


def remembered(function: F) -> F:
    """Return `function`, which gives the stored result when called again with equal arguments.

    Arguments are numpy arrays, compared by every byte, or plain values, compared by `repr`; the result is an
    array, a number, or a tuple of them. Arrays of a result are read-only, because callers share them. The
    results that were asked for last are kept, up to `MEGABYTES` in all.
    """

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        digest = hashlib.blake2b(f"{function.__module__}.{function.__qualname__}".encode())
        for name, value in [*enumerate(args), *sorted(kwargs.items())]:
            if isinstance(value, np.ndarray):
                digest.update(f"{name}: {value.dtype} {value.shape}".encode())
                digest.update(np.ascontiguousarray(value).data)
            else:
                digest.update(f"{name}: {value!r}".encode())
        key = digest.digest()
        if key not in _results:
            _results[key] = _frozen(function(*args, **kwargs))
            while len(_results) > 1 and sum(map(_size, _results.values())) > MEGABYTES * 2**20:
                _results.popitem(last=False)
        _results.move_to_end(key)
        return _results[key]

    return wrapper  # type: ignore[return-value]


def forget() -> None:
    """Drop all stored results, as measurements of time must."""
    _results.clear()


def _frozen(result: Any) -> Any:
    for array in result if isinstance(result, tuple) else (result,):
        if isinstance(array, np.ndarray):
            array.flags.writeable = False
    return result


def _size(result: Any) -> int:
    return sum(getattr(part, "nbytes", 8) for part in (result if isinstance(result, tuple) else (result,)))
