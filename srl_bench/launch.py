"""The one seam to execution engines: joblib's processes on this machine, Dask's workers on many."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any, TypeVar

from joblib import Parallel, delayed

from srl_bench.errors import ConfigError

if TYPE_CHECKING:
    from distributed import Client

WORKER_TIMEOUT = 60.0
"""Seconds to wait for the first worker of a Dask scheduler."""
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
    # joblib replaces a worker whose memory has grown, which is what holding a data set open looks like
    warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
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


def run_on_dask(
    function: Callable[..., Result],
    items: Sequence[Item],
    *arguments: Any,
    parts: Sequence[tuple[Any, Mapping[str, float]]],
    address: str,
    killed: Callable[[Item], Result],
) -> Iterator[Result]:
    """Yield the result of the last part of every item as they end, run by the workers of a Dask scheduler.

    A part is `function(item, *arguments, part, result of the part before or None)` and takes the given resources of
    its worker. Dask runs the parts of a lost worker again; an item that takes its worker with it again and again
    (`distributed.scheduler.allowed-failures`) yields `killed(item)` and the others go on, which joblib's own Dask
    backend does not offer.

    Raises:
        ConfigError: no scheduler answers, or its workers cannot run the items.
    """
    client = _connect(address)
    from distributed import KilledWorker, as_completed

    with client:
        _check_workers(client, parts)
        last = {}
        for item in items:
            future = None
            for part, resources in parts:
                future = client.submit(function, item, *arguments, part, future, resources=dict(resources), pure=False)
            last[future] = item
        for future in as_completed(last):
            try:
                result = future.result()
            except KilledWorker:
                result = killed(last[future])
            yield result


def count_workers(address: str) -> int:
    """Return how many workers a Dask scheduler has now.

    Raises:
        ConfigError: no scheduler answers.
    """
    with _connect(address) as client:
        return len(client.scheduler_info(n_workers=-1)["workers"])


def _connect(address: str) -> Client:
    try:
        from distributed import Client
    except ImportError:
        raise ConfigError("Dask is not installed; run: pip install 'srl-bench[cluster]'.") from None
    try:
        return Client(address)
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise ConfigError(f"no Dask scheduler answers at {address}: {error}") from error


def _check_workers(client: Client, parts: Sequence[tuple[Any, Mapping[str, float]]]) -> None:
    """Raise an error where tasks would disturb each other, or wait for ever."""
    try:
        client.wait_for_workers(1, timeout=WORKER_TIMEOUT)
    except TimeoutError:
        raise ConfigError(f"the Dask scheduler got no worker within {WORKER_TIMEOUT:.0f} s; start some.") from None
    workers = client.scheduler_info(n_workers=-1)["workers"]
    if any(worker["nthreads"] > 1 for worker in workers.values()):
        raise ConfigError("a Dask worker has several threads; start workers with --nthreads 1, one per core.")
    for part, resources in parts:
        if not any(
            all(worker["resources"].get(name, 0) >= amount for name, amount in resources.items())
            for worker in workers.values()
        ):
            raise ConfigError(f"no Dask worker has {dict(resources)}, which {part} takes; see dask worker --resources.")
