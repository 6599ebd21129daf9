# mypy: ignore-errors
# What numba compiles is typed by numba.
"""Matrix products, compiled: strips of the matrices laid out for the tile, then tile after tile.

A panel is two vectors of columns of `b`, row after row, zeros past the last column; it starts a line of the cache.
Matrices are given by an address and the distances, in bytes, from row to row and from column to column, of which one
is the size of a number.

Importing it loads numba: import it only when used.
"""

import numpy as np
from numba import carray

from .cpu_math import maximum, where
from .jit import jit
from .rows import sum_of_rows
from .spin import add, now, rest
from .tile import ROWS, product
from .vectors import BYTES, copy, data_of, fetch, keep, move, number_at, numbers_of, pointer, put, size_of, turn

DEPTH = 512  # terms of a sum at a time: a panel of that depth stays in a core's own cache
SLAB = 256 << 10  # bytes of panels laid out at a time
BLOCK = 128 * ROWS  # rows of a transposed `a` laid out at a time: what lies behind each other is read so, page by page
STRETCH = 8 * ROWS  # rows that go through all panels of a slab before the next
LINE = 64
SLACK = 4096  # bytes behind what is laid out: vectors at its end are written whole


@jit
def aligned(room):
    """The first address in some bytes at which a line of the cache begins: vectors that span two lines are slow.

    The caller has to `keep` the bytes.
    """
    return (room.ctypes.data + LINE - 1) // LINE * LINE


@jit
def pack_panel(zero, b, b_row, b_col, depth, columns, panel):
    """Lay out a panel of `depth` rows and up to two vectors of columns."""
    size = size_of(zero)
    lanes = BYTES // size
    for v in range(2):
        left, source, target = columns - v * lanes, b + v * lanes * b_col, panel + v * BYTES
        if b_col == size and left >= lanes:
            for k in range(depth):
                fetch(source + k * b_row + 2 * BYTES)  # of the next panel
                copy(zero, source + k * b_row, target + 2 * BYTES * k)
        elif b_col == size or left <= 0:
            for k in range(depth):
                move(zero, source + k * b_row, target + 2 * BYTES * k, left)
        else:
            for k in range(0, depth, lanes):
                turn(zero, source + k * b_row, b_col, left, depth - k, target + 2 * BYTES * k, 2 * BYTES)


