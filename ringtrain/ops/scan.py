"""Running products and extremes along an axis, and differences.

A running operation over n elements is made in log2(n) steps that double what each element has seen, so that it is a
few operations on whole arrays on every backend.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..backend.meta import MetaArray
from ..tensor import Tensor
from .define import op, widely
from .elementwise import not_equal
from .index import take_along_axis
from .reduce import again, kept, prod, summed_dtype
from .shape import axis_of, concatenate, of_numbers


def _slices(axis: int, ndim: int) -> Callable[[Any, Any], tuple]:
    """The index of elements start .. stop of an axis."""
    lead = (slice(None),) * (axis % ndim)
    return lambda start, stop: (*lead, slice(start, stop))


# --- products ---------------------------------------------------------------------------------------------
def _cumprod_vjp(xp: Any, g: Any, x: Any, axis: int) -> Any:
    """The product before x_i times r_i, where r_i = g_i + x_(i+1) r_(i+1): exact where elements are zero."""
    if not x.shape:
        return g
    n, at = x.shape[axis], _slices(axis, len(x.shape))
    if n == 0:
        return g * x
    ones = xp.ones_like(x[at(0, 1)])
    before = xp.concatenate([ones, x[at(0, n - 1)]], axis=axis)
    factor, reach = xp.concatenate([x[at(1, n)], ones * 0.0], axis=axis), g
    done = 1
    while done < n:
        before = xp.concatenate([before[at(0, done)], before[at(done, n)] * before[at(0, n - done)]], axis=axis)
        last, lastf = reach[at(n - done, n)], factor[at(n - done, n)]
        reach = xp.concatenate([reach[at(0, n - done)] + factor[at(0, n - done)] * reach[at(done, n)], last], axis=axis)
        factor = xp.concatenate([factor[at(0, n - done)] * factor[at(done, n)], lastf * 0.0], axis=axis)
        done *= 2
    return before * reach


cumprod = op(
    "cumprod",
    widely(lambda xp, x, *, axis: xp.cumprod(x, axis=axis) if x.shape else again(prod, xp, x, axis=axis)),
    _cumprod_vjp,
    shape=lambda x, *, axis: MetaArray(kept(x.shape, axis) and x.shape, summed_dtype(x.dtype)),
    doc="The products of the elements up to each place along `axis`. Its gradient is exact where elements are 0.",
)


def _checked(x: Any, axis: int, name: str) -> tuple[int, ...]:
    axis_of(axis, x.ndim, name)
    return x.shape


# --- extremes ---------------------------------------------------------------------------------------------
def _last_best(xp: Any, x: Any, axis: int, better: Callable) -> Any:
    """For each place the index of the last extreme element up to it; a nan stays."""
    n, at = x.shape[axis], _slices(axis, x.ndim)
    shape = [n if i == axis % x.ndim else 1 for i in range(x.ndim)]
    index = xp.broadcast_to(xp.arange(n).reshape(shape), x.shape).copy()
    best = x.copy()
    done = 1
    while done < n:
        old, new = best[at(0, n - done)], best[at(done, n)]
        keep = better(new, old) | (new == old) | xp.isnan(new)
        keep &= ~xp.isnan(old) | xp.isnan(new)
        best[at(done, n)], index[at(done, n)] = (
            xp.where(keep, new, old),
            xp.where(keep, index[at(done, n)], index[at(0, n - done)]),
        )
        done *= 2
    return index


_running = {
    name: op(
        f"{name}_index",
        lambda xp, x, *, axis, better=better: _last_best(xp, x, axis, better),
        shape=lambda x, *, axis, name=name, **_: MetaArray(_checked(x, axis, name), np.int64),
    )
    for name, better in (("cummax", lambda a, b: a > b), ("cummin", lambda a, b: a < b))
}


@of_numbers
def cummax(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """(values, indices): the largest element up to each place along `axis`, and where it is; of ties the last."""
    index = _running["cummax"](x, axis=axis_of(axis, x.ndim, "cummax"))
    return take_along_axis(x, index, axis, checked=True), index


@of_numbers
def cummin(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """(values, indices): the smallest element up to each place along `axis`, and where it is; of ties the last."""
    index = _running["cummin"](x, axis=axis_of(axis, x.ndim, "cummin"))
    return take_along_axis(x, index, axis, checked=True), index


# --- differences ------------------------------------------------------------------------------------------
def diff(x: Tensor, n: int = 1, axis: int = -1, prepend: Tensor | None = None, append: Tensor | None = None) -> Tensor:
    """x[1:] - x[:-1] along `axis`, n times over; of booleans whether the two differ.

    prepend, append  what comes before and after x along `axis`
    """
    a = axis_of(axis, x.ndim, "diff")
    if n and (prepend is not None or append is not None):
        x = concatenate([t for t in (prepend, x, append) if t is not None], a)
    if n < 0:
        raise ValueError(f"diff: n is >= 0; got {n}")
    at = _slices(a, x.ndim)
    for _ in range(n):
        later, sooner = x[at(1, None)], x[at(None, -1)]
        x = not_equal(later, sooner) if x.dtype == np.bool_ else later - sooner
    return x
