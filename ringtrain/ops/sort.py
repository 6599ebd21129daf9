"""Order: sort, topk, medians and quantiles; and the sets and counts of values, which have no gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import backend as backends
from ..backend.meta import MetaArray
from ..tensor import Tensor, describe, raw, wrap
from .define import op
from .elementwise import isnan, where
from .index import take_along_axis
from .reduce import Axis, any, axes_of, kept, ordered
from .shape import axis_of, of_numbers, reshape, stack


def _argsort(xp: Any, x: Any, *, axis: int, descending: bool) -> Any:
    x = ordered(x)
    if x.dtype == np.float32 and x.ndim:
        return _by_keys(xp, x, axis, descending)
    if not descending:
        return xp.argsort(x, axis=axis, kind="stable")
    # the reverse of sorting the reverse: equals stay in their order, for every dtype
    return x.shape[axis] - 1 - xp.flip(xp.argsort(xp.flip(x, axis), axis=axis, kind="stable"), axis)


def _by_keys(xp: Any, x: Any, axis: int, descending: bool) -> Any:
    """Sorts integers made of a number's bits, in the order of the numbers, and of its place: no two are equal, so that
    the order is stable, and integers are sorted by vector code."""
    bits = (x + np.float32(0)).view(np.uint32)  # so that there is one zero
    order = xp.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    order = xp.where(xp.isnan(x), np.uint32(0xFFFFFFFF), order)
    if descending:
        order = ~order
    places = xp.arange(x.shape[axis], dtype=np.uint64).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    keys = (order.astype(np.uint64) << np.uint64(32)) | places
    return (xp.sort(keys, axis=axis) & np.uint64(0xFFFFFFFF)).astype(np.int64)


_order = op("argsort", _argsort, shape=lambda x, **_: MetaArray(x.shape, np.int64))


@of_numbers
def argsort(x: Tensor, axis: int = -1, descending: bool = False) -> Tensor:
    """The indices that sort x along `axis`, int64: stable, nan counts as largest."""
    return _order(x, axis=axis_of(axis, x.ndim, "argsort"), descending=descending)


@of_numbers
def sort(x: Tensor, axis: int = -1, descending: bool = False) -> Tensor:
    """x in ascending order along `axis`; nan counts as largest. `argsort` has the indices."""
    return take_along_axis(x, argsort(x, axis, descending), axis, checked=True)


def _leading(xp: Any, x: Any, *, k: int, axis: int, descending: bool) -> Any:
    kernel = backends.of(x).kernel("top_k")
    if kernel is not None and kernel.accepts(x, k, axis):
        return kernel(x, k, descending)
    return _argsort(xp, x, axis=axis, descending=descending)[(*(slice(None),) * axis, slice(k))]


_first = op(
    "topk",
    _leading,
    shape=lambda x, *, k, axis, descending: MetaArray((*x.shape[:axis], k, *x.shape[axis + 1 :]), np.int64),
)


@of_numbers
def topk(x: Tensor, k: int, axis: int = -1, largest: bool = True) -> tuple[Tensor, Tensor]:
    """(values, indices) of the k largest along `axis`, or the k smallest, in order; of equals the first come first."""
    a = axis_of(axis, x.ndim, "topk")
    if not 0 <= k <= x.shape[a]:
        raise ValueError(f"topk: k={k} of axis {axis} of {x.shape}, which has {x.shape[a]} elements")
    index = _first(x, k=k, axis=a, descending=largest)
    return take_along_axis(x, index, a, checked=True), index


# --- medians and quantiles --------------------------------------------------------------------------------
_BETWEEN = {
    "linear": lambda t: t,
    "lower": lambda t: 0.0,
    "higher": lambda t: 1.0 * (t > 0),
    "nearest": lambda t: 1.0 * (t > 0.5),
    "midpoint": lambda t: 0.5 * (t > 0),
}  # of a number or a tensor


def parts_of(q: Any, method: str, name: str) -> tuple[np.ndarray, Callable]:
    """(q as an array () or (k,), how much of the element above counts) of a quantile."""
    parts = np.asarray(raw(q), np.float64)
    if parts.ndim > 1 or not ((parts >= 0) & (parts <= 1)).all():
        raise ValueError(f"{name}: q is one number or a row of them in 0 .. 1; got {parts.tolist()}")
    if method not in _BETWEEN:
        raise ValueError(f"{name}: method {method!r} is unknown; use {', '.join(map(repr, _BETWEEN))}")
    return parts, _BETWEEN[method]


def quantile(x: Tensor, q: Any, axis: Axis = None, keepdims: bool = False, method: str = "linear") -> Tensor:
    """The value below which a part q (0 .. 1) of the elements over `axis` lies; nan where one of them is.

    q       a number, or several: then the result has an axis for them in front
    method  between two elements: "linear", "lower", "higher", "nearest" (of two as near the lower) or "midpoint"
    """
    parts, between = parts_of(q, method, "quantile")
    axes = axes_of(axis, x.ndim)
    rest = [i for i in range(x.ndim) if i not in axes]
    count = math.prod(x.shape[a] for a in axes)
    if count == 0:
        raise ValueError(f"quantile of no elements: axis {axis} of shape {x.shape}")
    flat = reshape(x.transpose((*rest, *axes)), (*(x.shape[i] for i in rest), count))
    ordered = sort(flat)
    bad = any(isnan(flat), axis=-1)
    outs = []
    for part in parts.reshape(-1).tolist():
        place = part * (count - 1)
        low = math.floor(place)
        t = between(place - low)
        value = ordered[..., low]
        if t:
            value = value + (ordered[..., low + 1] - value) * t
        value = where(bad, math.nan, value)
        outs.append(reshape(value, kept(x.shape, axis)) if keepdims else value)
    return outs[0] if parts.ndim == 0 else stack(outs)


def median(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The middle element over `axis`, of an even number the mean of the two in the middle (as in NumPy)."""
    return quantile(x, 0.5, axis, keepdims)


