"""Matrix products on the CPU: compiled tiles where there is enough to do, NumPy's otherwise."""

from __future__ import annotations

import math
from functools import cache, lru_cache
from typing import Any

import numpy as np

from . import threads
from .jit import available
from .layout import address, on_lines
from .threads import together

ENOUGH = 1 << 17  # multiply-adds from which laying out panels pays
SHARED = 1 << 20  # multiply-adds from which waking other threads pays
RANGES = 2  # of rows for each thread: one that somebody slows down takes fewer
NARROW = 8  # rows or columns below which most of a tile would be empty
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


@cache
def _loops() -> Any:
    """The compiled loops; to load them loads numba."""
    from . import gemm

    return gemm


def _task(name: str, dtype: Any) -> Any:
    """One of them for threads to share."""
    from .tasks import task_for

    return task_for(name, dtype)


@lru_cache(64)
def _zeros(n: int, dtype: Any) -> np.ndarray:
    """What the sums of n columns begin with where nothing is added."""
    return np.zeros(n, dtype)


@lru_cache(1024)
def _way(
    shape: tuple[int, ...], strides: tuple[int, ...], dtype: Any, b_shape: tuple[int, ...], b_strides: Any, b_dtype: Any
) -> tuple[tuple, bool, tuple[int, ...], int] | None:
    """How the tiles multiply arrays that lie like this: (what `gemm_of` gets first, whether turned about, the result's
    shape, how many multiply-adds).

    None where they do not: they are for large products of one dtype whose rows or columns are contiguous.
    """
    if len(b_shape) != 2 or dtype != b_dtype or dtype not in _FLOATS or not shape or shape[-1] != b_shape[0]:
        return None
    (k, n), m, size = b_shape, math.prod(shape[:-1]), dtype.itemsize
    if m < NARROW or n < NARROW or m * n * k < ENOUGH or not available() or not _one_way(b_strides, size):
        return None
    if len(shape) == 2:
        row, column = strides
        if not _one_way(strides, size):
            return None
    else:
        row, column, expected = k * size, size, size
        for length, stride in zip(reversed(shape), reversed(strides), strict=True):
            if length > 1 and stride != expected:
                return None
            expected *= length
    # the many rows of both are read best whole, as those of the left are
    about = m < n < k and row == size and b_strides[1] == size
    return (dtype.type(0), m, n, k, row, column, *b_strides, n * size), about, (*shape[:-1], n), m * n * k


def _one_way(strides: tuple[int, ...], size: int) -> bool:
    """Whether the rows or the columns of a matrix are contiguous."""
    row, column = strides
    return (column == size and row >= size) or (row == size and column >= size)


def _stack_suits(a: Any, b: Any) -> bool:
    """The same for stacks of matrices (..., m, k) and (..., k, n) with as many axes."""
    if a.ndim < 3 or a.shape[:-2] != b.shape[:-2] or a.dtype != b.dtype or a.dtype not in _FLOATS:
        return False
    (m, k), n = a.shape[-2:], b.shape[-1]
    if min(m, n) < NARROW or m * n * k < ENOUGH or b.shape[-2] != k or not a.size or not available():
        return False
    return all(_one_way(x.strides[-2:], x.itemsize) for x in (a, b))


