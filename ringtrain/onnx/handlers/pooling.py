"""Pooling."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ops import elementwise as e
from ...ops import index, pool, reduce, shape
from ...ops.geometry import pad_axes, taps
from ...tensor import Tensor
from ..registry import handler
from ..values import array, ints, made
from .convolution import Pairs, pairs, window_pads


class Frame:
    """Where the windows of a node lie: padding as given, and `over`, what the last ones need beyond it (ceil_mode)."""

    def __init__(
        self, x: Tensor, kernel: list[int], auto_pad: str, ceil_mode: int, dilations: list[int] | None,
        pads: list[int] | None, strides: list[int] | None,
    ) -> None:  # fmt: skip
        dims = x.ndim - 2
        self.kernel = kernel
        self.stride = strides or [1] * dims
        self.dilation = dilations or [1] * dims
        self.plane = x.shape[2:]
        self.pads: Pairs = window_pads(auto_pad, pads, self.plane, kernel, self.stride, self.dilation)
        self.out, self.over = [], []
        for n, k, s, d, (a, b) in zip(self.plane, kernel, self.stride, self.dilation, self.pads, strict=True):
            reach = d * (k - 1) + 1
            room = n + a + b - reach
            out = (-(-room // s) if ceil_mode else room // s) + 1
            if ceil_mode and (out - 1) * s >= n + a:  # no window starts in the padding behind
                out -= 1
            self.out.append(out)
            self.over.append(max(0, (out - 1) * s + reach - (n + a + b)))

    @property
    def widths(self) -> Pairs:
        """What all windows together want around the input."""
        return [(a, b + more) for (a, b), more in zip(self.pads, self.over, strict=True)]

    def sums(self, x: Tensor) -> Tensor:
        """The sum of each window of an input that has been padded."""
        for axis, (k, s, d, o) in enumerate(zip(self.kernel, self.stride, self.dilation, self.out, strict=True), 2):
            first, *others = taps(x, axis, k, s, d, o)
            for other in others:
                first = first + other
            x = first
        return x


@handler("MaxPool")
def max_pool(
    x: Tensor, *, kernel_shape: list[int], auto_pad: str = "NOTSET", ceil_mode: int = 0,
    dilations: list[int] | None = None, pads: list[int] | None = None, storage_order: int = 0,
    strides: list[int] | None = None, n_outputs: int = 1,
) -> Any:  # fmt: skip
    f = Frame(x, kernel_shape, auto_pad, ceil_mode, dilations, pads, strides)
    dims = len(f.plane)
    even = all(a == b and 2 * a <= k for (a, b), k in zip(f.pads, f.kernel, strict=True))
    if even and n_outputs == 1 and not max(f.over):
        edge: list[int] = [a for a, _ in f.pads]
        return pool.max_pool("MaxPool", dims, x, f.kernel, f.stride, edge, f.dilation, False, False)
    padded = pad_axes(x, f.widths, pool.lowest(x.dtype))
    found = pool.max_pool("MaxPool", dims, padded, f.kernel, f.stride, 0, f.dilation, False, n_outputs > 1)
    if n_outputs == 1:
        return found
    at = np.unravel_index(array(found[1]), padded.shape[2:])
    inner = [np.clip(i - a, 0, n - 1) for i, (a, _), n in zip(at, f.pads, f.plane, strict=True)]
    # places count over the whole tensor; storage_order 1 counts a plane column by column
    places = np.ravel_multi_index(tuple(inner), f.plane, order="F" if storage_order else "C")
    images = np.arange(math.prod(x.shape[:2])).reshape(*x.shape[:2], *[1] * dims) * math.prod(f.plane)
    return found[0], made((places + images).astype(np.int64), x)


@handler("MaxUnpool", fixed=(1, 2))
def max_unpool(
    x: Tensor, places: Tensor, output_shape: Tensor | None = None, *, kernel_shape: list[int],
    pads: list[int] | None = None, strides: list[int] | None = None,
) -> Tensor:  # fmt: skip
    dims = len(kernel_shape)
    step = strides or [1] * dims
    sizes = zip(x.shape[2:], step, kernel_shape, pairs(pads, dims), strict=True)
    inferred = (*x.shape[:2], *[(n - 1) * s + k - a - b for n, s, k, (a, b) in sizes])
    # places count over a tensor of the inferred shape, which a wanted one extends
    flat = index.placed(shape.reshape(x, -1), (array(places).reshape(-1),), (math.prod(inferred),))
    out = shape.reshape(flat, inferred)
    if output_shape is None:
        return out
    return pad_axes(out, [(0, w - n) for w, n in zip(ints(output_shape)[2:], inferred[2:], strict=True)])


@handler("AveragePool")
def average_pool(
    x: Tensor, *, kernel_shape: list[int], auto_pad: str = "NOTSET", ceil_mode: int = 0, count_include_pad: int = 0,
    dilations: list[int] | None = None, pads: list[int] | None = None, strides: list[int] | None = None,
) -> Tensor:  # fmt: skip
    """What hangs over the padding behind (ceil_mode) never counts; the padding itself where it is asked for."""
    f = Frame(x, kernel_shape, auto_pad, ceil_mode, dilations, pads, strides)
    there = made(np.ones((1, 1, *f.plane), x.dtype), x)
    there = pad_axes(pad_axes(there, f.pads, 1.0 if count_include_pad else 0.0), [(0, more) for more in f.over])
    return f.sums(pad_axes(x, f.widths)) / f.sums(there)


@handler("LpPool", since=2)
def lp_pool(
    x: Tensor, *, kernel_shape: list[int], auto_pad: str = "NOTSET", ceil_mode: int = 0,
    dilations: list[int] | None = None, p: int = 2, pads: list[int] | None = None, strides: list[int] | None = None,
) -> Tensor:  # fmt: skip
    f = Frame(x, kernel_shape, auto_pad, ceil_mode, dilations, pads, strides)
    return f.sums(pad_axes(e.absolute(x) ** p, f.widths)) ** (1.0 / p)


def _plane(x: Tensor) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


@handler("GlobalAveragePool")
def global_average_pool(x: Tensor) -> Tensor:
    return reduce.mean(x, _plane(x), True)


@handler("GlobalMaxPool")
def global_max_pool(x: Tensor) -> Tensor:
    return reduce.max(x, axis=_plane(x), keepdims=True)


@handler("GlobalLpPool", since=2)
def global_lp_pool(x: Tensor, *, p: int = 2) -> Tensor:
    return reduce.sum(e.absolute(x) ** p, axis=_plane(x), keepdims=True) ** (1.0 / p)
