"""What MXNet's iterators have in common: batches planned row by row, epochs, parameters by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ringtrain.data.ahead import ahead
from ringtrain.data.shuffle import SAMPLER, permutation
from ringtrain.ops.create import from_numpy
from ringtrain.tensor import Tensor


class DataDesc(NamedTuple):
    """Name and shape of one of an iterator's outputs, with the batch in it; compares as (name, shape)."""

    name: str
    shape: tuple[int, ...]
    dtype: Any = np.float32
    layout: str = "NCHW"


class DataBatch:
    """data, label: lists of tensors. pad: rows at the end that only fill the batch (with roll_over: rows at the
    beginning that are left over from the epoch before). index: which rows of the source."""

    def __init__(self, data: list[Tensor], label: list[Tensor], pad: int = 0, index: Any = None):
        self.data, self.label, self.pad, self.index = data, label, pad, index

    def __str__(self) -> str:
        return f"DataBatch: data shapes: {[d.shape for d in self.data]} label shapes: {[x.shape for x in self.label]}"


class Plan(NamedTuple):
    """One batch to be: the rows it is made of, how many are padding, of which epoch."""

    rows: np.ndarray
    pad: int
    epoch: int


class DataIter:
    """Base: a subclass says which rows make an epoch's batches (`plans`) and reads them (`load`).

    prefetch_buffer: batches that a thread reads ahead; 0 for none.
    """

    def __init__(self, batch_size: int, prefetch_buffer: int = 0):
        if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer) or batch_size < 1:
            raise ValueError(f"{type(self).__name__}: batch_size must be an integer >= 1, got {batch_size!r}")
        self.batch_size, self.prefetch_buffer, self.epoch = int(batch_size), prefetch_buffer, 0
        self._batches: Iterator[DataBatch] | None = None
        self._batch: DataBatch | None = None

    @property
    def provide_data(self) -> list[DataDesc]:
        raise NotImplementedError(f"{type(self).__name__} must define provide_data")

    @property
    def provide_label(self) -> list[DataDesc]:
        raise NotImplementedError(f"{type(self).__name__} must define provide_label")

    def plans(self) -> list[Plan]:
        """The batches of the epoch that begins."""
        raise NotImplementedError(f"{type(self).__name__} must define plans")

    def load(self, plan: Plan) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Data and labels of those rows."""
        raise NotImplementedError(f"{type(self).__name__} must define load")

    def _made(self, plan: Plan) -> DataBatch:
        data, label = self.load(plan)
        return DataBatch([from_numpy(a) for a in data], [from_numpy(a) for a in label], plan.pad, plan.rows)

    def iter_next(self) -> bool:
        """Moves on to the next batch; False at the end of the epoch."""
        if self._batches is None:
            plans = self.plans()
            many = self.prefetch_buffer > 0
            self._batches = ahead(self._made, plans, self.prefetch_buffer) if many else map(self._made, plans)
        self._batch = next(self._batches, None)
        return self._batch is not None

    def next(self) -> DataBatch:
        """The next batch. Raises StopIteration at the end of the epoch."""
        if not self.iter_next():
            raise StopIteration
        return self._current()

    def __next__(self) -> DataBatch:
        return self.next()

    def __iter__(self) -> DataIter:
        return self

    def reset(self) -> None:
        """Begins the next epoch."""
        close = getattr(self._batches, "close", None)
        if close is not None:
            close()
        self._batches = self._batch = None
        self.epoch += 1

    def _current(self) -> DataBatch:
        if self._batch is None:
            raise RuntimeError(f"{type(self).__name__}: there is no batch; call iter_next() or next() first")
        return self._batch

    def getdata(self) -> list[Tensor]:
        return self._current().data

    def getlabel(self) -> list[Tensor]:
        return self._current().label

    def getpad(self) -> int:
        return self._current().pad

    def getindex(self) -> Any:
        return self._current().index


class RoundIter(DataIter):
    """Base of the iterators over files: `count` rows (of them the part `part_index` of `num_parts`), perhaps shuffled.

    round_batch: an epoch's last batch is filled with the first rows of the next epoch, which then begins after them;
    without it, with rows of the same epoch. `pad` says how many.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        round_batch: bool = True,
        num_parts: int = 1,
        part_index: int = 0,
        prefetch_buffer: int = 4,
    ):
        super().__init__(batch_size, prefetch_buffer)
        if not 0 <= part_index < num_parts:
            raise ValueError(f"{type(self).__name__}: part_index must lie in 0..{num_parts - 1}, got {part_index}")
        self.first, end = count * part_index // num_parts, count * (part_index + 1) // num_parts
        self.count, self.shuffle, self.seed, self.round_batch = end - self.first, shuffle, seed, round_batch
        if self.count < (self.batch_size if round_batch else 1):
            raise ValueError(
                f"{type(self).__name__}: {self.count} rows are too few for a batch of {batch_size}"
                f"{', which round_batch=True fills with them' if round_batch else ''}"
            )
        self._skip = self._overflow = 0

    def _order(self, epoch: int) -> np.ndarray:
        order = permutation(self.count, self.seed, SAMPLER, epoch) if self.shuffle else np.arange(self.count)
        return order + self.first

    def plans(self) -> list[Plan]:
        order, size = self._order(self.epoch)[self._skip :], self.batch_size
        self._overflow = -len(order) % size if self.round_batch else 0
        pad = -len(order) % size
        filling = self._order(self.epoch + 1)[:pad] if self.round_batch else np.resize(order, pad)
        rows = np.concatenate([order, filling])
        batches = len(rows) // size
        return [
            Plan(rows[i * size : (i + 1) * size], pad if i == batches - 1 else 0, self.epoch) for i in range(batches)
        ]

    def reset(self) -> None:
        # MXNet: an epoch that was left early begins anew, without what a former one had taken.
        at_end = self._batches is not None and self._batch is None
        super().reset()
        self._skip = self._overflow if at_end else 0


