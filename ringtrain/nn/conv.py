"""Convolution layers, and their transposes, in one, two and three dimensions.

Arguments and defaults are PyTorch's, and so are the first weights: uniform in +-1 / sqrt(fan_in). Gluon's layers draw
theirs uniform in +-0.07 with biases of 0 (`weight_init=Uniform(), bias_init=Zeros()`), and call an open number of
inputs in_channels=0 where it is None here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import random
from ..ops import conv, conv_transpose
from ..ops.geometry import LAYOUTS, Size, lengths
from ..ops.padding import pad_spatial
from ..tensor import Tensor
from .init import Initializer, Kaiming, Uniform
from .module import LazyParameter, Module, parameter

_TORCH_DEFAULT = Kaiming(slope=math.sqrt(5.0))  # uniform in +-1 / sqrt(fan_in)
_PADDING_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


class _Convolution(Module):
    """What all of them have: sizes, and parameters that may wait for the first input."""

    _dims = 2
    _transposed = False

    def _start(
        self,
        in_channels: int | None,
        out_channels: int,
        kernel_size: Size,
        groups: int,
        bias: bool,
        weight_init: Initializer,
        bias_init: Initializer | None,
        dtype: Any,
    ) -> None:
        kind = type(self).__name__
        kernel = lengths(kernel_size, self._dims, "kernel_size")
        if min(out_channels, *kernel) < 1 or (in_channels is not None and in_channels < 1):
            raise ValueError(f"{kind}: channels and kernel must be >= 1; got {in_channels}, {out_channels}, {kernel}")
        if groups < 1 or (in_channels or 0) % groups or out_channels % groups:
            raise ValueError(f"{kind}: groups={groups} must divide {in_channels} inputs and {out_channels} outputs")
        self._name = random.next_name(kind)
        self._inits = (weight_init, bias_init, dtype)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.groups = kernel, groups
        self.weight: Any = LazyParameter(f"{kind}'s input channels come from its first input")
        self.bias: Any = LazyParameter("its weight has none either") if bias else None
        if in_channels is not None:
            self._build(in_channels)

    def _build(self, channels: int) -> None:
        weight_init, bias_init, dtype = self._inits
        if channels < 1 or channels % self.groups:
            raise ValueError(f"{type(self).__name__}: groups={self.groups} must divide the {channels} inputs")
        self.in_channels = channels
        ends = (channels, self.out_channels) if self._transposed else (self.out_channels, channels)
        size = (ends[0], ends[1] // self.groups, *self.kernel_size)
        self.weight = parameter(weight_init, size, f"{self._name}.weight", dtype)
        if self.bias is not None:
            init = Uniform(1.0 / math.sqrt(math.prod(size[1:]))) if bias_init is None else bias_init
            self.bias = parameter(init, (self.out_channels,), f"{self._name}.bias", dtype)

    def _ready(self, x: Tensor) -> None:
        """Makes the parameters if this is the first input."""
        if self.in_channels is None:
            if x.ndim not in (self._dims + 1, self._dims + 2):
                raise ValueError(f"{type(self).__name__} wants an input {LAYOUTS[self._dims]}; got {x.shape}")
            self._build(x.shape[-self._dims - 1])

    def _described(self, *options: tuple[str, Any, Any]) -> str:
        """extra_repr: sizes, then (name, value, default) of options that are not the default."""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        for name, value, default in options:
            if default is None or value not in (default, (default,) * self._dims):
                text += f", {name}={value!r}"
        return text + ("" if self.bias is not None else ", bias=False")


class _Conv(_Convolution):
    """A convolution layer in `_dims` dimensions."""

    def __init__(
        self,
        in_channels: int | None,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        weight_init: Initializer = _TORCH_DEFAULT,
        bias_init: Initializer | None = None,
        dtype: Any = np.float32,
    ) -> None:
        if padding_mode not in _PADDING_MODES:
            raise ValueError(
                f"{type(self).__name__}: padding_mode {padding_mode!r} is unknown; "
                f"use {', '.join(map(repr, _PADDING_MODES))}"
            )
        self.stride, self.padding, self.dilation, self.padding_mode = stride, padding, dilation, padding_mode
        self._op: Callable[..., Tensor] = getattr(conv, f"conv{self._dims}d")
        self._start(in_channels, out_channels, kernel_size, groups, bias, weight_init, bias_init, dtype)

    def forward(self, x: Tensor) -> Tensor:
        self._ready(x)
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            kind = type(self).__name__
            step, gap = lengths(self.stride, self._dims, "stride"), lengths(self.dilation, self._dims, "dilation")
            widths = conv.padding_of(kind, padding, self.kernel_size, step, gap)
            x, padding = pad_spatial(x, widths, _PADDING_MODES[self.padding_mode], name=kind), 0
        return self._op(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        return self._described(
            *[("stride", self.stride, None), ("padding", self.padding, None), ("dilation", self.dilation, 1)],
            *[("groups", self.groups, 1), ("padding_mode", self.padding_mode, "zeros")],
        )


class Conv1d(_Conv):
    """Convolution of sequences: (N, in_channels, L) -> (N, out_channels, OL); see `Conv2d`.

    weight (out_channels, in_channels / groups, KL), bias (out_channels,).
    """

    _dims = 1


class Conv2d(_Conv):
    """Convolution of images: (N, in_channels, H, W) -> (N, out_channels, OH, OW); see `rt.nn.conv2d`.

    weight (out_channels, in_channels / groups, KH, KW), bias (out_channels,).

    in_channels   None: taken from the first input
    padding       integers, "same" (stride 1 only) or "valid"
    padding_mode  what is put around: "zeros", "reflect", "replicate" or "circular"
    """

    _dims = 2


class Conv3d(_Conv):
    """Convolution of volumes: (N, in_channels, D, H, W) -> (N, out_channels, OD, OH, OW); see `Conv2d`.

    weight (out_channels, in_channels / groups, KD, KH, KW), bias (out_channels,).
    """

    _dims = 3


class _ConvTranspose(_Convolution):
    """A transposed convolution layer in `_dims` dimensions."""

    _transposed = True

    def __init__(
        self,
        in_channels: int | None,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        weight_init: Initializer = _TORCH_DEFAULT,
        bias_init: Initializer | None = None,
        dtype: Any = np.float32,
    ) -> None:
        self.stride, self.padding, self.output_padding, self.dilation = stride, padding, output_padding, dilation
        self._op: Callable[..., Tensor] = getattr(conv_transpose, f"conv_transpose{self._dims}d")
        self._start(in_channels, out_channels, kernel_size, groups, bias, weight_init, bias_init, dtype)

    def forward(self, x: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        self._ready(x)
        extra = self.output_padding if output_size is None else self._extra(x, output_size)
        return self._op(
            x, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation
        )  # fmt: skip

    def _extra(self, x: Tensor, output_size: Sequence[int]) -> tuple[int, ...]:
        """The output_padding that gives an output_size, of which the last lengths count."""
        dims = self._dims
        step, edge = lengths(self.stride, dims, "stride"), lengths(self.padding, dims, "padding")
        gap = lengths(self.dilation, dims, "dilation")
        least = [
            conv_transpose.transposed_length(*place, 0)
            for place in zip(x.shape[-dims:], self.kernel_size, step, edge, gap, strict=True)
        ]
        extra = tuple(m - n for m, n in zip(tuple(output_size)[-dims:], least, strict=True))
        if any(not 0 <= e < max(s, d) for e, s, d in zip(extra, step, gap, strict=True)):
            most = [n + max(s, d) - 1 for n, s, d in zip(least, step, gap, strict=True)]
            raise ValueError(
                f"{type(self).__name__}: output_size {tuple(output_size)} lies outside {least} .. {most}, "
                f"what an input {x.shape} can become"
            )
        return extra

    def extra_repr(self) -> str:
        return self._described(
            *[("stride", self.stride, None), ("padding", self.padding, 0), ("dilation", self.dilation, 1)],
            *[("output_padding", self.output_padding, 0), ("groups", self.groups, 1)],
        )


class ConvTranspose1d(_ConvTranspose):
    """Transposed convolution of sequences: (N, in_channels, L) -> (N, out_channels, OL); see `ConvTranspose2d`.

    weight (in_channels, out_channels / groups, KL), bias (out_channels,).
    """

    _dims = 1


class ConvTranspose2d(_ConvTranspose):
    """Transposed convolution of images: (N, in_channels, H, W) -> (N, out_channels, OH, OW).

    weight (in_channels, out_channels / groups, KH, KW), bias (out_channels,); see `rt.nn.conv_transpose2d`. Called with
    an output_size (..., OH, OW) it works output_padding out itself. in_channels None: taken from the first input.
    """

    _dims = 2


class ConvTranspose3d(_ConvTranspose):
    """Transposed convolution of volumes: (N, in_channels, D, H, W) -> (N, out_channels, OD, OH, OW).

    weight (in_channels, out_channels / groups, KD, KH, KW), bias (out_channels,); see `ConvTranspose2d`.
    """

    _dims = 3
