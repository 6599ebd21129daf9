"""Max pooling on the CPU: one compiled loop over (N, H, W, C), which remembers each window's first largest."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from .jit import jit
from .layout import channels_last


@cache
def _kernels() -> tuple[Any, Any, Any]:
    @jit
    def forward(x, out, best, kh, kw, sh, sw, ph, pw):
        n, h, w, c = x.shape
        _, oh, ow, _ = out.shape
        for b in range(n):
            for i in range(oh):
                for j in range(ow):
                    top, left = i * sh - ph, j * sw - pw
                    first = True
                    for y in range(max(top, 0), min(top + kh, h)):
                        for z in range(max(left, 0), min(left + kw, w)):
                            place = y * w + z
                            if first:
                                for q in range(c):
                                    out[b, i, j, q] = x[b, y, z, q]
                                    best[b, i, j, q] = place
                                first = False
                            else:
                                for q in range(c):
                                    value = x[b, y, z, q]
                                    if value > out[b, i, j, q] or value != value:
                                        out[b, i, j, q] = value
                                        best[b, i, j, q] = place

    @jit
    def backward(g, best, gx):
        n, oh, ow, c = g.shape
        w = gx.shape[2]
        for b in range(n):
            for i in range(oh):
                for j in range(ow):
                    for q in range(c):
                        place = best[b, i, j, q]
                        gx[b, place // w, place % w, q] += g[b, i, j, q]

    @jit
    def backward_apart(g, best, gx, kh, kw, sh, sw, ph, pw):
        # windows that do not overlap: every element is written once, zeros included, without looking for its place
        n, oh, ow, c = g.shape
        _, h, w, _ = gx.shape
        zero = g.dtype.type(0)
        for b in range(n):
            for i in range(oh):
                for j in range(ow):
                    top, left = i * sh - ph, j * sw - pw
                    heads, places = g[b, i, j], best[b, i, j]
                    for y in range(max(top, 0), min(top + kh, h)):
                        for z in range(max(left, 0), min(left + kw, w)):
                            here, target = np.int32(y * w + z), gx[b, y, z]
                            for q in range(c):
                                target[q] = heads[q] if places[q] == here else zero

    return forward, backward, backward_apart


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
        _kernels()[0](images, out, best, *kernel, *stride, *padding)
        return out.transpose(0, 3, 1, 2), best

    def backward(self, g: Any, needs: Any, best: Any, x: Any, *, kernel: Any, stride: Any, padding: Any) -> list:
        n, c, h, w = x.shape
        _, overlapping, apart = _kernels()
        g = channels_last(g)
        if all(s >= k for s, k in zip(stride, kernel, strict=True)):
            covered = stride == kernel and all(
                o * k >= m + p for o, k, m, p in zip(g.shape[1:3], kernel, (h, w), padding, strict=True)
            )
            gx = (np.empty if covered else np.zeros)((n, h, w, c), x.dtype)
            apart(g, best, gx, *kernel, *stride, *padding)
        else:
            gx = np.zeros((n, h, w, c), x.dtype)
            overlapping(g, best, gx)
        return [gx.transpose(0, 3, 1, 2)]


KERNEL = _MaxPool2d()
