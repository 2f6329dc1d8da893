"""Share the episodes of a recording between this process and others.

Workers leave frames in files, a few episodes in each, from which they are copied into the data set: a pipe would cost
about a fifth of the time of drawing them.
"""

from __future__ import annotations

import json
import math
import os
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy
from dataclasses import asdict, dataclass
from functools import lru_cache
from multiprocessing import current_process
from pathlib import Path
from threading import Thread
from typing import Any

import gymnasium
import numpy as np

from srl_bench.config import RecordConfig, options
from srl_bench.episodes import Episode, Recorder, recording_name
from srl_bench.errors import ConfigError, WorkerError
from srl_bench.policies import agent_version
from srl_bench.registry import load_plugin
from srl_bench.rollouts import FRAMES

CHUNK = 4
# chunks that are run before an earlier one is ready, at most
MAX_AHEAD = 8
# seconds until a worker without work ends
IDLE = 10
# what workers leave in the folder of an unfinished data set
LEFT_FRAMES = "frames_*"

Chunk = tuple[int, int]
"""First episode and number of episodes."""
Runner = Callable[[int, int], Iterable[Iterable[Episode]]]


@contextmanager
def episode_runner(config: RecordConfig, workers: int, plugins: tuple[str, ...], folder: Path) -> Iterator[Runner]:
    """Yield a function (first, number) that runs episodes, and yields a few at a time, in the order of their index.

    Args:
        config, plugins: see `srl_bench.record`.
        workers: at most so many processes, this one included.
        folder: where workers put `LEFT_FRAMES`; an episode's frames can be read until the next one is asked for.
    """
    # Starting a worker costs half a second, as much as a thousand frames of an arm.
    workers = min(workers, max(1, config.frames // 2_000))
    recorder = Recorder(config)
    with _one_thread(config), _others(config, workers - 1, plugins, folder) as others:
        yield lambda first, number: _in_order(recorder, others, _chunks(first, number, workers))
    for env in recorder.environments:
        env.close()


def _one_thread(config: RecordConfig) -> AbstractContextManager[None]:
    """Return a context in which an agent computes as it does in every other process."""
    if not agent_version(config):
        return nullcontext()
    from srl_bench.device import cpu_threads

    return cpu_threads(1)


def _chunks(first: int, number: int, workers: int) -> Iterator[Chunk]:
    while number:
        # the last ones are short, so that no worker waits long for another
        size = min(CHUNK, math.ceil(number / (2 * workers)))
        yield first, size
        first, number = first + size, number - size


def _in_order(recorder: Recorder, others: Others | None, chunks: Iterable[Chunk]) -> Iterator[Iterable[Episode]]:
    """Yield the episodes of each chunk, run by others or, while the next one is not ready, by this process."""
    waiting, taken = deque(chunks), deque[Future[_Stored] | list[Episode]]()
    while waiting or taken:
        while waiting and others is not None and others.are_free(taken):
            taken.append(others.run(waiting.popleft()))
        if not taken:
            yield recorder.run(*waiting.popleft())
            continue
        head = taken[0]
        if isinstance(head, list):
            yield head
        elif head.done() or not waiting or len(taken) >= MAX_AHEAD:
            stored = head.result()
            yield stored.fetch()
            stored.file.unlink()
        else:
            taken.append([_kept(episode) for episode in recorder.run(*waiting.popleft())])
            continue
        taken.popleft()


def _kept(episode: Episode) -> Episode:
    """Return an episode whose frames last."""
    return {name: rows.copy() if name in FRAMES else rows for name, rows in episode.items()}


@dataclass(frozen=True)
class Others:
    """The other processes that run episodes.

    Attributes:
        run: submits a chunk.
        ready: what they do first.
        most: chunks that they get at once.
    """

    run: Callable[[Chunk], Future[_Stored]]
    ready: Future[None]
    most: int

    def are_free(self, taken: Iterable[Future[_Stored] | list[Episode]]) -> bool:
        """Return whether they have started and can take one more chunk."""
        if not self.ready.done():
            return False
        self.ready.result()
        return sum(isinstance(chunk, Future) and not chunk.done() for chunk in taken) < self.most


@contextmanager
def _others(config: RecordConfig, number: int, plugins: tuple[str, ...], folder: Path) -> Iterator[Others | None]:
    """Start other processes; those that are left from a recording before are used again."""
    if not number or current_process().daemon:  # which may have no children
        yield None
        return
    # loky replaces a worker whose memory has grown, which is what importing torch for an agent looks like
    warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
    recording = _Recording(json.dumps(asdict(config)), plugins, os.getcwd(), recording_name(config, plugins))
    executor = _executor(number, os.getpid())
    submitted: set[Future[_Stored]] = set()

    def run(chunk: Chunk) -> Future[_Stored]:
        future = executor.submit(_work, recording, folder.resolve(), *chunk)
        submitted.add(future)
        future.add_done_callback(submitted.discard)
        return future

    try:
        yield Others(run, executor.submit(_prepare, recording), 2 * number)
    except BaseException as error:
        _executor.cache_clear()
        if isinstance(error, BrokenExecutor):
            raise WorkerError(
                "a process that recorded was killed; the same call goes on from what is there."
            ) from error
        raise
    finally:
        # after an error, some have not begun, and others still write
        wait([future for future in tuple(submitted) if not future.cancel()])


@lru_cache(maxsize=1)
def _executor(number: int, recorder: int) -> Any:
    """Return processes that stay for a while; those that joblib itself keeps are of a kind that only it can use."""
    from joblib.externals.loky import ProcessPoolExecutor

    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return ProcessPoolExecutor(number, timeout=IDLE, env=threads, initializer=_watch_recorder, initargs=(recorder,))


@dataclass(frozen=True)
class _Stored:
    """Episodes whose frames, of which these are the shapes, lie one after the other in a file."""

    file: Path
    shapes: list[dict[str, tuple[int, ...]]]
    episodes: list[Episode]

    def fetch(self) -> list[Episode]:
        """Return the episodes, their frames mapped from the file."""
        data = np.memmap(self.file, np.uint8, "r")
        start = 0
        for episode, shapes in zip(self.episodes, self.shapes, strict=True):
            for name, shape in shapes.items():
                end = start + math.prod(shape)
                episode[name] = data[start:end].reshape(shape)
                start = end
        return self.episodes


def _watch_recorder(recorder: int) -> None:
    """End this worker when the recorder is gone: if that was killed, it would wait for work."""
    Thread(target=_outlive, args=(recorder,), daemon=True).start()


def _outlive(recorder: int) -> None:
    while os.getppid() == recorder:
        time.sleep(1)
    os._exit(1)


@dataclass(frozen=True)
class _Recording:
    """What another process has to know.

    Attributes:
        config: as JSON.
        plugins: those that register the environment.
        folder: that relative paths begin at.
        name: that the recording has here, with these plug-ins, this code, and the agent as it is now.
    """

    config: str
    plugins: tuple[str, ...]
    folder: str
    name: str


def _prepare(recording: _Recording) -> None:
    with _sent():
        _worker_recorder(recording)


@lru_cache(maxsize=1)  # to make an environment takes as long as several hundred steps
def _worker_recorder(recording: _Recording) -> Recorder:
    os.chdir(recording.folder)
    for plugin in recording.plugins:
        load_plugin(plugin)
    config = options(RecordConfig, json.loads(recording.config))
    if config.environment not in gymnasium.registry:
        raise ConfigError(
            f"{config.environment} is registered in one process only; register it in a plug-in (plugins=[...], "
            "--plugin), or record with workers=1."
        )
    if recording_name(config, recording.plugins) != recording.name:
        raise ConfigError(
            "plug-ins, code or the agent were changed since this process read them; start it again, or record with "
            "workers=1."
        )
    return Recorder(config)


@contextmanager
def _sent() -> Iterator[None]:
    """Make sure that an error reaches the recorder; one that cannot be copied looks like a killed process."""
    try:
        yield
    except Exception as error:
        try:
            copy(error)
        except Exception as unsent:  # of any class, from any plug-in
            raise WorkerError(f"{type(error).__name__}: {error}") from unsent
        raise


def _work(recording: _Recording, folder: Path, first: int, number: int) -> _Stored:
    with _sent():
        return _run(_worker_recorder(recording), folder, first, number)


def _run(recorder: Recorder, folder: Path, first: int, number: int) -> _Stored:
    # a name of its own: a worker may outlive a recorder that was killed, and meet the next one
    file = folder / LEFT_FRAMES.replace("*", f"{first}_{os.getpid()}")
    shapes: list[dict[str, tuple[int, ...]]] = []
    episodes = []
    with file.open("wb") as stream:
        for episode in recorder.run(first, number):
            frames = {name: episode.pop(name) for name in FRAMES if name in episode}
            shapes.append({name: rows.shape for name, rows in frames.items()})
            for rows in frames.values():
                stream.write(rows.data)
            episodes.append(episode)
    return _Stored(file, shapes, episodes)
