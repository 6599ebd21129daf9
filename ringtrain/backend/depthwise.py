# mypy: ignore-errors
# What numba compiles is typed by numba.
"""Depthwise convolution, compiled: each channel has a kernel of its own, so vectors run along the channels.

All three passes are sums over pairs of places: output and gradients of images go through places of an image and of the
kernel, the weight's gradient through places of an image and of the output's gradient.

Importing it loads numba: import it only when used.
"""

import math
from functools import lru_cache

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .conv_plan import PLANS, met
from .jit import jit
from .layout import address
from .threads import shared
from .vectors import BYTES, WORD, Writer, size_of

VECTORS = 4  # sums kept at a time: as many as a multiply-add takes cycles


@intrinsic
def _sum_of_pairs(typingctx, zero, x, x_at, y, y_at, count, start, target, channels):
    """target = start + the sum over pairs i of x[x_at[i]] y[y_at[i]], up to VECTORS vectors of channels."""

    def codegen(context, build, signature, args):
        w = Writer(context, build, zero)
        _, x, x_at, y, y_at, count, start, target, channels = args
        masks = w.masks(channels, VECTORS)
        offsets = [ir.Constant(WORD, v * BYTES) for v in range(VECTORS)]
        first = [w.load_lanes(build.add(start, o), mask) for o, mask in zip(offsets, masks, strict=True)]
        before, loop, done = build.block, build.append_basic_block("pair"), build.append_basic_block("done")
        build.cbranch(build.icmp_signed(">", count, ir.Constant(WORD, 0)), loop, done)

        build.position_at_end(loop)
        i, sums = build.phi(WORD), [build.phi(w.vector) for _ in first]
        left = build.add(x, build.load(build.gep(w.at(x_at, WORD), [i])))
        right = build.add(y, build.load(build.gep(w.at(y_at, WORD), [i])))
        new = []
        for o, mask, old in zip(offsets, masks, sums, strict=True):
            operands = [w.load_lanes(build.add(side, o), mask) for side in (left, right)]
            new.append(w.multiply_add(*operands, old))
        following = build.add(i, ir.Constant(WORD, 1))
        build.cbranch(build.icmp_signed("<", following, count), loop, done)
        i.add_incoming(ir.Constant(WORD, 0), before)
        i.add_incoming(following, loop)

        build.position_at_end(done)
        totals = [build.phi(w.vector) for _ in first]
        for initial, again, *phis in zip(first, new, sums, totals, strict=True):
            for phi in phis:
                phi.add_incoming(initial, before)
                phi.add_incoming(again, loop)
        w.store_rows([totals], [target], channels)
        return context.get_dummy_value()

    return types.void(zero, *[types.int64] * 8), codegen


@jit
def sums_of_pairs(zero, x, x_at, y, y_at, ends, channels, start, moves, target):
    """Row r of the result: start + the sum over the pairs up to ends[r], from ends[r - 1] on. Addresses and bytes.

    moves: 0 for one row to start with, 1 where sums are added to the result.
    """
    size = size_of(zero)
    first = 0
    for r in range(len(ends)):
        at, many = 8 * first, ends[r] - first
        for c in range(0, channels * size, VECTORS * BYTES):
            there = target + r * channels * size + c
            initial = there if moves else start + c
            left, right = x_at.ctypes.data + at, y_at.ctypes.data + at
            _sum_of_pairs(zero, x + c, left, y + c, right, many, initial, there, channels - c // size)
        first = ends[r]


@lru_cache(PLANS)
def _pairs(g, by):
    """(ends, first offsets, second offsets) of the pairs of each row of a pass's result.

    by: "output" (image, kernel), "image" (output, kernel) or "kernel" (image, output).
    """
    axes = []
    for n, k, s, p, d in g.axes:
        terms = [(y, u, z) for y, pairs in enumerate(met(n, k, s, p, d)) for u, z in pairs]
        axes.append(np.array(terms, np.int64).reshape(-1, 3))
    spaces = (g.out, g.kernel, g.space)
    places = []
    for which, (_, height, width) in enumerate(spaces):
        d, h, w = (axis[:, which] for axis in axes)
        places.append(((d[:, None, None] * height + h[:, None]) * width + w).reshape(-1))
    out, tap, image = places
    row, first, second = {"output": (out, image, tap), "image": (image, out, tap), "kernel": (tap, image, out)}[by]
    rows = math.prod(spaces[{"output": 0, "kernel": 1, "image": 2}[by]])
    order = np.argsort(row, kind="stable")
    each = g.channels * g.size
    return np.cumsum(np.bincount(row, minlength=rows)), first[order] * each, second[order] * each


def _pass(g, by, x, y, start, out):
    """One pass over the images: x and y are arrays of channels last, `y` and `out` the same for all or by image."""
    ends, first, second = _pairs(g, by)
    together = by == "kernel"

    def some(begin, end):
        for i in range(begin, end):
            right, target = (y[i], out) if together else (y, out[i])
            sums_of_pairs(
                *(x.dtype.type(0), address(x[i]), first, address(right), second, ends, g.channels),
                *(address(start), int(together), address(target)),
            )

    if together:  # all images add to one result
        some(0, len(x))
    else:
        shared(len(x), 1, some)
    return out


def _by_tap(weight):
    return np.ascontiguousarray(weight.reshape(len(weight), -1).T)


def depthwise_forward(g, images, weight, bias):
    """images (N, ..., C) -> (N, ..., C)."""
    out = np.empty((len(images), *g.out[5 - images.ndim :], g.outputs), images.dtype)
    start = np.zeros(g.outputs, images.dtype) if bias is None else np.ascontiguousarray(bias)
    return _pass(g, "output", images, _by_tap(weight), start, out)


def depthwise_input_gradient(g, grad, weight):
    """grad (N, ..., C) -> (N, ..., C)."""
    out = np.empty((len(grad), *g.space[5 - grad.ndim :], g.channels), grad.dtype)
    return _pass(g, "image", grad, _by_tap(weight), np.zeros(g.channels, grad.dtype), out)


def depthwise_weight_gradient(g, images, grad, shape):
    """images (N, ..., C), grad (N, ..., C) -> an array of the weight's shape."""
    out = np.zeros((math.prod(shape[2:]), shape[0]), grad.dtype)
    return _pass(g, "kernel", images, grad, out, out).T.reshape(shape)
