"""Convolution on the CPU: products over the places of an image under the kernel, read where they are.

Arrays are (N, D, H, W, C) inside, and results have such strides under the shape (N, C, ...) that users see. The loops
are those of `correlate`, the tables they go by are made in `conv_plan` once for each geometry.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .conv_plan import Geometry, Pass, forward, input_gradient, weight_gradient
from .conv_sparse import mostly_zeros, sparse_input_gradient, sparse_weight_gradient
from .correlate import PART, TOGETHER, column_sums, correlate, lay_out, weigh
from .cpu_matmul import matmul
from .depthwise import depthwise_forward, depthwise_input_gradient, depthwise_weight_gradient
from .layout import address, channels_first, channels_last, on_lines, turned
from .threads import shared
from .tile import ROWS
from .vectors import BYTES

_B, _PANEL = PART.index("b"), PART.index("panel")
WIDEST = 512  # bytes of a place's gradient that are read where they are


def geometry(shape: Any, weight: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Geometry:
    """That of images of a shape (N, C, [D], H, W) and a weight (O, C / groups, [KD], KH, KW)."""
    flat = (1,) * (5 - len(shape))
    nothing = (0,) * len(flat)
    return Geometry(
        *(shape[0] > 1, (*flat, *shape[2:]), shape[1], weight.shape[0], (*flat, *weight.shape[2:])),
        *((*flat, *stride), (*nothing, *padding), (*flat, *dilation), groups, weight.itemsize),
    )


def _gathered(
    g: Geometry, plan: Pass, images: np.ndarray, weight: np.ndarray, start: np.ndarray, out: np.ndarray, back: bool
) -> np.ndarray:
    """out (N, ..., made), from images (N, ..., read), by a plan for it. back: from outputs to inputs."""
    weight, zero = np.ascontiguousarray(weight), weight.dtype.type(0)
    mine, made = g.channels // g.groups, g.outputs // g.groups
    read, columns = (made, mine) if back else (mine, made)
    wide = 2 * BYTES // g.size
    panels = on_lines((g.groups, -(-columns // wide), g.taps * read, wide), weight.dtype)
    room = np.empty(made * mine * g.taps, weight.dtype)
    parts = plan.parts.copy()
    for i in range(g.groups):
        at = address(weight) + i * room.nbytes
        lay_out(zero, at, made, mine, g.taps, plan.order, back, address(room), address(panels[i]))
        parts[i :: g.groups, _B] = address(panels[i])
    parts[:, _PANEL] = panels.strides[1]
    if not plan.whole:
        out[...] = start

    def some(first: int, last: int) -> None:
        correlate(
            *(zero, last - first, address(images) + first * images.strides[0], images.strides[0]),
            *(parts, plan.step, address(start), address(out) + first * out.strides[0], out.strides[0]),
        )

    shared(len(images), TOGETHER, some)
    return out


def _left_by(g: Geometry, images: np.ndarray) -> np.ndarray:
    """Those places of (N, ..., C) that a stride leaves, a view."""
    return images[(slice(None), *(slice(None, None, s) for s in g.stride[5 - images.ndim :]))]


def conv_forward(g: Geometry, images: np.ndarray, weight: np.ndarray, bias: Any) -> np.ndarray:
    """images (N, ..., C) -> (N, ..., O)."""
    if g.depthwise:
        return depthwise_forward(g, images, weight, bias)
    if g.pointwise:
        return matmul(np.ascontiguousarray(_left_by(g, images)), weight.reshape(g.outputs, g.channels).T, bias)
    start = np.zeros(g.outputs, weight.dtype) if bias is None else np.ascontiguousarray(bias)
    out = np.empty((len(images), *g.out[5 - images.ndim :], g.outputs), weight.dtype)
    return _gathered(g, forward(g), images, weight, start, out, False)


def conv_input_gradient(g: Geometry, grad: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """grad (N, ..., O) -> (N, ..., C)."""
    if g.depthwise:
        return depthwise_input_gradient(g, grad, weight)
    if g.pointwise:
        there = matmul(grad, weight.reshape(g.outputs, g.channels))
        if set(g.stride) == {1}:
            return there
        out = np.zeros((len(grad), *g.space[5 - grad.ndim :], g.channels), grad.dtype)
        _left_by(g, out)[...] = there
        return out
    out = np.empty((len(grad), *g.space[5 - grad.ndim :], g.channels), grad.dtype)
    return _gathered(g, input_gradient(g), grad, weight, np.zeros(g.channels, grad.dtype), out, True)


def conv_weight_gradient(g: Geometry, images: np.ndarray, grad: np.ndarray, shape: Any) -> np.ndarray:
    """images (N, ..., C), grad (N, ..., O) -> an array of the weight's shape."""
    if g.depthwise:
        return depthwise_weight_gradient(g, images, grad, shape)
    if g.pointwise:
        seen = np.ascontiguousarray(_left_by(g, images)).reshape(-1, g.channels)
        return matmul(grad.reshape(-1, g.outputs).T, seen).reshape(shape)
    plan, mine, made = weight_gradient(g), g.channels // g.groups, g.outputs // g.groups
    row = g.outputs * g.size
    sums = []

    def some(first: int, last: int) -> None:
        out = np.zeros((g.groups, g.taps, mine, made), grad.dtype)
        sums.append((first, out))
        weigh(
            *(grad.dtype.type(0), last - first, address(images) + first * images.strides[0], images.strides[0]),
            *(plan.parts, plan.step, address(grad) + first * grad.strides[0], grad.strides[0], row),
            *(int(row > WIDEST or made * g.size % BYTES != 0), address(out)),
        )

    shared(len(images), 1, some)
    out, *others = (part for _, part in sorted(sums, key=lambda part: part[0]))  # always added in the same order
    for other in others:
        out += other
    by_output = turned(out.reshape(g.groups, g.taps * mine, made)).reshape(g.outputs, g.taps, mine)
    return turned(by_output).reshape(shape)


