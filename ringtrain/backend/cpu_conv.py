"""Convolution on the CPU: columns of a few images at a time, which stay in cache, and one GEMM for each.

Arrays are (N, H, W, C) inside. With K = KH KW C, the columns of a block of images are a matrix (images OH OW, K),
and the output is columns @ weight (K, O). Where there is a bias, a column of ones carries it through the forward
GEMM and its gradient through the weight's. Columns that are no larger than the output (a first layer of few
channels) are kept for backward; others are made again, which is cheaper than the memory.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from .jit import jit

_BLOCK = 1 << 18  # bytes of columns at a time: what a core's second-level cache holds beside the weight


@cache
def _kernels() -> tuple[Any, Any]:
    """The two compiled loops; compiled at the first convolution."""
    # x is (n, h, w c) here: with no dilation the kw c numbers of a kernel row lie side by side. Indices are unsigned
    # so that numba need not ask whether they count from the end.

    @jit
    def im2col(x, columns, c, kh, kw, sh, sw, ph, pw, dh, dw, oh, ow):
        n, h, wc = x.shape
        w = wc // c
        run = kw * c
        row = np.uint64(0)
        for b in range(n):
            for i in range(oh):
                for j in range(ow):
                    z0 = j * sw - pw
                    whole = dw == 1 and z0 >= 0 and z0 + kw <= w
                    k = np.uint64(0)
                    for u in range(kh):
                        y = i * sh - ph + u * dh
                        if y < 0 or y >= h:
                            for q in range(np.uint64(run)):
                                columns[row, k + q] = 0
                        elif whole:
                            source = x[b, y, z0 * c : z0 * c + run]
                            for q in range(np.uint64(run)):
                                columns[row, k + q] = source[q]
                        else:
                            for v in range(kw):
                                z = z0 + v * dw
                                at = k + np.uint64(v * c)
                                if 0 <= z < w:
                                    for q in range(c):
                                        columns[row, at + np.uint64(q)] = x[b, y, z * c + q]
                                else:
                                    for q in range(c):
                                        columns[row, at + np.uint64(q)] = 0
                        k += np.uint64(run)
                    row += np.uint64(1)

    @jit
    def col2im(columns, x, c, kh, kw, sh, sw, ph, pw, dh, dw, oh, ow):
        n, h, wc = x.shape
        w = wc // c
        run = kw * c
        row = np.uint64(0)
        for b in range(n):
            for i in range(oh):
                for j in range(ow):
                    z0 = j * sw - pw
                    whole = dw == 1 and z0 >= 0 and z0 + kw <= w
                    k = np.uint64(0)
                    for u in range(kh):
                        y = i * sh - ph + u * dh
                        if 0 <= y < h:
                            if whole:
                                target = x[b, y, z0 * c : z0 * c + run]
                                for q in range(np.uint64(run)):
                                    target[q] += columns[row, k + q]
                            else:
                                for v in range(kw):
                                    z = z0 + v * dw
                                    if 0 <= z < w:
                                        at = k + np.uint64(v * c)
                                        for q in range(c):
                                            x[b, y, z * c + q] += columns[row, at + np.uint64(q)]
                        k += np.uint64(run)
                    row += np.uint64(1)

    return im2col, col2im


class _Geometry:
    """Shapes of one convolution, and how many images make a block."""

    def __init__(self, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any) -> None:
        self.n, self.c, h, w = x.shape
        self.o, _, self.kh, self.kw = weight.shape
        self.oh = (h + 2 * padding[0] - dilation[0] * (self.kh - 1) - 1) // stride[0] + 1
        self.ow = (w + 2 * padding[1] - dilation[1] * (self.kw - 1) - 1) // stride[1] + 1
        self.k = self.kh * self.kw * self.c
        self.places = self.oh * self.ow
        self.loops = (self.c, self.kh, self.kw, *stride, *padding, *dilation, self.oh, self.ow)
        self.width = self.k + (bias is not None)
        self.images = max(1, min(self.n, _BLOCK // max(1, self.places * self.width * x.itemsize)))

    def blocks(self) -> Any:
        """(first image, last + 1) of each block."""
        return ((a, min(a + self.images, self.n)) for a in range(0, self.n, self.images))

    def columns(self, dtype: Any, images: int) -> np.ndarray:
        """Room for the columns of that many images, and the column of ones."""
        out = np.empty((images * self.places, self.width), dtype)
        out[:, self.k :] = 1
        return out


def _channels_last(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def _rows(images: np.ndarray) -> np.ndarray:
    """(N, H, W, C) as (N, H, W C): what the loops walk over."""
    return images.reshape(*images.shape[:2], -1)


def _matrix(weight: np.ndarray) -> np.ndarray:
    """The weight as (K, O), rows in the columns' order."""
    return weight.transpose(2, 3, 1, 0).reshape(-1, weight.shape[0])


