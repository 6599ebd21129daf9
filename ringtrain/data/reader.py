"""Reading one batch, in the loader's thread or in a worker process alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ringtrain.data.collate import default_collate, to_arrays
from ringtrain.data.dataset import read, take
from ringtrain.data.drawing import drawing

END = "end of the stream"  # what `batch` returns past a stream's last; a string, to be the same in another process


@dataclass(frozen=True)
class Task:
    """One batch to read.

    turn, batch  which pass of the loader, and which batch of it
    what         the indices; of a stream, this rank and the number of ranks
    epoch, program_seed  what draws depend on, the latter given to `rt.seed`
    """

    turn: int
    batch: int
    what: Any
    epoch: int
    program_seed: int

    def __str__(self) -> str:
        return f"batch {self.batch}" + (f", samples {_ends(self.what)}" if isinstance(self.what, np.ndarray) else "")


def _ends(indices: np.ndarray) -> str:
    numbers = [str(i) for i in indices]
    return ", ".join(numbers if len(numbers) <= 8 else [*numbers[:4], "...", *numbers[-4:]])


class Reader:
    """Batches of a data set with a length."""

    def __init__(self, dataset: Any, collate: Callable[[list[Any]], Any] | None, seed: int):
        self.dataset, self.collate, self.seed = dataset, collate, seed

    def batch(self, task: Task) -> Any:
        """The batch, of arrays."""
        with drawing(task.what, task.epoch, self.seed):
            if self.collate is None:
                return to_arrays(take(self.dataset, task.what))
            return to_arrays(self.collate(read(self.dataset, task.what)))


class StreamReader:
    """Batches of an IterableDataset. Those that nobody here is asked for are read past, and not prepared."""

    def __init__(
        self, dataset: Any, collate: Callable[[list[Any]], Any] | None, seed: int, batch_size: int, drop_last: bool
    ):
        self.dataset, self.collate, self.seed = dataset, collate, seed
        self.batch_size, self.drop_last = batch_size, drop_last
        self._turn, self._next = -1, 0
        self._stream: Iterator[Any] = iter(())

    def batch(self, task: Task) -> Any:
        """The batch, of arrays; END where the stream has ended."""
        rank, ranks = task.what
        if task.turn != self._turn:
            self._turn, self._next, self._stream = task.turn, 0, iter(self.dataset.shard(rank, ranks))
        while self._next <= task.batch:
            block = [sample for _, sample in zip(range(self.batch_size), self._stream, strict=False)]
            self._next += 1
        if not block or (self.drop_last and len(block) < self.batch_size):
            return END
        first = task.batch * self.batch_size
        numbers = (first + np.arange(len(block))) * ranks + rank
        return to_arrays((self.collate or default_collate)(self._prepared(block, numbers, task)))

    def _prepared(self, block: list[Any], numbers: np.ndarray, task: Task) -> list[Any]:
        samples = []
        for number, sample in zip(numbers, block, strict=True):
            with drawing([number], task.epoch, self.seed):
                samples.append(self.dataset.prepare(sample))
        return samples
