"""The one seam to execution engines: joblib."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from joblib import Parallel, delayed

T = TypeVar("T")


def run_all(function: Callable[..., T], items: Sequence[Any], *arguments: Any, jobs: int) -> Iterator[T]:
    """Yield `function(item, *arguments)` for all items as they end, `jobs` of them at a time.

    The arguments have to be plain values: an object of a class from a plug-in file cannot be sent to a worker.
    """
    if not items:
        return
    pool = Parallel(n_jobs=min(jobs, len(items)), return_as="generator_unordered", pre_dispatch="n_jobs")
    yield from pool(delayed(function)(item, *arguments) for item in items)
