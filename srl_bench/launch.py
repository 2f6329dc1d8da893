"""The one seam to execution engines: joblib."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from joblib import Parallel, delayed

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_all(
    function: Callable[..., Result], items: Sequence[Item], *arguments: Any, jobs: int, killed: Callable[[Item], Result]
) -> Iterator[Result]:
    """Yield `function(item, *arguments)` for all items as they end, `jobs` of them at a time.

    When a worker is killed, what was running is run again, each item alone; one that kills its worker even then
    yields `killed(item)`. With one job there is no worker: items run in this process.

    The arguments have to be plain values: an object of a class from a plug-in file cannot be sent to a worker.
    """
    waiting = iter(enumerate(items))
    running: dict[int, Item] = {}

    def dispatch(numbered: Iterator[tuple[int, Item]]) -> Iterator[Any]:
        for number, item in numbered:
            running[number] = item
            yield delayed(_numbered)(number, function, item, *arguments)

    def results(numbered: Iterator[tuple[int, Item]], workers: int) -> Iterator[Result]:
        pool = Parallel(workers, return_as="generator_unordered", pre_dispatch="n_jobs", batch_size=1)
        for number, result in pool(dispatch(numbered)):
            del running[number]
            yield result

    # A pool of one would run its items in this process.
    workers = 1 if jobs == 1 else max(2, min(jobs, len(items)))
    while True:
        try:
            yield from results(waiting, workers)
            return
        except BrokenProcessPool:
            for number, item in list(running.items()):
                try:
                    yield from results(iter([(number, item)]), 2)
                except BrokenProcessPool:
                    yield killed(running.pop(number))


def _numbered(number: int, function: Callable[..., Result], *arguments: Any) -> tuple[int, Result]:
    return number, function(*arguments)
