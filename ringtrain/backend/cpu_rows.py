"""Softmax, its logarithm, cross-entropy and topk on the CPU: rows of a matrix, compiled, shared among threads."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from .threads import shared

_WORTH = 2048  # elements from which a loop is worth loading
SHARED = 1 << 15  # elements from which waking another thread pays
_COLUMNS = 64  # that are summed at a time
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


@cache
def _rows() -> Any:
    """The compiled loops; to load them loads numba."""
    from . import rows

    return rows


def by_rows(loop: Any, *matrices: Any) -> None:
    """A compiled loop over rows, on ranges of rows of all the matrices (and vectors)."""
    n, width = matrices[0].shape
    grain = max(1, SHARED // max(1, width))
    if n <= grain:
        loop(*matrices)
    else:
        shared(n, grain, lambda first, last: loop(*[m[first:last] for m in matrices]))


class _Softmax:
    """Kernels `softmax` and `log_softmax` of x along its last axis: forward(x), and backward(g, out)."""

    def __init__(self, name: str) -> None:
        self.name = name

    def accepts(self, x: Any, axis: int) -> bool:
        return x.dtype in (np.float32, np.float64) and x.size >= _WORTH and axis in (-1, x.ndim - 1)

    def forward(self, x: Any) -> Any:
        x = np.ascontiguousarray(x)
        out = np.empty_like(x)
        by_rows(getattr(_rows(), self.name), *(a.reshape(-1, x.shape[-1]) for a in (x, out)))
        return out

    def backward(self, g: Any, out: Any) -> Any:
        g, out = np.ascontiguousarray(g), np.ascontiguousarray(out)
        gx = np.empty_like(out)
        by_rows(getattr(_rows(), f"{self.name}_back"), *(a.reshape(-1, out.shape[-1]) for a in (g, out, gx)))
        return gx


class _CrossEntropy:
    """Kernel `cross_entropy`: logits (N, C) and class numbers (N,); interface in `ops/fused.py`."""

    keeps_output = False

    def accepts(self, logits: Any, labels: Any, *, ignored: int, counted: int, reduction: str) -> bool:
        return logits.dtype in _FLOATS and reduction in ("mean", "sum") and logits.size > 0

    def forward(self, logits: Any, labels: Any, *, ignored: int, counted: int, reduction: str) -> tuple[Any, Any]:
        logits, labels = np.ascontiguousarray(logits), np.ascontiguousarray(labels, np.int64)
        (n, width), dtype = logits.shape, logits.dtype
        weights = np.empty((n, width), dtype)
        if n * width < SHARED:
            ids = id(logits), id(labels), id(weights)
            whole = _rows().cross_entropy_of(dtype.type(0), n, width, ignored, *ids)
        else:
            losses = np.empty(n, dtype)
            by_rows(lambda x, y, w, out: _rows().cross_entropy(x, y, ignored, w, out), logits, labels, weights, losses)
            whole = _rows().sum64(losses)
        if reduction == "mean":
            whole = whole / counted if counted else math.nan
        return np.array(whole, logits.dtype), weights

    def backward(
        self, g: Any, needs: Any, weights: Any, logits: Any, labels: Any, *, ignored: int, counted: int, reduction: str
    ) -> list:
        out, labels = np.empty(weights.shape, weights.dtype), np.ascontiguousarray(labels, np.int64)
        each = weights.dtype.type(g.item() / counted if reduction == "mean" and counted else g.item())
        if out.size < SHARED:
            _rows().cross_entropy_back_of(each, *out.shape, ignored, id(weights), id(labels), id(out))
        else:
            by_rows(lambda w, y, to: _rows().cross_entropy_back(w, y, ignored, each, to), weights, labels, out)
        return [out, None]


def count_labels(labels: Any, classes: int, ignored: int) -> tuple[int, int]:
    """Kernel `count_labels`: (how many are not `ignored`, the place of the first that is no class either, or -1)."""
    return _rows().count_labels(labels.reshape(-1), classes, ignored)


def sum_of_rows(x: Any, out: Any = None) -> Any:
    """Kernel `sum_of_rows` of a matrix: out, if there is one, is contiguous and of the matrix's dtype."""
    if x.dtype not in _FLOATS or x.size < _WORTH or not x.flags.c_contiguous:
        return np.add.reduce(x, axis=0, out=out)
    if out is None:
        out = np.empty(x.shape[1], x.dtype)
    loop, width = _rows().sum_of_rows, x.shape[1]
    if x.size < SHARED:
        loop(x, 0, out)
    else:
        shared(width, _COLUMNS, lambda first, last: loop(x, first, out[first:last]))
    return out


class _Glu:
    """Kernel `glu`: x is halved along an axis; interface in `ops/fused.py`."""

    keeps_output = False

    def accepts(self, x: Any, *, axis: int) -> bool:
        return x.dtype in (np.float32, np.float64) and x.size >= _WORTH

    def _matrix(self, x: Any, axis: int) -> Any:
        return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))

    def forward(self, x: Any, *, axis: int) -> tuple[Any, Any]:
        x = np.ascontiguousarray(x)
        out = np.empty((*x.shape[:axis], x.shape[axis] // 2, *x.shape[axis + 1 :]), x.dtype)
        by_rows(_rows().glu, self._matrix(x, axis), self._matrix(out, axis))
        return out, x

    def backward(self, g: Any, needs: Any, residuals: Any, x: Any, *, axis: int) -> list:
        gx = np.empty_like(residuals)
        by_rows(_rows().glu_back, *(self._matrix(a, axis) for a in (np.ascontiguousarray(g), residuals, gx)))
        return [gx]


class _TopK:
    """Kernel `top_k`: the places of the k largest or smallest along the last axis, few enough to be kept in order."""

    def accepts(self, x: Any, k: int, axis: int) -> bool:
        return x.dtype in (np.float32, np.float64) and x.size >= _WORTH and 0 < k <= 64 and axis == x.ndim - 1

    def __call__(self, x: Any, k: int, descending: bool) -> Any:
        index = np.empty((*x.shape[:-1], k), np.int64)
        matrix = np.ascontiguousarray(x).reshape(-1, x.shape[-1])
        by_rows(lambda some, to: _rows().top_k(some, descending, to), matrix, index.reshape(-1, k))
        return index


GLU, TOP_K = _Glu(), _TopK()
SOFTMAX, LOG_SOFTMAX, CROSS_ENTROPY = _Softmax("softmax"), _Softmax("log_softmax"), _CrossEntropy()
