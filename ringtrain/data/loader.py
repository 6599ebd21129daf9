"""DataLoader: batches of tensors from a data set, gathered ahead by a thread."""

import queue
import threading
from collections.abc import Iterable, Iterator, Sized
from typing import Any

import numpy as np

from ringtrain.data.dataset import as_indices, take
from ringtrain.data.sampler import RandomSampler, Sampler, SequentialSampler
from ringtrain.tensor import Tensor, from_numpy, tensor

Batch = tuple[Tensor, ...]


class DataLoader:
    """Iterate over a data set in batches: `for x, y in DataLoader(data, batch_size=128, shuffle=True)`.

    dataset: a `Dataset`, or anything with a length and an index, such as a list of (x, y).
    batch_size: samples a batch, on this rank. The last batch of an epoch has fewer unless `drop_last`.
    shuffle: a new order each epoch, a function of (seed, epoch); short for `RandomSampler(dataset, seed)`.
    sampler: the order instead of `shuffle`: a `Sampler`, or any sized iterable of indices.
    prefetch: how many batches a background thread may hold ready. With 0 there is no thread and each batch
        is gathered when it is asked for.
    device: where the tensors are put; None leaves them on the CPU.

    Yields a tuple of tensors, one a field of the samples. Tensors wrap the arrays that the data set's `take`
    returned, without a copy.

    Each `iter()` starts an independent pass, and moves a `Sampler` on to the next epoch. Ranks that share
    data must therefore start the same number of passes, or name the epoch with `set_epoch` before each.
    An exception in the data set or its transform is raised here with its own traceback.
    Leaving the loop early ends the thread.
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
    ):
        _check_integer("batch_size", batch_size, 1)
        _check_integer("prefetch", prefetch, 0)
        if shuffle and sampler is not None:
            raise ValueError(
                f"DataLoader: shuffle=True and a sampler ({type(sampler).__name__}) exclude "
                f"each other: the sampler decides the order, so shuffle there"
            )
        if sampler is None:
            sampler = RandomSampler(dataset, seed) if shuffle else SequentialSampler(dataset)
        elif not (isinstance(sampler, Sized) and isinstance(sampler, Iterable)):
            raise TypeError(
                f"DataLoader: a sampler needs a length and indices to iterate over, got {type(sampler).__name__}"
            )
        self.dataset, self.sampler, self.device = dataset, sampler, device
        self.batch_size, self.drop_last, self.prefetch = batch_size, drop_last, prefetch

    def __len__(self) -> int:
        """Number of batches in an epoch. Raises ValueError where drop_last would drop every sample."""
        return self._count(len(self.sampler))  # type: ignore[arg-type]

    def set_epoch(self, epoch: int) -> None:
        """Name the epoch of the next pass, which decides its order; to resume training, for example."""
        set_epoch = getattr(self.sampler, "set_epoch", None)
        if set_epoch is None:
            raise TypeError(f"DataLoader: the sampler {type(self.sampler).__name__} has no set_epoch")
        set_epoch(epoch)

    def __iter__(self) -> Iterator[Batch]:
        if isinstance(self.sampler, Sampler):
            indices = self.sampler.indices()
            self.sampler.set_epoch(self.sampler.epoch + 1)
        else:
            indices = as_indices(list(self.sampler))
        size = self.batch_size
        batches = [indices[i * size : (i + 1) * size] for i in range(self._count(len(indices)))]
        return self._ahead(batches) if self.prefetch else (self._batch(indices) for indices in batches)

    def _count(self, samples: int) -> int:
        if not self.drop_last:
            return -(-samples // self.batch_size)
        if 0 < samples < self.batch_size:
            raise ValueError(
                f"DataLoader: {samples} samples do not fill one batch of {self.batch_size}, and "
                f"drop_last=True would drop them all: use a smaller batch or drop_last=False"
            )
        return samples // self.batch_size

    def _batch(self, indices: np.ndarray) -> Batch:
        arrays = take(self.dataset, indices)
        if self.device is None:
            return tuple(from_numpy(array) for array in arrays)
        return tuple(tensor(array, array.dtype, self.device) for array in arrays)

    def _ahead(self, batches: list[np.ndarray]) -> Iterator[Batch]:
        """The batches, gathered by a thread that lives as long as this generator."""
        ready: queue.SimpleQueue[Batch | BaseException] = queue.SimpleQueue()
        room = threading.Semaphore(self.prefetch)
        stop = threading.Event()
        thread = threading.Thread(
            target=self._gather, args=(batches, ready, room, stop), name="ringtrain-prefetch", daemon=True
        )
        thread.start()
        try:
            for _ in batches:
                gathered = ready.get()
                if isinstance(gathered, BaseException):
                    try:
                        raise gathered
                    finally:
                        del gathered  # its traceback holds this frame: a cycle, which would live on
                room.release()
                yield gathered
        finally:
            # Also reached by break, by an exception in the loop's body and by garbage collection, all of
            # which close a generator. Waiting makes sure that nobody uses the data set after the loop.
            stop.set()
            room.release()
            if thread is not threading.current_thread():  # a cyclic collection may run in any thread
                thread.join()

    def _gather(
        self,
        batches: list[np.ndarray],
        ready: "queue.SimpleQueue[Batch | BaseException]",
        room: threading.Semaphore,
        stop: threading.Event,
    ) -> None:
        for number, indices in enumerate(batches):
            room.acquire()
            if stop.is_set():
                return
            try:
                ready.put(self._batch(indices))
            except BaseException as error:
                error.add_note(f"(DataLoader: while gathering batch {number}, samples {_ends(indices)})")
                ready.put(error)
                return


def _check_integer(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"DataLoader: {name} must be an integer >= {least}, got {value!r}")


def _ends(indices: np.ndarray) -> str:
    numbers = [str(i) for i in indices]
    return ", ".join(numbers if len(numbers) <= 8 else [*numbers[:4], "...", *numbers[-4:]])
