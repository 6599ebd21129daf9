"""Data sets made of data sets: transformed, one after the other, of plain lists, of streams, of nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ringtrain.data import drawing
from ringtrain.data.dataset import ArrayDataset, Dataset, Subset, as_indices, gather, labels_of, take
from ringtrain.data.partition import split
from ringtrain.tensor import Tensor


class TensorDataset(ArrayDataset):
    """Samples are the rows of tensors (or arrays) of equal length, by PyTorch's name: `TensorDataset(x, y)`."""

    def __init__(self, *tensors: Any):
        super().__init__(*(t.numpy() if isinstance(t, Tensor) else t for t in tensors))


class SimpleDataset(Dataset):
    """Samples are the items of a list, or of anything with a length and an index."""

    def __init__(self, items: Any):
        if not (hasattr(items, "__len__") and hasattr(items, "__getitem__")):
            raise TypeError(
                f"SimpleDataset needs a length and an index, got {type(items).__name__}; "
                f"for a stream of samples there is IterableDataset"
            )
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


class Transformed(Dataset):
    """`dataset` seen through a function; made by `Dataset.transform` and `Dataset.transform_first`.

    first: the function gets and replaces the first field only, with a batch axis, so that whole batches pass through
    it at once; samples of different shapes, which make no batch before they are transformed, pass one by one.
    Otherwise it gets all fields of one sample and returns the new ones, so that it may change labels as well.
    """

    def __init__(self, dataset: Any, function: Callable[..., Any], first: bool):
        if not callable(function):
            raise TypeError(f"transform: needs a function, got {function!r}")
        self.dataset, self.function, self.first = dataset, function, first

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        with drawing.reading([index]):
            with drawing.scoped():
                sample = self.dataset[index]
            fields = sample if isinstance(sample, tuple) else (sample,)
            with drawing.scoped():
                if not self.first:
                    return self.function(*fields)
                x = self.function(np.asarray(fields[0])[None])[0]
        return (x, *fields[1:]) if isinstance(sample, tuple) else x

    def take(self, indices: Sequence[int] | np.ndarray) -> Any:
        # A data set that has no take of its own reads one by one anyway, perhaps images of different sizes.
        if not self.first or getattr(type(self.dataset), "take", Dataset.take) is Dataset.take:
            return gather(self, indices)
        rows = as_indices(indices)
        with drawing.reading(rows):
            with drawing.scoped():
                fields = take(self.dataset, rows)
            with drawing.scoped():
                return (self.function(fields[0]), *fields[1:])

    @property
    def labels(self) -> np.ndarray | None:
        return labels_of(self.dataset) if self.first else None


