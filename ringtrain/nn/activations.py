"""Layers without parameters: activations, and losses as modules."""

from __future__ import annotations

from typing import Any

from ..ops import elementwise, loss, reduce
from ..tensor import Tensor
from .module import Module


class Identity(Module):
    """Its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x: Tensor) -> Tensor:
        return elementwise.relu(x)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, x: Tensor) -> Tensor:
        return elementwise.tanh(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, x: Tensor) -> Tensor:
        return elementwise.sigmoid(x)


class GELU(Module):
    """x Phi(x); approximate "none" or "tanh", see `rt.nn.gelu`."""

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        return elementwise.gelu(x, self.approximate)


class Softmax(Module):
    """exp(x) / sum(exp(x)) along an axis."""

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return reduce.softmax(x, axis=self.axis)


class CrossEntropyLoss(Module):
    """`rt.nn.cross_entropy` with its options kept; the weight of the classes is a buffer."""

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
    ) -> None:
        self.weight = weight
        self._options = (ignore_index, label_smoothing, reduction)

    def forward(self, logits: Tensor, target: Any) -> Tensor:
        return loss.cross_entropy(logits, target, self.weight, *self._options)


class MSELoss(Module):
    """`rt.nn.mse_loss` with its reduction kept."""

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = reduction

    def forward(self, prediction: Tensor, target: Any) -> Tensor:
        return loss.mse_loss(prediction, target, self.reduction)
