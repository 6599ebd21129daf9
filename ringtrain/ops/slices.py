"""Whole slices, and the elements of a mask, written, added and read, as ops that leave their input as it is."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend.meta import MetaArray
from ..tensor import Tensor, raw
from .elementwise import where
from .index import getitem, inside, placed
from .scatter import put
from .shape import axis_of, broadcast_to, reshape


# --- slices -----------------------------------------------------------------------------------------------
def _lines(x: Tensor, axis: int, index: Any, name: str) -> tuple[Any, ...]:
    """The index of the slices that `index` (n,) names along an axis."""
    a = axis_of(axis, x.ndim, name)
    array = raw(index)
    if isinstance(array, MetaArray):
        array = np.zeros(array.shape, np.int64)
    else:
        array = x.backend.xp.asarray(array).copy()  # backward reads it again
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"{name} wants an index (n,) of integers; got {array.dtype} {array.shape}")
    inside(array, x.shape[a], axis, name)
    return (*(slice(None),) * a, array)


def _fitting(x: Tensor, axis: int, lines: tuple[Any, ...], source: Tensor, name: str) -> Tensor:
    """The source in x's dtype; it must have a slice for each number of the index."""
    a = len(lines) - 1
    want = (*x.shape[:a], *lines[-1].shape, *x.shape[a + 1 :])
    if source.shape != want:
        raise ValueError(f"{name} along axis {axis} of {x.shape}: the source is {want}; got {source.shape}")
    return source.astype(x.dtype)


def index_add(x: Tensor, axis: int, index: Any, source: Tensor, alpha: float = 1.0) -> Tensor:
    """x with alpha times slice k of source added to slice index[k] along `axis`; a slice named twice gets both.

    index (n,) integers; source of x's shape, but n along `axis`.
    """
    lines = _lines(x, axis, index, "index_add")
    source = _fitting(x, axis, lines, source, "index_add")
    return x + placed(source if alpha == 1.0 else source * alpha, lines, x.shape)


def index_copy(x: Tensor, axis: int, index: Any, source: Tensor) -> Tensor:
    """x with slice k of source in the place of slice index[k] along `axis`; no slice twice.

    index (n,) integers; source of x's shape, but n along `axis`. Raises ValueError where a slice is named twice.
    """
    lines = _lines(x, axis, index, "index_copy")
    source = _fitting(x, axis, lines, source, "index_copy")
    a, array = len(lines) - 1, lines[-1]
    if not x.backend.abstract and array.size and int(x.backend.xp.bincount(array % x.shape[a]).max()) > 1:
        raise ValueError(f"index_copy: a slice is named twice in {array}; which one should stay?")
    return put(x, source, index=lines)


def index_fill(x: Tensor, axis: int, index: Any, value: Any) -> Tensor:
    """x with a number, or a tensor (), in all of the slices index (n,) along `axis`."""
    if getattr(value, "shape", ()) != ():
        raise ValueError(f"index_fill wants one value; got {value.shape}. See index_copy")
    lines = _lines(x, axis, index, "index_fill")
    a = len(lines) - 1
    chosen = x.backend.xp.zeros(x.shape[a], np.bool_)  # as a mask a slice that is named twice counts once
    chosen[lines[-1]] = True
    value = value.astype(x.dtype) if isinstance(value, Tensor) else np.asarray(value).astype(x.dtype)
    return where(chosen.reshape([-1 if i == a else 1 for i in range(x.ndim)]), value, x)


# --- masks ------------------------------------------------------------------------------------------------
def _mask(x: Tensor, mask: Any, name: str) -> Any:
    array = np.asarray(mask) if isinstance(mask, (list, tuple)) else raw(mask)
    if isinstance(array, MetaArray) or array.dtype != np.bool_:
        raise TypeError(f"{name}: the mask is of booleans with values; got {array.dtype}")
    return x.backend.xp.asarray(array)


def masked_fill(x: Tensor, mask: Any, value: Any) -> Tensor:
    """x with `value` where the mask, which broadcasts, is true."""
    return where(mask, value, x)


def masked_select(x: Tensor, mask: Any) -> Tensor:
    """The elements of x where the mask is true, (count,), in order; both broadcast."""
    array = _mask(x, mask, "masked_select")
    shape = np.broadcast_shapes(x.shape, array.shape)
    return getitem(x if x.shape == shape else broadcast_to(x, shape), x.backend.xp.broadcast_to(array, shape))


def masked_scatter(x: Tensor, mask: Any, source: Tensor) -> Tensor:
    """x with the first elements of source, in order, where the mask is true; x and mask broadcast.

    source  of any shape, with as many elements as the mask has places at least
    """
    array = _mask(x, mask, "masked_scatter")
    shape = np.broadcast_shapes(x.shape, array.shape)
    array = x.backend.xp.broadcast_to(array, shape).copy()  # backward reads it again
    count = int(array.sum())
    if source.size < count:
        raise ValueError(f"masked_scatter: the mask has {count} places, the source {source.shape} fewer elements")
    values = reshape(source, -1)[:count].astype(x.dtype)
    return put(x if x.shape == shape else broadcast_to(x, shape), values, index=array)
