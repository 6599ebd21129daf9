"""Convolution in one, two and three dimensions (cross-correlation, as every framework means it).

One dimension is an image of one row. Where there is no kernel for three, the places of the kernel along depth become
channels of images. Tensors are (N, C, H, W) to the user; the CPU kernel gives its results (N, H, W, C)
strides under that shape, which elementwise ops keep, so that a stack of layers never rearranges its activations.
"""

from __future__ import annotations

from typing import Any

from ..dtypes import wide
from ..tensor import Tensor
from .fused import fused
from .geometry import LAYOUTS, Size, as_one, as_two, check_input, lengths, or_one, output_length, pad_axes, taps
from .linalg import einsum
from .shape import reshape, stack, transpose

Padding = Size | str


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
    x = pad_axes(x, [(p, p) for p in padding])
    x = reshape(x, (n, groups, cg, *x.shape[2:]))
    weight = reshape(weight, (groups, o // groups, cg, kh, kw))
    out: Any = None
    for i, rows in enumerate(taps(x, 3, kh, stride[0], dilation[0], oh)):
        for j, seen in enumerate(taps(rows, 4, kw, stride[1], dilation[1], ow)):
            if cg == 1:  # depthwise: there is nothing to sum
                term = seen * reshape(weight[..., i, j], (1, groups, o // groups, 1, 1))
            else:
                term = einsum("ngchw,goc->ngohw", seen, weight[..., i, j])
            out = term if out is None else out + term
    out = reshape(out, (n, o, oh, ow))
    return out if bias is None else out + reshape(bias, (1, o, 1, 1))


_conv2d = fused("conv2d", _composed)


def _composed3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    stride: tuple[int, int, int],
    padding: tuple[int, int, int],
    dilation: tuple[int, int, int],
    groups: int,
) -> Tensor:
    """Images of each depth, with what the kernel sees along depth as channels."""
    n, c = x.shape[:2]
    o, cg, kd, kh, kw = weight.shape
    x = transpose(pad_axes(x, [(padding[0], padding[0]), (0, 0), (0, 0)]), (0, 2, 1, 3, 4))
    depth = output_length(x.shape[1], kd, stride[0], 0, dilation[0])
    seen = stack(taps(x, 1, kd, stride[0], dilation[0], depth), axis=2)  # (N, OD, KD, C, H, W)
    if groups > 1:  # channels of one group side by side
        seen = transpose(
            reshape(seen, (n, depth, kd, groups, cg, *seen.shape[4:])),
            (0, 1, 3, 2, 4, 5, 6),
        )
    images = reshape(seen, (n * depth, kd * c, *seen.shape[-2:]))
    kernels = reshape(transpose(weight, (0, 2, 1, 3, 4)), (o, kd * cg, kh, kw))
    flat = {"stride": stride[1:], "padding": padding[1:], "dilation": dilation[1:], "groups": groups}
    out = _conv2d(images, kernels, bias, **flat)
    return transpose(reshape(out, (n, depth, *out.shape[1:])), (0, 2, 1, 3, 4))


_conv3d = fused("conv3d", _composed3d)


def padding_of(name: str, padding: Padding, kernel: Any, stride: Any, dilation: Any) -> list[tuple[int, int]]:
    """(before, after) for each axis. "same" puts the odd one after, as PyTorch does."""
    if isinstance(padding, str):
        if padding == "valid":
            return [(0, 0)] * len(kernel)
        if padding != "same":
            raise ValueError(f"{name}: padding {padding!r} is unknown; use an integer, integers, 'same' or 'valid'")
        if max(stride) > 1:
            raise ValueError(f"{name}: padding='same' needs stride 1, so that lengths stay; got stride {stride}")
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return [(t // 2, t - t // 2) for t in totals]
    each = lengths(padding, len(kernel), "padding")
    if min(each) < 0:
        raise ValueError(f"{name}: padding {each} must be >= 0")
    return [(p, p) for p in each]


def check_parts(name: str, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int, outputs: int) -> None:
    """Raises where an input's channels, a weight (from, to, ...) and a bias do not go together.

    outputs: the axis of the weight that holds output channels: 0, or 1 for a transposed convolution, where the other
    axis holds all inputs.
    """
    if groups < 1:
        raise ValueError(f"{name}: groups must be >= 1; got {groups}")
    if outputs:
        wanted, made, cut = weight.shape[0], weight.shape[1] * groups, weight.shape[0]
        rule = f"must divide its {cut} inputs"
    else:
        wanted, made, cut = weight.shape[1] * groups, weight.shape[0], weight.shape[0]
        rule = f"must divide its {cut} outputs"
    if x.shape[1] != wanted or cut % groups:
        raise ValueError(
            f"{name}: the input has {x.shape[1]} channels (shape {x.shape}), the weight {weight.shape} with "
            f"groups={groups} wants {wanted}, and groups {rule}"
        )
    if min(weight.shape) < 1:
        raise ValueError(f"{name}: a weight of shape {weight.shape} holds no kernel")
    if bias is not None and bias.shape != (made,):
        raise ValueError(
            f"{name}: the weight {weight.shape} has {made} outputs, so the bias is ({made},); got {bias.shape}"
        )


def _conv(
    name: str,
    dims: int,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Size,
    padding: Padding,
    dilation: Size,
    groups: int,
) -> Tensor:
    """Checks the arguments of a convolution in `dims` dimensions and computes it, 16-bit floats in float32."""
    stride, dilation = lengths(stride, dims, "stride"), lengths(dilation, dims, "dilation")
    if weight.ndim != dims + 2:
        layout = LAYOUTS[dims].removeprefix("(N, C, ").removesuffix(")")
        kernels = ", ".join(f"K{axis}" for axis in layout.split(", "))
        shapes = f"{x.shape}, {weight.shape}"
        raise ValueError(f"{name} wants an input {LAYOUTS[dims]} and a weight (O, C, {kernels}); got {shapes}")
    check_input(name, x, dims, floats=False)
    if min(stride) < 1 or min(dilation) < 1:
        raise ValueError(f"{name}: stride {stride} and dilation {dilation} must be >= 1")
    check_parts(name, x, weight, bias, groups, 0)
    kernel = weight.shape[2:]
    widths = padding_of(name, padding, kernel, stride, dilation)
    for n, k, (a, b), d in zip(x.shape[2:], kernel, widths, dilation, strict=True):
        if n + a + b < d * (k - 1) + 1:
            raise ValueError(
                f"{name}: a kernel of {k} (dilation {d}) does not fit {n} elements with padding {a} (input {x.shape}, "
                f"weight {weight.shape})"
            )
    accumulator = wide(x.dtype)
    if accumulator is None:
        return correlate(x, weight, bias, stride, widths, dilation, groups)
    # 16-bit floats are summed in float32 and rounded once
    bias = None if bias is None else bias.astype(accumulator)
    wider = (x.astype(accumulator), weight.astype(accumulator), bias)
    return correlate(*wider, stride, widths, dilation, groups).astype(x.dtype)


def correlate(x: Tensor, weight: Tensor, bias: Any, stride: Any, widths: Any, dilation: Any, groups: int) -> Tensor:
    """A convolution whose arguments have been checked; widths (before, after) of zeros for each axis."""
    return (_one if weight.ndim == 3 else _direct)(x, weight, bias, stride, widths, dilation, groups)


def _direct(x: Tensor, weight: Tensor, bias: Any, stride: Any, widths: Any, dilation: Any, groups: int) -> Tensor:
    """Two or three dimensions; what one side has more of padding than the other is put there first."""
    padding = tuple(min(pair) for pair in widths)
    if any(a != b for a, b in widths):
        x = pad_axes(x, [(a - p, b - p) for (a, b), p in zip(widths, padding, strict=True)])
    conv = _conv2d if weight.ndim == 4 else _conv3d
    return conv(x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)


def _one(x: Tensor, weight: Tensor, bias: Any, stride: Any, widths: Any, dilation: Any, groups: int) -> Tensor:
    """One dimension, as an image of one row."""
    row = (as_two(x), as_two(weight), bias, (1, *stride), [(0, 0), *widths], (1, *dilation), groups)
    return as_one(_direct(*row))


@or_one(3)
def conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlates sequences with kernels: `conv2d` in one dimension.

    x (N, C, L), weight (O, C / groups, KL), bias (O,) -> (N, O, OL).
    """
    return _conv("conv1d", 1, x, weight, bias, stride, padding, dilation, groups)


@or_one(4)
def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlates images with kernels.

    x (N, C, H, W), weight (O, C / groups, KH, KW), bias (O,) -> (N, O, OH, OW) with
    OH = floor((H + 2 padding - dilation (KH - 1) - 1) / stride) + 1.

    padding  zeros on both sides, one number or one for each axis; "valid" is none, "same" (stride 1 only) as many as
             keep the lengths, the odd one at the end
    groups   channels fall into that many groups that do not mix; as many as channels is a depthwise convolution

    Raises ValueError where shapes do not fit, naming them.
    """
    return _conv("conv2d", 2, x, weight, bias, stride, padding, dilation, groups)


@or_one(5)
def conv3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlates volumes with kernels: `conv2d` in three dimensions.

    x (N, C, D, H, W), weight (O, C / groups, KD, KH, KW), bias (O,) -> (N, O, OD, OH, OW).
    """
    return _conv("conv3d", 3, x, weight, bias, stride, padding, dilation, groups)
