"""Pooling to a given size, by powers, and back again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backend.meta import MetaArray
from ..dtypes import wide
from ..tensor import Tensor, raw, wrap
from .define import op
from .elementwise import absolute, where
from .fused import fused
from .gather import gather_axes
from .geometry import Size, check_input, lengths, or_one
from .interpolate import bins
from .pool import Windows, first_largest, max_pool, means, picked
from .shape import expand_dims, reshape, squeeze

Target = int | None | Sequence[int | None]


def _target(name: str, dims: int, x: Tensor, output_size: Target) -> tuple[int, ...]:
    """The lengths that were asked for; None keeps the input's."""
    check_input(name, x, dims)
    each = [output_size] * dims if output_size is None or isinstance(output_size, int) else list(output_size)
    if len(each) == dims:
        each = [n if m is None else m for n, m in zip(x.shape[2:], each, strict=True)]
    out = lengths(each, dims, f"{name}: output_size")
    if min(out) < 1 or 0 in x.shape[2:]:
        raise ValueError(f"{name}: lengths must be >= 1; got an input {x.shape} and output_size {out}")
    return out


def _by_reshape(x: Tensor, *, kernel: tuple[int, ...]) -> Tensor:
    parts = [length for n, k in zip(x.shape[2:], kernel, strict=True) for length in (n // k, k)]
    return reshape(x, (*x.shape[:2], *parts)).mean(axis=tuple(range(3, 3 + 2 * len(kernel), 2)))


_bin_means = fused("bin_means", _by_reshape)


def _adaptive_avg(name: str, dims: int, x: Tensor, output_size: Target) -> Tensor:
    out = _target(name, dims, x, output_size)
    if all(n % m == 0 for n, m in zip(x.shape[2:], out, strict=True)):
        return _bin_means(x, kernel=tuple(n // m for n, m in zip(x.shape[2:], out, strict=True)))
    return gather_axes(x, [None if n == m else bins(n, m) for n, m in zip(x.shape[2:], out, strict=True)])


@or_one(3)
def adaptive_avg_pool1d(x: Tensor, output_size: Target) -> Tensor:
    """`adaptive_avg_pool2d` in one dimension: (N, C, L) -> (N, C, OL)."""
    return _adaptive_avg("adaptive_avg_pool1d", 1, x, output_size)


@or_one(4)
def adaptive_avg_pool2d(x: Tensor, output_size: Target) -> Tensor:
    """The means of (OH, OW) bins that cover each plane: (N, C, H, W) -> (N, C, OH, OW).

    Bin i goes from floor(i H / OH) to ceil((i + 1) H / OH). output_size: one length or two; None keeps the input's.
    1 is global pooling.
    """
    return _adaptive_avg("adaptive_avg_pool2d", 2, x, output_size)


@or_one(5)
def adaptive_avg_pool3d(x: Tensor, output_size: Target) -> Tensor:
    """`adaptive_avg_pool2d` in three dimensions: (N, C, D, H, W) -> (N, C, OD, OH, OW)."""
    return _adaptive_avg("adaptive_avg_pool3d", 3, x, output_size)


def _largest_of_bins(xp: Any, x: Any, *, out: tuple[int, ...]) -> Any:
    looks = []
    for n, m in zip(x.shape[2:], out, strict=True):
        edges = [(i * n // m, -(-((i + 1) * n) // m)) for i in range(m)]
        # every bin has as many places as the widest: a narrower one sees its last again, which wins nothing
        widest = max(b - a for a, b in edges)
        looks.append([xp.asarray([min(a + k, b - 1) for a, b in edges]) for k in range(widest)])
    return first_largest(xp, x, looks)


_bin_places = op(
    "adaptive_max_pool_places",
    _largest_of_bins,
    shape=lambda x, *, out: MetaArray((*x.shape[:2], *out), np.int64),
)


def _adaptive_max(name: str, dims: int, x: Tensor, output_size: Target, return_indices: bool) -> Any:
    out = _target(name, dims, x, output_size)
    if not return_indices and all(n % m == 0 for n, m in zip(x.shape[2:], out, strict=True)):
        kernel = [n // m for n, m in zip(x.shape[2:], out, strict=True)]
        return max_pool(name, dims, x, kernel, None, 0, 1, False, False)
    places = _bin_places(x.detach(), out=out)
    best = picked(x, places)
    return (best, places) if return_indices else best


@or_one(3)
def adaptive_max_pool1d(x: Tensor, output_size: Target, return_indices: bool = False) -> Any:
    """`adaptive_max_pool2d` in one dimension: (N, C, L) -> (N, C, OL)."""
    return _adaptive_max("adaptive_max_pool1d", 1, x, output_size, return_indices)


@or_one(4)
def adaptive_max_pool2d(x: Tensor, output_size: Target, return_indices: bool = False) -> Any:
    """The largest elements of the bins of `adaptive_avg_pool2d`; the gradient goes to the first that is largest.

    return_indices: also their places in the flattened plane, int64.
    """
    return _adaptive_max("adaptive_max_pool2d", 2, x, output_size, return_indices)


@or_one(5)
def adaptive_max_pool3d(x: Tensor, output_size: Target, return_indices: bool = False) -> Any:
    """`adaptive_max_pool2d` in three dimensions: (N, C, D, H, W) -> (N, C, OD, OH, OW)."""
    return _adaptive_max("adaptive_max_pool3d", 3, x, output_size, return_indices)


# --- powers -----------------------------------------------------------------------------------------------
def _lp_pool(
    name: str, dims: int, x: Tensor, norm_type: float, kernel_size: Size, stride: Size | None, ceil_mode: bool
) -> Tensor:
    if not norm_type > 0:
        raise ValueError(f"{name}: norm_type must be > 0; got {norm_type}")
    w = Windows(name, x, dims, kernel_size, stride, ceil_mode=ceil_mode)
    accumulator = wide(x.dtype)
    p = float(norm_type)
    wider = x if accumulator is None else x.astype(accumulator)
    total = means(absolute(wider) ** p, w) * float(math.prod(w.kernel))
    # the root's slope at 0 is infinite: there the gradient is 0
    zero = total.detach() == 0
    return where(zero, 0.0, where(zero, 1.0, total) ** (1.0 / p)).astype(x.dtype)


@or_one(3)
def lp_pool1d(
    x: Tensor, norm_type: float, kernel_size: Size, stride: Size | None = None, ceil_mode: bool = False
) -> Tensor:
    """`lp_pool2d` in one dimension: (N, C, L) -> (N, C, OL)."""
    return _lp_pool("lp_pool1d", 1, x, norm_type, kernel_size, stride, ceil_mode)


@or_one(4)
def lp_pool2d(
    x: Tensor, norm_type: float, kernel_size: Size, stride: Size | None = None, ceil_mode: bool = False
) -> Tensor:
    """(sum over the window of |x|^p)^(1/p), p = norm_type: the norm of each window. Shapes as in `max_pool2d`.

    A window that hangs over (ceil_mode) counts as if it went on like the part it sees, as in PyTorch. PyTorch leaves
    the absolute value out, which differs for odd p and negative x. The gradient of a window of zeros is 0.
    """
    return _lp_pool("lp_pool2d", 2, x, norm_type, kernel_size, stride, ceil_mode)


@or_one(5)
def lp_pool3d(
    x: Tensor, norm_type: float, kernel_size: Size, stride: Size | None = None, ceil_mode: bool = False
) -> Tensor:
    """`lp_pool2d` in three dimensions: (N, C, D, H, W) -> (N, C, OD, OH, OW)."""
    return _lp_pool("lp_pool3d", 3, x, norm_type, kernel_size, stride, ceil_mode)


# --- back again -------------------------------------------------------------------------------------------
def _written(xp: Any, x: Any, *, index: Any, shape: tuple[int, ...]) -> Any:
    out = xp.zeros(shape, x.dtype)
    out[index] = x
    return out


_put = op("put", _written, lambda xp, g, index: g[index], shape=lambda x, *, index, shape: shape)


def _max_unpool(
    name: str,
    dims: int,
    x: Tensor,
    indices: Tensor,
    kernel_size: Size,
    stride: Size | None,
    padding: Size,
    output_size: Sequence[int] | None,
) -> Tensor:
    if x.ndim == dims + 1 == indices.ndim:
        one = (expand_dims(x, 0), expand_dims(indices, 0), kernel_size, stride, padding, output_size)
        return squeeze(_max_unpool(name, dims, *one), 0)
    check_input(name, x, dims)
    kernel = lengths(kernel_size, dims, "kernel_size")
    step = kernel if stride is None else lengths(stride, dims, "stride")
    edge = lengths(padding, dims, "padding")
    if indices.shape != x.shape:
        raise ValueError(f"{name}: input {x.shape} and indices {indices.shape} differ in shape")
    if output_size is None:
        plane = [(n - 1) * s - 2 * p + k for n, s, p, k in zip(x.shape[2:], step, edge, kernel, strict=True)]
    else:
        plane = list(lengths(tuple(output_size)[-dims:], dims, f"{name}: output_size"))
    size = math.prod(plane)
    data = raw(indices)
    if data.dtype.kind not in "iu":
        raise TypeError(f"{name}: indices are integers; got {data.dtype}")
    if isinstance(data, MetaArray):
        return wrap(MetaArray((*x.shape[:2], *plane), x.dtype))
    if data.size and not (int(data.min()) >= 0 and int(data.max()) < size):
        raise ValueError(f"{name}: an index lies outside the {size} elements of a plane {tuple(plane)}")
    n, c = x.shape[:2]
    xp = x.backend.xp
    rows, channels = xp.arange(n)[:, None, None], xp.arange(c)[None, :, None]
    count = math.prod(x.shape[2:])
    index = (rows, channels, data.reshape(n, c, count))
    return reshape(_put(reshape(x, (n, c, count)), index=index, shape=(n, c, size)), (n, c, *plane))


def max_unpool1d(
    x: Tensor,
    indices: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """`max_unpool2d` in one dimension."""
    return _max_unpool("max_unpool1d", 1, x, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    x: Tensor,
    indices: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Zeros with each x at the place that `max_pool2d(..., return_indices=True)` found it at.

    x, indices (N, C, H, W) -> (N, C, OH, OW), OH = (H - 1) stride - 2 padding + kernel unless output_size says so.
    A place that several windows found holds the last of them, and each gets its gradient, as in PyTorch.
    """
    return _max_unpool("max_unpool2d", 2, x, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    x: Tensor,
    indices: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """`max_unpool2d` in three dimensions."""
    return _max_unpool("max_unpool3d", 3, x, indices, kernel_size, stride, padding, output_size)
