# mypy: ignore-errors
# What numba compiles is typed by numba.
"""The loop that products and convolutions spend their time in: a tile of the result, kept in registers.

A tile is ROWS or, at the end, SHORT rows by one or two vectors of columns. Each step takes one number of each row of
`a` and one row of `b`, and adds their products. Where the rows of `a` lie is given by tables, so that the same loop
multiplies a matrix and the places of an image under a kernel, which are never copied into columns (Dukhan 2019, "The
Indirect Convolution Algorithm"). LLVM would not keep a tile in registers if the loop were written over arrays.

Importing it loads numba: import it only when used.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .jit import jit
from .vectors import BYTE, BYTES, REGISTERS, WORD, Writer, size_of

ROWS = 8 if REGISTERS == 32 else 6  # what is left of the registers beside two vectors of columns and one of a row
SHORT = 4


def _loop(w, rows, step, runs, b_runs, count, length, b, b_step, start):
    """The sums of a tile: blocks of code for the loop over runs and the one within a run."""
    build, function = w.builder, w.builder.function
    one = ir.Constant(WORD, 1)
    before = build.block
    outer, inner, after, done = (function.append_basic_block(name) for name in ("runs", "run", "next", "done"))
    build.branch(outer)

    build.position_at_end(outer)
    r = build.phi(WORD)
    sums_outer = [[build.phi(w.vector) for _ in row] for row in start]
    first = build.load(build.gep(w.at(runs, WORD), [r]))
    last = build.add(first, build.mul(length, step))
    b_first = build.add(b, build.load(build.gep(w.at(b_runs, WORD), [r])))
    build.branch(inner)

    build.position_at_end(inner)
    k, b_inner = build.phi(WORD), build.phi(WORD)
    sums = [[build.phi(w.vector) for _ in row] for row in start]
    right = [w.load(build.add(b_inner, ir.Constant(WORD, v * BYTES))) for v in range(len(start[0]))]
    new = []
    for row, old in zip(rows, sums, strict=True):
        left = w.spread(build.load(build.bitcast(build.gep(row, [k]), w.item.as_pointer())), w.vector)
        new.append([w.multiply_add(left, y, z) for y, z in zip(right, old, strict=True)])
    k_next, b_next = build.add(k, step), build.add(b_inner, b_step)
    build.cbranch(build.icmp_signed("!=", k_next, last), inner, after)

    build.position_at_end(after)
    r_next = build.add(r, one)
    build.cbranch(build.icmp_signed("<", r_next, count), outer, done)

    r.add_incoming(ir.Constant(WORD, 0), before)
    r.add_incoming(r_next, after)
    for phi, initial, again in ((k, first, k_next), (b_inner, b_first, b_next)):
        phi.add_incoming(initial, outer)
        phi.add_incoming(again, inner)
    for m, row in enumerate(start):
        for v, initial in enumerate(row):
            sums_outer[m][v].add_incoming(initial, before)
            sums_outer[m][v].add_incoming(new[m][v], after)
            sums[m][v].add_incoming(sums_outer[m][v], outer)
            sums[m][v].add_incoming(new[m][v], inner)
    build.position_at_end(done)
    return new


def _tile(height, vectors):
    """The intrinsic for tiles of that many rows and vectors of columns."""

    @intrinsic
    def tile(
        typingctx, zero, a, rows, n, step, runs, b_runs, count, length, b, b_step, start, moves, c, c_rows, columns
    ):
        def codegen(context, build, signature, args):
            w = Writer(context, build, signature.args[0])
            _, a, rows, n, step, runs, b_runs, count, length, b, b_step, start, moves, c, c_rows, columns = args
            mask = w.masks(columns, vectors)[-1]  # of the last; those before are whole
            lefts, targets, sums = [], [], []
            last = build.sub(n, ir.Constant(WORD, 1))
            for m in range(height):  # rows past the last repeat it, and write the same numbers once more
                m = ir.Constant(WORD, m)
                m = build.select(build.icmp_signed("<", m, last), m, last)
                lefts.append(w.at(build.add(a, build.load(build.gep(w.at(rows, WORD), [m]))), BYTE))
                offset = build.load(build.gep(w.at(c_rows, WORD), [m]))
                targets.append(build.add(c, offset))
                origin = build.add(start, build.mul(moves, offset))
                places = [build.add(origin, ir.Constant(WORD, v * BYTES)) for v in range(vectors)]
                sums.append([*(w.load(place) for place in places[:-1]), w.load_lanes(places[-1], mask)])
            sums = _loop(w, lefts, step, runs, b_runs, count, length, b, b_step, sums)
            w.store_rows(sums, targets, columns, vectors - 1)
            return context.get_dummy_value()

        return types.void(zero, *[types.int64] * 15), codegen

    return tile


_narrow, _wide = _tile(ROWS, 1), _tile(ROWS, 2)
_short_narrow, _short_wide = _tile(SHORT, 1), _tile(SHORT, 2)


@jit
def product(zero, a, rows, m, step, runs, b_runs, count, length, b, b_step, b_panel, start, moves, c, c_rows, n):
    """c[i, j] = start[i, j] + the sum over k of a[i, k] b[k, j], for i < m and j < n.

    Everything but `zero`, a number of the dtype, is an integer: addresses, and distances in bytes.

    The terms k of a sum come in `count` runs of `length`; `rows`, `runs`, `b_runs` and `c_rows` are the addresses of
    int64 tables.

    a        that of term q of run r lies at a + rows[i] + runs[r] + q step
    b        that of term q of run r at b + b_runs[r] + q b_step, by panels of two vectors of columns that lie b_panel
             apart; all of a vector is read
    start    what sums begin with, at start + moves c_rows[i] and on: moves 0 for a bias, 1 for the result itself
    c        row i at c + c_rows[i]
    """
    size = size_of(zero)
    wide = 2 * BYTES // size
    for j in range(0, n, wide):
        panel, narrow, left = b + (j // wide) * b_panel, (n - j) * size <= BYTES, n - j
        i = 0
        while i < m:
            at = (zero, a, rows + 8 * i, m - i, step, runs, b_runs, count, length, panel, b_step)
            to = (start + j * size, moves, c + j * size, c_rows + 8 * i, left)
            if m - i <= SHORT or ROWS < m - i <= 2 * SHORT:
                if narrow:
                    _short_narrow(*at, *to)
                else:
                    _short_wide(*at, *to)
                i += SHORT
            else:
                if narrow:
                    _narrow(*at, *to)
                else:
                    _wide(*at, *to)
                i += ROWS
