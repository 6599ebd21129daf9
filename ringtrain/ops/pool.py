"""Pooling with windows in one, two and three dimensions, over (N, C, ...). `pool_adaptive.py` has the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backend.meta import MetaArray
from ..dtypes import is_float, wide
from ..tensor import Tensor, raw, wrap
from .define import op
from .fused import fused
from .geometry import (
    Size,
    as_one,
    as_two,
    ceil_length,
    check_input,
    lengths,
    or_one,
    output_length,
    pad_axes,
    taps,
)
from .index import take_along_axis
from .reduce import sum
from .shape import reshape, transpose


class Windows:
    """Where the windows of a pooling lie: checked lengths for each axis, `out` of them, and `over` elements that the
    last one needs beyond the right padding (ceil_mode)."""

    def __init__(
        self,
        name: str,
        x: Tensor,
        dims: int,
        kernel_size: Size,
        stride: Size | None,
        padding: Size = 0,
        dilation: Size = 1,
        ceil_mode: bool = False,
        floats: bool = True,
    ) -> None:
        check_input(name, x, dims, floats)
        kernel = self.kernel = lengths(kernel_size, dims, "kernel_size")
        step = self.stride = kernel if stride is None else lengths(stride, dims, "stride")
        edge = self.padding = lengths(padding, dims, "padding")
        gap = self.dilation = lengths(dilation, dims, "dilation")
        reach = [d * (k - 1) + 1 for k, d in zip(kernel, gap, strict=True)]
        if min(*kernel, *step, *gap) < 1 or any(p < 0 or 2 * p > r for p, r in zip(edge, reach, strict=True)):
            raise ValueError(
                f"{name}: kernel {kernel}, stride {step} and dilation {gap} must be >= 1, "
                f"padding {edge} 0 to half the kernel"
            )
        length = ceil_length if ceil_mode else output_length
        places = list(zip(x.shape[2:], kernel, step, edge, gap, strict=True))
        self.out = [length(*place) for place in places]
        for (n, k, _, p, _), o in zip(places, self.out, strict=True):
            if o < 1 or n < 1:
                raise ValueError(
                    f"{name}: a window of {k} does not fit {n} elements with padding {p} (input {x.shape})"
                )
        self.over = [
            max(0, (o - 1) * s + r - (n + 2 * p))
            for o, s, r, n, p in zip(self.out, step, reach, x.shape[2:], edge, strict=True)
        ]

    @property
    def widths(self) -> list[tuple[int, int]]:
        """What all windows together want around the input."""
        return [(p, p + more) for p, more in zip(self.padding, self.over, strict=True)]


# --- the largest ------------------------------------------------------------------------------------------
def first_largest(xp: Any, x: Any, looks: Sequence[Sequence[Any]]) -> Any:
    """For each window the place, in the flattened plane, of its first largest element, or of its last nan.

    looks  for each spatial axis what a place of the window sees along it, as slices or arrays of integers. The last
           axis goes first: a window's first largest is in the first of its rows that has one
    """
    best = x
    plane = x.shape[2:]
    place = xp.broadcast_to(xp.arange(math.prod(plane)).reshape(plane), x.shape)
    for axis in reversed(range(2, x.ndim)):
        lead = (slice(None),) * axis
        first, *others = [(best[(*lead, seen)], place[(*lead, seen)]) for seen in looks[axis - 2]]
        best, place = first
        for value, number in others:
            larger = (value > best) | xp.isnan(value)
            best, place = xp.where(larger, value, best), xp.where(larger, number, place)
    return xp.ascontiguousarray(place)


def _steps(kernel: int, stride: int, dilation: int, count: int) -> list[slice]:
    """What each place of a kernel sees along an axis, as `taps` does."""
    return [slice(k * dilation, k * dilation + (count - 1) * stride + 1, stride) for k in range(kernel)]


_places = op(
    "max_pool_places",
    lambda xp, x, *, kernel, stride, dilation, out: first_largest(
        xp, x, [_steps(*each) for each in zip(kernel, stride, dilation, out, strict=True)]
    ),
    shape=lambda x, *, kernel, stride, dilation, out: MetaArray((*x.shape[:2], *out), np.int64),
)


def picked(x: Tensor, places: Tensor) -> Tensor:
    """The elements of (N, C, ...) at places of the flattened plane."""
    flat = reshape(x, (*x.shape[:2], math.prod(x.shape[2:])))
    chosen = take_along_axis(flat, reshape(places, (*places.shape[:2], math.prod(places.shape[2:]))), 2, checked=True)
    return reshape(chosen, places.shape)


def lowest(dtype: Any) -> Any:
    """What padding counts as: less than every element, or equal to the least."""
    return -np.inf if is_float(dtype) else False if dtype.kind == "b" else int(np.iinfo(dtype).min)


def _composed_max(x: Tensor, *, kernel: Any, stride: Any, padding: Any) -> Tensor:
    x = pad_axes(x, [(p, p) for p in padding], lowest(x.dtype))
    out = [output_length(n, k, s, 0) for n, k, s in zip(x.shape[2:], kernel, stride, strict=True)]
    return picked(x, _places(x.detach(), kernel=kernel, stride=stride, dilation=(1, 1), out=out))


_max_pool2d = fused("max_pool2d", _composed_max)


def _inner(places: Tensor, widths: list[tuple[int, int]], padded: Any, plane: Any) -> Tensor:
    """Places in a padded plane as places in the plane itself; a window of padding alone names its nearest element."""
    data = raw(places)
    if isinstance(data, MetaArray):
        return places
    xp = places.backend.xp
    at = xp.unravel_index(data, padded)
    inner = [xp.clip(i - a, 0, n - 1) for i, (a, _), n in zip(at, widths, plane, strict=True)]
    number = inner[0]
    for i, n in zip(inner[1:], plane[1:], strict=True):
        number = number * n + i
    return wrap(number)


def _max_two(x: Tensor, kernel: Any, stride: Any, padding: Any) -> Tensor:
    return _max_pool2d(x, kernel=kernel, stride=stride, padding=padding)


def _max_one(x: Tensor, kernel: Any, stride: Any, padding: Any) -> Tensor:
    """One dimension, as an image of one row."""
    return as_one(_max_two(as_two(x), (1, *kernel), (1, *stride), (0, *padding)))


def _max_three(x: Tensor, kernel: Any, stride: Any, padding: Any) -> Tensor:
    """Three dimensions: each depth as an image, then the first largest along depth."""
    n, c, d, h, w = x.shape
    images = reshape(transpose(x, (0, 2, 1, 3, 4)), (n * d, c, h, w))
    rows = _max_two(images, kernel[1:], stride[1:], padding[1:])
    oh, ow = rows.shape[2:]
    depths = transpose(reshape(rows, (n, d, c, oh * ow)), (0, 2, 1, 3))
    best = _max_two(depths, (kernel[0], 1), (stride[0], 1), (padding[0], 0))
    return reshape(best, (n, c, best.shape[2], oh, ow))


def max_pool(
    name: str,
    dims: int,
    x: Tensor,
    kernel_size: Size,
    stride: Size | None,
    padding: Size,
    dilation: Size,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    """The largest of each window in `dims` dimensions: by the kernel, or by looking up the places of the largest."""
    w = Windows(name, x, dims, kernel_size, stride, padding, dilation, ceil_mode, floats=False)
    if not return_indices and max(w.dilation) == 1:
        padding = w.padding
        if max(w.over):
            x, padding = pad_axes(x, w.widths, lowest(x.dtype)), (0,) * dims
        return (_max_one, _max_two, _max_three)[dims - 1](x, w.kernel, w.stride, padding)
    padded = pad_axes(x, w.widths, lowest(x.dtype))
    places = _places(padded.detach(), kernel=w.kernel, stride=w.stride, dilation=w.dilation, out=w.out)
    best = picked(padded, places)
    if not return_indices:
        return best
    return best, _inner(places, w.widths, padded.shape[2:], x.shape[2:])


@or_one(3)
def max_pool1d(
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """`max_pool2d` in one dimension: (N, C, L) -> (N, C, OL)."""
    return max_pool("max_pool1d", 1, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@or_one(4)
def max_pool2d(
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest element of each window; the gradient goes to the first one that is largest.

    x (N, C, H, W) -> (N, C, OH, OW), OH = floor((H + 2 padding - dilation (kernel - 1) - 1) / stride) + 1.

    stride          None is the kernel size
    padding         counts as minus infinity; at most half the kernel
    ceil_mode       rounds OH up, so that every element is seen; no window starts in the right padding
    return_indices  also gives the places of those elements in the flattened plane, int64, for `max_unpool2d`
    """
    return max_pool("max_pool2d", 2, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@or_one(5)
def max_pool3d(
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """`max_pool2d` in three dimensions: (N, C, D, H, W) -> (N, C, OD, OH, OW)."""
    return max_pool("max_pool3d", 3, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


# --- means ------------------------------------------------------------------------------------------------
def _sums(x: Tensor, w: Windows) -> Tensor:
    """The sum of each window, one axis after the other."""
    x = pad_axes(x, w.widths)
    for axis, (k, s, o) in enumerate(zip(w.kernel, w.stride, w.out, strict=True), 2):
        if o == 1 and k == x.shape[axis]:
            x = sum(x, axis=axis, keepdims=True)
            continue
        first, *others = taps(x, axis, k, s, 1, o)
        for other in others:
            first = first + other
        x = first
    return x


def _counts(w: Windows, plane: tuple[int, ...], count_include_pad: bool) -> Any:
    """How many elements a window's sum is divided by: a number, or an array of the output's plane."""
    each = []
    for n, k, s, p, o in zip(plane, w.kernel, w.stride, w.padding, w.out, strict=True):
        start = np.arange(o) * s - p
        stop = np.minimum(start + k, n + (p if count_include_pad else 0))
        each.append(stop - (start if count_include_pad else np.maximum(start, 0)))
    if all((c == c[0]).all() for c in each):
        return float(math.prod(int(c[0]) for c in each))
    counts = each[0]
    for c in each[1:]:
        counts = counts[..., None] * c
    return counts


def _avg_pool(
    name: str,
    dims: int,
    x: Tensor,
    kernel_size: Size,
    stride: Size | None,
    padding: Size,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:
    """The mean of each window in `dims` dimensions."""
    w = Windows(name, x, dims, kernel_size, stride, padding, ceil_mode=ceil_mode)
    if divisor_override == 0:
        raise ValueError(f"{name}: divisor_override must not be 0")
    accumulator = wide(x.dtype)
    wider = x if accumulator is None else x.astype(accumulator)
    return means(wider, w, count_include_pad, divisor_override).astype(x.dtype)


def means(x: Tensor, w: Windows, count_include_pad: bool = True, divisor: int | None = None) -> Tensor:
    """The sum of each window divided by how many elements it has, or by a divisor."""
    sums = _sums(x, w)
    by = float(divisor) if divisor else _counts(w, x.shape[2:], count_include_pad)
    if not isinstance(by, float):
        by = wrap(sums.backend.asarray(by.astype(sums.dtype)))
    return sums / by


@or_one(3)
def avg_pool1d(
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """`avg_pool2d` in one dimension: (N, C, L) -> (N, C, OL)."""
    return _avg_pool("avg_pool1d", 1, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


@or_one(4)
def avg_pool2d(
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window. Shapes as in `max_pool2d`; 16-bit floats are added in float32.

    count_include_pad  whether padding (zeros) counts; what ceil_mode hangs over beyond it never does
    divisor_override   what sums are divided by instead
    """
    return _avg_pool("avg_pool2d", 2, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


@or_one(5)
def avg_pool3d(
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """`avg_pool2d` in three dimensions: (N, C, D, H, W) -> (N, C, OD, OH, OW)."""
    return _avg_pool("avg_pool3d", 3, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
