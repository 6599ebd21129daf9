"""Max pooling on the CPU: one compiled loop over (N, H, W, C), which remembers each window's first largest."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from .layout import channels_last


@cache
def _windows() -> Any:
    """The compiled loops; to load them loads numba."""
    from . import windows

    return windows


class _MaxPool2d:
    """Kernel `max_pool2d`: see `ops/fused.py` for the interface, `ops/pool.py` for the shapes."""

    keeps_output = False

    def accepts(self, x: Any, **_: Any) -> bool:
        return x.dtype in (np.float32, np.float64) and x.size > 0

    def forward(self, x: Any, *, kernel: Any, stride: Any, padding: Any) -> tuple[Any, Any]:
        images = channels_last(x)
        n, h, w, c = images.shape
        oh = (h + 2 * padding[0] - kernel[0]) // stride[0] + 1
        ow = (w + 2 * padding[1] - kernel[1]) // stride[1] + 1
        out = np.empty((n, oh, ow, c), x.dtype)
        best = np.empty((n, oh, ow, c), np.int32)
        _windows().largest(images, out, best, *kernel, *stride, *padding)
        return out.transpose(0, 3, 1, 2), best

    def backward(self, g: Any, needs: Any, best: Any, x: Any, *, kernel: Any, stride: Any, padding: Any) -> list:
        n, c, h, w = x.shape
        g = channels_last(g)
        if all(s >= k for s, k in zip(stride, kernel, strict=True)):
            covered = stride == kernel and all(
                o * k >= m + p for o, k, m, p in zip(g.shape[1:3], kernel, (h, w), padding, strict=True)
            )
            gx = (np.empty if covered else np.zeros)((n, h, w, c), x.dtype)
            _windows().largest_back_apart(g, best, gx, *kernel, *stride, *padding)
        else:
            gx = np.zeros((n, h, w, c), x.dtype)
            _windows().largest_back(g, best, gx)
        return [gx.transpose(0, 3, 1, 2)]


KERNEL = _MaxPool2d()