class ConcatDataset(Dataset):
    """The samples of several data sets, one data set after the other; their samples must have the same fields."""

    def __init__(self, datasets: Iterable[Any]):
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("ConcatDataset needs at least one data set")
        if any(isinstance(d, IterableDataset) for d in self.datasets):
            raise TypeError("ConcatDataset needs data sets with a length; itertools.chain joins streams")
        self.starts = np.concatenate([[0], np.cumsum([len(d) for d in self.datasets])])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, index: int) -> Any:
        part, within = self._place(np.array([index]))
        return self.datasets[part[0]][int(within[0])]

    def _place(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        given, rows = rows, np.where(rows < 0, rows + len(self), rows)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            outside = given[(rows < 0) | (rows >= len(self))][0]
            raise IndexError(f"ConcatDataset: index {outside} is outside of {len(self)} samples")
        part = np.searchsorted(self.starts, rows, side="right") - 1
        return part, rows - self.starts[part]

    def take(self, indices: Sequence[int] | np.ndarray) -> Any:
        rows = as_indices(indices)
        part, within = self._place(rows)
        touched = np.unique(part)
        if len(touched) <= 1:
            return take(self.datasets[touched[0] if len(touched) else 0], within)
        pieces, places = [], []
        with drawing.reading(rows):
            for number in touched:
                mine = np.flatnonzero(part == number)
                with drawing.narrowed(mine):
                    pieces.append(take(self.datasets[number], within[mine]))
                places.append(mine)
        if not all(isinstance(piece, tuple) for piece in pieces):
            return gather(self, rows)
        return self._joined(pieces, np.argsort(np.concatenate(places)))

    def _joined(self, pieces: list[Any], order: np.ndarray) -> Any:
        kinds = [[(f.shape[1:], f.dtype.name) for f in piece] for piece in pieces]
        if any(kind != kinds[0] for kind in kinds):
            raise ValueError(f"ConcatDataset: samples do not stack: shapes and dtypes of fields are {kinds}")
        return tuple(np.concatenate(column)[order] for column in zip(*pieces, strict=True))

    @property
    def labels(self) -> np.ndarray | None:
        parts = [labels_of(d) for d in self.datasets]
        return None if any(p is None for p in parts) else np.concatenate(parts)  # type: ignore[arg-type]


class FakeData(Dataset):
    """Random images and labels for benchmarks: the same ones for the same seed, made when they are read.

    Samples are (image, label): uint8 of `image_size`, int64 below `num_classes`.
    """

    def __init__(
        self, size: int = 1000, image_size: Sequence[int] = (3, 224, 224), num_classes: int = 10, seed: int = 0
    ):
        self.size, self.image_size, self.num_classes, self.seed = size, tuple(image_size), num_classes, seed

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if not 0 <= index < self.size:
            raise IndexError(f"FakeData: index {index} is outside of {self.size} samples")
        words = np.random.Philox(key=[self.seed, index]).random_raw(1 + -(-int(np.prod(self.image_size)) // 8))
        pixels = words[1:].view(np.uint8)[: int(np.prod(self.image_size))].reshape(self.image_size)
        return pixels, np.asarray(words[0] % np.uint64(self.num_classes), np.int64)


class IterableDataset:
    """A stream of samples. A subclass defines `__iter__`, which yields all samples from the first on.

    Rank r of n gets samples r, r + n, r + 2n, ...; a loader's workers take turns at its batches. So batches and order
    do not depend on the number of workers, but each worker reads past the samples of the others: keep `__iter__`
    cheap (read bytes, say) and put what is expensive (decoding, augmentation) into `prepare`, which runs for a
    worker's own samples only. A stream that can reach every n-th sample without the rest overrides `shard`.

    Ranks may get different numbers of samples: `rt.join()`, or a loader's drop_last with a length known to divide.
    """

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} must define __iter__")

    def shard(self, rank: int, size: int) -> Iterator[Any]:
        """Samples rank, rank + size, rank + 2 * size, ... of the stream."""
        for number, sample in enumerate(self):
            if number % size == rank:
                yield sample

    def prepare(self, sample: Any) -> Any:
        """The sample that a batch gets, from one of the stream."""
        return sample


class Stream(IterableDataset):
    """Any iterable that can be started anew as a stream: `Stream(range(10**6), prepare=load)`.

    A generator is used up by one pass, so that it is refused: give an object with an `__iter__` of its own.
    """

    def __init__(self, samples: Iterable[Any], prepare: Callable[[Any], Any] | None = None):
        if iter(samples) is samples:
            raise TypeError(f"Stream: a {type(samples).__name__} can be read once only; give what makes it anew")
        self.samples, self.function = samples, prepare

    def __iter__(self) -> Iterator[Any]:
        return iter(self.samples)

    def prepare(self, sample: Any) -> Any:
        return sample if self.function is None else self.function(sample)


def random_split(dataset: Any, lengths: Sequence[float] | Sequence[int], seed: int = 0) -> list[Subset]:
    """Random disjoint parts, by PyTorch's name: `split(dataset, lengths, stratify=False)`."""
    return split(dataset, lengths, seed, stratify=False)
