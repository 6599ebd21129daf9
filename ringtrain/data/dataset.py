"""Data sets: a length, and samples by number. The loader asks for a whole batch at once through `take`."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ringtrain.data import drawing
from ringtrain.data.collate import default_collate

Arrays = tuple[np.ndarray, ...]
Transform = Callable[[np.ndarray], np.ndarray]


class Dataset:
    """Base of data sets. A subclass defines `__len__` and `__getitem__`; NumPy in, NumPy out.

    `__getitem__(i)` returns one sample: a tuple such as `(x, y)`, or a single array or number.
    A subclass that can gather many samples in one vectorised step overrides `take`.
    """

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must define __len__")

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__")

    def take(self, indices: Sequence[int] | np.ndarray) -> Arrays:
        """The samples `indices` as one array a field, each with the batch as its first axis.

        This default reads them one by one with `__getitem__` and stacks them (see `gather`).
        """
        return gather(self, indices)

    @property
    def labels(self) -> np.ndarray | None:
        """Class of every sample, integers of shape (len(self),), or None where samples have no class."""
        return None

    def transform(self, function: Callable[..., Any]) -> "Dataset":
        """This data set with `function(*fields)` of each sample in place of its fields, one sample at a time."""
        from ringtrain.data.wrappers import Transformed  # it builds on this module

        return Transformed(self, function, first=False)

    def transform_first(self, function: Transform) -> "Dataset":
        """This data set with `function(x)` in place of the first field x, of batches where samples allow it."""
        from ringtrain.data.wrappers import Transformed

        return Transformed(self, function, first=True)


class ArrayDataset(Dataset):
    """Samples are the rows of one or more arrays of equal length: `ArrayDataset(x, y)`.

    transform: called with a batch of the first array, shape (batch, ...), and only with that one; what it
        returns takes its place. It sees a batch of one when a single sample is read.

    `labels` is the last of two or more arrays if that is a vector of integers.
    Arrays are kept, not copied; `take` returns copies. Raises ValueError if lengths differ.
    """

    def __init__(self, *arrays: Any, transform: Transform | None = None):
        if not arrays:
            raise ValueError("ArrayDataset needs at least one array")
        self.arrays: Arrays = tuple(np.asarray(a) for a in arrays)
        self.batch_transform = transform
        shapes = [a.shape for a in self.arrays]
        if any(len(shape) == 0 for shape in shapes):
            raise ValueError(f"ArrayDataset needs arrays with a first axis of samples, got shapes {shapes}")
        if len({shape[0] for shape in shapes}) != 1:
            raise ValueError(f"ArrayDataset needs arrays of the same length (axis 0), got shapes {shapes}")

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: int) -> Arrays:
        return tuple(a[0] for a in self.take([index]))

    def take(self, indices: Sequence[int] | np.ndarray) -> Arrays:
        rows = as_indices(indices)
        # ndarray.take beats a[rows] for the wide rows of images, and like it raises IndexError out of range.
        fields = tuple(a.take(rows, axis=0) for a in self.arrays)
        if self.batch_transform is None:
            return fields
        return (drawing.applied(self.batch_transform, fields[0], rows), *fields[1:])

    @property
    def labels(self) -> np.ndarray | None:
        last = self.arrays[-1]
        is_label = len(self.arrays) > 1 and last.ndim == 1 and last.dtype.kind in "iub"
        return last if is_label else None


class Subset(Dataset):
    """The samples `indices` of another data set, in that order; repeats are allowed.

    Raises IndexError if an index is outside the data set (negative ones too: they are never meant).
    """

    def __init__(self, dataset: Any, indices: Sequence[int] | np.ndarray):
        self.dataset = dataset
        self.indices = as_indices(indices)
        outside = self.indices[(self.indices < 0) | (self.indices >= len(dataset))]
        if outside.size:
            raise IndexError(
                f"Subset: {outside.size} of {self.indices.size} indices lie outside the data "
                f"set of {len(dataset)} samples, the first is {outside[0]}"
            )

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.indices[index])]

    def take(self, indices: Sequence[int] | np.ndarray) -> Arrays:
        return take(self.dataset, self.indices[as_indices(indices)])

    @property
    def labels(self) -> np.ndarray | None:
        labels = labels_of(self.dataset)
        return None if labels is None else labels[self.indices]


def take(dataset: Any, indices: Sequence[int] | np.ndarray) -> Arrays:
    """`dataset.take(indices)`, or, for any other thing with a length and an index (a list), `gather`."""
    # Not by hasattr: an ndarray has a take too, with another meaning.
    return dataset.take(indices) if isinstance(dataset, Dataset) else gather(dataset, indices)


def gather(dataset: Any, indices: Sequence[int] | np.ndarray) -> Any:
    """Read samples one by one and put them together: each field stacked along a new first axis.

    Python floats become float32, as everywhere in ringtrain; arrays and NumPy scalars keep their dtype. See
    `default_collate` for dictionaries and strings.
    Raises ValueError, naming the sample, where samples differ in number of fields or in shape.
    """
    rows = as_indices(indices)
    if rows.size == 0:
        raise ValueError(
            f"{type(dataset).__name__}: no indices, so the shapes of a batch are unknown; "
            f"override take() to support empty batches"
        )
    return default_collate(read(dataset, rows), type(dataset).__name__, rows.tolist())


def read(dataset: Any, rows: np.ndarray) -> list[Any]:
    """The samples one by one, each with its own place among those that are being read (see `drawing`)."""
    samples = []
    with drawing.reading(rows):
        for place, index in enumerate(rows.tolist()):
            with drawing.narrowed([place]):
                samples.append(dataset[index])
    return samples


def labels_of(dataset: Any) -> np.ndarray | None:
    """The classes of any data set, None where it knows none."""
    return dataset.labels if isinstance(dataset, Dataset) else None


def as_indices(indices: Any) -> np.ndarray:
    """`indices` as an intp vector. Raises TypeError for anything but whole numbers, masks included."""
    rows = np.asarray(indices)
    if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
        raise TypeError(f"indices must be a sequence of integers, got {rows.dtype} of shape {rows.shape}")
    return rows.astype(np.intp, copy=False)
