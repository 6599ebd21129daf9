# mypy: ignore-errors
# What numba compiles is typed by numba.
"""The loops that elementwise rules are compiled into: of optimisers (`updates`) and of ops (`maps`).

The version of a rule is named in its loop so that it belongs to what numba tells loops apart by; it costs nothing. What
a loop calls, but for its rule, is global here: numba finds no loop again on disk that has a compiled function in its
closure.

Importing it loads numba: import it only when used.
"""

import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple

from . import cpu_math
from .vectors import numbers_of, restore, tiny_as_zero

# An optimiser's numbers come as an array, `count` of them: to unpack a tuple takes numba longer than to update a small
# network. flush: whether numbers below the smallest normal one count as zeros. The mean of a gradient that has become
# 0, as a unit's that is dead, is such a number for good, and slow for a processor.


def _update_0(rule, version, count):
    def loop(p, g, numbers, flush):
        _ = version
        before = tiny_as_zero(flush)
        n = to_fixed_tuple(numbers, count)
        for i in range(p.size):
            (p[i],) = rule(p[i], g[i], *n)
        restore(before)

    return loop


def _update_1(rule, version, count):
    def loop(p, g, a, numbers, flush):
        _ = version
        before = tiny_as_zero(flush)
        n = to_fixed_tuple(numbers, count)
        for i in range(p.size):
            p[i], a[i] = rule(p[i], g[i], a[i], *n)
        restore(before)

    return loop


def _update_2(rule, version, count):
    def loop(p, g, a, b, numbers, flush):
        _ = version
        before = tiny_as_zero(flush)
        n = to_fixed_tuple(numbers, count)
        for i in range(p.size):
            p[i], a[i], b[i] = rule(p[i], g[i], a[i], b[i], *n)
        restore(before)

    return loop


def _update_3(rule, version, count):
    def loop(p, g, a, b, c, numbers, flush):
        _ = version
        before = tiny_as_zero(flush)
        n = to_fixed_tuple(numbers, count)
        for i in range(p.size):
            p[i], a[i], b[i], c[i] = rule(p[i], g[i], a[i], b[i], c[i], *n)
        restore(before)

    return loop


# An op's arrays are given by ids: to look into an array takes numba longer than to go through a small one.


def _map_1(rule, version, zero):
    def loop(out, a, first, end, numbers):
        _ = version
        to, x = numbers_of(zero, out, end), numbers_of(zero, a, end)
        for i in range(np.uint64(first), np.uint64(end)):
            to[i] = rule(cpu_math, x[i], *numbers)

    return loop


def _map_2(rule, version, zero):
    def loop(out, a, b, first, end, numbers):
        _ = version
        to, x, y = numbers_of(zero, out, end), numbers_of(zero, a, end), numbers_of(zero, b, end)
        for i in range(np.uint64(first), np.uint64(end)):
            to[i] = rule(cpu_math, x[i], y[i], *numbers)

    return loop


def _map_3(rule, version, zero):
    def loop(out, a, b, c, first, end, numbers):
        _ = version
        to, x = numbers_of(zero, out, end), numbers_of(zero, a, end)
        y, z = numbers_of(zero, b, end), numbers_of(zero, c, end)
        for i in range(np.uint64(first), np.uint64(end)):
            to[i] = rule(cpu_math, x[i], y[i], z[i], *numbers)

    return loop


updates = [_update_0, _update_1, _update_2, _update_3]  # by the number of slots
maps = [_map_1, _map_2, _map_3]  # by the number of arrays, from 1
