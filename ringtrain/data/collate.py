"""Samples into a batch, and a batch into tensors, whatever it is made of: tuples, dictionaries, lists, strings."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ringtrain.ops.create import from_numpy, tensor
from ringtrain.tensor import Tensor


def default_collate(samples: Sequence[Any], who: str = "default_collate", rows: Sequence[int] | None = None) -> Any:
    """A list of samples as one batch.

    Tuples and lists are put together field by field, dictionaries key by key, strings become a list; numbers and
    arrays are stacked along a new first axis (Python floats as float32). A sample that is a single array makes a
    tuple of one array.

    who, rows: how an error names the data set and the samples.
    """
    numbers = range(len(samples)) if rows is None else rows
    batch = _put_together(samples, who, numbers)
    return batch if isinstance(samples[0], tuple | list | dict) else (batch,)


def _put_together(values: Sequence[Any], who: str, rows: Sequence[int]) -> Any:
    first = values[0]
    if isinstance(first, dict):
        _same([sorted(map(str, v)) for v in values], rows, f"{who}: samples have different keys")
        return {key: _put_together([v[key] for v in values], f"{who}[{key!r}]", rows) for key in first}
    if isinstance(first, tuple | list):
        _same([f"{len(v)} fields" for v in values], rows, f"{who}: cannot stack samples of different shapes")
        columns = [_put_together(column, who, rows) for column in zip(*values, strict=True)]
        return type(first)(*columns) if hasattr(first, "_fields") else tuple(columns)
    if isinstance(first, str | bytes):
        return list(values)
    arrays = [_array(value) for value in values]
    _same([a.shape for a in arrays], rows, f"{who}: cannot stack samples of different shapes")
    stacked = np.stack(arrays)
    if stacked.dtype.hasobject:
        raise TypeError(f"{who}: a batch is made of numbers, arrays and strings, got {type(first).__name__}")
    return stacked


def _array(value: Any) -> np.ndarray:
    if isinstance(value, Tensor):
        return value.numpy()
    return np.asarray(value, np.float32) if type(value) is float else np.asarray(value)


def _same(values: list[Any], rows: Sequence[int], what: str) -> None:
    for row, value in zip(rows, values, strict=True):
        if value != values[0]:
            raise ValueError(f"{what}: sample {rows[0]} has {values[0]}, sample {row} has {value}")


def each(function: Callable[[Any], Any], batch: Any) -> Any:
    """`function` of everything in a batch that is not a tuple, a list or a dictionary."""
    if isinstance(batch, dict):
        return {key: each(function, value) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        parts = [each(function, part) for part in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    return function(batch)


def to_arrays(batch: Any) -> Any:
    """Tensors in a batch as NumPy arrays, which other processes can read."""
    return each(lambda leaf: leaf.numpy() if isinstance(leaf, Tensor) else leaf, batch)


def to_tensors(batch: Any, device: Any = None) -> Any:
    """Arrays in a batch as tensors, around the same memory unless a device is named."""

    def convert(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return leaf if device is None else tensor(leaf, leaf.dtype, device)
        if not isinstance(leaf, np.ndarray | np.generic) or leaf.dtype.kind in "OUSM":
            return leaf
        array = np.asarray(leaf)
        return from_numpy(array) if device is None else tensor(array, array.dtype, device)

    return each(convert, batch)
