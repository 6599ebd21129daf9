"""DataLoader: batches of tensors from a data set, gathered ahead by a thread or by worker processes."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any

import numpy as np

from ringtrain import random
from ringtrain.data.ahead import ahead
from ringtrain.data.collate import to_tensors
from ringtrain.data.dataset import as_indices
from ringtrain.data.reader import END, Reader, StreamReader, Task
from ringtrain.data.sampler import RandomSampler, Sampler, SequentialSampler, world
from ringtrain.data.workers import Pool
from ringtrain.data.wrappers import IterableDataset

# What PyTorch's DataLoader takes besides, and why this one does not.
ELSEWHERE = {
    "pin_memory": "transfers from NumPy memory need none; leave it out",
    "generator": "the order is a function of `seed` and the epoch",
    "multiprocessing_context": "workers come from a fork server, the one way that is safe under MPI and CUDA",
}


class DataLoader:
    """Iterate over a data set in batches: `for x, y in DataLoader(data, batch_size=128, shuffle=True)`.

    dataset: a `Dataset`, or anything with a length and an index, such as a list of (x, y); or an `IterableDataset`.
    batch_size: samples a batch, on this rank. The last batch of an epoch has fewer unless `drop_last`.
    shuffle: a new order each epoch, a function of (seed, epoch); short for `RandomSampler(dataset, seed)`.
    sampler: the order instead of `shuffle`: a `Sampler`, or any sized iterable of indices.
    prefetch: how many batches a background thread may hold ready, where there are no workers. With 0 there is no
        thread and each batch is gathered when it is asked for.
    seed: decides the order under `shuffle`, and with `rt.seed`, epoch and sample what random transforms draw.
    device: where the tensors are put; None leaves them on the CPU.
    batch_sampler: lists of indices, each a batch, instead of batch_size, shuffle, sampler and drop_last.
    num_workers: processes that gather batches instead of the thread. Pays where transforms or decoding take the
        Python interpreter's time; each batch comes through shared memory without a copy. Everything they need is
        pickled; a program does its work under `if __name__ == "__main__":`, because they import it.
    prefetch_factor: batches that each worker is ahead.
    persistent_workers: keep the workers from pass to pass; they have the data set as it was in the first one.
    collate_fn: called with a list of samples, returns a batch (arrays or tensors in tuples, lists, dictionaries);
        by default the data set's `take`.
    worker_init_fn: called with its number, 0, 1, ..., in each worker.
    timeout: seconds to wait for a worker's batch before a TimeoutError; 0 waits for as long as the worker lives.

    Yields a tuple of tensors, one a field of the samples (what collate_fn returned, of tensors). Tensors wrap the
    arrays that the data set's `take` returned, without a copy. The order is the same with any number of workers, and
    so is what random transforms draw.

    Each `iter()` starts an independent pass, and moves a `Sampler` on to the next epoch. Ranks that share
    data must therefore start the same number of passes, or name the epoch with `set_epoch` before each.
    An exception in the data set or its transform is raised here, with its own traceback or that of the worker; a
    worker that is killed is a WorkerError. Leaving the loop early, in any way, ends thread and workers.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        sampler: Sampler | Iterable[int] | None = None,
        drop_last: bool = False,
        prefetch: int = 2,
        seed: int = 0,
        device: Any = None,
        *,
        batch_sampler: Iterable[Any] | None = None,
        num_workers: int = 0,
        prefetch_factor: int = 2,
        persistent_workers: bool = False,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        worker_init_fn: Callable[[int], Any] | None = None,
        timeout: float = 0,
        **unknown: Any,
    ):
        for name in unknown:
            hint = f": {ELSEWHERE[name]}" if name in ELSEWHERE else ""
            raise TypeError(f"DataLoader has no parameter {name!r}{hint}")
        for name, value, least in (
            *[("batch_size", batch_size, 1), ("prefetch", prefetch, 0)],
            *[("num_workers", num_workers, 0), ("prefetch_factor", prefetch_factor, 1)],
        ):
            _check_integer(name, value, least)
        if timeout < 0:
            raise ValueError(f"DataLoader: timeout is in seconds, 0 for none, got {timeout!r}")
        if persistent_workers and not num_workers:
            raise ValueError("DataLoader: persistent_workers=True needs num_workers >= 1")
        self.stream = isinstance(dataset, IterableDataset)
        if self.stream and (shuffle or sampler is not None or batch_sampler is not None):
            raise ValueError("DataLoader: an IterableDataset decides its order; no shuffle, sampler or batch_sampler")
        if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
            raise ValueError("DataLoader: batch_sampler excludes batch_size, shuffle, sampler and drop_last")
        self.dataset, self.batch_sampler, self.device = dataset, batch_sampler, device
        self.sampler = None if self.stream or batch_sampler is not None else _sampler(dataset, shuffle, sampler, seed)
        self.batch_size, self.drop_last, self.prefetch, self.seed = batch_size, drop_last, prefetch, seed
        self.num_workers, self.prefetch_factor, self.persistent_workers = (
            num_workers,
            prefetch_factor,
            persistent_workers,
        )
        self.collate_fn, self.worker_init_fn, self.timeout = collate_fn, worker_init_fn, timeout
        self._turn, self._epoch = 0, 0
        self._pool: Pool | None = None
        self._pool_busy = False

    def __len__(self) -> int:
        """Number of batches in an epoch. Raises ValueError where drop_last would drop every sample."""
        if self.stream:
            raise TypeError(f"DataLoader: {type(self.dataset).__name__} is a stream, which has no length")
        if self.batch_sampler is not None:
            return len(self.batch_sampler)  # type: ignore[arg-type]
        return self._count(len(self.sampler))  # type: ignore[arg-type]

    def set_epoch(self, epoch: int) -> None:
        """Name the epoch of the next pass, which decides its order and draws; to resume training, for example."""
        order = self.batch_sampler if self.sampler is None else self.sampler
        if order is not None:
            set_epoch = getattr(order, "set_epoch", None)
            if set_epoch is None:
                raise TypeError(f"DataLoader: the sampler {type(order).__name__} has no set_epoch")
            set_epoch(epoch)
        self._epoch = epoch

    def __iter__(self) -> Iterator[Any]:
        whats, epoch = self._pass()
        batches = self._from_workers(whats, epoch) if self.num_workers else self._from_here(whats, epoch)
        return (to_tensors(batch, self.device) for batch in batches) if self.num_workers else batches

    def _pass(self) -> tuple[Iterable[Any], int]:
        """What the batches of the next pass are made of, and its epoch."""
        order = self.batch_sampler if self.sampler is None else self.sampler
        epoch = order.epoch if isinstance(order, Sampler) else self._epoch
        if self.stream:
            whats: Iterable[Any] = itertools.repeat((world.rank, world.size))
        elif self.batch_sampler is not None:
            whats = [as_indices(list(indices)) for indices in self.batch_sampler]
        else:
            indices = order.indices() if isinstance(order, Sampler) else as_indices(list(order))  # type: ignore[arg-type]
            size = self.batch_size
            whats = [indices[i * size : (i + 1) * size] for i in range(self._count(len(indices)))]
        if isinstance(order, Sampler):
            order.set_epoch(epoch + 1)
        self._epoch = epoch + 1
        return whats, epoch

    def _count(self, samples: int) -> int:
        if not self.drop_last:
            return -(-samples // self.batch_size)
        if 0 < samples < self.batch_size:
            raise ValueError(
                f"DataLoader: {samples} samples do not fill one batch of {self.batch_size}, and "
                f"drop_last=True would drop them all: use a smaller batch or drop_last=False"
            )
        return samples // self.batch_size

    def _reader(self) -> Reader | StreamReader:
        if self.stream:
            return StreamReader(self.dataset, self.collate_fn, self.seed, self.batch_size, self.drop_last)
        return Reader(self.dataset, self.collate_fn, self.seed)

    def _from_here(self, whats: Iterable[Any], epoch: int) -> Iterator[Any]:
        reader, seed = self._reader(), random.state.seed
        tasks = (Task(0, number, what, epoch, seed) for number, what in enumerate(whats))

        def read(task: Task) -> Any:
            batch = reader.batch(task)
            return batch if isinstance(batch, str) else to_tensors(batch, self.device)

        batches = ahead(read, tasks, self.prefetch) if self.prefetch else (read(task) for task in tasks)
        return itertools.takewhile(lambda batch: batch is not END, batches) if self.stream else batches

    def _from_workers(self, whats: Iterable[Any], epoch: int) -> Iterator[Any]:
        """The batches, from workers that live as long as this generator, or as this loader."""
        kept = self.persistent_workers and not self._pool_busy  # a second pass at the same time has its own
        pool = self._kept_pool() if kept else self._new_pool()
        self._pool_busy |= kept
        try:
            yield from pool.batches(whats, epoch, random.state.seed, self.timeout)
        except GeneratorExit:  # the loop was left
            raise
        except BaseException:
            if kept:
                self._pool = None
            pool.close()
            raise
        finally:
            if kept:
                self._pool_busy = False
            else:
                pool.close()

    def _new_pool(self) -> Pool:
        return Pool(self._reader(), self.num_workers, self.prefetch_factor, self.worker_init_fn)

    def _kept_pool(self) -> Pool:
        if self._pool is None:
            self._pool = self._new_pool()
            weakref.finalize(self, self._pool.close)
        return self._pool


def _sampler(dataset: Any, shuffle: bool, sampler: Any, seed: int) -> Any:
    if shuffle and sampler is not None:
        raise ValueError(
            f"DataLoader: shuffle=True and a sampler ({type(sampler).__name__}) exclude "
            f"each other: the sampler decides the order, so shuffle there"
        )
    if sampler is None:
        return RandomSampler(dataset, seed) if shuffle else SequentialSampler(dataset)
    if not (isinstance(sampler, Sized) and isinstance(sampler, Iterable)):
        raise TypeError(
            f"DataLoader: a sampler needs a length and indices to iterate over, got {type(sampler).__name__}"
        )
    return sampler


def _check_integer(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"DataLoader: {name} must be an integer >= {least}, got {value!r}")
