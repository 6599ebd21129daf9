"""Transposed convolution on the CPU: the kernels of convolution with their roles exchanged.

A convolution takes y to x; its input gradient takes x to y, which is this op's forward. Its own input gradient is that
convolution, and its weight's gradient is the convolution's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .conv_plan import Geometry
from .cpu_conv import conv_forward, conv_input_gradient, conv_weight_gradient, fills_tiles, geometry
from .layout import channels_last


def _geometry(
    x: Any, weight: Any, stride: Any, padding: Any, output_padding: Any, dilation: Any, groups: int
) -> Geometry:
    """That of the convolution that takes y to x."""
    places = zip(x.shape[2:], weight.shape[2:], stride, padding, output_padding, dilation, strict=True)
    plane = [(n - 1) * s - 2 * p + d * (k - 1) + e + 1 for n, k, s, p, e, d in places]
    return geometry((x.shape[0], weight.shape[1] * groups, *plane), weight, stride, padding, dilation, groups)


class _ConvTranspose2d:
    """Kernels `conv_transpose2d`, `conv_transpose3d`: see `ops/fused.py` and `ops/conv_transpose.py`."""

    keeps_output = False

    def accepts(
        self, x: Any, weight: Any, bias: Any, *, stride: Any, output_padding: Any, groups: int, **_: Any
    ) -> bool:
        same = x.dtype == weight.dtype and (bias is None or bias.dtype == x.dtype)
        whole = all(e < s for e, s in zip(output_padding, stride, strict=True))  # else y has more places than x
        return fills_tiles(weight, groups) and same and whole and x.dtype in (np.float32, np.float64) and x.size > 0

    def forward(self, x: Any, weight: Any, bias: Any, **options: Any) -> tuple[Any, Any]:
        out = conv_input_gradient(_geometry(x, weight, **options), channels_last(x), weight)
        if bias is not None:
            out += bias
        return np.moveaxis(out, -1, 1), None

    def backward(self, grad: Any, needs: Any, residuals: Any, x: Any, weight: Any, bias: Any, **options: Any) -> list:
        g, flat = _geometry(x, weight, **options), channels_last(grad)
        gx = np.moveaxis(conv_forward(g, flat, weight, None), -1, 1) if needs[0] else None
        gw = conv_weight_gradient(g, flat, channels_last(x), weight.shape) if needs[1] else None
        return [gx, gw, grad.sum(axis=(0, *range(2, grad.ndim))) if needs[2] else None]


KERNEL = _ConvTranspose2d()
