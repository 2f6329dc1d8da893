"""The tasks of a LeRobot data set: https://huggingface.co/docs/lerobot/lerobot-dataset-v3

A row of meta/tasks.parquet is a sentence and its number; the column task_index says which one a frame belongs to. With
us a task is a categorical factor: see `Rollouts.episodes_by`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srl_bench.convert.checks import MAX_JSON_BYTES, existing, needs_formats, reading
from srl_bench.convert.lerobot_source import Source
from srl_bench.errors import DataError
from srl_bench.rollouts import Rollouts

TASKS_PATH = "meta/tasks.parquet"
TASK = "task_index"
# Pandas calls an index so that has no name; LeRobot has written both.
SENTENCES = ("task", "__index_level_0__")
MAX_TASKS = 1_000_000


@dataclass(frozen=True)
class Tasks:
    """The sentences of some tasks, and the number (E,) of the task of each episode."""

    sentences: list[str]
    numbers: NDArray[np.int64]


def tasks_of(rollouts: Rollouts, words: str | None) -> Tasks:
    """Return a task for each combination of task labels that occurs.

    Labels are categorical factors of role task that are constant within every episode, by their description and in
    fact; without any there is one task.

    Args:
        rollouts: the data.
        words: what all tasks have in common; by default the id of the environment, or the sentences that `from_lerobot`
            found.
    """
    told = rollouts.info["recording"].get("tasks")
    known = told if words is None and isinstance(told, dict) else {}
    words = words or rollouts.environment
    first = rollouts.factors[rollouts.episodes[:-1]]
    constant = (rollouts.factors == first[rollouts.episode_ids]).all(axis=0)
    labels = [
        column
        for column, factor in enumerate(rollouts.factor_table)
        if (factor.kind, factor.scope, factor.role) == ("categorical", "episode", "task") and constant[column]
    ]
    if not labels:
        only = str(*known.values()) if len(known) == 1 else words
        return Tasks([only], np.zeros(rollouts.n_episodes, dtype=np.int64))
    names = [rollouts.factor_table[column].name for column in labels]
    found, numbers = np.unique(first[:, labels], axis=0, return_inverse=True)
    sentences = [_sentence(words, names, values) for values in found]
    if len(labels) == 1:
        sentences = [str(known.get(f"{value:.0f}", own)) for (value,), own in zip(found, sentences, strict=True)]
    return Tasks(sentences, numbers.reshape(-1))


def write_tasks(root: Path, sentences: Sequence[str]) -> None:
    """Write meta/tasks.parquet as `pandas.read_parquet` gives it to LeRobot: numbers, the sentences being the index."""
    import pandas as pd

    table = pd.DataFrame({TASK: range(len(sentences))}, index=pd.Index(sentences, name=SENTENCES[0]))
    table.to_parquet(root / TASKS_PATH)


def read_tasks(source: Source, numbers: NDArray) -> dict[str, str]:
    """Return the sentences of the tasks that frames (N,) belong to, by the number as text.

    Raises:
        DataError: the table of tasks is missing or damaged, or lacks one.
    """
    with needs_formats():
        from pyarrow import parquet
    wanted = np.unique(numbers).tolist()
    file = source.root / TASKS_PATH
    with reading(existing(file)), parquet.ParquetFile(file) as handle:
        facts = handle.metadata
        size = sum(facts.row_group(index).total_byte_size for index in range(facts.num_row_groups))
        if facts.num_rows > MAX_TASKS or size > MAX_JSON_BYTES:
            raise DataError(f"{file} claims {facts.num_rows:,} tasks in {size:,} bytes, more than is read.")
        key = next((name for name in SENTENCES if name in handle.schema_arrow.names), SENTENCES[0])
        columns = handle.read(columns=[TASK, key]).to_pydict()
        found = dict(zip(columns[TASK], columns[key], strict=True))
    unnamed = [number for number in wanted if not isinstance(found.get(number), str)]
    if unnamed:
        raise DataError(f"{file} has no sentence for task {unnamed[0]}, which occurs in the data.")
    return {str(number): found[number] for number in wanted}


def _sentence(words: str, names: Sequence[str], values: NDArray[np.float64]) -> str:
    labels = [f"{name} is {value:.17g}" for name, value in zip(names, values, strict=True)]
    return f"{words}, where {', '.join(labels[:-1])}{' and ' if labels[1:] else ''}{labels[-1]}"