class _Conv2d:
    """Kernel `conv2d`: see `ops/fused.py` for the interface, `ops/conv.py` for the shapes."""

    keeps_output = False

    def accepts(self, x: Any, weight: Any, bias: Any, *, groups: int, **_: Any) -> bool:
        same = x.dtype == weight.dtype and (bias is None or bias.dtype == x.dtype)
        return groups == 1 and same and x.dtype in (np.float32, np.float64) and x.size > 0

    def forward(
        self, x: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, dilation: Any, groups: int
    ) -> tuple[Any, Any]:
        g = _Geometry(x, weight, bias, stride, padding, dilation)
        im2col, _ = _kernels()
        images = _rows(_channels_last(x))
        matrix = np.empty((g.width, g.o), x.dtype)
        matrix[: g.k] = _matrix(weight)
        if bias is not None:
            matrix[-1] = bias
        kept = g.width <= g.o
        columns = g.columns(x.dtype, g.n if kept else g.images)
        out = np.empty((g.n, g.oh, g.ow, g.o), x.dtype)
        flat = out.reshape(-1, g.o)
        for a, b in g.blocks():
            part = columns[a * g.places : b * g.places] if kept else columns[: (b - a) * g.places]
            im2col(images[a:b], part, *g.loops)
            np.matmul(part, matrix, out=flat[a * g.places : b * g.places])
        return out.transpose(0, 3, 1, 2), (images, columns if kept else None)

    def backward(
        self,
        grad: Any,
        needs: Any,
        residuals: Any,
        x: Any,
        weight: Any,
        bias: Any,
        *,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
    ) -> list:
        g = _Geometry(x, weight, bias, stride, padding, dilation)
        flat = _channels_last(grad).reshape(-1, g.o)
        gw = gb = None
        if needs[1] or needs[2]:
            images, kept = residuals
            both = self._weight_gradient(g, images, kept, flat)
            gw = both[: g.k].reshape(g.kh, g.kw, g.c, g.o).transpose(3, 2, 0, 1) if needs[1] else None
            gb = both[-1] if needs[2] else None
        return [self._input_gradient(g, weight, flat, x.shape) if needs[0] else None, gw, gb]

    def _weight_gradient(self, g: _Geometry, images: Any, kept: Any, flat: Any) -> np.ndarray:
        """(K, O), the weight's gradient, and a last row for a bias."""
        if kept is not None:
            return kept.T @ flat
        im2col, _ = _kernels()
        columns = g.columns(flat.dtype, g.images)
        total = np.zeros((g.width, g.o), flat.dtype)
        for a, b in g.blocks():
            part = columns[: (b - a) * g.places]
            im2col(images[a:b], part, *g.loops)
            total += part.T @ flat[a * g.places : b * g.places]
        return total

    def _input_gradient(self, g: _Geometry, weight: Any, flat: Any, shape: Any) -> np.ndarray:
        _, col2im = _kernels()
        matrix = np.ascontiguousarray(_matrix(weight).T)
        columns = np.empty((g.images * g.places, g.k), flat.dtype)
        n, c, h, w = shape
        out = np.zeros((n, h, w, c), flat.dtype)
        rows = _rows(out)
        for a, b in g.blocks():
            part = columns[: (b - a) * g.places]
            np.matmul(flat[a * g.places : b * g.places], matrix, out=part)
            col2im(part, rows[a:b], *g.loops)
        return out.transpose(0, 3, 1, 2)


KERNEL = _Conv2d()
