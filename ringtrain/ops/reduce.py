"""Reductions over axes. Sums of 16-bit floats are accumulated in float32; means of integers are floats."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..backend.meta import MetaArray
from ..tensor import Tensor, is_float
from .define import op, register
from .elementwise import exp, log, sqrt, square, where
from .shape import reshape

Axis = int | tuple[int, ...] | None


def axes_of(axis: Axis, ndim: int) -> tuple[int, ...]:
    """The axes as a sorted tuple of numbers in 0 .. ndim-1; None is all of them."""
    if axis is None:
        return tuple(range(ndim))
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    for a in axes:
        if not -ndim <= a < ndim:
            raise ValueError(f"axis {a} does not exist in an array of {ndim} axes")
    out = tuple(sorted(a % ndim for a in axes))
    if len(set(out)) != len(out):
        raise ValueError(f"axis {axis} names an axis twice")
    return out


def kept(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    """The shape of a reduction with keepdims=True."""
    axes = axes_of(axis, len(shape))
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def _reduced(dtype: Callable[[Any], Any] | None = None) -> Callable:
    """The shape rule of a reduction, and the dtype it gives."""

    def rule(x: Any, *, axis: Axis = None, keepdims: bool = False, **_: Any) -> MetaArray:
        axes = axes_of(axis, x.ndim)
        shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape) if keepdims or i not in axes)
        return MetaArray(shape, dtype(x.dtype) if dtype else x.dtype)

    return rule


def _wide(dtype: Any) -> Any:
    """What a float of that dtype is accumulated in: float32 for 16 bits; None leaves NumPy's choice."""
    return np.float32 if is_float(dtype) and dtype.itemsize == 2 else None


