"""Transposed convolution on the CPU: the kernels of convolution with their roles exchanged.

A convolution takes y to x; its input gradient takes x to y, which is this op's forward. Its own input gradient is that
convolution, and its weight's gradient is the convolution's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .cpu_conv import KERNEL as CONV
from .cpu_conv import _channels_last, _Geometry, _rows


def _geometry(x: Any, weight: Any, stride: Any, padding: Any, output_padding: Any, dilation: Any) -> tuple[Any, Any]:
    """The convolution that takes y to x, and the shape of y."""
    places = zip(x.shape[2:], weight.shape[2:], stride, padding, output_padding, dilation, strict=True)
    plane = [(n - 1) * s - 2 * p + d * (k - 1) + e + 1 for n, k, s, p, e, d in places]
    shape = (x.shape[0], weight.shape[1], *plane)
    return _Geometry(np.broadcast_to(np.zeros((), x.dtype), shape), weight, None, stride, padding, dilation), shape


class _ConvTranspose2d:
    """Kernel `conv_transpose2d`: see `ops/fused.py` for the interface, `ops/conv_transpose.py` for the shapes."""

    keeps_output = False

    def accepts(
        self, x: Any, weight: Any, bias: Any, *, stride: Any, output_padding: Any, groups: int, **_: Any
    ) -> bool:
        same = x.dtype == weight.dtype and (bias is None or bias.dtype == x.dtype)
        whole = all(e < s for e, s in zip(output_padding, stride, strict=True))  # else y has more places than x
        return groups == 1 and same and whole and x.dtype in (np.float32, np.float64) and x.size > 0

    def forward(self, x: Any, weight: Any, bias: Any, *, groups: int, **options: Any) -> tuple[Any, Any]:
        g, shape = _geometry(x, weight, **options)
        out = CONV._input_gradient(g, weight, _channels_last(x).reshape(-1, g.o), shape)
        if bias is not None:
            out += bias[:, None, None]
        return out, None

    def backward(
        self, grad: Any, needs: Any, residuals: Any, x: Any, weight: Any, bias: Any, *, groups: int, **options: Any
    ) -> list:
        g, _ = _geometry(x, weight, **options)
        gx = gw = None
        if needs[0]:
            there = {name: options[name] for name in ("stride", "padding", "dilation")}
            gx = CONV.forward(grad, weight, None, groups=1, **there)[0]
        if needs[1]:
            flat = _channels_last(x).reshape(-1, g.o)
            whole = CONV._weight_gradient(g, _rows(_channels_last(grad)), None, flat)
            gw = whole.reshape(g.kh, g.kw, g.c, g.o).transpose(3, 2, 0, 1)
        return [gx, gw, grad.sum(axis=(0, 2, 3)) if needs[2] else None]


KERNEL = _ConvTranspose2d()