@lru_cache(256)
def _distances(shape: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray:
    """How far from the first each of a stack lies."""
    out = np.zeros(1, np.int64)
    for n, stride in zip(shape, strides, strict=True):
        out = (out[:, None] + np.arange(n) * stride).reshape(-1)
    return out


def add_matmul(out: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    """out += a @ b for stacks of matrices, in place."""
    if out.dtype == a.dtype and out.strides[-1] == out.itemsize and _stack_suits(a, b):
        _stacked(out, a, b, 1)
    else:
        out += np.matmul(a, b)


def _stacked(out: np.ndarray, a: np.ndarray, b: np.ndarray, add: int) -> np.ndarray:
    (m, k), n = a.shape[-2:], b.shape[-1]
    tables = [_distances(x.shape[:-2], x.strides[:-2]) for x in (a, b, out)]
    nothing = _zeros(n, a.dtype)
    start = address(out) if add else address(nothing)

    given = [m, n, k]
    for x, table in zip((a, b, out), tables, strict=True):
        given += [address(x), address(table), *x.strides[-2:]]
    count = len(tables[0])
    given[-1:] = [start, add, count, 0]
    numbers = np.array(given, np.int64)
    if count * m * n * k >= SHARED and threads.count() > 1:
        together(_task("products", a.dtype), numbers)
    else:
        _loops().gemms(a.dtype.type(0), address(numbers))
    return out


def rectified(a: np.ndarray, b: np.ndarray, bias: np.ndarray) -> np.ndarray | None:
    """Kernel `rectified`: relu(a @ b + bias) in one call; None where it is none."""
    way = _way(a.shape, a.strides, a.dtype, b.shape, b.strides, b.dtype)
    if way is None or bias.dtype is not a.dtype or (way[3] >= SHARED and threads.count() > 1):
        return None
    plan, _, shape, _ = way
    out, bias = np.empty(shape, a.dtype), np.ascontiguousarray(bias)
    _loops().rectified(*plan, id(a), id(b), id(bias), id(out))
    return out


def matmul(a: np.ndarray, b: np.ndarray, bias: np.ndarray | None = None, out: np.ndarray | None = None) -> np.ndarray:
    """a @ b (+ bias, one number a column): a (..., m, k), b (k, n) or what broadcasts with a as NumPy's matmul does.

    out: contiguous, of the result's shape and dtype; it is written to, and is the result.
    """
    way = _way(a.shape, a.strides, a.dtype, b.shape, b.strides, b.dtype)
    if way is None:
        return _otherwise(a, b, bias, out)
    plan, about, shape, work = way
    if about and bias is None:
        turned = matmul(b.T, a.T).T
        if out is None:
            return np.ascontiguousarray(turned)
        out[...] = turned
        return out
    if out is None:
        out = np.empty(shape, a.dtype)
    start = _zeros(shape[-1], a.dtype) if bias is None else np.ascontiguousarray(bias)
    if work < SHARED or threads.count() == 1:
        _loops().gemm_of(*plan, id(a), id(b), id(start), id(out))
    else:
        _in_shares(*plan, id(a), id(b), id(start), id(out))
    return out


def linear_back(
    g: np.ndarray, x: np.ndarray, weight: np.ndarray, needs: Any, places: Any, out: np.ndarray | None = None
) -> list | None:
    """Kernel `linear_back`: g (m, n), x (m, k), weight (n, k) -> gradients of x, weight and bias; None for others.

    needs, places: as a vjp has them. out: what `rectified` gave, where g is that one's gradient. All in one call:
    between its parts the interpreter would find its own code pushed out of the cache.
    """
    (m, n), k, dtype = g.shape, x.shape[1], g.dtype
    work = m * n * k
    if not (dtype is x.dtype is weight.dtype and dtype in _FLOATS and min(m, n, k) >= NARROW and work >= ENOUGH):
        return None
    if not (g.flags.c_contiguous and x.flags.c_contiguous and weight.flags.c_contiguous and available()):
        return None
    if n < k < m or (work >= SHARED and threads.count() > 1):  # products turned about, or shared
        return None
    if out is not None and not (out.dtype is dtype and out.flags.c_contiguous):
        return None
    _, gw, gb = places
    gx = np.empty((m, k), dtype) if needs[0] else None
    if not needs[1] or gw is None or gw.dtype is not dtype:
        gw = np.empty((n, k), dtype) if needs[1] else None
    if not needs[2] or gb is None or gb.dtype is not dtype:
        gb = np.empty(n, dtype) if needs[2] else None
    _loops().linear_back(
        *(dtype.type(0), m, n, k, id(g), id(x), id(weight), 0 if out is None else id(out)),
        *(0 if gx is None else id(gx), 0 if gw is None else id(gw), 0 if gb is None else id(gb)),
    )
    return [gx, gw, gb]


def _in_shares(zero: Any, m: int, n: int, k: int, *rest: int) -> None:
    """A product by all threads."""
    loops, many = _loops(), threads.count()
    lanes = loops.BYTES // zero.itemsize
    panels = on_lines((-(-n // (2 * lanes)), -(-k // lanes) * lanes, 2 * lanes), zero.dtype)
    high = -(-m // (RANGES * many * loops.ROWS)) * loops.ROWS
    together(_task("product", zero.dtype), np.array([m, n, k, *rest, id(panels), high, 0, 0, 0], np.int64))


def _otherwise(a: np.ndarray, b: np.ndarray, bias: np.ndarray | None, out: np.ndarray | None) -> np.ndarray:
    """`matmul` of a stack, of a matrix laid out anew first, or by NumPy."""
    if bias is None and out is None and _stack_suits(a, b):
        return _stacked(np.empty((*a.shape[:-1], b.shape[-1]), a.dtype), a, b, 0)
    if a.ndim > 2 and b.ndim == 2 and not a.flags.c_contiguous:
        return matmul(np.ascontiguousarray(a), b, bias, out)  # NumPy would multiply matrix by matrix
    out = np.matmul(a, b, out=out)
    if bias is not None:
        out += bias
    return out
