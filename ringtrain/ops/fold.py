"""Windows of images as columns, and columns added up to images again."""

from __future__ import annotations

import math
from typing import Any

from ..dtypes import wide
from ..tensor import Tensor
from .geometry import Size, check_input, lengths, or_one, output_length, pad_axes, taps
from .index import placed
from .shape import reshape, stack


def _windows(name: str, plane: Any, kernel_size: Size, dilation: Size, padding: Size, stride: Size) -> tuple:
    """Checked (kernel, dilation, padding, stride), and how many windows there are along each axis."""
    kernel, gap = lengths(kernel_size, 2, "kernel_size"), lengths(dilation, 2, "dilation")
    edge, step = lengths(padding, 2, "padding"), lengths(stride, 2, "stride")
    if min(*kernel, *gap, *step) < 1 or min(edge) < 0:
        raise ValueError(
            f"{name}: kernel {kernel}, dilation {gap} and stride {step} must be >= 1, padding {edge} must be >= 0"
        )
    out = tuple(output_length(*place) for place in zip(plane, kernel, step, edge, gap, strict=True))
    if min(out) < 1:
        raise ValueError(
            f"{name}: a kernel {kernel} (dilation {gap}) does not fit an image {tuple(plane)} with padding {edge}"
        )
    return kernel, gap, edge, step, out


@or_one(4)
def unfold(x: Tensor, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1) -> Tensor:
    """The windows of images as columns: (N, C, H, W) -> (N, C KH KW, L), L windows row by row ("im2col")."""
    check_input("unfold", x, 2)
    kernel, gap, edge, step, (oh, ow) = _windows("unfold", x.shape[2:], kernel_size, dilation, padding, stride)
    x = pad_axes(x, [(p, p) for p in edge])
    seen = [
        place
        for rows in taps(x, 2, kernel[0], step[0], gap[0], oh)
        for place in taps(rows, 3, kernel[1], step[1], gap[1], ow)
    ]
    n, c = x.shape[:2]
    return reshape(stack(seen, axis=2), (n, c * len(seen), oh * ow))


@or_one(3)
def fold(
    x: Tensor, output_size: Size, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1
) -> Tensor:
    """Columns added up at their places in images: (N, C KH KW, L) -> (N, C, H, W), (H, W) = output_size.

    The transpose of `unfold` as a linear map: elements that windows share are sums.
    """
    plane = lengths(output_size, 2, "output_size")
    kernel, gap, edge, step, (oh, ow) = _windows("fold", plane, kernel_size, dilation, padding, stride)
    count = math.prod(kernel)
    if x.ndim != 3 or x.shape[1] % count or x.shape[2] != oh * ow:
        raise ValueError(
            f"fold: output_size {plane} and kernel {kernel} want an input (N, C * {count}, {oh * ow}); got {x.shape}"
        )
    accumulator = wide(x.dtype)
    wider = x if accumulator is None else x.astype(accumulator)
    columns = reshape(wider, (x.shape[0], x.shape[1] // count, count, oh, ow))
    padded = (*columns.shape[:2], *[n + 2 * p for n, p in zip(plane, edge, strict=True)])
    out: Any = None
    for k in range(count):
        top, left = k // kernel[1] * gap[0], k % kernel[1] * gap[1]
        rows = slice(top, top + (oh - 1) * step[0] + 1, step[0])
        places = slice(left, left + (ow - 1) * step[1] + 1, step[1])
        part = placed(columns[:, :, k], (slice(None), slice(None), rows, places), padded)
        out = part if out is None else out + part
    return pad_axes(out, [(-p, -p) for p in edge]).astype(x.dtype)
