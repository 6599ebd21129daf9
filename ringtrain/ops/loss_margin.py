"""Losses that ask for a margin: hinges, rankings, triplets. `reduction`: see `loss.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..backend.meta import MetaArray
from ..dtypes import wide
from ..tensor import Tensor, raw
from .activations import logsigmoid
from .distance import pairwise_distance
from .elementwise import clip, minimum, relu, sqrt, square, where
from .index import take_along_axis
from .loss import reduced, same_shape
from .reduce import mean, sum


# --- hinges: targets 1 and -1 -----------------------------------------------------------------------------
def hinge_loss(prediction: Tensor, target: Any, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    """max(0, margin - t x) of targets 1 and -1. Shapes must agree."""
    target = same_shape("hinge_loss", prediction, target)
    return reduced(relu(margin - prediction * target), reduction)


def squared_hinge_loss(prediction: Tensor, target: Any, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    """max(0, margin - t x)^2 of targets 1 and -1. Shapes must agree."""
    target = same_shape("squared_hinge_loss", prediction, target)
    return reduced(square(relu(margin - prediction * target)), reduction)


def hinge_embedding_loss(distance: Tensor, target: Any, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    """A distance itself where the target is 1, max(0, margin - distance) where it is -1 (any other: their sum)."""
    target = same_shape("hinge_embedding_loss", distance, target)
    far = where(target != 1, clip(margin - distance, low=0.0), 0.0)
    return reduced(far + where(target != -1, distance, 0.0), reduction)


def cosine_embedding_loss(a: Tensor, b: Tensor, target: Any, margin: float = 0.0, reduction: str = "mean") -> Tensor:
    """1 - cos(a, b) where the target is 1, max(0, cos(a, b) - margin) where it is -1: a, b (N, D) and (N,), or (D,).

    16-bit floats are multiplied and added in float32.
    """
    accumulator = wide(a.dtype)
    if accumulator is not None:
        wider = (a.astype(accumulator), b.astype(accumulator))
        return cosine_embedding_loss(*wider, target, margin, reduction).astype(a.dtype)
    dot = sum(a * b, axis=-1)
    cosine = dot / sqrt((sum(square(a), axis=-1) + 1e-12) * (sum(square(b), axis=-1) + 1e-12))
    target = same_shape("cosine_embedding_loss", cosine, target)
    return reduced(
        where(target == 1, 1.0 - cosine, 0.0) + where(target == -1, clip(cosine - margin, low=0.0), 0.0), reduction
    )


def margin_ranking_loss(a: Tensor, b: Tensor, target: Any, margin: float = 0.0, reduction: str = "mean") -> Tensor:
    """max(0, margin - t (a - b)): a should be the larger where the target is 1, b where it is -1."""
    difference = a - b
    target = same_shape("margin_ranking_loss", difference, target)
    return reduced(clip(margin - difference * target, low=0.0), reduction)


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """max(0, margin + |anchor - positive| - |anchor - negative|) in the p-norm of the last axis.

    swap: the nearer of anchor and positive to the negative counts (Balntas et al. 2016).
    """

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return pairwise_distance(a, b, p, eps)

    return triplet_margin_with_distance_loss(anchor, positive, negative, distance, margin, swap, reduction)


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """`triplet_margin_loss` by a distance of the user's own, a function of two tensors; None: `pairwise_distance`."""
    if margin <= 0:
        raise ValueError(f"triplet_margin_loss: margin is > 0; got {margin}")
    distance = distance_function or pairwise_distance
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = minimum(far, distance(positive, negative))
    return reduced(clip(near - far + margin, low=0.0), reduction)


# --- many classes, many labels ----------------------------------------------------------------------------
def multi_margin_loss(
    scores: Tensor,
    target: Any,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """sum_j max(0, margin - x_target + x_j)^p / C over the classes j but the target: (N, C) and class numbers (N,).

    Of one sample (C,) and a number. weight (C,): that of the target's class multiplies each term before the power; it
    gets no gradient.
    """
    if scores.ndim == 1:
        number = raw(target)
        out = multi_margin_loss(scores[None], np.reshape(number, 1), p, margin, weight, reduction)
        return out.reshape(np.shape(number)) if reduction == "none" else out
    labels = _rows(scores, target, "multi_margin_loss")
    if weight is not None and weight.shape != scores.shape[1:]:
        raise ValueError(
            f"multi_margin_loss: scores {scores.shape} want weights {scores.shape[1:]}; got {weight.shape}"
        )
    terms = relu(scores - take_along_axis(scores, labels[:, None], 1, checked=True) + margin)
    terms = terms if p == 1 else terms**p
    if weight is not None:
        terms = terms * weight.detach().take(labels)[:, None]
    xp = scores.backend.xp
    other = xp.arange(scores.shape[1]) != xp.asarray(labels)[:, None]
    losses = sum(where(other, terms, 0.0), axis=1) * (1.0 / scores.shape[1])
    return reduced(losses, reduction)


def _rows(scores: Tensor, target: Any, name: str) -> Any:
    labels = raw(target) if hasattr(raw(target), "shape") else np.asarray(target)
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise ValueError(f"{name}: scores (N, C) want targets (N,); got {scores.shape} and {labels.shape}")
    if isinstance(labels, MetaArray) or scores.backend.abstract:
        return np.zeros(labels.shape, np.int64)
    if labels.size and not (int(labels.min()) >= 0 and int(labels.max()) < scores.shape[1]):
        raise ValueError(f"{name}: a target is no class of 0 .. {scores.shape[1] - 1}")
    return labels


def multilabel_margin_loss(scores: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """sum_ij max(0, 1 - x_i + x_j) / C over the labels i of a sample and the classes j that are none of them.

    scores (N, C), (C,) or (), of one class; target, of that shape, has a sample's labels in front, ended by -1.
    """
    same_shape("multilabel_margin_loss", scores, target)
    if scores.ndim > 2:
        raise ValueError(f"multilabel_margin_loss wants scores (N, C) or (C,); got {scores.shape}")
    if scores.ndim < 2:
        out = multilabel_margin_loss(scores.reshape((1, -1)), raw(target).reshape((1, -1)), reduction)
        return out[0] if reduction == "none" else out
    if scores.backend.abstract:
        return reduced(sum(scores, axis=1), reduction)
    xp = scores.backend.xp
    labels = xp.asarray(raw(target))
    counts = xp.cumprod(labels >= 0, axis=1).astype(bool)
    safe = xp.where(counts, labels, 0)
    chosen = xp.zeros(labels.shape, bool)
    rows = xp.broadcast_to(xp.arange(len(labels))[:, None], labels.shape)
    chosen[rows[counts], safe[counts]] = True
    mine = take_along_axis(scores, safe, 1)
    terms = relu(1.0 - mine[:, :, None] + scores[:, None, :])
    valid = counts[:, :, None] & ~chosen[:, None, :]
    return reduced(sum(where(valid, terms, 0.0), axis=(1, 2)) * (1.0 / scores.shape[1]), reduction)


def multilabel_soft_margin_loss(scores: Tensor, target: Any, weight: Any = None, reduction: str = "mean") -> Tensor:
    """The mean over the classes of -(t log s + (1 - t) log(1 - s)), s = sigmoid(scores); targets 0 and 1."""
    target = same_shape("multilabel_soft_margin_loss", scores, target)
    losses = -(logsigmoid(scores) * target + logsigmoid(-scores) * (1.0 - target))
    if weight is not None:
        losses = losses * raw(weight)
    return reduced(mean(losses, axis=-1), reduction)
