"""Reductions over axes. Sums of 16-bit floats are accumulated in float32; means of integers are floats."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import backend as backends
from ..autograd import Op, taped
from ..backend.meta import MetaArray
from ..dtypes import is_float, wide
from ..tensor import Tensor
from .define import composed_widely, fitting, op, register, widely
from .elementwise import exp, isnan, log, logical_not, square, where
from .shape import reshape

Axis = int | tuple[int, ...] | None


def axes_of(axis: Axis, ndim: int) -> tuple[int, ...]:
    """The axes as a sorted tuple of numbers in 0 .. ndim-1; None is all of them.

    A tensor () has axes 0 and -1 of its one element here, which are none: as in PyTorch, and in NumPy's reductions.
    """
    if axis is None:
        return tuple(range(ndim))
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    for a in axes:
        if not -ndim <= a < ndim and (ndim or a not in (0, -1)):
            raise ValueError(f"axis {a} does not exist in an array of {ndim} axes")
    out = tuple(sorted(a % ndim for a in axes if ndim))
    if len(set(out)) != len(out):
        raise ValueError(f"axis {axis} names an axis twice")
    return out


def _over(x: Any, axis: Axis) -> Axis:
    """The axis as every array library takes it: of a tensor () None."""
    if x.shape or axis is None:
        return axis
    axes_of(axis, 0)
    return None


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


def again(reduction: Op, xp: Any, x: Any, **attributes: Any) -> Any:
    """A reduction within a vjp: recorded on tensors, and on raw arrays of 16 bits as wide as in forward."""
    return reduction(x, **attributes) if isinstance(x, Tensor) else reduction.forward(xp, x, **attributes)


def summed_dtype(dtype: Any) -> Any:
    """The dtype of sums and products: small integers become int64, as in NumPy."""
    return dtype if is_float(dtype) else np.zeros(0, dtype).sum().dtype


def _spread(xp: Any, g: Any, x_shape: tuple[int, ...], axis: Axis) -> Any:
    """A reduced gradient, given back to every element that was reduced."""
    return xp.broadcast_to(xp.reshape(g, kept(x_shape, axis)), x_shape)


sum = op(
    "sum",
    widely(lambda xp, x, *, axis=None, keepdims=False: x.sum(axis=_over(x, axis), keepdims=keepdims)),
    lambda xp, g, x_shape, axis: _spread(xp, g, x_shape, axis),
    shape=_reduced(summed_dtype),
    doc="The sum over `axis`; no elements sum to 0. 16-bit floats are added in float32, small integers in int64.",
)


def sum_of_rows(xp: Any, x: Any, place: Any = None) -> Any:
    """The sum of a matrix over its first axis, within a vjp; place: of raw arrays, one that it may be written to."""
    if xp is not taped and x.dtype.itemsize > 2:
        kernel = backends.of(x).kernel("sum_of_rows")
        if kernel is not None:
            return kernel(x, fitting(place, x.dtype))
    return again(sum, xp, x, axis=0)


def _count(shape: tuple[int, ...], axis: Axis) -> int:
    return math.prod(shape[a] for a in axes_of(axis, len(shape)))


_mean = op(
    "mean",
    widely(lambda xp, x, *, axis=None, keepdims=False: x.mean(axis=_over(x, axis), keepdims=keepdims)),
    lambda xp, g, x_shape, axis: _spread(xp, g / _count(x_shape, axis), x_shape, axis),
    shape=_reduced(),
)


def mean(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The mean over `axis`; that of integers is float32 (float64 for 64-bit integers, as in NumPy)."""
    if not is_float(x.dtype):
        x = x.astype(np.float64 if x.dtype.itemsize == 8 else np.float32)
    n = _count(x.shape, axis)
    if n == 0:
        raise ValueError(f"mean of no elements: axis {axis} of shape {x.shape}")
    return _mean(x, axis=axis, keepdims=keepdims)


