"""Matrix products on the CPU: compiled tiles where there is enough to do, NumPy's otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np

from .jit import available
from .layout import address
from .threads import shared

ENOUGH = 1 << 19  # multiply-adds from which laying out panels pays
SHARED = 1 << 22  # multiply-adds from which waking other threads pays
NARROW = 16  # rows or columns below which most of a tile would be empty


def _suits(a: Any, b: Any) -> bool:
    """Whether a product of these is one that the tiles are for: large, of one dtype, rows or columns contiguous."""
    if b.ndim != 2 or a.dtype != b.dtype or a.dtype not in (np.float32, np.float64):
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


def matmul(a: np.ndarray, b: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """a @ b (+ bias, one number a column): a (..., m, k), b (k, n) or what broadcasts with a as NumPy's matmul does."""
    if a.ndim > 2 and b.ndim == 2 and not a.flags.c_contiguous:
        a = np.ascontiguousarray(a)  # NumPy would multiply matrix by matrix
    if not _suits(a, b):
        out = np.matmul(a, b)
        if bias is not None:
            out += bias
        return out
    from .gemm import gemm
    from .tile import ROWS
    from .vectors import BYTES

    shape = (*a.shape[:-1], b.shape[1])
    if a.ndim != 2:
        a = a.reshape(-1, a.shape[-1])
    (m, k), n = a.shape, b.shape[1]
    if bias is None and m < n < k and a.strides[0] == a.itemsize and b.strides[1] == b.itemsize:
        # the many rows of both are read best whole, as those of the left are
        return np.ascontiguousarray(matmul(b.T, a.T).T)
    out = np.empty((m, n), a.dtype)
    start = np.zeros(n + 2 * BYTES, a.dtype) if bias is None else np.ascontiguousarray(bias)
    left, right, row, there = address(a), address(b), a.strides[0], address(out)

    def rows(first: int, last: int) -> None:
        gemm(
            *(a.dtype.type(0), last - first, n, k, left + first * row, *a.strides, right, *b.strides, 0),
            *(address(start), 0, there + first * out.strides[0], out.strides[0]),
        )

    shared(m, ROWS if m * n * k >= SHARED else m, rows)
    return out.reshape(shape)
