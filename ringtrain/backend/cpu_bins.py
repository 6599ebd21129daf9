"""Means of bins that tile each plane, on the CPU: rows are added first, then what lies side by side."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np


@cache
def _windows() -> Any:
    """The compiled loops; to load them loads numba."""
    from . import windows

    return windows


class _Bins:
    """Kernel `bin_means`: x (N, C, H, W) in bins of (kh, kw), which divide its plane; interface in `ops/fused.py`."""

    keeps_output = False

    def accepts(self, x: Any, *, kernel: Any) -> bool:
        whole = x.ndim == 4 and x.flags.c_contiguous  # of another order of memory NumPy's mean makes more
        return whole and x.dtype in (np.float32, np.float64) and x.size > 0

    def forward(self, x: Any, *, kernel: Any) -> tuple[Any, Any]:
        n, c, h, w = x.shape
        out = np.empty((n, c, h // kernel[0], w // kernel[1]), x.dtype)
        _windows().bin_means(x.reshape(n * c, h, w), out.reshape(n * c, *out.shape[2:]), *kernel)
        return out, None

    def backward(self, g: Any, needs: Any, residuals: Any, x: Any, *, kernel: Any) -> list:
        gx = np.empty_like(x)
        head = np.ascontiguousarray(g)
        _windows().bin_means_back(head.reshape(-1, *g.shape[2:]), gx.reshape(-1, *x.shape[2:]), *kernel)
        return [gx]


KERNEL = _Bins()
