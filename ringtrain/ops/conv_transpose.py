"""Transposed convolution in one, two and three dimensions: the map that takes a convolution's output gradient to its
input's.

It is a convolution too: of the input with stride - 1 zeros between its elements, with the kernel turned round.
"""

from __future__ import annotations

from typing import Any

from ..dtypes import wide
from ..tensor import Tensor
from .conv import check_parts, correlate
from .geometry import LAYOUTS, Size, check_input, lengths, pad_axes
from .index import spread
from .shape import flip, reshape, swapaxes


def transposed_length(n: int, kernel: int, stride: int, padding: int, dilation: int, extra: int) -> int:
    """The length of a transposed convolution's result along an axis of n elements."""
    return (n - 1) * stride - 2 * padding + dilation * (kernel - 1) + extra + 1


def _turned(weight: Tensor, groups: int) -> Tensor:
    """(C, O / groups, *kernel) as the weight of a convolution, (O, C / groups, *kernel), back to front."""
    c, og, *kernel = weight.shape
    weight = reshape(flip(weight, tuple(range(2, weight.ndim))), (groups, c // groups, og, *kernel))
    return reshape(swapaxes(weight, 1, 2), (groups * og, c // groups, *kernel))


def _conv_transpose(
    name: str,
    dims: int,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Size,
    padding: Size,
    output_padding: Size,
    groups: int,
    dilation: Size,
) -> Tensor:
    step, edge = lengths(stride, dims, "stride"), lengths(padding, dims, "padding")
    extra, gap = lengths(output_padding, dims, "output_padding"), lengths(dilation, dims, "dilation")
    if weight.ndim != dims + 2:
        raise ValueError(
            f"{name} wants an input {LAYOUTS[dims]} and a weight (C, O / groups, *kernel) of {dims + 2} axes; "
            f"got {x.shape}, {weight.shape}"
        )
    check_input(name, x, dims, floats=False)
    if min(step) < 1 or min(gap) < 1 or min(edge) < 0:
        raise ValueError(f"{name}: stride {step} and dilation {gap} must be >= 1, padding {edge} >= 0")
    if any(not 0 <= e < max(s, d) for e, s, d in zip(extra, step, gap, strict=True)):
        raise ValueError(f"{name}: output_padding {extra} must be >= 0 and less than stride {step} or dilation {gap}")
    check_parts(name, x, weight, bias, groups, 1)
    kernel = weight.shape[2:]
    for n, k, s, p, d, e in zip(x.shape[2:], kernel, step, edge, gap, extra, strict=True):
        if n < 1 or transposed_length(n, k, s, p, d, e) < 1:
            raise ValueError(
                f"{name}: {n} elements with kernel {k}, stride {s}, padding {p} and output_padding {e} leave nothing "
                f"(input {x.shape}, weight {weight.shape})"
            )
    accumulator = wide(x.dtype)
    parts: Any = (x, weight, bias)
    if accumulator is not None:
        parts = [None if t is None else t.astype(accumulator) for t in parts]
    x_, weight_, bias_ = parts
    widths = [(d * (k - 1) - p, d * (k - 1) - p + e) for k, p, d, e in zip(kernel, edge, gap, extra, strict=True)]
    if max(step) > 1:
        x_ = spread(x_, step)
    if min(min(pair) for pair in widths) < 0:  # more padding than the kernel reaches: the ends fall off
        x_, widths = pad_axes(x_, widths), [(0, 0)] * dims
    out = correlate(x_, _turned(weight_, groups), bias_, (1,) * dims, widths, gap, groups)
    return out if accumulator is None else out.astype(x.dtype)


def conv_transpose1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """`conv_transpose2d` in one dimension: x (N, C, L), weight (C, O / groups, KL) -> (N, O, OL)."""
    return _conv_transpose("conv_transpose1d", 1, x, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """The transpose of `conv2d` as a linear map, arguments in PyTorch's order.

    x (N, C, H, W), weight (C, O / groups, KH, KW), bias (O,) -> (N, O, OH, OW) with
    OH = (H - 1) stride - 2 padding + dilation (KH - 1) + output_padding + 1. output_padding (less than stride or
    dilation) picks one of the lengths that a convolution with that stride maps to H.
    """
    return _conv_transpose("conv_transpose2d", 2, x, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """`conv_transpose2d` in three dimensions: x (N, C, D, H, W), weight (C, O / groups, KD, KH, KW)."""
    return _conv_transpose("conv_transpose3d", 3, x, weight, bias, stride, padding, output_padding, groups, dilation)
