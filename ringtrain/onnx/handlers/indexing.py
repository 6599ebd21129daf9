"""Gather and scatter, one-hot, and what finds places: NonZero, Unique, Compress."""

from __future__ import annotations

import numpy as np

from ...ops import index, shape
from ...ops import scatter as scatter_ops
from ...tensor import Tensor
from ..registry import handler
from ..values import array, made, number

_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}  # by the names of `rt.scatter_reduce`


@handler("Gather")
def gather(x: Tensor, places: Tensor, *, axis: int = 0) -> Tensor:
    return index.take(x, places, axis)


def _grid(places: np.ndarray, axis: int) -> tuple:
    """The index of every element of `places`, with its value along `axis`."""
    grid = list(np.meshgrid(*map(np.arange, places.shape), indexing="ij", sparse=True))
    grid[axis] = places
    return tuple(grid)


@handler("GatherElements")
def gather_elements(x: Tensor, places: Tensor, *, axis: int = 0) -> Tensor:
    return x[_grid(array(places), axis % x.ndim)]


def _points(places: np.ndarray, batch_dims: int = 0) -> tuple:
    """The index that the last axis of `places` spells, behind the batch axes."""
    lead = [np.arange(n).reshape([-1 if j == i else 1 for j in range(places.ndim - 1)])
            for i, n in enumerate(places.shape[:batch_dims])]  # fmt: skip
    return (*lead, *np.moveaxis(places, -1, 0))


@handler("GatherND")
def gather_nd(x: Tensor, places: Tensor, *, batch_dims: int = 0) -> Tensor:
    return x[_points(array(places), batch_dims)]


def written(x: Tensor, where: tuple, updates: Tensor, reduction: str) -> Tensor:
    """A copy of x with updates at the places of an index: in their stead, added, multiplied, the larger or smaller."""
    if reduction == "none":
        return scatter_ops.put(x, updates, index=where)
    if reduction not in _REDUCTIONS:
        raise ValueError(f"scatter: reduction {reduction!r} is unknown; ONNX has none, {', '.join(_REDUCTIONS)}")
    return scatter_ops.combined(x, updates, where, _REDUCTIONS[reduction])


@handler("ScatterElements")
def scatter_elements(x: Tensor, places: Tensor, updates: Tensor, *, axis: int = 0, reduction: str = "none") -> Tensor:
    return written(x, _grid(array(places), axis % x.ndim), updates, reduction)


@handler("Scatter")
def scatter(x: Tensor, places: Tensor, updates: Tensor, *, axis: int = 0) -> Tensor:
    return scatter_elements(x, places, updates, axis=axis)


@handler("ScatterND")
def scatter_nd(x: Tensor, places: Tensor, updates: Tensor, *, reduction: str = "none") -> Tensor:
    return written(x, _points(array(places)), updates, reduction)


@handler("TensorScatter")
def tensor_scatter(
    past: Tensor, update: Tensor, starts: Tensor | None = None, *, axis: int = -2, mode: str = "linear"
) -> Tensor:
    """A cache (B, ...) with each sample's update written along `axis` from its own start on."""
    a = axis % past.ndim
    first = np.zeros(past.shape[0], np.int64) if starts is None else array(starts)
    places = first[:, None] + np.arange(update.shape[a])
    if mode == "circular":
        places = places % past.shape[a]
    shaped = places.reshape([update.shape[0] if i == 0 else update.shape[a] if i == a else 1 for i in range(past.ndim)])
    return written(past, _grid(np.broadcast_to(shaped, update.shape), a), update, "none")


@handler("OneHot", since=9, fixed=(1, 2))
def one_hot(places: Tensor, depth: Tensor, values: Tensor, *, axis: int = -1) -> Tensor:
    """Places beyond the depth give no hot element; negative ones count from the end."""
    n = int(number(depth))
    at = array(places).astype(np.int64)
    at = np.where(at < 0, at + n, at)
    hot = np.moveaxis(at[..., None] == np.arange(n), -1, axis)
    off, on = array(values)
    return made(np.where(hot, on, off).astype(values.dtype), places)


@handler("NonZero")
def nonzero(x: Tensor) -> Tensor:
    return made(np.array(np.nonzero(array(x)), np.int64).reshape(x.ndim, -1), x)


@handler("Compress")
def compress(x: Tensor, condition: Tensor, *, axis: int | None = None) -> Tensor:
    x = shape.reshape(x, (-1,)) if axis is None else x
    return index.take(x, np.flatnonzero(array(condition)), axis or 0)


@handler("Unique")
def unique(x: Tensor, *, axis: int | None = None, sorted: int = 1) -> tuple:
    values, first, inverse, counts = np.unique(array(x), True, True, True, axis=axis)
    inverse = inverse.reshape(-1)
    if not sorted:  # in the order of their first places
        order = np.argsort(first, kind="stable")
        values = np.take(values, order, axis or 0)
        first, counts = first[order], counts[order]
        inverse = np.argsort(order, kind="stable")[inverse]
    return tuple(made(v, x) for v in (values, *(i.astype(np.int64) for i in (first, inverse, counts))))


@handler("ReverseSequence", fixed=(1,))
def reverse_sequence(x: Tensor, lengths: Tensor, *, batch_axis: int = 1, time_axis: int = 0) -> Tensor:
    """The first lengths[i] steps of sample i back to front."""
    steps = np.arange(x.shape[time_axis])
    n = array(lengths)[:, None]
    places = np.where(steps < n, n - 1 - steps, steps)  # (batch, time)
    if batch_axis > time_axis:
        places = places.T
    lead = [x.shape[i] if i in (batch_axis, time_axis) else 1 for i in range(x.ndim)]
    return index.take_along_axis(x, places.reshape(lead), time_axis)