def _sum(xp: Any, x: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:
    wide = _wide(x.dtype)
    if wide is None:
        return x.sum(axis=axis, keepdims=keepdims)
    return x.astype(wide).sum(axis=axis, keepdims=keepdims).astype(x.dtype)


def _spread(xp: Any, g: Any, x_shape: tuple[int, ...], axis: Axis) -> Any:
    """A reduced gradient, given back to every element that was reduced."""
    return xp.broadcast_to(xp.reshape(g, kept(x_shape, axis)), x_shape)


sum = op(
    "sum",
    _sum,
    lambda xp, g, x_shape, axis: _spread(xp, g, x_shape, axis),
    shape=_reduced(lambda d: d if is_float(d) else np.zeros(0, d).sum().dtype),
)


def _count(shape: tuple[int, ...], axis: Axis) -> int:
    return math.prod(shape[a] for a in axes_of(axis, len(shape)))


def mean(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The mean over `axis`; that of integers is float32 (float64 for 64-bit integers, as in NumPy)."""
    if not is_float(x.dtype):
        x = x.astype(np.float64 if x.dtype.itemsize == 8 else np.float32)
    n = _count(x.shape, axis)
    if n == 0:
        raise ValueError(f"mean of no elements: axis {axis} of shape {x.shape}")
    return sum(x, axis=axis, keepdims=keepdims) * (1.0 / n)


def var(x: Tensor, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
    """The variance over `axis`: mean squared deviation, divided by n - ddof (NumPy's default ddof is 0)."""
    n = _count(x.shape, axis)
    if n <= ddof:
        raise ValueError(f"var needs more than ddof={ddof} elements; axis {axis} of shape {x.shape} has {n}")
    deviation = x - mean(x, axis, keepdims=True)
    return sum(square(deviation), axis=axis, keepdims=keepdims) * (1.0 / (n - ddof))


def std(x: Tensor, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
    """The square root of `var`."""
    return sqrt(var(x, axis, ddof, keepdims))


def _extreme_vjp(xp: Any, g: Any, x: Any, out: Any, axis: Axis) -> Any:
    """The gradient goes to the extreme element; ties share it equally (as PyTorch's amax)."""
    keep = kept(x.shape, axis)
    hit = (x == xp.reshape(out, keep)).astype(g.dtype)
    return hit * (xp.reshape(g, keep) / xp.sum(hit, axis=axes_of(axis, len(x.shape)), keepdims=True))


max = op(
    "max",
    lambda xp, x, *, axis=None, keepdims=False: x.max(axis=axis, keepdims=keepdims),
    _extreme_vjp,
    _reduced(),
)
min = op(
    "min",
    lambda xp, x, *, axis=None, keepdims=False: x.min(axis=axis, keepdims=keepdims),
    _extreme_vjp,
    _reduced(),
)


def _prod_vjp(xp: Any, g: Any, x: Any, axis: Axis, keepdims: bool) -> Any:
    """g times the product of all the others, exact where elements are zero: products from the left and the right."""
    axes = axes_of(axis, len(x.shape))
    rest = tuple(i for i in range(len(x.shape)) if i not in axes)
    order = rest + axes
    flat = xp.reshape(xp.transpose(x, order), (*(x.shape[i] for i in rest), -1))
    parts = [flat[..., i : i + 1] for i in range(flat.shape[-1])]
    left, right = [None], [None]
    for k in range(len(parts) - 1):
        left.append(parts[k] if left[-1] is None else left[-1] * parts[k])
        right.append(parts[-1 - k] if right[-1] is None else right[-1] * parts[-1 - k])
    others = []
    for a, b in zip(left, reversed(right), strict=True):
        others.append(a * b if a is not None and b is not None else a if a is not None else b)
    if len(parts) == 1:
        others = [parts[0] * 0.0 + 1.0]
    others = xp.concatenate(others, axis=-1)
    others = xp.reshape(others, tuple(x.shape[i] for i in order))
    back = tuple(order.index(i) for i in range(len(order)))
    return xp.transpose(others, back) * xp.reshape(g, kept(x.shape, axis))


prod = op(
    "prod",
    lambda xp, x, *, axis=None, keepdims=False: x.prod(axis=axis, keepdims=keepdims),
    _prod_vjp,
    _reduced(lambda d: d if is_float(d) else np.ones(0, d).prod().dtype),
)

argmax = op(
    "argmax",
    lambda xp, x, *, axis=None, keepdims=False: xp.argmax(x, axis=axis, keepdims=keepdims),
    shape=_reduced(lambda d: np.int64),
)
argmin = op(
    "argmin",
    lambda xp, x, *, axis=None, keepdims=False: xp.argmin(x, axis=axis, keepdims=keepdims),
    shape=_reduced(lambda d: np.int64),
)
all = op(
    "all",
    lambda xp, x, *, axis=None, keepdims=False: xp.all(x, axis=axis, keepdims=keepdims),
    shape=_reduced(lambda d: np.bool_),
)
any = op(
    "any",
    lambda xp, x, *, axis=None, keepdims=False: xp.any(x, axis=axis, keepdims=keepdims),
    shape=_reduced(lambda d: np.bool_),
)
cumsum = op(
    "cumsum",
    lambda xp, x, *, axis: xp.cumsum(x, axis=axis),
    lambda xp, g, axis: xp.flip(xp.cumsum(xp.flip(g, axis=axis), axis=axis), axis=axis),
    shape=lambda x, *, axis: x.shape,
)


def logsumexp(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) over `axis`, without overflow."""
    top = max(x.detach(), axis=axis, keepdims=True)
    top = where(top.isfinite(), top, 0.0)
    out = log(sum(exp(x - top), axis=axis, keepdims=True)) + top
    return out if keepdims else reshape(out, _reduced()(x, axis=axis).shape)


def norm(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The Euclidean norm over `axis`; its gradient where it is 0 is 0 (as in PyTorch)."""
    return _root(sum(square(x), axis=axis, keepdims=keepdims))


_root = op(
    "root",
    lambda xp, x: xp.sqrt(x),
    lambda xp, g, out: xp.where(out == 0, 0.0, g / xp.where(out == 0, 1.0, out * 2.0)),
)

for _name, _fn in {"mean": mean, "var": var, "std": std, "logsumexp": logsumexp, "norm": norm}.items():
    register(_name, _fn)


# --- softmax ----------------------------------------------------------------------------------------------
def _softmax(xp: Any, x: Any, *, axis: int = -1) -> Any:
    e = xp.exp(x - x.max(axis=axis, keepdims=True))
    e /= e.sum(axis=axis, keepdims=True)
    return e


softmax = op(
    "softmax",
    _softmax,
    lambda xp, g, out, axis: out * (g - xp.sum(g * out, axis=axis, keepdims=True)),
)
softmax.__doc__ = "exp(x) / sum(exp(x)) along `axis`, without overflow."


def _log_softmax(xp: Any, x: Any, *, axis: int = -1) -> Any:
    shifted = x - x.max(axis=axis, keepdims=True)
    return shifted - xp.log(xp.exp(shifted).sum(axis=axis, keepdims=True))


log_softmax = op(
    "log_softmax",
    _log_softmax,
    lambda xp, g, out, axis: g - xp.exp(out) * xp.sum(g, axis=axis, keepdims=True),
)
log_softmax.__doc__ = "log(softmax(x)) along `axis`, without overflow."
