"""Indexing, and its inverse: writing into, or adding at, the places that an index names."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import backend as backends
from ..autograd import explained, mode, parts_of, record, together
from ..backend.meta import MetaArray
from ..dtypes import wide
from ..tensor import Leaf, Tensor, beside, describe, raw, share, shared_with_others, wrap
from .define import op, register
from .shape import axis_of

_BASIC = (int, np.integer, slice, type(None), type(Ellipsis))


def is_basic(index: Any) -> bool:
    """Whether an index is made of integers, slices, None and Ellipsis, so that it gives a view."""
    return all(isinstance(i, _BASIC) and not isinstance(i, bool) for i in (index if type(index) is tuple else (index,)))


def _plain(index: Any) -> Any:
    """An index without tensors."""
    if type(index) is tuple:
        return tuple(raw(i) for i in index)
    return raw(np.asarray(index)) if isinstance(index, list) else raw(index)


def _kept(index: Any) -> Any:
    """An index that a later write cannot change: backward reads it again."""
    if type(index) is tuple:
        return tuple(_kept(i) for i in index)
    return index.copy() if hasattr(index, "copy") else index


def _rule(x: MetaArray, *, index: Any) -> tuple[int, ...]:
    # an array without memory answers every index: all its strides are 0
    return np.broadcast_to(np.zeros((), np.int8), x.shape)[index].shape


def _add_at(xp: Any, g: Any, *, index: Any, shape: tuple[int, ...]) -> Any:
    """Zeros of `shape` with g added at the places of an index; places named twice get both."""
    out = xp.zeros(shape, g.dtype if is_basic(index) else wide(g.dtype) or g.dtype)
    if is_basic(index):
        out[index] = g
        return out
    kernel = backends.of(out).kernel("add_at")
    if kernel is not None and kernel.accepts(out, index, g):
        kernel(out, index, g)
    else:
        backends.of(out).scatter(out, index, g, "add")
    return out.astype(g.dtype, copy=False)


_get = op(
    "getitem",
    lambda xp, x, *, index: x[index],
    lambda xp, g, x_shape, index: scattered(xp, g, index, x_shape),
    shape=_rule,
)
_add_into = op(
    "add_at",
    _add_at,
    lambda xp, g, index: g[index],
    shape=lambda g, *, index, shape: shape,
)


def scattered(xp: Any, g: Any, index: Any, shape: tuple[int, ...]) -> Any:
    """Within a vjp, on arrays or tensors: zeros of `shape` with g added at the places of an index."""
    return _add_into(g, index=index, shape=shape) if isinstance(g, Tensor) else _add_at(xp, g, index=index, shape=shape)


def placed(x: Tensor, index: Any, shape: tuple[int, ...]) -> Tensor:
    """Zeros of `shape` with x added at the places of an index: the transpose of `getitem` as a linear map."""
    return _add_into(x, index=index, shape=shape)


def spread(x: Tensor, steps: tuple[int, ...]) -> Tensor:
    """x with zeros between its elements along the last axes, so that they are `steps` apart."""
    lead = x.ndim - len(steps)
    shape = tuple((n - 1) * s + 1 for n, s in zip(x.shape[lead:], steps, strict=True))
    index = (slice(None),) * lead + tuple(slice(None, None, s) for s in steps)
    return placed(x, index, x.shape[:lead] + shape)


def inside(index: Any, length: int, axis: int, name: str) -> None:
    """Raises IndexError where an index of integers names none of the `length` elements of an axis."""
    if index.size and bool(((index < -length) | (index >= length)).any()):
        raise IndexError(
            f"{name}: an index is out of bounds, outside the {length} elements of axis {axis}: "
            f"{index.min()} .. {index.max()}"
        )


def _check_bounds(x: Tensor, index: Any, name: str) -> None:
    """`inside` for every array of an index; for array libraries that wrap indices round where NumPy raises."""
    parts = index if type(index) is tuple else (index,)
    spans = [0 if p is None else p.ndim if getattr(p, "dtype", None) == np.bool_ else 1 for p in parts]
    axis, rest = 0, x.ndim - sum(span for p, span in zip(parts, spans, strict=True) if p is not Ellipsis)
    for part, span in zip(parts, spans, strict=True):
        if hasattr(part, "ndim") and not isinstance(part, MetaArray) and part.dtype.kind in "iu" and axis < x.ndim:
            inside(part, x.shape[axis], axis, name)
        axis += rest if part is Ellipsis else span


def getitem(x: Tensor, index: Any, checked: bool = False) -> Tensor:
    """x[index], with everything that NumPy indexes by. A view for a basic index, else a copy.

    checked: whether integers are known to be within their axes. A GPU would be waited for to ask.
    """
    index = _plain(index)
    if not is_basic(index):
        if not checked and isinstance(x, Tensor) and x.backend.waits:
            _check_bounds(x, index, "getitem")
        return _get(x, index=_kept(index) if mode.grad and x._node is not None else index)
    lead = index if type(index) is tuple else (index,)
    # with an Ellipsis NumPy gives a view of one element too, rather than a scalar
    out = _get(x, index=lead if Ellipsis in lead else (*lead, Ellipsis))
    if isinstance(x, Tensor):
        share(x, out)
    return out


_set = op(
    "setitem",
    lambda xp, x, value, *, index: x,
    (
        lambda xp, g, index: without(xp, g, index),
        lambda xp, g, index, value_shape: with_lead(xp, g[index], value_shape),
    ),
    broadcasts=True,
)


def without(xp: Any, g: Any, index: Any) -> Any:
    """A gradient with zeros at the places of an index."""
    hit = backends.of(np.asarray(g) if isinstance(g, np.generic) else raw(g)).xp.zeros(g.shape, bool)
    hit[index] = True
    return xp.where(hit, 0.0, g)


def with_lead(xp: Any, g: Any, shape: tuple[int, ...]) -> Any:
    """A gradient with the leading axes of length 1 that the value written had beyond those of its place."""
    return xp.reshape(g, (1,) * (len(shape) - len(g.shape)) + g.shape)


def _is_read_only(array: Any) -> bool:
    """Whether writes are refused, as NumPy does for broadcast views, of which CuPy would write one place many times."""
    if isinstance(array, MetaArray):
        return False
    if isinstance(array, np.ndarray):
        return not array.flags.writeable
    return any(n > 1 and not stride for n, stride in zip(array.shape, array.strides, strict=True))


def _check_fit(value: Any, place: tuple[int, ...]) -> None:
    """Raises ValueError where a value's shape does not broadcast to that of its place."""
    shape = getattr(value, "shape", ())
    lead = max(0, len(shape) - len(place))  # axes of length 1 may come on top
    if math.prod(shape[:lead]) != 1 or np.broadcast_shapes(shape[lead:], place) != place:
        raise ValueError(f"a value of shape {shape} does not fit into {place}")


