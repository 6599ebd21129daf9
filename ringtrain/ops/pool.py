"""Pooling in two dimensions, over (N, C, H, W)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import Tensor
from .conv import Pair, output_length, pair
from .elementwise import where
from .fused import fused
from .shape import pad, stack


def _windows(x: Tensor, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]) -> list[Tensor]:
    """For each place of the window, row by row, what it sees of the padded input: (N, C, OH, OW)."""
    oh = (x.shape[2] - kernel[0]) // stride[0] + 1
    ow = (x.shape[3] - kernel[1]) // stride[1] + 1
    return [
        x[:, :, i : i + (oh - 1) * stride[0] + 1 : stride[0], j : j + (ow - 1) * stride[1] + 1 : stride[1]]
        for i in range(kernel[0])
        for j in range(kernel[1])
    ]


def _composed_max(x: Tensor, *, kernel: Any, stride: Any, padding: Any) -> Tensor:
    """The first largest of the window: a later element takes over only where it is larger (or nan)."""
    if padding != (0, 0):
        x = pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2), value=-np.inf)
    best, *others = _windows(x, kernel, stride, padding)
    for other in others:
        best = where((other > best) | other.isnan(), other, best)
    return best


_max_pool2d = fused("max_pool2d", _composed_max)


def _checked(name: str, x: Tensor, kernel_size: Pair, stride: Pair | None, padding: Pair) -> tuple:
    kernel = pair(kernel_size, "kernel_size")
    step = kernel if stride is None else pair(stride, "stride")
    edge = pair(padding, "padding")
    if x.ndim != 4:
        raise ValueError(f"{name} wants an input (N, C, H, W); got {x.shape}")
    if min(kernel) < 1 or min(step) < 1 or min(edge) < 0 or 2 * edge[0] > kernel[0] or 2 * edge[1] > kernel[1]:
        raise ValueError(f"{name}: kernel {kernel} and stride {step} must be >= 1, padding {edge} 0 to half the kernel")
    for n, k, s, p in zip(x.shape[2:], kernel, step, edge, strict=True):
        if output_length(n, k, s, p) < 1:
            raise ValueError(f"{name}: a window of {k} does not fit {n} elements with padding {p} (input {x.shape})")
    return kernel, step, edge


def max_pool2d(x: Tensor, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0) -> Tensor:
    """The largest element of each window; the gradient goes to the first one that is largest.

    x (N, C, H, W) -> (N, C, OH, OW), OH = floor((H + 2 padding - kernel) / stride) + 1. stride: None is the kernel
    size. Padding counts as minus infinity.
    """
    kernel, step, edge = _checked("max_pool2d", x, kernel_size, stride, padding)
    return _max_pool2d(x, kernel=kernel, stride=step, padding=edge)


def avg_pool2d(x: Tensor, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0) -> Tensor:
    """The mean of each window, padding counted in as zeros. Shapes as in `max_pool2d`."""
    kernel, step, edge = _checked("avg_pool2d", x, kernel_size, stride, padding)
    if edge != (0, 0):
        x = pad(x, ((0, 0), (0, 0), (edge[0],) * 2, (edge[1],) * 2))
    if kernel == x.shape[2:]:
        return x.mean(axis=(2, 3), keepdims=True)
    return stack(_windows(x, kernel, step, edge)).mean(axis=0)
