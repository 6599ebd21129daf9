"""Group normalisation on the CPU, and instance normalisation, whose groups are single channels: compiled loops."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np


@cache
def _norms() -> Any:
    """The compiled loops; to load them loads numba."""
    from . import norms

    return norms


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
        _norms().group(rows, scale, shift, x.dtype.type(eps), out, mean, var)
        statistics = mean.reshape(n, groups), var.reshape(n, groups)
        return (out.reshape(x.shape), *statistics), (rows, scale, mean, var)

    def backward(
        self, g: Any, needs: Any, residuals: Any, x: Any, weight: Any, bias: Any, *, groups: int, eps: float
    ) -> list:
        rows, scale, mean, var = residuals
        gx, sums = np.empty_like(rows), np.zeros((2, len(scale)))
        head = np.ascontiguousarray(g[0]).reshape(rows.shape)
        _norms().group_back(head, rows, scale, x.dtype.type(eps), mean, var, gx, sums[0], sums[1])
        to_weight, to_bias = sums.astype(x.dtype)
        return [gx.reshape(x.shape), to_weight if needs[1] else None, to_bias if needs[2] else None]


KERNEL = _GroupNorm()
