"""Matrix products on the CPU: compiled tiles where there is enough to do, NumPy's otherwise."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

import numpy as np

from .jit import available
from .layout import address
from .threads import shared

ENOUGH = 1 << 19  # multiply-adds from which laying out panels pays
ENOUGH_EACH = 1 << 17  # the same for each of a stack of matrices
SHARED = 1 << 22  # multiply-adds from which waking other threads pays
NARROW = 16  # rows or columns below which most of a tile would be empty
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


@cache
def _loops() -> tuple[Any, Any, int]:
    """The compiled loops for a product and for a stack of them, and how many rows one tile has."""
    from .gemm import gemm, gemms
    from .tile import ROWS

    return gemm, gemms, ROWS


@lru_cache(64)
def _zeros(n: int, dtype: Any) -> np.ndarray:
    """What the sums of n columns begin with where nothing is added."""
    return np.zeros(n, dtype)


def _suits(a: Any, b: Any) -> bool:
    """Whether a product of these is one that the tiles are for: large, of one dtype, rows or columns contiguous."""
    if b.ndim != 2 or a.dtype is not b.dtype or a.dtype not in _FLOATS:
        return False
    (k, n), m = b.shape, a.size // max(1, a.shape[-1])
    if m < NARROW or n < NARROW or m * n * k < ENOUGH or a.shape[-1] != k or not available():
        return False
    plain = a.flags.c_contiguous or (a.ndim == 2 and _contiguous_one_way(a))
    return plain and _contiguous_one_way(b)


def _contiguous_one_way(x: Any) -> bool:
    rows, columns = x.strides
    size = x.itemsize
    return (columns == size and rows >= size) or (rows == size and columns >= size)


def _stack_suits(a: Any, b: Any) -> bool:
    """The same for stacks of matrices (..., m, k) and (..., k, n) with as many axes."""
    if a.ndim < 3 or a.shape[:-2] != b.shape[:-2] or a.dtype != b.dtype or a.dtype not in _FLOATS:
        return False
    (m, k), n = a.shape[-2:], b.shape[-1]
    if min(m, n) < NARROW or m * n * k < ENOUGH_EACH or b.shape[-2] != k or not a.size or not available():
        return False
    return all(_contiguous_one_way(x[(0,) * (x.ndim - 2)]) for x in (a, b))


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
    _, gemms, _ = _loops()
    (m, k), n = a.shape[-2:], b.shape[-1]
    tables = [_distances(x.shape[:-2], x.strides[:-2]) for x in (a, b, out)]
    nothing = _zeros(n, a.dtype)
    start = address(out) if add else address(nothing)

    def some(first: int, last: int) -> None:
        at, b_at, c_at = (table[first:last] for table in tables)
        gemms(
            *(a.dtype.type(0), m, n, k, address(a), at, *a.strides[-2:], address(b), b_at, *b.strides[-2:]),
            *(start, add, address(out), c_at, out.strides[-2]),
        )

    count = len(tables[0])
    shared(count, 1 if count * m * n * k >= SHARED else count, some)
    return out


def matmul(a: np.ndarray, b: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """a @ b (+ bias, one number a column): a (..., m, k), b (k, n) or what broadcasts with a as NumPy's matmul does."""
    if bias is None and _stack_suits(a, b):
        return _stacked(np.empty((*a.shape[:-1], b.shape[-1]), a.dtype), a, b, 0)
    if a.ndim > 2 and b.ndim == 2 and not a.flags.c_contiguous:
        a = np.ascontiguousarray(a)  # NumPy would multiply matrix by matrix
    if not _suits(a, b):
        out = np.matmul(a, b)
        if bias is not None:
            out += bias
        return out
    gemm, _, grain = _loops()
    shape = (*a.shape[:-1], b.shape[1])
    if a.ndim != 2:
        a = a.reshape(-1, a.shape[-1])
    (m, k), n = a.shape, b.shape[1]
    if bias is None and m < n < k and a.strides[0] == a.itemsize and b.strides[1] == b.itemsize:
        # the many rows of both are read best whole, as those of the left are
        return np.ascontiguousarray(matmul(b.T, a.T).T)
    out = np.empty((m, n), a.dtype)
    start = _zeros(n, a.dtype) if bias is None else np.ascontiguousarray(bias)
    left, right, row, there = address(a), address(b), a.strides[0], address(out)

    def rows(first: int, last: int) -> None:
        gemm(
            *(a.dtype.type(0), last - first, n, k, left + first * row, *a.strides, right, *b.strides, 0),
            *(address(start), 0, there + first * out.strides[0], out.strides[0]),
        )

    shared(m, grain if m * n * k >= SHARED else m, rows)
    return out.reshape(shape)
