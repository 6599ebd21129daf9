"""The affine layer, and the container of layers. Weights are drawn as PyTorch draws them unless told otherwise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import random
from ..ops import linalg, shape
from ..tensor import Tensor
from .init import Initializer, Kaiming, Uniform
from .module import LazyParameter, Module, parameter

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


class Flatten(Module):
    """All axes from start_axis to end_axis made one; the default keeps the batch."""

    def __init__(self, start_axis: int = 1, end_axis: int = -1) -> None:
        self._axes = (start_axis, end_axis)

    def forward(self, x: Tensor) -> Tensor:
        return shape.flatten(x, *self._axes)
