"""Cross-entropy of a last layer with many classes, without ever holding all of their scores."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import is_float
from ..ops.linalg import linear
from ..ops.loss import cross_entropy
from ..ops.shape import concatenate, reshape
from ..recompute import recompute
from ..tensor import Tensor, describe, raw
from .layers import Linear
from .module import Module


def linear_cross_entropy(
    x: Tensor,
    linear_weight: Tensor,
    target: Any,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    chunk_size: int | None = None,
) -> Tensor:
    """`cross_entropy(linear(x, linear_weight, linear_bias), target)`, the scores of chunk_size rows at a time.

    x              (..., D)
    linear_weight  (C, D); linear_bias (C,)
    target         class numbers (...); or, without chunk_size, probabilities (..., C)
    chunk_size     rows whose scores (chunk_size, C) exist at once; backward computes them again. None: all, once
    The rest is as in `cross_entropy`; "none" gives (...). Differentiable to any order.

    With C much larger than D the scores are what a language model's step holds most of.
    """
    lead, rows = x.shape[:-1], reshape(x, (-1, x.shape[-1])) if x.ndim else x
    labels = np.asarray(target) if isinstance(target, (list, tuple)) else raw(target)
    dense = is_float(labels.dtype)
    if x.ndim < 1 or (chunk_size is not None and chunk_size < 1) or labels.shape[: len(lead)] != lead:
        raise ValueError(
            f"linear_cross_entropy wants x (..., D), targets of its leading axes, chunk_size >= 1; got {describe(x)}, "
            f"{labels.shape}, {chunk_size}"
        )
    if dense and chunk_size is not None:
        raise ValueError("linear_cross_entropy: chunk_size is for class numbers, not for probabilities")
    if dense:
        labels = (target if isinstance(target, Tensor) else labels).reshape((-1, labels.shape[-1]))
    else:
        labels = labels.reshape(-1)
    if chunk_size is None or chunk_size >= len(rows) or x.backend.abstract:
        scores = linear(rows, linear_weight, linear_bias)
        out = cross_entropy(scores, labels, weight, ignore_index, label_smoothing, reduction)
        return reshape(out, lead) if reduction == "none" else out
    each = "none" if reduction == "none" else "sum"

    def part(some: Tensor, matrix: Tensor, bias: Tensor | None, classes: Any) -> Tensor:
        return cross_entropy(linear(some, matrix, bias), classes, weight, ignore_index, label_smoothing, each)

    cuts = range(0, len(rows), chunk_size)
    parts = [
        recompute(part, rows[i : i + chunk_size], linear_weight, linear_bias, labels[i : i + chunk_size]) for i in cuts
    ]
    if reduction == "none":
        return reshape(concatenate(parts), lead)
    total = parts[0]
    for more in parts[1:]:
        total = total + more
    if reduction == "sum":
        return total
    counted = labels[labels != ignore_index]
    return total / (float(counted.size) if weight is None else weight.detach().take(counted).sum())


class LinearCrossEntropyLoss(Module):
    """The last layer of a classifier and its loss in one: see `linear_cross_entropy`. Parameters linear.weight (C, D)
    and, with `bias`, linear.bias (C,)."""

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        bias: bool = False,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
        chunk_size: int | None = None,
        dtype: Any = np.float32,
    ) -> None:
        self.linear = Linear(in_features, num_classes, bias, dtype=dtype)
        self.weight = weight
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing
        self.reduction, self.chunk_size = reduction, chunk_size

    def forward(self, x: Tensor, target: Any) -> Tensor:
        options = (self.weight, self.ignore_index, self.label_smoothing, self.reduction, self.chunk_size)
        return linear_cross_entropy(x, self.linear.weight, target, self.linear.bias, *options)

    def extra_repr(self) -> str:
        classes, features = self.linear.weight.shape
        return f"{features}, {classes}, chunk_size={self.chunk_size}"