class _Conv:
    """Kernels `conv2d` and `conv3d`: see `ops/fused.py` for the interface, `ops/conv.py` for the shapes."""

    keeps_output = False

    def accepts(self, x: Any, weight: Any, bias: Any, *, groups: int, **_: Any) -> bool:
        same = x.dtype == weight.dtype and (bias is None or bias.dtype == x.dtype)
        return same and fills_tiles(weight, groups) and x.dtype in (np.float32, np.float64) and x.size > 0

    def forward(self, x: Any, weight: Any, bias: Any, *, padding: Any, **options: Any) -> tuple[Any, Any]:
        images, padding = _images(x, padding)
        g = geometry((*images.shape[:1], images.shape[-1], *images.shape[1:-1]), weight, padding=padding, **options)
        return channels_first(conv_forward(g, images, weight, bias)), (images, g)

    def backward(
        self, grad: Any, needs: Any, residuals: Any, x: Any, weight: Any, bias: Any, *, padding: Any, **options: Any
    ) -> list:
        (images, g), flat = residuals, channels_last(grad)
        gx = gw = gb = None
        sparse = mostly_zeros(g, flat, images, weight)
        if needs[0]:
            gx = (sparse_input_gradient if sparse else conv_input_gradient)(g, flat, weight)
            if gx.shape[1:-1] != x.shape[2:]:
                gx = gx[(slice(None), *_inside(x.shape[2:], padding))]
            gx = channels_first(gx)
        if needs[1]:
            gw = (sparse_weight_gradient if sparse else conv_weight_gradient)(g, images, flat, weight.shape)
        if needs[2]:
            gb = np.zeros(g.outputs, grad.dtype)
            column_sums(flat.reshape(len(flat), -1, g.outputs), gb)
        return [gx, gw, gb]


def fills_tiles(weight: Any, groups: int) -> bool:
    """Whether a group has more than one channel and output, or each channel a kernel of its own."""
    made, mine = weight.shape[0] // groups, weight.shape[1]
    return groups == 1 or (mine > 1 and made > 1) or (mine == made == 1)


def _inside(space: Any, padding: Any) -> tuple[slice, ...]:
    return tuple(slice(p, p + n) for n, p in zip(space, padding, strict=True))


def _images(x: Any, padding: Any) -> tuple[np.ndarray, Any]:
    """x as (N, ..., C), and the padding that is left to do.

    Images of few channels get their zeros here: it costs little, and the weight's gradient, whose rows are the
    channels of one place of the kernel where the border matters, then has full tiles.
    """
    if x.shape[1] >= ROWS or not any(padding):
        return channels_last(x), padding
    space = [n + 2 * p for n, p in zip(x.shape[2:], padding, strict=True)]
    out = np.zeros((x.shape[0], *space, x.shape[1]), x.dtype)
    out[(slice(None), *_inside(x.shape[2:], padding))] = np.moveaxis(x, 1, -1)
    return out, (0,) * len(padding)


KERNEL = _Conv()
