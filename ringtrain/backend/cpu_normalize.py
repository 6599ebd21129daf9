"""Batch and layer normalisation on the CPU: two compiled passes to measure, one to write, and as many backward.

Both see a matrix: batch norm (places, channels), from arrays whose channels lie next to each other in memory, layer
norm (samples, features). Sums run in the input's dtype within a row or a block of rows and in float64 over them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from .jit import jit
from .layout import channels_last, dense

_BLOCK = 256  # rows summed in the dtype of the data before they are added to the float64 total


@cache
def _batch() -> tuple[Any, Any, Any]:
    @jit
    def measure(x, mean, var):
        """Means and biased variances of columns."""
        m, c = x.shape
        part = np.zeros(c, x.dtype)
        centre = np.empty(c, x.dtype)
        for turn in range(2):
            total = np.zeros(c, np.float64)
            for start in range(0, m, _BLOCK):
                part[:] = 0
                for i in range(np.uint64(start), np.uint64(min(m, start + _BLOCK))):
                    row = x[i]
                    if turn == 0:
                        for j in range(np.uint64(c)):
                            part[j] += row[j]
                    else:
                        for j in range(np.uint64(c)):
                            d = row[j] - centre[j]
                            part[j] += d * d
                for j in range(np.uint64(c)):
                    total[j] += part[j]
            for j in range(c):
                if turn == 0:
                    mean[j] = centre[j] = total[j] / m
                else:
                    var[j] = total[j] / m

    @jit
    def apply(x, scale, shift, out):
        m, c = x.shape
        for i in range(np.uint64(m)):
            row, to = x[i], out[i]
            for j in range(np.uint64(c)):
                to[j] = row[j] * scale[j] + shift[j]

    @jit
    def backward(g, x, mean, inverse, factor, gx, sums):
        """sums (2, c): of g, and of g times normalised x. gx = factor (g - mean(g) - normalised mean(g normalised))."""
        m, c = x.shape
        part = np.zeros((2, c), x.dtype)
        sums[:] = 0
        for start in range(0, m, _BLOCK):
            part[:] = 0
            plain, times = part[0], part[1]
            for i in range(np.uint64(start), np.uint64(min(m, start + _BLOCK))):
                row, from_ = x[i], g[i]
                for j in range(np.uint64(c)):
                    plain[j] += from_[j]
                    times[j] += from_[j] * (row[j] - mean[j])
            for j in range(np.uint64(c)):
                sums[0, j] += plain[j]
                sums[1, j] += times[j]
        base, slope = np.empty(c, x.dtype), np.empty(c, x.dtype)
        for j in range(c):
            sums[1, j] *= inverse[j]
            base[j] = sums[0, j] / m
            slope[j] = sums[1, j] / m * inverse[j]
        for i in range(np.uint64(m)):
            row, from_, to = x[i], g[i], gx[i]
            for j in range(np.uint64(c)):
                to[j] = factor[j] * (from_[j] - base[j] - (row[j] - mean[j]) * slope[j])

    return measure, apply, backward


@cache
def _layer() -> tuple[Any, Any]:
    def forward(x, weight, bias, eps, out, mean, inverse):
        m, d = x.shape
        for i in range(m):
            row, to = x[i], out[i]
            total = x.dtype.type(0)
            for j in range(np.uint64(d)):
                total += row[j]
            centre = x.dtype.type(total / d)
            squares = x.dtype.type(0)
            for j in range(np.uint64(d)):
                squares += (row[j] - centre) * (row[j] - centre)
            scale = x.dtype.type(1 / np.sqrt(squares / d + eps))
            mean[i], inverse[i] = centre, scale
            for j in range(np.uint64(d)):
                to[j] = (row[j] - centre) * scale * weight[j] + bias[j]

    def backward(g, x, weight, mean, inverse, gx, gw, gb):
        m, d = x.shape
        part = np.zeros((2, d), x.dtype)
        for start in range(0, m, _BLOCK):
            part[:] = 0
            to_weight, to_bias = part[0], part[1]
            for i in range(start, min(m, start + _BLOCK)):
                row, from_, to = x[i], g[i], gx[i]
                centre, scale = mean[i], inverse[i]
                plain = times = x.dtype.type(0)
                for j in range(np.uint64(d)):
                    normal = (row[j] - centre) * scale
                    h = from_[j] * weight[j]
                    plain += h
                    times += h * normal
                    to_weight[j] += from_[j] * normal
                    to_bias[j] += from_[j]
                plain, times = x.dtype.type(plain / d), x.dtype.type(times / d)
                for j in range(np.uint64(d)):
                    normal = (row[j] - centre) * scale
                    to[j] = scale * (from_[j] * weight[j] - plain - normal * times)
            for j in range(np.uint64(d)):
                gw[j] += to_weight[j]
                gb[j] += to_bias[j]

    # or the sums along a row would go one number at a time
    return jit(forward, reorder=True), jit(backward, reorder=True)


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
        measure, apply, _ = _batch()
        rows = _last(x)
        mean, var = np.empty((2, x.shape[1]), x.dtype)
        measure(rows, mean, var)
        inverse = 1 / np.sqrt(var + x.dtype.type(eps))
        scale = inverse if weight is None else inverse * weight
        shift = -mean * scale if bias is None else bias - mean * scale
        out = np.empty_like(rows)
        apply(rows, scale, shift, out)
        return (_first(out, x.shape), mean, var), (rows, mean, inverse, scale)

    def backward(self, g: Any, needs: Any, residuals: Any, x: Any, weight: Any, bias: Any, *, eps: float) -> list:
        rows, mean, inverse, scale = residuals
        gx, sums = np.empty_like(rows), np.empty((2, len(mean)))
        _batch()[2](_last(g[0]), rows, mean, inverse, scale, gx, sums)
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
        _layer()[0](rows, scale, shift, x.dtype.type(eps), out, mean, inverse)
        return out.reshape(x.shape), (rows, scale, mean, inverse)

    def backward(self, g: Any, needs: Any, residuals: Any, x: Any, weight: Any, bias: Any, *, eps: float) -> list:
        rows, scale, mean, inverse = residuals
        gx = np.empty_like(rows)
        sums = np.zeros((2, rows.shape[1]))
        head = np.ascontiguousarray(g).reshape(rows.shape)
        _layer()[1](head, rows, scale, mean, inverse, gx, sums[0], sums[1])
        to_weight, to_bias = sums.astype(x.dtype)
        return [gx.reshape(x.shape), to_weight if needs[1] else None, to_bias if needs[2] else None]


BATCH_NORM, LAYER_NORM = _BatchNorm(), _LayerNorm()