def setitem(x: Tensor, index: Any, value: Any) -> None:
    """x[index] = value, in place. Where a gradient is tracked this is an op of the graph.

    Raises RuntimeError for a leaf that requires a gradient (write under rt.no_grad()), and where a view of x, or
    what x is a view of, is alive: its gradient would be that of the old values.
    """
    index = _plain(index)
    tracked = mode.grad and (x._node is not None or (isinstance(value, Tensor) and value._node is not None))
    if tracked and type(x._node) is Leaf:
        raise RuntimeError("a leaf that requires a gradient cannot be written in place; do so under rt.no_grad()")
    if tracked and shared_with_others(x):
        raise RuntimeError(
            f"a write into {describe(x)} would change another tensor that shares its memory and is in use; "
            "write into x.copy(), or let go of the view first"
        )
    source, slot = x._node, x._slot
    data = raw(value)
    if x.backend.waits:
        data = np.asarray(data) if isinstance(data, (list, tuple)) else data
        (data,) = together(x.backend, [data], (value,))
        if not is_basic(index):
            _check_bounds(x, index, "setitem")
    if _is_read_only(x._data):
        raise ValueError(f"{describe(x)} is a read-only view (of a broadcast, perhaps); write into x.copy()")
    try:
        if isinstance(x._data, MetaArray):
            _check_fit(data, _rule(x._data, index=index))
        else:
            x._data[index] = data
    except (ValueError, IndexError, TypeError) as error:
        raise explained(error, "setitem", (x, data)) from error
    x._version[0] += 1
    if tracked:
        before = wrap(x._data)
        before._node, before._slot = source, slot
        x._node = x._slot = None
        _, *origins = parts_of((before, value))
        record(_set, (before, value), (x._data, data), tuple(origins), {"index": _kept(index)}, (x,))


def take(x: Tensor, indices: Any, axis: int = 0, checked: bool = False) -> Tensor:
    """The slices of x along `axis` at `indices`, an array of integers; a row of a table, for axis 0.

    checked: see `getitem`.
    """
    lead = (slice(None),) * axis_of(axis, x.ndim, "take")
    array = np.asarray(indices) if isinstance(indices, (list, tuple)) else raw(indices)
    return getitem(x, (*lead, beside(x, array)), checked)


def take_along_axis(x: Tensor, indices: Any, axis: int | None = -1, checked: bool = False) -> Tensor:
    """x at one index per position along `axis`; indices broadcast against x in the other axes. None: both flattened.

    checked: see `getitem`.
    """
    array = np.asarray(indices) if isinstance(indices, (list, tuple)) else raw(indices)
    if axis is None:
        return take(x.reshape(-1), array.reshape(-1))
    if len(array.shape) != x.ndim:
        raise ValueError(f"take_along_axis: indices have {len(array.shape)} axes, the tensor has {x.ndim}")
    a = axis_of(axis, x.ndim, "take_along_axis")
    if isinstance(array, MetaArray):  # any indices of its shape give the result's
        array = np.broadcast_to(np.zeros((), np.int64), array.shape)
    array = beside(x, array)
    if not checked and x.backend.waits:
        inside(array, x.shape[a], axis, "take_along_axis")
    xp = backends.of(array).xp
    grid = [
        array if i == a else xp.arange(n).reshape([-1 if j == i else 1 for j in range(x.ndim)])
        for i, n in enumerate(x.shape)
    ]
    return getitem(x, tuple(grid), checked=True)


def one_hot(indices: Any, num_classes: int, dtype: Any = np.float32) -> Tensor:
    """A last axis of length num_classes that is 1 at the index and 0 elsewhere."""
    array = np.asarray(indices) if isinstance(indices, (int, list, tuple)) else raw(indices)
    if isinstance(array, MetaArray):
        return wrap(MetaArray((*array.shape, num_classes), dtype))
    if array.dtype.kind not in "iu":
        raise TypeError(f"one_hot: indices are integers; got {array.dtype}")
    if array.size and bool(((array < 0) | (array >= num_classes)).any()):
        raise ValueError(f"one_hot: an index lies outside 0 .. {num_classes - 1}: {array.min()} .. {array.max()}")
    xp = backends.of(array).xp
    return wrap((array[..., None] == xp.arange(num_classes)).astype(dtype))


register("getitem", getitem)
register("take", take)
register("take_along_axis", take_along_axis)
