"""Means of bins that tile each plane, on the CPU: rows are added first, then what lies side by side."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from .jit import jit


@cache
def _loops() -> tuple[Any, Any]:
    @jit
    def forward(x, out, kh, kw):
        planes, oh, ow = out.shape
        width = x.shape[2]
        share, sums = x.dtype.type(1) / x.dtype.type(kh * kw), np.empty(width, x.dtype)
        for p in range(planes):
            for i in range(oh):
                sums[:] = x[p, i * kh]
                for y in range(i * kh + 1, (i + 1) * kh):
                    row = x[p, y]
                    for z in range(np.uint64(width)):
                        sums[z] += row[z]
                for j in range(ow):
                    whole = sums[j * kw]
                    for z in range(j * kw + 1, (j + 1) * kw):
                        whole += sums[z]
                    out[p, i, j] = whole * share

    @jit
    def backward(g, gx, kh, kw):
        planes, oh, ow = g.shape
        share = g.dtype.type(1) / g.dtype.type(kh * kw)
        for p in range(planes):
            for i in range(oh):
                first = gx[p, i * kh]
                for j in range(ow):
                    first[j * kw : (j + 1) * kw] = g[p, i, j] * share
                for y in range(i * kh + 1, (i + 1) * kh):
                    gx[p, y] = first

    return forward, backward


class _Bins:
    """Kernel `bin_means`: x (N, C, H, W) in bins of (kh, kw), which divide its plane; interface in `ops/fused.py`."""

    keeps_output = False

    def accepts(self, x: Any, *, kernel: Any) -> bool:
        whole = x.ndim == 4 and x.flags.c_contiguous  # of another order of memory NumPy's mean makes more
        return whole and x.dtype in (np.float32, np.float64) and x.size > 0

    def forward(self, x: Any, *, kernel: Any) -> tuple[Any, Any]:
        n, c, h, w = x.shape
        out = np.empty((n, c, h // kernel[0], w // kernel[1]), x.dtype)
        _loops()[0](x.reshape(n * c, h, w), out.reshape(n * c, *out.shape[2:]), *kernel)
        return out, None

    def backward(self, g: Any, needs: Any, residuals: Any, x: Any, *, kernel: Any) -> list:
        gx = np.empty_like(x)
        head = np.ascontiguousarray(g)
        _loops()[1](head.reshape(-1, *g.shape[2:]), gx.reshape(-1, *x.shape[2:]), *kernel)
        return [gx]


KERNEL = _Bins()
