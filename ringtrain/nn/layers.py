"""Layers that hold parameters, and the containers. Weights are drawn as PyTorch draws them unless told otherwise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import random
from ..autograd import no_grad
from ..ops import conv, linalg, norm, pool, shape
from ..ops.geometry import lengths
from ..tensor import Tensor, describe
from .init import Initializer, Kaiming, Ones, Uniform, Zeros
from .module import LazyParameter, Module, parameter

Pair = int | tuple[int, int]
_TORCH_DEFAULT = Kaiming(slope=math.sqrt(5.0))  # uniform in +-1 / sqrt(fan_in)


class Sequential(Module):
    """Modules, or functions of one tensor, one after the other."""

    def __init__(self, *layers: Any) -> None:
        wrong = [layer for layer in layers if not callable(layer)]
        if wrong:
            raise TypeError(f"Sequential takes layers one by one, as in Sequential(a, b); got {wrong[0]!r}")
        self.layers = list(layers)

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x

    def __getitem__(self, index: Any) -> Any:
        return Sequential(*self.layers[index]) if isinstance(index, slice) else self.layers[index]

    def __len__(self) -> int:
        return len(self.layers)

    def append(self, layer: Any) -> Sequential:
        """Adds a layer at the end. Returns self."""
        self.layers.append(layer)
        return self

    def _attributes(self) -> list[tuple[str, Any]]:
        # names are "0.weight", not "layers.0.weight": what PyTorch's users know
        others = [(name, value) for name, value in vars(self).items() if name != "layers"]
        return [(str(i), layer) for i, layer in enumerate(self.layers)] + others

    def __repr__(self) -> str:
        lines = [f"({i}): {layer!r}".replace("\n", "\n  ") for i, layer in enumerate(self.layers)]
        return "Sequential(\n  " + "\n  ".join(lines) + "\n)"


class Linear(Module):
    """y = x @ weight.T + bias, over the last axis: (..., in_features) -> (..., out_features).

    weight (out_features, in_features), bias (out_features,). in_features None: taken from the first input.
    """

    def __init__(
        self,
        in_features: int | None,
        out_features: int,
        bias: bool = True,
        weight_init: Initializer = _TORCH_DEFAULT,
        bias_init: Initializer | None = None,
        dtype: Any = np.float32,
    ) -> None:
        if out_features < 1 or (in_features is not None and in_features < 1):
            raise ValueError(f"Linear: features must be >= 1; got {in_features} -> {out_features}")
        self._name = random.next_name("Linear")
        self._options = (weight_init, bias_init, dtype)
        self.in_features, self.out_features = in_features, out_features
        self.weight: Any = LazyParameter("Linear's input size comes from its first input")
        self.bias: Any = LazyParameter("its weight has none either") if bias else None
        if in_features is not None:
            self._build(in_features)

    def _build(self, n: int) -> None:
        weight_init, bias_init, dtype = self._options
        self.in_features = n
        self.weight = parameter(weight_init, (self.out_features, n), f"{self._name}.weight", dtype)
        if self.bias is not None:
            init = Uniform(1.0 / math.sqrt(n)) if bias_init is None else bias_init
            self.bias = parameter(init, (self.out_features,), f"{self._name}.bias", dtype)

    def forward(self, x: Tensor) -> Tensor:
        if self.in_features is None:
            self._build(x.shape[-1])
        return linalg.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}" + ("" if self.bias is not None else ", bias=False")


class Conv2d(Module):
    """Convolution of images: (N, in_channels, H, W) -> (N, out_channels, OH, OW); see `rt.nn.conv2d`.

    weight (out_channels, in_channels / groups, KH, KW), bias (out_channels,).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        weight_init: Initializer = _TORCH_DEFAULT,
        bias_init: Initializer | None = None,
        dtype: Any = np.float32,
    ) -> None:
        kernel = lengths(kernel_size, 2, "kernel_size")
        if min(in_channels, out_channels, *kernel) < 1:
            raise ValueError(f"Conv2d: channels and kernel must be >= 1; got {in_channels}, {out_channels}, {kernel}")
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(f"Conv2d: groups={groups} must divide {in_channels} inputs and {out_channels} outputs")
        name = random.next_name("Conv2d")
        size = (out_channels, in_channels // groups, *kernel)
        self.weight = parameter(weight_init, size, f"{name}.weight", dtype)
        self.bias = None
        if bias:
            init = Uniform(1.0 / math.sqrt(math.prod(size[1:]))) if bias_init is None else bias_init
            self.bias = parameter(init, (out_channels,), f"{name}.bias", dtype)
        self._geometry = (stride, padding, dilation, groups)

    def forward(self, x: Tensor) -> Tensor:
        return conv.conv2d(x, self.weight, self.bias, *self._geometry)

    def extra_repr(self) -> str:
        o, c, *kernel = self.weight.shape
        stride, padding, dilation, groups = self._geometry
        text = f"{c * groups}, {o}, kernel_size={tuple(kernel)}, stride={stride}, padding={padding}"
        text += f", dilation={dilation}" if dilation not in (1, (1, 1)) else ""
        text += f", groups={groups}" if groups > 1 else ""
        return text + ("" if self.bias is not None else ", bias=False")


class MaxPool2d(Module):
    """The largest element of each window: see `rt.nn.max_pool2d`."""

    def __init__(self, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0) -> None:
        self._options = (kernel_size, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        return pool.max_pool2d(x, *self._options)


class AvgPool2d(Module):
    """The mean of each window: see `rt.nn.avg_pool2d`."""

    def __init__(self, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0) -> None:
        self._options = (kernel_size, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        return pool.avg_pool2d(x, *self._options)


class Flatten(Module):
    """All axes from start_axis to end_axis made one; the default keeps the batch."""

    def __init__(self, start_axis: int = 1, end_axis: int = -1) -> None:
        self._axes = (start_axis, end_axis)

    def forward(self, x: Tensor) -> Tensor:
        return shape.flatten(x, *self._axes)


class BatchNorm(Module):
    """Batch normalisation of the channels of (N, C, ...) (Ioffe and Szegedy 2015).

    In training it normalises by the batch's mean and biased variance, and moves the running statistics in forward:
    running = (1 - momentum) running + momentum batch, with the unbiased variance (n - 1), as PyTorch does; the same on
    every backend. In evaluation it normalises by the running statistics. Each rank measures its own batch.
    """

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True, dtype: Any = np.float32
    ) -> None:
        name = random.next_name("BatchNorm")
        self.eps, self.momentum = eps, momentum
        self.weight = parameter(Ones(), (num_features,), f"{name}.weight", dtype) if affine else None
        self.bias = parameter(Zeros(), (num_features,), f"{name}.bias", dtype) if affine else None
        self.running_mean = Tensor(np.zeros(num_features, dtype))
        self.running_var = Tensor(np.ones(num_features, dtype))

    def forward(self, x: Tensor) -> Tensor:
        channels = self.running_mean.shape[0]
        if x.ndim < 2 or x.shape[1] != channels:
            raise ValueError(f"BatchNorm wants an input (N, {channels}, ...); got {describe(x)}")
        if not self.training:
            return norm.normalize(x, self.running_mean, self.running_var, self.weight, self.bias, self.eps)
        count = x.size // channels
        if count < 2:
            raise ValueError(f"BatchNorm in training needs more than one value a channel; got {describe(x)}")
        out, mean, var = norm.batch_norm(x, self.weight, self.bias, self.eps)
        self._move(self.running_mean, mean)
        self._move(self.running_var, var * (count / (count - 1)))
        return out

    def _move(self, running: Tensor, batch: Tensor) -> None:
        if batch.device != "meta":
            with no_grad():
                running[...] = running * (1.0 - self.momentum) + batch * self.momentum

    def extra_repr(self) -> str:
        return f"{self.running_mean.shape[0]}, eps={self.eps}, momentum={self.momentum}"


class _BatchNormOf(BatchNorm):
    """Batch norm for inputs of certain numbers of axes, as PyTorch's users name them."""

    _axes: tuple[int, ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim not in self._axes:
            raise ValueError(f"{type(self).__name__} wants {' or '.join(map(str, self._axes))} axes; got {describe(x)}")
        return super().forward(x)


class BatchNorm1d(_BatchNormOf):
    """`BatchNorm` of (N, C) or (N, C, L)."""

    _axes = (2, 3)


class BatchNorm2d(_BatchNormOf):
    """`BatchNorm` of (N, C, H, W)."""

    _axes = (4,)