def checked(
    who: str, given: Mapping[str, Any], defaults: Mapping[str, Any], fixed: Mapping[str, Any]
) -> dict[str, Any]:
    """All parameters by name: those given, over the defaults.

    fixed: parameters that MXNet has and that may be named here with their default only.
    Raises TypeError that lists the known ones.
    """
    for name, value in given.items():
        if name in fixed:
            if value != fixed[name]:
                raise NotImplementedError(f"{who}: {name}={value!r} is not supported, only its default {fixed[name]!r}")
        elif name not in defaults:
            raise TypeError(f"{who} has no parameter {name!r}; it has {', '.join(sorted([*defaults, *fixed]))}")
    missing = [name for name, value in defaults.items() if value is REQUIRED and name not in given]
    if missing:
        raise TypeError(f"{who} needs {' and '.join(missing)}")
    return {**defaults, **{name: value for name, value in given.items() if name not in fixed}}


REQUIRED: Any = type("Required", (), {"__repr__": lambda self: "required"})()
# What MXNet's iterators are told about its own machinery, and which changes no batch.
WITHOUT_EFFECT = {"ctx": "cpu", "verbose": True, "silent": False, "device_id": 0}


def shape_of(who: str, name: str, value: Any) -> tuple[int, ...]:
    shape = (value,) if isinstance(value, int | np.integer) else tuple(value)
    if not shape or not all(isinstance(n, int | np.integer) and n > 0 for n in shape):
        raise ValueError(f"{who}: {name} is a shape without the batch, such as (3, 224, 224), got {value!r}")
    return tuple(int(n) for n in shape)


def as_float(array: np.ndarray) -> np.ndarray:
    """float64 as float32, everything else as it is."""
    return array.astype(np.float32) if array.dtype == np.float64 else array


def named(value: Any, default: str, allow_empty: bool) -> list[tuple[str, np.ndarray]]:
    """Arrays with names, as NDArrayIter takes them: an array, a list of them, or a dictionary."""
    if value is None or (isinstance(value, Sequence) and not len(value)):
        if allow_empty:
            return []
        raise ValueError("NDArrayIter: there is no data")
    if isinstance(value, Tensor | np.ndarray):
        value = {default: value}
    elif isinstance(value, list | tuple):
        value = {default if len(value) == 1 else f"_{i}_{default}": v for i, v in enumerate(value)}
    elif not isinstance(value, dict):
        raise TypeError(f"NDArrayIter: takes an array, a list or a dictionary of arrays, got {type(value).__name__}")
    arrays = {k: v.numpy() if isinstance(v, Tensor) else np.asarray(v) for k, v in value.items()}
    return [(name, as_float(arrays[name])) for name in sorted(arrays)]
