"""Losses of classifiers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ops import index, reduce, shape
from ...tensor import Tensor
from ..registry import handler
from ..values import array, made


@handler("NegativeLogLikelihoodLoss", fixed=(1, 2))
def nll_loss(
    scores: Tensor, target: Tensor, weight: Tensor | None = None, *, ignore_index: int | None = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """-weight[target] scores[target] of scores (N, C, ...) and class numbers (N, ...), the ignored ones left out."""
    labels = array(target)
    counts = np.ones(labels.shape, bool) if ignore_index is None else labels != ignore_index
    safe = np.where(counts, labels, 0)
    weights = made(counts.astype(scores.dtype), scores)
    if weight is not None:
        weights = weights * index.take(weight, safe)
    losses = -shape.squeeze(index.take_along_axis(scores, safe[:, None], 1), 1) * weights
    if reduction == "none":
        return losses
    total = reduce.sum(losses)
    return total if reduction == "sum" else total / reduce.sum(weights)


@handler("SoftmaxCrossEntropyLoss", fixed=(1, 2))
def softmax_cross_entropy(
    scores: Tensor, target: Tensor, weight: Tensor | None = None, *, ignore_index: int | None = None,
    reduction: str = "mean",
) -> Any:  # fmt: skip
    logs = reduce.log_softmax(scores, axis=1)
    return nll_loss(logs, target, weight, ignore_index=ignore_index, reduction=reduction), logs
