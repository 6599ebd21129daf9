"""Reductions over axes, running sums, the largest few."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...dtypes import is_float
from ...ops import elementwise as e
from ...ops import index, reduce, shape
from ...ops.pool import lowest
from ...tensor import Tensor
from ..registry import handler
from ..values import array, axes, made, number
from .arithmetic import in_float32


def _over(x: Tensor, axis: tuple[int, ...] | None) -> int:
    """How many elements each result is made of."""
    lengths = x.shape if axis is None else [x.shape[a] for a in axis]
    return int(np.prod(lengths, dtype=int))


def _highest(x: Any) -> Any:
    return np.inf if is_float(x) else True if x.kind == "b" else int(np.iinfo(x).max)


def _extreme(fn: Callable, neutral: Callable) -> Callable:
    """max or min; of no elements what every other is larger, or smaller, than."""

    def run(x: Tensor, axis: Any, keepdims: bool) -> Tensor:
        if _over(x, axis):
            return fn(x, axis=axis, keepdims=keepdims)
        zero = array(x).sum(axis=axis, keepdims=keepdims)
        return made(np.full(zero.shape, neutral(x.dtype), x.dtype), x)

    return run


def _sum(x: Tensor, axis: Any, keepdims: bool) -> Tensor:
    return reduce.sum(x, axis=axis, keepdims=keepdims).astype(x.dtype)


def _log(x: Tensor) -> Tensor:
    """The logarithm, minus infinity at 0 without a warning: sums of nothing are a case that ONNX defines."""
    return e.where(e.equal(x, 0), -np.inf, e.log(e.where(e.equal(x, 0), 1, x)))


_REDUCTIONS: dict[str, Callable] = {
    "ReduceSum": _sum,
    "ReduceMean": lambda x, axis, keepdims: reduce.mean(x, axis, keepdims).astype(x.dtype),
    "ReduceMax": _extreme(reduce.max, lowest),
    "ReduceMin": _extreme(reduce.min, _highest),
    "ReduceProd": lambda x, axis, keepdims: reduce.prod(x, axis=axis, keepdims=keepdims).astype(x.dtype),
    "ReduceL1": lambda x, axis, keepdims: _sum(e.absolute(x), axis, keepdims),
    "ReduceL2": lambda x, axis, keepdims: reduce.norm(x, axis, keepdims).astype(x.dtype),
    "ReduceSumSquare": lambda x, axis, keepdims: _sum(x * x, axis, keepdims),
    "ReduceLogSum": lambda x, axis, keepdims: _log(_sum(x, axis, keepdims)),
    "ReduceLogSumExp": lambda x, axis, keepdims: (
        reduce.logsumexp(x, axis, keepdims) if _over(x, axis) else _log(_sum(x, axis, keepdims))
    ),
}


# what noop_with_empty_axes leaves: each element reduced alone
_ALONE: dict[str, Callable] = {
    "ReduceL1": e.absolute, "ReduceL2": e.absolute, "ReduceSumSquare": lambda x: x * x, "ReduceLogSum": _log,
}  # fmt: skip


def _handler(name: str, reduction: Callable) -> None:
    def run(
        x: Tensor, given: Tensor | None = None, /, *, axes: list[int] | None = None, keepdims: int = 1,
        noop_with_empty_axes: int = 0,
    ) -> Tensor:  # fmt: skip
        wanted = _axes(given, axes)
        if not wanted:
            if noop_with_empty_axes:
                return _ALONE.get(name, lambda t: t)(x)
            wanted = list(range(x.ndim))
        return reduction(x, tuple(a % x.ndim for a in wanted), bool(keepdims))

    run.__module__ = __name__
    handler(name, fixed=(1,))(run)


_axes = axes
for _name, _fn in _REDUCTIONS.items():
    _handler(_name, _fn)


def _place(find: Callable, x: Tensor, axis: int, keepdims: int, last: int) -> Tensor:
    if not last:
        return find(x, axis=axis, keepdims=bool(keepdims))
    return x.shape[axis] - 1 - find(shape.flip(x, axis), axis=axis, keepdims=bool(keepdims))


@handler("ArgMax")
def argmax(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    return _place(reduce.argmax, x, axis, keepdims, select_last_index)


@handler("ArgMin")
def argmin(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    return _place(reduce.argmin, x, axis, keepdims, select_last_index)


def _running(scan: Callable, neutral: float, x: Tensor, axis: int, exclusive: int, reverse: int) -> Tensor:
    """A scan along an axis; exclusive leaves each element's own value out."""
    a = axis % x.ndim
    x = shape.flip(x, a) if reverse else x
    if exclusive:
        lead = (slice(None),) * a
        first = made(np.full((*x.shape[:a], 1, *x.shape[a + 1 :]), neutral, x.dtype), x)
        x = shape.concatenate([first, x[(*lead, slice(0, -1))]], a)
    out = scan(x, a).astype(x.dtype)
    return shape.flip(out, a) if reverse else out


@handler("CumSum", fixed=(1,))
def cumsum(x: Tensor, axis: Tensor, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    return _running(lambda t, a: reduce.cumsum(t, axis=a), 0, x, number(axis), exclusive, reverse)


def _products(x: Tensor, axis: int) -> Tensor:
    parts = shape.split(x, x.shape[axis], axis) if x.shape[axis] else []
    for i in range(1, len(parts)):
        parts[i] = parts[i - 1] * parts[i]
    return shape.concatenate(parts, axis) if parts else x


@handler("CumProd", fixed=(1,))
def cumprod(x: Tensor, axis: Tensor, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    return _running(_products, 1, x, number(axis), exclusive, reverse)


@handler("TopK", since=10, fixed=(1,))
def topk(x: Tensor, k: Tensor, *, axis: int = -1, largest: int = 1, sorted: int = 1) -> tuple:
    """The first k along an axis in order; of equal ones the first."""
    values = array(x)
    axis = axis % x.ndim
    if largest:  # sorted from the back, so that of equal ones the first comes first
        order = values.shape[axis] - 1 - np.flip(np.argsort(np.flip(values, axis), axis, kind="stable"), axis)
    else:
        order = np.argsort(values, axis, kind="stable")
    places = np.take(order, np.arange(number(k)), axis).astype(np.int64)
    return index.take_along_axis(x, places, axis), made(places, x)


@handler("MeanVarianceNormalization")
def mean_variance_normalization(x: Tensor, *, axes: Sequence[int] = (0, 2, 3)) -> Tensor:
    over = tuple(axes)

    def run(t: Tensor) -> Tensor:
        away = t - reduce.mean(t, over, True)
        return away / (e.sqrt(reduce.mean(away * away, over, True)) + 1e-9)

    return in_float32(run, x)


@handler("LpNormalization")
def lp_normalization(x: Tensor, *, axis: int = -1, p: int = 2) -> Tensor:
    size = reduce.norm(x, axis, True) if p == 2 else reduce.sum(e.absolute(x), axis=axis, keepdims=True)
    return e.where(e.equal(size, 0), 0.0, x / e.where(e.equal(size, 0), 1.0, size))
