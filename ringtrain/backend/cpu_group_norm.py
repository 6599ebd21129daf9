"""Group normalisation on the CPU, and instance normalisation, whose groups are single channels: compiled loops."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from .jit import jit


@cache
def _loops() -> tuple[Any, Any]:
    from .rows import inner, total

    def forward(x, weight, bias, eps, out, mean, var):
        """x (groups of all samples, channels of a group, places)."""
        m, channels, places = x.shape
        for i in range(m):
            row = x[i].reshape(-1)
            centre = x.dtype.type(total(row) / row.size)
            room = out[i].reshape(-1)
            for j in range(np.uint64(row.size)):
                room[j] = row[j] - centre
            spread = x.dtype.type(inner(room, room) / row.size)
            mean[i], var[i] = centre, spread
            scale = x.dtype.type(1 / np.sqrt(spread + eps))
            for c in range(channels):
                k = (i * channels + c) % len(weight)
                slope, shift, to = scale * weight[k], bias[k], out[i, c]
                for j in range(np.uint64(places)):
                    to[j] = to[j] * slope + shift

    def backward(g, x, weight, eps, mean, var, gx, gw, gb):
        m, channels, places = x.shape
        for i in range(m):
            centre, scale = mean[i], x.dtype.type(1 / np.sqrt(var[i] + eps))
            plain = times = x.dtype.type(0)
            for c in range(channels):
                k = (i * channels + c) % len(weight)
                whole = total(g[i, c])
                along = (inner(g[i, c], x[i, c]) - whole * centre) * scale  # with what was normalised
                gb[k] += whole
                gw[k] += along
                plain += whole * weight[k]
                times += along * weight[k]
            base = plain / x.dtype.type(channels * places) * scale
            slope = times / x.dtype.type(channels * places) * scale * scale
            for c in range(channels):
                factor = scale * weight[(i * channels + c) % len(weight)]
                head, row, to = g[i, c], x[i, c], gx[i, c]
                for j in range(np.uint64(places)):
                    to[j] = head[j] * factor - (row[j] - centre) * slope - base

    return jit(forward, contract=True), jit(backward, contract=True)


class _GroupNorm:
    """Kernel `group_norm`: x (N, C, ...), weight and bias (C,) or None; the output, and means and variances (N, G)."""

    keeps_output = False

    def accepts(self, x: Any, weight: Any, bias: Any, *, groups: int, eps: float) -> bool:
        same = all(p is None or p.dtype == x.dtype for p in (weight, bias))
        return same and x.dtype in (np.float32, np.float64) and x.size > 0

    def forward(self, x: Any, weight: Any, bias: Any, *, groups: int, eps: float) -> tuple[Any, Any]:
        n, c = x.shape[:2]
        rows = np.ascontiguousarray(x).reshape(n * groups, c // groups, -1)
        out = np.empty_like(rows)
        mean, var = np.empty((2, n * groups), x.dtype)
        scale = np.ones(c, x.dtype) if weight is None else np.ascontiguousarray(weight)
        shift = np.zeros(c, x.dtype) if bias is None else np.ascontiguousarray(bias)
        _loops()[0](rows, scale, shift, x.dtype.type(eps), out, mean, var)
        statistics = mean.reshape(n, groups), var.reshape(n, groups)
        return (out.reshape(x.shape), *statistics), (rows, scale, mean, var)

    def backward(
        self, g: Any, needs: Any, residuals: Any, x: Any, weight: Any, bias: Any, *, groups: int, eps: float
    ) -> list:
        rows, scale, mean, var = residuals
        gx, sums = np.empty_like(rows), np.zeros((2, len(scale)))
        head = np.ascontiguousarray(g[0]).reshape(rows.shape)
        _loops()[1](head, rows, scale, x.dtype.type(eps), mean, var, gx, sums[0], sums[1])
        to_weight, to_bias = sums.astype(x.dtype)
        return [gx.reshape(x.shape), to_weight if needs[1] else None, to_bias if needs[2] else None]


KERNEL = _GroupNorm()
