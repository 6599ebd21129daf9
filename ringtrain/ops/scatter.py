"""Writing at the places that an index names, as ops that leave their input as it is. Slices and masks: `slices.py`."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from .. import backend as backends
from ..backend.meta import MetaArray
from ..dtypes import is_float
from ..tensor import Tensor, raw, wrap
from .define import op
from .elementwise import where
from .index import inside, placed, scattered, with_lead, without
from .shape import axis_of, broadcast_to, reshape

Index = tuple[Any, ...]


def _written(xp: Any, x: Any, value: Any, *, index: Index) -> Any:
    out = x.copy()
    out[index] = value
    return out


put = op(
    "put",
    _written,
    (
        lambda xp, g, index: without(xp, g, index),
        lambda xp, g, index, value_shape: with_lead(xp, g[index], value_shape),
    ),
    shape=lambda x, value, *, index: MetaArray(x.shape, x.dtype),
    broadcasts=True,
)


def _places(x: Tensor, axis: int, index: Any, source: Any, name: str) -> tuple[Index, Any, tuple[int, ...]]:
    """(an index of single elements, the source cut to it, its shape): element i of `index` stands for the place i
    with the number along `axis` replaced."""
    xp = backends.of(x._data).xp
    array = (
        index if isinstance(raw(index), MetaArray) else x.backend.asarray(raw(index)).copy()
    )  # backward reads it again
    shape = tuple(array.shape)
    a = axis_of(axis, x.ndim, name)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: an index is made of integers; got {array.dtype}")
    if len(shape) != x.ndim or builtins.any(n > m for i, (n, m) in enumerate(zip(shape, x.shape)) if i != a):  # noqa: B905
        raise ValueError(f"{name}: an index of shape {shape} does not fit {x.shape} (but along axis {axis})")
    have = tuple(getattr(source, "shape", ()))
    if have and (len(have) != len(shape) or builtins.any(n < m for n, m in zip(have, shape, strict=True))):
        raise ValueError(f"{name}: a source of shape {have} does not cover an index of shape {shape}")
    if have and have != shape:
        source = source[tuple(map(slice, shape))]
    if isinstance(raw(array), MetaArray) or x.backend.abstract:
        array = np.zeros(shape, np.int64)  # any places of its shape give the result's
    inside(array, x.shape[a], axis, name)
    grid = [xp.arange(n).reshape([-1 if j == i else 1 for j in range(x.ndim)]) for i, n in enumerate(shape)]
    grid[a] = array
    return tuple(grid), source, shape


def _as_source(x: Tensor, source: Any, shape: tuple[int, ...]) -> Tensor:
    """The source as a tensor of that shape and of x's dtype."""
    if not isinstance(source, Tensor):
        source = wrap(x.backend.asarray(source, x.dtype))
    return broadcast_to(source.astype(x.dtype), shape)


def scatter(x: Tensor, axis: int, index: Any, source: Any) -> Tensor:
    """x with source[i, j, ...] written at place (i, j, ...), its number along `axis` replaced by index[i, j, ...].

    index   integers, with x's number of axes, no longer than x but along `axis`; no place twice
    source  a number, or at least of the index's shape
    """
    places, source, _ = _places(x, axis, index, source, "scatter")
    return put(x, source, index=places)


def scatter_add(x: Tensor, axis: int, index: Any, source: Any) -> Tensor:
    """x with source added at the places of `scatter`; a place that is named twice gets both."""
    places, source, shape = _places(x, axis, index, source, "scatter_add")
    return x + placed(_as_source(x, source, shape), places, x.shape)


# --- scatter with other reductions ------------------------------------------------------------------------
def _extreme(xp: Any, x: Any, source: Any, *, index: Index, largest: bool) -> Any:
    out = x.copy()
    backends.of(out).scatter(out, index, source, "maximum" if largest else "minimum")
    return out


def _extreme_vjp(xp: Any, g: Any, needs: Any, x: Any, source: Any, out: Any, index: Index) -> list:
    """The gradient goes to what became the extreme, in equal parts where several did."""
    kept = (x == out).astype(g.dtype)
    hit = (source == out[index]).astype(g.dtype)
    share = g / xp.maximum(kept + scattered(xp, hit, index, g.shape), 1.0)
    return [share * kept if needs[0] else None, share[index] * hit if needs[1] else None]


_scatter_extreme = op(
    "scatter_extreme",
    _extreme,
    _extreme_vjp,
    shape=lambda x, source, *, index, largest: x.shape,
    joint=True,
)


def _products(x: Tensor, source: Tensor, places: Index, include_self: bool) -> Tensor:
    """x with the products of all that comes to a place. Neighbours of one place are multiplied in rounds that halve
    their number, so that gradients are exact where factors are 0."""
    xp = x.backend.xp
    home = xp.arange(x.size).reshape(x.shape)[places].reshape(-1)
    order = xp.argsort(home)
    home, factors = home[order], reshape(source, -1)[order]
    while home.size > 1:
        places_of_one = xp.arange(home.size) - xp.searchsorted(home, home)  # 0, 1, ... among those of its place
        if not int(places_of_one.max()):
            break
        even = xp.nonzero(places_of_one % 2 == 0)[0]
        odd = xp.minimum(even + 1, home.size - 1)
        paired = (odd > even) & (home[odd] == home[even])
        factors, home = factors[even] * where(paired, factors[odd], 1), home[even]
    flat = reshape(x, -1)
    total = flat[home] * factors if include_self else factors
    return reshape(put(flat, total, index=(home,)), x.shape)


_REDUCTIONS = ("sum", "prod", "mean", "amax", "amin")


def scatter_reduce(x: Tensor, axis: int, index: Any, source: Any, reduce: str, include_self: bool = True) -> Tensor:
    """x with source[i, j, ...] combined into the places of `scatter`.

    reduce        "sum", "prod", "mean", "amax" or "amin" of all that comes to a place; the gradient of the last two
                  is shared equally by ties, that of a product is exact where factors are 0
    include_self  whether what x has there counts too
    """
    if reduce not in _REDUCTIONS:
        raise ValueError(f"scatter_reduce: {reduce!r} is unknown; use {', '.join(map(repr, _REDUCTIONS))}")
    if x.dtype == np.bool_ or (reduce == "mean" and not is_float(x.dtype)):
        raise TypeError(
            f"scatter_reduce: {reduce!r} is for {'floats' if reduce == 'mean' else 'numbers'}; x is {x.dtype}"
        )
    places, source, shape = _places(x, axis, index, source, "scatter_reduce")
    return combined(x, _as_source(x, source, shape), places, reduce, include_self)


def combined(x: Tensor, source: Tensor, places: Index, reduce: str, include_self: bool = True) -> Tensor:
    """x with the elements of source, of x's dtype, combined into the places of an index."""
    if reduce == "prod" and not x.backend.abstract:
        return _products(x, source, places, include_self)
    if not include_self:
        low, high = (-np.inf, np.inf) if is_float(x.dtype) else (np.iinfo(x.dtype).min, np.iinfo(x.dtype).max)
        first = {"amax": low, "amin": high}.get(reduce, 0)
        x = put(x, first, index=places)
    if reduce in ("amax", "amin"):
        return _scatter_extreme(x, source, index=places, largest=reduce == "amax")
    total = x + placed(source, places, x.shape)
    if reduce in ("sum", "prod"):  # a product of shapes alone
        return total
    ones = wrap(source._data if x.backend.abstract else x.backend.xp.ones(source.shape, x.dtype))
    counts = placed(ones, places, x.shape)
    if include_self:
        return total / (counts + 1.0)
    return total / where(counts == 0, 1.0, counts)