# --- sets and counts: no gradients ------------------------------------------------------------------------
def _values(x: Any, name: str) -> Any:
    """The array of a tensor, for an op whose result's shape hangs on its values."""
    array = np.asarray(x) if isinstance(x, (list, tuple)) else raw(x)
    if isinstance(array, MetaArray):
        raise RuntimeError(f"{name}: the shape of its result hangs on values, which {describe(array)} has not")
    return array


def unique(
    x: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
) -> Any:
    """The sorted values that occur in x; with options a tuple, as numpy.unique. No gradients."""
    array = _values(x, "unique")
    found = backends.of(array).xp.unique(array, return_index, return_inverse, return_counts, axis=axis)
    return tuple(map(wrap, found)) if isinstance(found, tuple) else wrap(found)


def bincount(x: Any, weights: Any = None, minlength: int = 0) -> Tensor:
    """How often each of 0, 1, 2, ... occurs in the integers x (n,), or the sum of its weights. No gradients."""
    array = _values(x, "bincount")
    backend = backends.of(array)
    return wrap(backend.xp.bincount(array, None if weights is None else backend.asarray(raw(weights)), minlength))


def searchsorted(x: Any, values: Any, side: str = "left") -> Tensor:
    """Where each value would go into the sorted x (n,), before ("left") or after ("right") its equals. No gradients."""
    array, wanted = _values(x, "searchsorted"), raw(values)
    if isinstance(wanted, MetaArray):
        return wrap(MetaArray(wanted.shape, np.int64))
    if array.ndim != 1:
        raise ValueError(f"searchsorted wants a sorted x (n,); got {array.shape}")
    xp = backends.of(array).xp
    return wrap(xp.asarray(xp.searchsorted(array, xp.asarray(wanted), side=side)))


def nonzero(x: Any) -> tuple[Tensor, ...]:
    """The indices of the elements that are not 0, one tensor for each axis: x[nonzero(x)] are those elements."""
    array = _values(x, "nonzero")
    if not array.shape:
        raise ValueError("nonzero: a number has no axes to give indices of; see argwhere")
    return tuple(map(wrap, array.nonzero()))


def argwhere(x: Any) -> Tensor:
    """The indices of the elements that are not 0, a row for each: (count, axes)."""
    array = _values(x, "argwhere")
    return wrap(backends.of(array).xp.argwhere(array))


def histogram(x: Any, bins: Any = 10, range: tuple[float, float] | None = None) -> tuple[Tensor, Tensor]:
    """(counts, edges) of the values of x in bins, as numpy.histogram. No gradients."""
    array = _values(x, "histogram")
    backend = backends.of(array)
    counts, edges = backend.xp.histogram(array, bins if isinstance(bins, int) else backend.asarray(raw(bins)), range)
    return wrap(counts), wrap(edges)
