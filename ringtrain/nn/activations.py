"""Layers without parameters: activations, dropout, and losses as modules."""

from __future__ import annotations

from typing import Any

from .. import random
from ..ops import elementwise, loss, reduce
from ..tensor import Tensor, wrap
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


def dropout(x: Tensor, p: float, name: str, step: int = 0) -> Tensor:
    """x with each element zeroed with probability p, the others divided by 1 - p (Srivastava et al. 2014).

    The mask is a function of (seed, name, step) and of the element's place in the global batch.
    """
    if p == 0.0 or x.device == "meta":
        return x
    if p == 1.0:
        return x * 0.0
    keep = random.bernoulli(x.shape, 1.0 - p, f"dropout/{name}", step)
    mask = x.backend.asarray(keep).astype(x.dtype)
    mask *= x.dtype.type(1.0 / (1.0 - p))
    return x * wrap(mask)


class Dropout(Module):
    """In training zeroes elements with probability p and divides the others by 1 - p.

    The mask depends on the seed, this layer, the training step (which optimisers advance), how often the layer has
    run in this step, and the sample's place in the global batch: so it is the same on any number of ranks.
    """

    def __init__(self, p: float = 0.5) -> None:
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"Dropout: p is a probability; got {p}")
        self.p = p
        self._name = random.next_name("Dropout")
        self._last = (-1, 0)  # the step of the last call, and which call of that step it was

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        step = random.state.step
        call = self._last[1] + 1 if self._last[0] == step else 0
        self._last = (step, call)
        return dropout(x, self.p, f"{self._name}/{call}", step)

    def __deepcopy__(self, memo: dict) -> Dropout:
        copy = Dropout(self.p)  # with masks of its own: layers are stacked by copying them
        copy.training = self.training
        return copy

    def extra_repr(self) -> str:
        return f"p={self.p}"


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
