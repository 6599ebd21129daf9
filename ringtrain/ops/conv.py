"""Convolution in two dimensions (cross-correlation, as every framework means it).

Tensors are (N, C, H, W) to the user. The CPU kernel gives its results (N, H, W, C) strides under that shape, which
elementwise ops keep, so that a stack of layers never rearranges its activations.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import wide
from ..tensor import Tensor
from .fused import fused
from .linalg import einsum
from .shape import pad, reshape

Pair = int | tuple[int, int]


def pair(value: Any, what: str) -> tuple[int, int]:
    """An int twice, or two ints as they are."""
    out = (value, value) if isinstance(value, (int, np.integer)) else tuple(value)
    if len(out) != 2 or not all(isinstance(v, (int, np.integer)) for v in out):
        raise ValueError(f"{what} must be an integer or two; got {value!r}")
    return int(out[0]), int(out[1])


def output_length(n: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> int:
    """How many places a kernel takes along an axis of n elements; 0 or less where it does not fit."""
    return (n + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def _composed(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> Tensor:
    """One product over channels for each place of the kernel, added up."""
    n, _, h, w = x.shape
    o, cg, kh, kw = weight.shape
    oh = output_length(h, kh, stride[0], padding[0], dilation[0])
    ow = output_length(w, kw, stride[1], padding[1], dilation[1])
    x = pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    x = reshape(x, (n, groups, cg, *x.shape[2:]))
    weight = reshape(weight, (groups, o // groups, cg, kh, kw))
    out: Any = None
    for i in range(kh):
        for j in range(kw):
            top, left = i * dilation[0], j * dilation[1]
            rows = slice(top, top + (oh - 1) * stride[0] + 1, stride[0])
            columns = slice(left, left + (ow - 1) * stride[1] + 1, stride[1])
            term = einsum("ngchw,goc->ngohw", x[..., rows, columns], weight[..., i, j])
            out = term if out is None else out + term
    out = reshape(out, (n, o, oh, ow))
    return out if bias is None else out + reshape(bias, (1, o, 1, 1))


_conv2d = fused("conv2d", _composed)


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlates images with kernels.

    x (N, C, H, W), weight (O, C / groups, KH, KW), bias (O,) -> (N, O, OH, OW) with
    OH = floor((H + 2 padding - dilation (KH - 1) - 1) / stride) + 1. Padding is with zeros, on both sides.
    Raises ValueError where shapes do not fit, naming them.
    """
    stride, padding, dilation = pair(stride, "stride"), pair(padding, "padding"), pair(dilation, "dilation")
    if x.ndim != 4 or weight.ndim != 4:
        raise ValueError(
            f"conv2d wants an input (N, C, H, W) and a weight (O, C, KH, KW); got {x.shape}, {weight.shape}"
        )
    if min(stride) < 1 or min(dilation) < 1 or min(padding) < 0:
        raise ValueError(f"conv2d: stride {stride} and dilation {dilation} must be >= 1, padding {padding} >= 0")
    o, cg, kh, kw = weight.shape
    if x.shape[1] != cg * groups or o % groups:
        raise ValueError(
            f"conv2d: the input has {x.shape[1]} channels (shape {x.shape}), the weight {weight.shape} with "
            f"groups={groups} wants {cg * groups}, and groups must divide its {o} outputs"
        )
    if bias is not None and bias.shape != (o,):
        raise ValueError(f"conv2d: the weight {weight.shape} has {o} outputs, so the bias is ({o},); got {bias.shape}")
    for n, k, s, p, d in zip(x.shape[2:], (kh, kw), stride, padding, dilation, strict=True):
        if output_length(n, k, s, p, d) < 1:
            raise ValueError(f"conv2d: a kernel of {k} (dilation {d}) does not fit {n} elements with padding {p}")
    accumulator = wide(x.dtype)
    if accumulator is not None:  # 16-bit floats are summed in float32 and rounded once
        bias = None if bias is None else bias.astype(accumulator)
        out = conv2d(x.astype(accumulator), weight.astype(accumulator), bias, stride, padding, dilation, groups)
        return out.astype(x.dtype)
    return _conv2d(x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)
