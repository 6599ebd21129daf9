"""Batch and layer normalisation on the CPU: two compiled passes to measure, one to write, and as many backward.

Both see a matrix: batch norm (places, channels), from arrays whose channels lie next to each other in memory, layer
norm (samples, features). Sums run in the input's dtype within a row or a block of rows and in float64 over them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from .layout import channels_last, dense
from .threads import shared

SHARED = 1 << 18  # elements from which waking another thread pays


@cache
def _norms() -> Any:
    """The compiled loops; to load them loads numba."""
    from . import norms

    return norms


def _last(x: np.ndarray) -> np.ndarray:
    """(N, C, ...) with its channels side by side in memory: as (places, C). A copy unless they lie so."""
    return channels_last(x).reshape(-1, x.shape[1])


def _first(matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The reverse of `_last`: a view."""
    moved = matrix.reshape(shape[0], *shape[2:], shape[1])
    return moved.transpose(0, moved.ndim - 1, *range(1, moved.ndim - 1))


class _BatchNorm:
    """Kernel `batch_norm`: x (N, C, ...), weight and bias (C,) or None; gives the output, means and variances."""

    keeps_output = False

    def accepts(self, x: Any, weight: Any, bias: Any, *, eps: float) -> bool:
        same = all(p is None or p.dtype == x.dtype for p in (weight, bias))
        return same and x.dtype in (np.float32, np.float64) and x.size > 0 and dense(x)

    def forward(self, x: Any, weight: Any, bias: Any, *, eps: float) -> tuple[Any, Any]:
        rows = _last(x)
        mean, var = np.empty((2, x.shape[1]), x.dtype)
        _norms().batch_measure(rows, mean, var)
        inverse = 1 / np.sqrt(var + x.dtype.type(eps))
        scale = inverse if weight is None else inverse * weight
        shift = -mean * scale if bias is None else bias - mean * scale
        out = np.empty_like(rows)
        _norms().batch_apply(rows, scale, shift, out)
        return (_first(out, x.shape), mean, var), (rows, mean, inverse, scale)

    def backward(self, g: Any, needs: Any, residuals: Any, x: Any, weight: Any, bias: Any, *, eps: float) -> list:
        rows, mean, inverse, scale = residuals
        gx, sums = np.empty_like(rows), np.empty((2, len(mean)))
        _norms().batch_back(_last(g[0]), rows, mean, inverse, scale, gx, sums)
        to_bias, to_weight = sums.astype(x.dtype)
        return [
            _first(gx, x.shape) if needs[0] else None,
            to_weight if needs[1] else None,
            to_bias if needs[2] else None,
        ]


class _LayerNorm:
    """Kernel `layer_norm`: x (..., D), weight and bias (D,) or None."""

    keeps_output = False

    def accepts(self, x: Any, weight: Any, bias: Any, *, eps: float) -> bool:
        same = all(p is None or p.dtype == x.dtype for p in (weight, bias))
        return same and x.dtype in (np.float32, np.float64) and x.size > 0

    def forward(self, x: Any, weight: Any, bias: Any, *, eps: float) -> tuple[Any, Any]:
        d = x.shape[-1]
        rows = np.ascontiguousarray(x).reshape(-1, d)
        out = np.empty_like(rows)
        mean, inverse = np.empty((2, len(rows)), x.dtype)
        scale = np.ones(d, x.dtype) if weight is None else np.ascontiguousarray(weight)
        shift = np.zeros(d, x.dtype) if bias is None else np.ascontiguousarray(bias)
        loop, least = _norms().layer, x.dtype.type(eps)

        def some(first: int, last: int) -> None:
            at = slice(first, last)
            loop(rows[at], scale, shift, least, out[at], mean[at], inverse[at])

        shared(len(rows), max(1, SHARED // d), some)
        return out.reshape(x.shape), (rows, scale, mean, inverse)

    def backward(self, g: Any, needs: Any, residuals: Any, x: Any, weight: Any, bias: Any, *, eps: float) -> list:
        rows, scale, mean, inverse = residuals
        gx = np.empty_like(rows)
        head, loop = np.ascontiguousarray(g).reshape(rows.shape), _norms().layer_back
        sums: list = []

        def some(first: int, last: int) -> None:
            part, at = np.zeros((2, rows.shape[1])), slice(first, last)
            sums.append((first, part))
            loop(head[at], rows[at], scale, mean[at], inverse[at], gx[at], part[0], part[1])

        shared(len(rows), max(1, SHARED // rows.shape[1]), some)
        to_weight, to_bias = sum(part for _, part in sorted(sums, key=lambda part: part[0])).astype(x.dtype)
        return [gx.reshape(x.shape), to_weight if needs[1] else None, to_bias if needs[2] else None]


BATCH_NORM, LAYER_NORM = _BatchNorm(), _LayerNorm()
