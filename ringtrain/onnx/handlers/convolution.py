"""Convolutions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ops import conv, conv_transpose, index, linalg, sample, shape
from ...ops.geometry import pad_axes
from ...tensor import Tensor
from ..registry import handler
from ..values import ints, made

Pairs = list[tuple[int, int]]


def pairs(pads: list[int] | None, dims: int) -> Pairs:
    """ONNX's pads, all that come before and then all that come after, as (before, after) for each axis."""
    return list(zip(pads[:dims], pads[dims:], strict=True)) if pads else [(0, 0)] * dims


def split_evenly(total: int, auto_pad: str) -> tuple[int, int]:
    """Padding in two parts; SAME_UPPER puts the odd one after, SAME_LOWER before."""
    less = total // 2
    return (less, total - less) if auto_pad == "SAME_UPPER" else (total - less, less)


def window_pads(
    auto_pad: str, pads: list[int] | None, lengths: Any, kernel: list[int], strides: list[int], dilations: list[int]
) -> Pairs:
    """(before, after) of each axis, as given or as auto_pad wants it."""
    if auto_pad == "NOTSET":
        return pairs(pads, len(kernel))
    if auto_pad == "VALID":
        return [(0, 0)] * len(kernel)
    out = []
    for n, k, s, d in zip(lengths, kernel, strides, dilations, strict=True):
        total = max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
        out.append(split_evenly(total, auto_pad))
    return out


@handler("Conv")
def convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, auto_pad: str = "NOTSET",
    dilations: list[int] | None = None, group: int = 1, kernel_shape: list[int] | None = None,
    pads: list[int] | None = None, strides: list[int] | None = None,
) -> Tensor:  # fmt: skip
    dims = weight.ndim - 2
    step, gap = strides or [1] * dims, dilations or [1] * dims
    widths = window_pads(auto_pad, pads, x.shape[2:], list(weight.shape[2:]), step, gap)
    least = [max(min(pair), 0) for pair in widths]
    rest = [(a - p, b - p) for (a, b), p in zip(widths, least, strict=True)]
    fn = (conv.conv1d, conv.conv2d, conv.conv3d)[dims - 1]
    return fn(pad_axes(x, rest), weight, bias, step, least, gap, group)


@handler("ConvTranspose")
def transposed(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, auto_pad: str = "NOTSET",
    dilations: list[int] | None = None, group: int = 1, kernel_shape: list[int] | None = None,
    output_padding: list[int] | None = None, output_shape: list[int] | None = None, pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Tensor:  # fmt: skip
    """All that the kernel reaches, cut and extended to the lengths that the node asks for, and then the bias."""
    dims = weight.ndim - 2
    step, gap, extra = strides or [1] * dims, dilations or [1] * dims, output_padding or [0] * dims
    fn = (conv_transpose.conv_transpose1d, conv_transpose.conv_transpose2d, conv_transpose.conv_transpose3d)[dims - 1]
    full = fn(x, weight, None, step, 0, 0, group, gap)
    widths = [(-a, e - b) for (a, b), e in zip(pairs(pads, dims), extra, strict=True)]
    if output_shape is not None or auto_pad.startswith("SAME"):
        wanted = [n * s for n, s in zip(x.shape[2:], step, strict=True)] if output_shape is None else output_shape
        widths = []
        for n, e, w in zip(full.shape[2:], extra, wanted[-dims:], strict=True):
            before, after = split_evenly(n + e - w, auto_pad)
            widths.append((-before, e - after))
    out = pad_axes(full, widths)
    return out if bias is None else out + shape.reshape(bias, (1, -1, *[1] * dims))


@handler("DeformConv")
def deformed(
    x: Tensor, weight: Tensor, offset: Tensor, bias: Tensor | None = None, mask: Tensor | None = None, *,
    dilations: list[int] | None = None, group: int = 1, kernel_shape: list[int] | None = None,
    offset_group: int = 1, pads: list[int] | None = None, strides: list[int] | None = None,
) -> Tensor:  # fmt: skip
    """A convolution of images whose kernel looks where the offsets say (Dai et al. 2017), by bilinear samples."""
    if weight.ndim != 4:
        raise NotImplementedError(f"DeformConv is here for images; the weight is {weight.shape}")
    n, c, h, w = x.shape
    o, cg, kh, kw = weight.shape
    (top, _), (left, _) = pairs(pads, 2)
    step, gap = strides or [1, 1], dilations or [1, 1]
    oh, ow = offset.shape[2:]
    moves = shape.reshape(offset, (n, offset_group, kh * kw, 2, oh, ow))
    masks = None if mask is None else shape.reshape(mask, (n, offset_group, kh * kw, oh, ow))
    images = shape.reshape(x, (n, offset_group, c // offset_group, h, w))
    seen = []
    for k in range(kh * kw):
        rows = np.arange(oh)[:, None] * step[0] - top + k // kw * gap[0]
        columns = np.arange(ow)[None, :] * step[1] - left + k % kw * gap[1]
        for g in range(offset_group):
            at = [
                moves[:, g, k, 1] + made(columns.astype(x.dtype), x),
                moves[:, g, k, 0] + made(rows.astype(x.dtype), x),
            ]
            # grid_sample's -1 and 1 are the centres of the corner pixels
            grid = shape.stack([a * (2.0 / max(s - 1, 1)) - 1.0 for a, s in zip(at, (w, h), strict=True)], -1)
            found = sample.grid_sample(images[:, g], grid, align_corners=True)
            seen.append(found if masks is None else found * masks[:, g, k][:, None])
    columns_ = shape.reshape(shape.stack(seen, 1), (n, kh * kw, group, cg, oh, ow))
    kernels = shape.reshape(weight, (group, o // group, cg, kh * kw))
    out = shape.reshape(linalg.einsum("nkgchw,gock->ngohw", columns_, kernels), (n, o, oh, ow))
    return out if bias is None else out + shape.reshape(bias, (1, -1, 1, 1))


@handler("Col2Im", fixed=(1, 2))
def col2im(
    x: Tensor, image_shape: Tensor, block_shape: Tensor, *, dilations: list[int] | None = None,
    pads: list[int] | None = None, strides: list[int] | None = None,
) -> Tensor:  # fmt: skip
    """Columns (N, C * block, L) added up at their places in an image of any number of axes."""
    plane, block = ints(image_shape), ints(block_shape)
    dims = len(plane)
    widths, gap, step = pairs(pads, dims), dilations or [1] * dims, strides or [1] * dims
    padded = [n + a + b for n, (a, b) in zip(plane, widths, strict=True)]
    flat: Any = 0
    for i, (n, k, d, s) in enumerate(zip(padded, block, gap, step, strict=True)):
        starts = np.arange((n - d * (k - 1) - 1) // s + 1) * s
        at = np.arange(k)[:, None] * d + starts  # (k, places)
        lead = [1] * (2 * dims)
        lead[i], lead[dims + i] = at.shape
        flat = flat * n + at.reshape(lead)
    c = x.shape[1] // math.prod(block)
    columns = shape.reshape(x, (x.shape[0], c, -1))
    out = index.placed(columns, (slice(None), slice(None), flat.reshape(-1)), (x.shape[0], c, math.prod(padded)))
    return pad_axes(shape.reshape(out, (x.shape[0], c, *padded)), [(-a, -b) for a, b in widths])