@jit
def pack_panels(zero, b, b_row, b_col, depth, columns, panels):
    """Lay out a whole matrix: its panels one after the other."""
    wide = 2 * BYTES // size_of(zero)
    for j in range(0, columns, wide):
        pack_panel(zero, b + j * b_col, b_row, b_col, depth, columns - j, panels + j // wide * 2 * BYTES * depth)


@jit
def pack_rows(zero, a, a_col, rows, depth, block):
    """Lay out a matrix whose columns are contiguous, in strips of ROWS rows; returns the distance between strips.

    Strips do not lie a power of two apart, which would send all their first lines to the same place of a cache.
    """
    size = size_of(zero)
    lanes = BYTES // size
    strip = depth * ROWS * size + LINE
    sure = max(0, (rows - -(-ROWS // lanes) * lanes) // ROWS + 1)  # strips of which whole vectors may be read
    for k in range(depth):
        source, target = a + k * a_col, block + k * ROWS * size
        for _ in range(sure):  # the numbers of the next strip too, which are then written over
            for v in range(0, ROWS, lanes):
                copy(zero, source + v * size, target + v * size)
            source, target = source + ROWS * size, target + strip
        for i in range(sure * ROWS, rows, ROWS):
            for v in range(0, ROWS, lanes):
                move(zero, source + v * size, target + v * size, min(ROWS, rows - i) - v)
            source, target = source + ROWS * size, target + strip
    return strip


@jit
def transpose(zero, n, x, rows, columns, out):
    """n contiguous matrices (rows, columns) at x as (columns, rows) at `out`: a square of vectors at a time.

    The last rows of a square that does not fit are written into room of their own first.
    """
    size = size_of(zero)
    lanes = BYTES // size
    room = np.empty(lanes * BYTES + LINE, np.uint8)
    square = aligned(room)
    for i in range(n):
        source, target = x + i * rows * columns * size, out + i * rows * columns * size
        for r in range(0, rows, lanes):
            for c in range(0, columns, lanes):
                at = source + (r * columns + c) * size
                there = target + (c * rows + r) * size
                high, wide = min(lanes, rows - r), min(lanes, columns - c)
                if high == lanes and wide == lanes:
                    turn(zero, at, columns * size, high, wide, there, rows * size)
                else:
                    turn(zero, at, columns * size, high, wide, square, BYTES)
                    for k in range(wide):
                        put(zero, square + k * BYTES, there + k * rows * size, high)
    keep(room)


@jit
def _multiply(zero, m, n, depth, a, rows, step, b, b_panel, start, moves, c, c_rows, runs):
    """A stretch of rows at a time by all panels, so that the rows stay in the nearest cache."""
    for i in range(0, m, STRETCH):
        at = (zero, a, rows + 8 * i, min(STRETCH, m - i), step, runs, runs, 1, depth, b, 2 * BYTES, b_panel)
        product(*at, start, moves, c, c_rows + 8 * i, n)


@jit
def gemm(zero, m, n, k, a, a_row, a_col, b, b_row, b_col, b_panel, start, moves, c, c_row):
    """c (m, n) = start + a (m, k) @ b (k, n).

    b_panel  0, or the distance between panels where b has been laid out by `pack_panels`
    start    as in `product`: a row to begin with (moves 0), or c itself (moves 1)
    """
    size = size_of(zero)
    wide = 2 * BYTES // size
    flat = a_col == size
    rows, c_rows, nothing = np.arange(m) * a_row, np.arange(m) * c_row, np.zeros(1, np.int64)
    run, deepest = nothing.ctypes.data, min(k, DEPTH)
    block = m if flat else min(m, BLOCK)
    slab = n if b_panel else min(n, max(1, SLAB // (2 * BYTES * deepest)) * wide)
    room = np.empty(0 if flat else (block + ROWS) * (deepest * size + LINE) + SLACK, np.uint8)
    strip = np.empty(0 if b_panel else -(-slab // wide) * 2 * BYTES * deepest + SLACK, np.uint8)
    left, panels = aligned(room), aligned(strip)
    for k0 in range(0, k, DEPTH):
        depth = min(DEPTH, k - k0)
        if k0:
            start, moves = c, 1
        for i0 in range(0, m, block):
            high = min(block, m - i0)
            place, step = a + i0 * a_row + k0 * size, size
            if not flat:
                distance = pack_rows(zero, a + i0 * size + k0 * a_col, a_col, high, depth, left)
                place, step = left, ROWS * size
                for i in range(high):
                    rows[i] = i // ROWS * distance + i % ROWS * size
            for j in range(0, n, slab):
                panel, far = b + j // wide * b_panel + k0 * 2 * BYTES, b_panel
                if not b_panel:
                    panel, far = panels, 2 * BYTES * depth
                    pack_panels(zero, b + k0 * b_row + j * b_col, b_row, b_col, depth, min(slab, n - j), panels)
                _multiply(
                    *(zero, high, min(slab, n - j), depth, place, rows.ctypes.data, step, panel, far),
                    *(start + moves * i0 * c_row + j * size, moves, c + i0 * c_row + j * size, c_rows.ctypes.data, run),
                )
    for used in (rows, c_rows, nothing):
        keep(used)
    keep(room)
    keep(strip)


@jit
def gemm_of(zero, m, n, k, a_row, a_col, b_row, b_col, c_row, a, b, start, c):
    """A product of arrays, given by ids: Python takes long to find an address."""
    right, to = data_of(b), data_of(c)
    gemm(zero, m, n, k, data_of(a), a_row, a_col, right, b_row, b_col, 0, data_of(start), 0, to, c_row)


@jit
def rectified(zero, m, n, k, a_row, a_col, b_row, b_col, c_row, a, b, start, c):
    """`gemm_of`, and in place of negative sums zeros."""
    gemm_of(zero, m, n, k, a_row, a_col, b_row, b_col, c_row, a, b, start, c)
    sums = numbers_of(zero, c, m * n)
    for i in range(np.uint64(sums.size)):
        sums[i] = maximum(sums[i], zero)


@jit
def linear_back(zero, m, n, k, g, x, weight, out, gx, gw, gb):
    """The gradients of a layer's affine map, of contiguous arrays by ids; of one that is 0 nobody asks.

    g (m, n) of the output, x (m, k), weight (n, k) -> gx (m, k), gw (n, k), gb (n,).
    out: 0, or what became of the output with zeros in place of what is negative; g is that one's.
    """
    size, left = size_of(zero), data_of(g)
    nothing, passed = np.zeros(k * size, np.uint8), np.empty(m * n * size if out else 0, np.uint8)
    if out:
        left = np.int64(passed.ctypes.data)  # beside an int64 numba would make a float of an unsigned one
        given, kept, to = numbers_of(zero, g, m * n), numbers_of(zero, out, m * n), carray(pointer(zero, left), m * n)
        for i in range(np.uint64(to.size)):
            to[i] = where(kept[i] > zero, given[i], zero)
    start, flat = np.int64(nothing.ctypes.data), k * size
    if gb:
        sum_of_rows(carray(pointer(zero, left), (m, n)), 0, numbers_of(zero, gb, n))
    if gx:
        gemm(zero, m, k, n, left, n * size, size, data_of(weight), flat, size, 0, start, 0, data_of(gx), flat)
    if gw:
        gemm(zero, n, k, m, left, size, n * size, data_of(x), flat, size, 0, start, 0, data_of(gw), flat)
    keep(nothing)
    keep(passed)


@jit
def gemm_shares(zero, given):
    """What other threads leave of a product of arrays: panels to lay out, then `high` rows at a time.

    given: the address of int64: what `gemm_of` has after `zero`; room for all of b, its rows rounded up to a multiple
    of a vector's numbers; `high`; then how many panels are taken, how many done, and how many ranges of rows are
    taken, zeros to begin with.
    """
    m, n, k = number_at(given), number_at(given + 8), number_at(given + 16)
    a_row, a_col, b_row = number_at(given + 24), number_at(given + 32), number_at(given + 40)
    b_col, c_row = number_at(given + 48), number_at(given + 56)
    a, b = data_of(number_at(given + 64)), data_of(number_at(given + 72))
    start, c = data_of(number_at(given + 80)), data_of(number_at(given + 88))
    panels, high = data_of(number_at(given + 96)), number_at(given + 104)
    taken, done, ranges = given + 112, given + 120, given + 128
    lanes = BYTES // size_of(zero)
    # the last square of a transposed panel is written whole, which may not be where another thread writes
    wide, distance = 2 * lanes, -(-k // lanes) * lanes * 2 * BYTES
    count = -(-n // wide)
    p = add(taken, 1)
    while p < count:
        pack_panel(zero, b + p * wide * b_col, b_row, b_col, k, n - p * wide, panels + p * distance)
        add(done, 1)
        p = add(taken, 1)
    while now(done) < count:
        rest()
    i = add(ranges, 1) * high
    while i < m:
        at = (zero, min(high, m - i), n, k, a + i * a_row, a_row, a_col, panels, 0, 0, distance)
        gemm(*at, start, 0, c + i * c_row, c_row)
        i = add(ranges, 1) * high


@jit
def gemms(zero, given):
    """`gemm` for each of a stack of matrices; `start` lies as far from each result. As `gemm_shares`, by addresses.

    given: m, n, k, then of a, b and c: where the first is, a table of how far from it each is, and, but for c's
    columns, the distances of rows and columns; start, moves, how many there are, and how many are taken.
    """
    m, n, k = number_at(given), number_at(given + 8), number_at(given + 16)
    a, a_at, a_row, a_col = number_at(given + 24), number_at(given + 32), number_at(given + 40), number_at(given + 48)
    b, b_at, b_row, b_col = number_at(given + 56), number_at(given + 64), number_at(given + 72), number_at(given + 80)
    c, c_at, c_row = number_at(given + 88), number_at(given + 96), number_at(given + 104)
    start, moves, count = number_at(given + 112), number_at(given + 120), number_at(given + 128)
    i = add(given + 136, 1)
    while i < count:
        far = number_at(c_at + 8 * i)
        left, right = a + number_at(a_at + 8 * i), b + number_at(b_at + 8 * i)
        gemm(zero, m, n, k, left, a_row, a_col, right, b_row, b_col, 0, start + moves * far, moves, c + far, c_row)
        i = add(given + 136, 1)
