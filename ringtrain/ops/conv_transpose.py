"""Transposed convolution in one, two and three dimensions: the map that takes a convolution's output gradient to its
input's.

It is a convolution too: of the input with stride - 1 zeros between its elements, with the kernel turned round. A
backend's kernel need not multiply those zeros.
"""

from __future__ import annotations

from typing import Any

from ..dtypes import wide
from ..tensor import Tensor
from .conv import check_parts, correlate
from .fused import fused
from .geometry import LAYOUTS, Size, as_one, as_two, check_input, lengths, or_one, pad_axes
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


def _composed(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    output_padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> Tensor:
    """In any number of dimensions: the convolution of the spread input."""
    places = zip(weight.shape[2:], padding, dilation, output_padding, strict=True)
    widths = [(d * (k - 1) - p, d * (k - 1) - p + e) for k, p, d, e in places]
    if max(stride) > 1:
        x = spread(x, stride)
    if min(min(pair) for pair in widths) < 0:  # more padding than the kernel reaches: the ends fall off
        x, widths = pad_axes(x, widths), [(0, 0)] * len(widths)
    return correlate(x, _turned(weight, groups), bias, (1,) * len(widths), widths, dilation, groups)


_conv_transpose2d = fused("conv_transpose2d", _composed)
_conv_transpose3d = fused("conv_transpose3d", _composed)


def _one(x: Tensor, weight: Tensor, bias: Tensor | None, *, groups: int, **options: tuple[int, ...]) -> Tensor:
    """One dimension, as an image of one row."""
    neutral = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1}
    row = {name: (neutral[name], *value) for name, value in options.items()}
    return as_one(_conv_transpose2d(as_two(x), as_two(weight), bias, groups=groups, **row))


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
    options: Any = {"stride": step, "padding": edge, "output_padding": extra, "dilation": gap, "groups": groups}
    out = (_one, _conv_transpose2d, _conv_transpose3d)[dims - 1](*parts, **options)
    return out if accumulator is None else out.astype(x.dtype)


@or_one(3)
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


@or_one(4)
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


@or_one(5)
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
