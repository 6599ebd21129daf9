# mypy: ignore-errors
# What numba compiles is typed by numba.
"""Convolution, compiled: tiles of products over the places that a kernel sees.

Images are (D, H, W, C) in memory and read where they are; addresses and distances are in bytes. A *part* is a row of
int64 for one `product` on every image, or on several images together: places of the result that the same places of the
kernel count for, and the channels of one group (see `conv_plan`).

Importing it loads numba: import it only when used.
"""

import numpy as np

from .gemm import LINE, SLACK, aligned, pack_panel, transpose
from .jit import jit
from .tile import product
from .vectors import BYTES, fetch, keep, number_at, size_of

TOGETHER = 8  # images whose results at the border, few for each image, may share a tile

# What a part's numbers are. `product`'s: a (where in the image), rows, m (of each image), runs, b_runs, count, length,
# columns, c_rows, c (where in the result). `together`: for how many images the tables of rows stand, or in `weigh`
# those of runs. In `correlate` b is where its panels are, `panel` how far apart, `start` where it begins in the bias;
# in `weigh` b is where it begins in the gradient, and `at_once` how many runs to take before the next tile, so that
# their numbers stay in a cache.
PART = ("a", "rows", "m", "runs", "b_runs", "count", "length", "columns", "c_rows", "c", "together")
PART += ("b", "panel", "start", "at_once")
COUNT, LENGTH, AT_ONCE, IMAGES = (PART.index(name) for name in ("count", "length", "at_once", "together"))


@jit
def _fetch(start, size):
    """Have memory at hand that is about to be read in an order which the processor does not foresee."""
    for line in range(start, start + size, LINE):
        fetch(line)


@jit
def correlate(zero, images, x, distance, parts, step, start, c, c_distance):
    """Every part of every image: the result's rows at `c`, images c_distance apart."""
    for first in range(0, images, TOGETHER):
        last = min(images, first + TOGETHER)
        _fetch(x + first * distance, (last - first) * distance)
        for p in range(len(parts)):
            a, rows, m, runs, b_runs, count, length, columns, c_rows, at, together, b, panel, offset, _ = parts[p]
            for i in range(first, last, together):
                product(
                    *(zero, x + i * distance + a, rows, m * min(together, last - i), step, runs, b_runs, count, length),
                    *(b, 2 * BYTES, panel, start + offset, 0, c + i * c_distance + at, c_rows, columns),
                )


@jit
def weigh(zero, images, x, distance, parts, step, g, g_distance, g_row, packed, c):
    """Add to the weight's gradient at `c` what every image gives: in each part, runs are rows of the gradient `g`.

    g_row    bytes of the gradient of a place
    packed   whether to lay out what is read of it: where it is wide, lines of the cache would get into each other's
             way, and vectors at the end of a row must not read past it
    """
    size = size_of(zero)
    wide = 2 * BYTES // size
    most = 0
    for p in range(len(parts)):
        runs_at_once = min(parts[p, COUNT] * parts[p, IMAGES], parts[p, AT_ONCE])
        most = max(most, parts[p, LENGTH] * runs_at_once)
    room, rows_of = np.empty(most * 2 * BYTES * packed + SLACK, np.uint8), np.empty(most, np.int64)
    panel = aligned(room)
    for start in range(0, images, TOGETHER):
        last = min(images, start + TOGETHER)
        _fetch(x + start * distance, (last - start) * distance)
        _fetch(g + start * g_distance, (last - start) * g_distance)
        for p in range(len(parts)):
            a, rows, m, runs, b_runs, each, length, columns, c_rows, at, together, b, _, _, at_once = parts[p]
            for i in range(start, last, together):
                image, grad = x + i * distance + a, g + i * g_distance + b
                count = each * min(together, last - i)
                for r in range(0, count, at_once):
                    here = (zero, image, rows, m, step, runs + 8 * r)
                    many = min(at_once, count - r)
                    if not packed:
                        more = (b_runs + 8 * r, many, length, grad, g_row, 2 * BYTES)
                        product(*here, *more, c + at, 1, c + at, c_rows, columns)
                        continue
                    for j in range(0, columns, wide):
                        for k in range(many):
                            source = grad + j * size + number_at(b_runs + 8 * (r + k))
                            rows_of[k] = k * length * 2 * BYTES
                            pack_panel(zero, source, g_row, size, length, columns - j, panel + rows_of[k])
                        more = (rows_of.ctypes.data, many, length, panel, 2 * BYTES, 0)
                        product(*here, *more, c + at + j * size, 1, c + at + j * size, c_rows, min(wide, columns - j))
    keep(room)
    keep(rows_of)


@jit
def lay_out(zero, weight, outputs, channels, taps, order, back, room, panels):
    """A weight (outputs, channels, taps) as panels: rows in the order of taps, then of what is summed over.

    back: from outputs to channels, which are columns then; room: for as many numbers as the weight has
    """
    size = size_of(zero)
    if back:  # (outputs, taps, channels)
        transpose(zero, outputs, weight, channels, taps, room)
        rows, columns, row, tap = outputs, channels, taps * channels * size, channels * size
    else:  # (channels, taps, outputs)
        transpose(zero, 1, weight, outputs, channels * taps, room)
        rows, columns, row, tap = channels, outputs, taps * outputs * size, outputs * size
    distance = 2 * BYTES * len(order) * rows
    for t in range(len(order)):
        for j in range(0, columns * size, 2 * BYTES):
            target = panels + j // (2 * BYTES) * distance + t * rows * 2 * BYTES
            pack_panel(zero, room + order[t] * tap + j, row, size, rows, columns - j // size, target)


@jit
def column_sums(g, out):
    """out += the sum over the places (images, places, channels) of g."""
    images, places, channels = g.shape
    part = np.empty_like(out)
    for i in range(images):
        part[:] = 0
        for j in range(places):
            for k in range(channels):
                part[k] += g[i, j, k]
        for k in range(channels):
            out[k] += part[k]
