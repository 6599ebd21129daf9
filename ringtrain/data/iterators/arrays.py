"""Iterators over arrays: in memory, and from CSV, LibSVM and MNIST's files, read as they are opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ringtrain.data.formats.tables import CSR, read_csv, read_libsvm
from ringtrain.data.idx import read_idx
from ringtrain.data.iterators.base import (
    REQUIRED,
    WITHOUT_EFFECT,
    DataDesc,
    DataIter,
    Plan,
    RoundIter,
    checked,
    named,
    shape_of,
)
from ringtrain.data.shuffle import SAMPLER, permutation

ROUND = {"batch_size": REQUIRED, "round_batch": True, "prefetch_buffer": 4, "dtype": None}
PARTS = {"num_parts": 1, "part_index": 0}


class NDArrayIter(DataIter):
    """Batches of arrays: `NDArrayIter(x, y, 32, shuffle=True)`.

    data, label: an array, a list of arrays or a dictionary by name; all of the same length. float64 becomes float32,
        other dtypes stay (MXNet makes float32 of all).
    last_batch_handle: "pad" fills the last batch from the beginning, "discard" leaves it out, "roll_over" puts its
        rows at the beginning of the next epoch.
    seed: of the order under `shuffle`, a function of (seed, epoch).
    """

    def __init__(
        self,
        data: Any,
        label: Any = None,
        batch_size: int = 1,
        shuffle: bool = False,
        last_batch_handle: str = "pad",
        data_name: str = "data",
        label_name: str = "softmax_label",
        layout: str = "NCHW",
        seed: int = 0,
    ):
        super().__init__(batch_size)
        if last_batch_handle not in ("pad", "discard", "roll_over"):
            raise ValueError(f"NDArrayIter: last_batch_handle is pad, discard or roll_over, got {last_batch_handle!r}")
        self.data, self.label = named(data, data_name, False), named(label, label_name, True)
        self.shuffle, self.last_batch_handle, self.layout, self.seed = shuffle, last_batch_handle, layout, seed
        self.num_data = len(self.data[0][1])
        lengths = {name: len(array) for name, array in [*self.data, *self.label]}
        if len(set(lengths.values())) != 1 or not self.num_data:
            raise ValueError(f"NDArrayIter: needs arrays of one length, above 0, got {lengths}")
        if last_batch_handle == "roll_over" and batch_size > self.num_data:
            raise ValueError(f"NDArrayIter: roll_over needs {batch_size=} rows, the data has {self.num_data}")
        self._left: np.ndarray = np.arange(0)
        self._rolled = self._left

    @property
    def provide_data(self) -> list[DataDesc]:
        return self._described(self.data)

    @property
    def provide_label(self) -> list[DataDesc]:
        return self._described(self.label)

    def _described(self, arrays: list[tuple[str, np.ndarray]]) -> list[DataDesc]:
        return [DataDesc(name, (self.batch_size, *a.shape[1:]), a.dtype, self.layout) for name, a in arrays]

    def plans(self) -> list[Plan]:
        size, rolled = self.batch_size, self._rolled
        order = permutation(self.num_data, self.seed, SAMPLER, self.epoch) if self.shuffle else np.arange(self.num_data)
        rows = np.concatenate([rolled, order])
        whole, rest = divmod(len(rows), size)
        plans = [Plan(rows[i * size : (i + 1) * size], 0, self.epoch) for i in range(whole)]
        if len(rolled):
            plans[0] = plans[0]._replace(pad=len(rolled))
        self._left = rows[len(rows) - rest :]
        if rest and self.last_batch_handle == "pad":
            plans.append(
                Plan(np.resize(np.concatenate([self._left, np.resize(order, size)]), size), size - rest, self.epoch)
            )
        return plans

    def reset(self) -> None:
        """Begins the next epoch; with roll_over, after one that was read to its end, with the rows it left."""
        at_end = self._batches is not None and self._batch is None
        self._rolled = self._left if at_end and self.last_batch_handle == "roll_over" else np.arange(0)
        super().reset()

    def hard_reset(self) -> None:
        """Begins the next epoch without rows that were left over."""
        self.reset()
        self._rolled = np.arange(0)

    def load(self, plan: Plan) -> tuple[list[np.ndarray], list[np.ndarray]]:
        return [a[plan.rows] for _, a in self.data], [a[plan.rows] for _, a in self.label]


class _Table(RoundIter):
    """Base: data and labels that are in memory, rows first; labels of shape (1,) come as plain numbers."""

    name = "data"

    def _hold(self, data: Any, label: np.ndarray, data_shape: tuple[int, ...], given: dict[str, Any]) -> None:
        self._data, self._label, self.data_shape = data, label, data_shape
        self.dtype = np.dtype(given["dtype"] or np.float32)
        names = ("batch_size", "round_batch", "prefetch_buffer", "num_parts", "part_index", "shuffle", "seed")
        super().__init__(len(label), **{name: given[name] for name in names if name in given})

    @property
    def provide_data(self) -> list[DataDesc]:
        return [DataDesc("data", (self.batch_size, *self.data_shape), self.dtype.type)]

    @property
    def provide_label(self) -> list[DataDesc]:
        return [DataDesc("softmax_label", (self.batch_size, *self._label.shape[1:]), np.float32)]

    def load(self, plan: Plan) -> tuple[list[np.ndarray], list[np.ndarray]]:
        rows = self._data.rows(plan.rows) if isinstance(self._data, CSR) else self._data[plan.rows]
        data = rows.reshape(len(rows), *self.data_shape).astype(self.dtype, copy=False)
        return [data], [self._label[plan.rows]]


def _labels(who: str, table: np.ndarray, rows: int, shape: tuple[int, ...], source: Any) -> np.ndarray:
    if len(table) != rows:
        raise ValueError(f"{who}: {rows} rows of data, but {source} has {len(table)} labels")
    width = int(np.prod(shape))
    if table.reshape(rows, -1).shape[1] != width:
        raise ValueError(f"{who}: label_shape {shape} takes {width} numbers, {source} has rows of {table[0].size}")
    return table.reshape(rows, *(() if shape == (1,) else shape)).astype(np.float32, copy=False)


class CSVIter(_Table):
    """Batches of the rows of a CSV file, and of labels from another.

    data_csv, data_shape, batch_size: required. label_csv: None for labels of 0. label_shape, round_batch,
    prefetch_buffer, dtype: as in MXNet. The files are read whole.
    """

    def __init__(self, **given: Any):
        who = "CSVIter"
        own = {"data_csv": REQUIRED, "data_shape": REQUIRED, "label_csv": None, "label_shape": (1,)}
        p = checked(who, given, {**own, **ROUND}, _anything(given))
        shape, label_shape = (
            shape_of(who, "data_shape", p["data_shape"]),
            shape_of(who, "label_shape", p["label_shape"]),
        )
        data = read_csv(p["data_csv"], p["dtype"] or np.float32)
        if data.shape[1] != np.prod(shape):
            raise ValueError(
                f"{who}: data_shape {shape} takes {np.prod(shape)} numbers a row, {p['data_csv']} has {data.shape[1]}"
            )
        without = p["label_csv"] in (None, "NULL")
        table = np.zeros((len(data), *label_shape), np.float32) if without else read_csv(p["label_csv"])
        self._hold(data, _labels(who, table, len(data), label_shape, p["label_csv"]), shape, p)


class LibSVMIter(_Table):
    """Batches of the lines of a LibSVM file, indices from 0; dense tensors (`matrix` is the whole of it, sparse).

    data_libsvm, data_shape, batch_size: required. label_libsvm: None takes the labels of the data's lines.
    label_shape, num_parts, part_index, round_batch, prefetch_buffer, dtype: as in MXNet; parts are cut by rows.
    """

    def __init__(self, **given: Any):
        who = "LibSVMIter"
        own = {"data_libsvm": REQUIRED, "data_shape": REQUIRED, "label_libsvm": None, "label_shape": (1,)}
        p = checked(who, given, {**own, **ROUND, **PARTS}, _anything(given))
        shape, label_shape = (
            shape_of(who, "data_shape", p["data_shape"]),
            shape_of(who, "label_shape", p["label_shape"]),
        )
        if len(shape) != 1:
            raise ValueError(f"{who}: data_shape is the number of features, got {shape}")
        self.matrix, labels = read_libsvm(p["data_libsvm"], shape[0], dtype=p["dtype"] or np.float32)
        source = p["data_libsvm"]
        if p["label_libsvm"] not in (None, "NULL"):
            source = p["label_libsvm"]
            labels = read_libsvm(source, int(np.prod(label_shape)))[0].toarray()
        self._hold(self.matrix, _labels(who, labels, len(self.matrix), label_shape, source), shape, p)


class MNISTIter(_Table):
    """Batches of MNIST's files: pixels / 256, float32, (1, 28, 28) or flat (784,), and labels.

    image, label: the IDX files, gzip or not. batch_size (128), shuffle (True), flat, seed, num_parts, part_index,
    prefetch_buffer, dtype: as in MXNet; a last batch that is not full is left out. The order under `shuffle` is a
    function of (seed, epoch), a new one each epoch (MXNet shuffles once).
    """

    def __init__(self, **given: Any):
        own = {"image": "./train-images-idx3-ubyte", "label": "./train-labels-idx1-ubyte", "batch_size": 128}
        rest = {"shuffle": True, "flat": False, "seed": 0, "prefetch_buffer": 4, "dtype": None}
        p = checked("MNISTIter", given, {**own, **rest, **PARTS}, _anything(given))
        images, labels = read_idx(Path(p["image"]), 3, np.uint8), read_idx(Path(p["label"]), 1, np.uint8)
        if len(images) != len(labels):
            raise ValueError(f"MNISTIter: {p['image']} has {len(images)} images, {p['label']} {len(labels)} labels")
        shape = (images[0].size,) if p["flat"] else (1, *images.shape[1:])
        self._hold(images, labels.astype(np.float32), shape, {**p, "round_batch": False})

    def plans(self) -> list[Plan]:
        return [plan for plan in super().plans() if not plan.pad]

    def load(self, plan: Plan) -> tuple[list[np.ndarray], list[np.ndarray]]:
        (data,), label = super().load(plan)
        return [data * self.dtype.type(1 / 256) if self.dtype.kind == "f" else data], label


def _anything(given: dict[str, Any]) -> dict[str, Any]:
    """Parameters without effect here, with whatever value was given."""
    return {name: given.get(name, default) for name, default in WITHOUT_EFFECT.items()}
