"""The gradients of a convolution whose output's gradient is mostly zeros, in the form of `cpu_conv`'s.

Where the image or the weight is not finite there are none: a zero times an infinity is no zero, and belongs to the sum.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .conv_plan import Geometry, distances, outer
from .layout import on_lines, turned
from .sparse import share_of_numbers, spread_numbers, weigh_numbers
from .threads import shared

FEW = 0.4  # of a gradient's numbers that are not zero, up to which going through them one by one pays
SHORTEST = 32  # numbers of a run below which it does not


def mostly_zeros(g: Geometry, grad: np.ndarray, *others: np.ndarray) -> bool:
    """Whether to go through the numbers of a gradient (N, ..., O) that are not zero, one by one."""
    if g.groups > 1 or g.pointwise or g.channels * g.kernel[2] < SHORTEST:
        return False
    return share_of_numbers(grad.reshape(-1)) <= FEW and all(math.isfinite(x.sum()) for x in others)


def _tables(g: Geometry) -> tuple[np.ndarray, np.ndarray, int, tuple[int, ...]]:
    """Where each place's runs begin in an image with its zeros around it, the runs, their length, and that image."""
    space = [n + 2 * p for n, p in zip(g.space, g.padding, strict=True)]
    along = distances(space, g.channels * g.size)
    places = outer([range(n) for n in g.out], [a * s for a, s in zip(along, g.stride, strict=True)])
    taps = outer([range(k) for k in g.kernel], [a * d for a, d in zip(along, g.dilation, strict=True)])
    if g.dilation[2] == 1:
        return places, taps[:: g.kernel[2]].copy(), g.kernel[2] * g.channels, (*space, g.channels)
    return places, taps, g.channels, (*space, g.channels)


def _inside(g: Geometry) -> tuple[slice, ...]:
    return (slice(None), *(slice(p, p + n) for n, p in zip(g.space, g.padding, strict=True)))


def sparse_weight_gradient(g: Geometry, images: np.ndarray, grad: np.ndarray, shape: Any) -> np.ndarray:
    """images (N, ..., C), grad (N, ..., O) -> an array of the weight's shape."""
    places, runs, length, frame = _tables(g)
    framed = images
    if any(g.padding):
        framed = on_lines((len(images), *frame), images.dtype, zeros=True)
        framed[_inside(g)] = images.reshape(len(images), *g.space, g.channels)
    flat, sums = grad.reshape(len(grad), -1, g.outputs), []

    def some(first: int, last: int) -> None:
        out = on_lines((g.outputs, g.taps * g.channels), grad.dtype, zeros=True)
        sums.append((first, out))
        start = framed.ctypes.data + first * framed.strides[0]
        weigh_numbers(grad.dtype.type(0), start, framed.strides[0], flat[first:last], places, runs, length, out)

    shared(len(images), 1, some)
    out, *others = (part for _, part in sorted(sums, key=lambda part: part[0]))
    for other in others:
        out += other
    return turned(out.reshape(g.outputs, g.taps, g.channels)).reshape(shape)


def sparse_input_gradient(g: Geometry, grad: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """grad (N, ..., O) -> (N, ..., C)."""
    places, runs, length, frame = _tables(g)
    out = on_lines((len(grad), *frame), grad.dtype, zeros=True)
    rows = on_lines((g.outputs, *weight.shape[2:], g.channels), weight.dtype)
    rows[...] = np.moveaxis(weight, 1, -1)
    rows = rows.reshape(g.outputs, -1)
    flat = grad.reshape(len(grad), -1, g.outputs)

    def some(first: int, last: int) -> None:
        start = out.ctypes.data + first * out.strides[0]
        spread_numbers(grad.dtype.type(0), start, out.strides[0], flat[first:last], places, runs, length, rows)

    shared(len(grad), 1, some)
    return out[_inside(g)].reshape(len(grad), *g.space[5 - grad.ndim :], g.channels)