@composed_widely
def var(x: Tensor, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
    """The variance over `axis`: mean squared deviation, divided by n - ddof (NumPy's default ddof is 0)."""
    n = _count(x.shape, axis)
    if n <= ddof:
        raise ValueError(f"var needs more than ddof={ddof} elements; axis {axis} of shape {x.shape} has {n}")
    deviation = x - mean(x, axis, keepdims=True)
    return sum(square(deviation), axis=axis, keepdims=keepdims) * (1.0 / (n - ddof))


def std(x: Tensor, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
    """The square root of `var`; its gradient where it is 0 is 0 (as in PyTorch)."""
    return _root(var(x, axis, ddof, keepdims))


def _extreme_vjp(xp: Any, g: Any, x: Any, out: Any, axis: Axis) -> Any:
    """The gradient goes to the extreme element; ties share it equally (as PyTorch's amax)."""
    keep = kept(x.shape, axis)
    hit = (x == xp.reshape(out, keep)).astype(g.dtype)
    return hit * (xp.reshape(g, keep) / again(sum, xp, hit, axis=axes_of(axis, len(x.shape)), keepdims=True))


max = op(
    "max",
    lambda xp, x, *, axis=None, keepdims=False: x.max(axis=_over(x, axis), keepdims=keepdims),
    _extreme_vjp,
    _reduced(),
    doc="The largest over `axis`; the gradient goes to it, and ties share it equally.",
)
min = op(
    "min",
    lambda xp, x, *, axis=None, keepdims=False: x.min(axis=_over(x, axis), keepdims=keepdims),
    _extreme_vjp,
    _reduced(),
    doc="The smallest over `axis`; the gradient goes to it, and ties share it equally.",
)


def _before(xp: Any, x: Any, n: int) -> Any:
    """For each of the n elements of the last axis the product of those before it, in log2(n) steps that double."""
    out = xp.concatenate([xp.ones_like(x[..., :1]), x[..., :-1]], axis=-1)
    done = 1
    while done < n:
        out = xp.concatenate([out[..., :done], out[..., done:] * out[..., :-done]], axis=-1)
        done *= 2
    return out


def _prod_vjp(xp: Any, g: Any, x: Any, axis: Axis, keepdims: bool) -> Any:
    """g times the product of all the others, exact where elements are zero: of those before and those after it."""
    axes = axes_of(axis, len(x.shape))
    rest = tuple(i for i in range(len(x.shape)) if i not in axes)
    order = rest + axes
    n = _count(x.shape, axis)
    flat = xp.reshape(xp.transpose(x, order), (*(x.shape[i] for i in rest), n))
    others = flat
    if n:
        others = _before(xp, flat, n) * xp.flip(_before(xp, xp.flip(flat, axis=-1), n), axis=-1)
    others = xp.reshape(others, tuple(x.shape[i] for i in order))
    back = tuple(order.index(i) for i in range(len(order)))
    return xp.transpose(others, back) * xp.reshape(g, kept(x.shape, axis))


prod = op(
    "prod",
    widely(lambda xp, x, *, axis=None, keepdims=False: x.prod(axis=_over(x, axis), keepdims=keepdims)),
    _prod_vjp,
    _reduced(summed_dtype),
    doc="The product over `axis`; no elements multiply to 1. Its gradient is exact where elements are 0.",
)


def ordered(x: Any) -> Any:
    """Numbers in the same order that every array library can sort: 16-bit floats as float32."""
    return x if wide(x.dtype) is None else x.astype(wide(x.dtype))


argmax = op(
    "argmax",
    lambda xp, x, *, axis=None, keepdims=False: xp.argmax(ordered(x), axis=_over(x, axis), keepdims=keepdims),
    shape=_reduced(lambda d: np.int64),
    doc="The place of the first largest along `axis` (None: in the flattened tensor), int64.",
)
argmin = op(
    "argmin",
    lambda xp, x, *, axis=None, keepdims=False: xp.argmin(ordered(x), axis=_over(x, axis), keepdims=keepdims),
    shape=_reduced(lambda d: np.int64),
    doc="The place of the first smallest along `axis` (None: in the flattened tensor), int64.",
)
all = op(
    "all",
    lambda xp, x, *, axis=None, keepdims=False: xp.all(x, axis=_over(x, axis), keepdims=keepdims),
    shape=_reduced(lambda d: np.bool_),
    doc="Whether all elements over `axis` are true.",
)
any = op(
    "any",
    lambda xp, x, *, axis=None, keepdims=False: xp.any(x, axis=_over(x, axis), keepdims=keepdims),
    shape=_reduced(lambda d: np.bool_),
    doc="Whether some element over `axis` is true.",
)


def count_nonzero(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """How many elements over `axis` are not 0, int64."""
    return sum(x != 0, axis=axis, keepdims=keepdims)


def nansum(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The sum over `axis` of the elements that are no nan."""
    return sum(where(isnan(x), 0, x), axis=axis, keepdims=keepdims)


def nanmean(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The mean over `axis` of the elements that are no nan; nan where all are."""
    there = logical_not(isnan(x))
    return nansum(x, axis, keepdims) / sum(there, axis=axis, keepdims=keepdims).astype(x.dtype)


cumsum: Op = op(
    "cumsum",
    widely(lambda xp, x, *, axis: xp.cumsum(x, axis=axis) if x.shape else again(sum, xp, x, axis=axis)),
    lambda xp, g, axis: xp.flip(again(cumsum, xp, xp.flip(g, axis=axis), axis=axis), axis=axis) if g.shape else g,
    shape=lambda x, *, axis: MetaArray(x.shape, summed_dtype(x.dtype)),
    doc="The sums of the elements up to each place along `axis`.",
)


@composed_widely
def logsumexp(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) over `axis`, without overflow."""
    if _count(x.shape, axis) == 0:
        return sum(x, axis=axis, keepdims=keepdims) - math.inf
    top = max(x.detach(), axis=axis, keepdims=True)
    top = where(top.isfinite(), top, 0.0)
    out = log(sum(exp(x - top), axis=axis, keepdims=True)) + top
    return out if keepdims else reshape(out, _reduced()(x, axis=axis).shape)


@composed_widely
def norm(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The Euclidean norm over `axis`; its gradient where it is 0 is 0 (as in PyTorch)."""
    return _root(sum(square(x), axis=axis, keepdims=keepdims))


_root = op(
    "root",
    lambda xp, x: xp.sqrt(x),
    lambda xp, g, out: xp.where(out == 0, 0.0, g / xp.where(out == 0, 1.0, out * 2.0)),
)

_composed: dict[str, Callable] = {"mean": mean, "var": var, "std": std, "logsumexp": logsumexp, "norm": norm}
for _name, _fn in _composed.items():
    register(_name, _fn)


# --- softmax ----------------------------------------------------------------------------------------------
def _by_kernel(name: str, forward: Callable, vjp: Callable) -> tuple[Callable, Callable]:
    """A forward function (xp, x, axis) and its vjp (xp, g, out, axis), by the backend's kernel where there is one."""

    def kernel(xp: Any, x: Any, axis: int) -> Any:
        found = None if xp is taped else backends.of(x).kernel(name)
        return found if found is not None and found.accepts(x, axis) else None

    def run(xp: Any, x: Any, *, axis: int = -1) -> Any:
        found = kernel(xp, x, axis)
        return forward(xp, x, axis) if found is None else found.forward(x)

    def run_back(xp: Any, g: Any, out: Any, axis: int) -> Any:
        found = kernel(xp, out, axis)
        return vjp(xp, g, out, axis) if found is None else found.backward(g, out)

    return widely(run), run_back


def _softmax(xp: Any, x: Any, axis: int) -> Any:
    if not x.size:
        return x.copy()
    e = xp.exp(x - x.max(axis=axis, keepdims=True))
    e /= e.sum(axis=axis, keepdims=True)
    return e


softmax = op(
    "softmax",
    *_by_kernel(
        "softmax",
        _softmax,
        lambda xp, g, out, axis: out * (g - again(sum, xp, g * out, axis=axis, keepdims=True)),
    ),
    doc="exp(x) / sum(exp(x)) along `axis`, without overflow.",
)


def _log_softmax(xp: Any, x: Any, axis: int) -> Any:
    if not x.size:
        return x.copy()
    shifted = x - x.max(axis=axis, keepdims=True)
    return shifted - xp.log(xp.exp(shifted).sum(axis=axis, keepdims=True))


log_softmax = op(
    "log_softmax",
    *_by_kernel(
        "log_softmax",
        _log_softmax,
        lambda xp, g, out, axis: g - xp.exp(out) * again(sum, xp, g, axis=axis, keepdims=True),
    ),
    doc="log(softmax(x)) along `axis`, without overflow.",
)
