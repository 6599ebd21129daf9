"""Losses: functions of predictions and targets that end in one number.

reduction: "mean" divides by the number of elements (cross-entropies: by the samples' total weight), "sum" adds up,
"none" leaves one loss an element or sample.
"""

from __future__ import annotations

from typing import Any

from ..backend import of
from ..tensor import Tensor, raw, wrap
from .elementwise import absolute, softplus, square, where
from .fused import fused
from .index import take_along_axis
from .reduce import log_softmax, sum
from .shape import expand_dims, reshape, squeeze


def reduced(losses: Tensor, reduction: str) -> Tensor:
    """Losses by element made one number, or left as they are."""
    if reduction == "mean":
        return losses.mean()
    if reduction == "sum":
        return losses.sum()
    if reduction == "none":
        return losses
    raise ValueError(f"reduction {reduction!r} is unknown; use 'mean', 'sum' or 'none'")


def _composed(logits: Tensor, target: Any, *, reduction: str) -> Tensor:
    """logits (N, C), target (N,) integers."""
    scores = log_softmax(logits, axis=1)
    return reduced(-squeeze(take_along_axis(scores, raw(target)[:, None], 1), 1), reduction)


_plain = fused("cross_entropy", _composed)


def cross_entropy(
    logits: Tensor,
    target: Any,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """Softmax cross-entropy: -log softmax(logits)[target], the usual loss of a classifier.

    logits        (N, C) or (N, C, ...), any float dtype
    target        class numbers 0 .. C-1, integers of shape (N,) or (N, ...)
    weight        (C,): a weight for each class; it gets no gradient
    ignore_index  targets of this value do not count
    label_smoothing  the part of the target's probability, 0 to 1, that is spread over all classes

    "mean" divides by the total weight of the targets that count, as PyTorch does. Raises ValueError for a target
    that is no class, naming it and where it is.
    """
    labels = _labels(logits, target, ignore_index)
    if of(raw(logits)).abstract:  # a shape has no labels to look at
        return reduced(log_softmax(logits, axis=1)[:, 0], reduction)
    if logits.ndim > 2:
        c = logits.shape[1]
        flat = reshape(logits.transpose(0, *range(2, logits.ndim), 1), (-1, c))
        out = cross_entropy(flat, labels.reshape(-1), weight, ignore_index, label_smoothing, reduction)
        return reshape(out, labels.shape) if reduction == "none" else out
    ignored = labels == ignore_index
    if weight is None and not label_smoothing and not ignored.any():
        return _plain(logits, labels.copy(), reduction=reduction)  # backward reads them again
    return _general(logits, labels, ignored, weight, label_smoothing, reduction)


def _labels(logits: Tensor, target: Any, ignore_index: int | None) -> Any:
    """The targets as an array of class numbers, each of which exists."""
    labels = raw(target)
    if not hasattr(labels, "dtype"):
        labels = logits.backend.xp.asarray(labels)
    shape = logits.shape[:1] + logits.shape[2:]
    if logits.ndim < 2 or labels.shape != shape:
        raise ValueError(f"cross_entropy: logits {logits.shape} want targets of shape {shape}; got {labels.shape}")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"cross_entropy: targets are class numbers, integers; got {labels.dtype}")
    classes = logits.shape[1]
    if not of(labels).abstract and labels.size:
        wrong = ((labels < 0) | (labels >= classes)) & (labels != ignore_index)
        if wrong.any():
            place = [int(i[0]) for i in wrong.nonzero()]
            raise ValueError(
                f"cross_entropy: target {int(labels[tuple(place)])} at {place} is no class; "
                f"the logits {logits.shape} have classes 0 .. {classes - 1}"
            )
    return labels


def _general(
    logits: Tensor, labels: Any, ignored: Any, weight: Tensor | None, smoothing: float, reduction: str
) -> Tensor:
    if not 0.0 <= smoothing <= 1.0:
        raise ValueError(f"label_smoothing must lie in 0 .. 1; got {smoothing}")
    xp = logits.backend.xp
    safe = xp.where(ignored, 0, labels)
    counts = (~ignored).astype(logits.dtype)
    scores = log_softmax(logits, axis=1)
    weights = wrap(counts) if weight is None else weight.detach().take(safe) * wrap(counts)
    losses = -squeeze(take_along_axis(scores, safe[:, None], 1), 1) * weights
    if smoothing:
        spread = scores if weight is None else scores * expand_dims(weight.detach(), 0)
        uniform = -sum(spread, axis=1) * wrap(counts) * (1.0 / logits.shape[1])
        losses = losses * (1.0 - smoothing) + uniform * smoothing
    if reduction == "mean":
        return losses.sum() / weights.sum()
    return reduced(losses, reduction)


def nll_loss(log_probabilities: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """-log_probabilities[target]: (N, C) and class numbers (N,); with log_softmax it is cross_entropy."""
    labels = _labels(log_probabilities, target, None)
    if of(raw(log_probabilities)).abstract:
        return reduced(-log_probabilities[:, 0], reduction)
    return reduced(-squeeze(take_along_axis(log_probabilities, labels[:, None], 1), 1), reduction)


def _same_shape(name: str, prediction: Tensor, target: Any) -> None:
    shape = getattr(target, "shape", ())
    if prediction.shape != shape:
        raise ValueError(f"{name}: prediction {prediction.shape} and target {shape} differ in shape")


def mse_loss(prediction: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """(prediction - target)^2. Shapes must agree: broadcasting here is nearly always a mistake."""
    _same_shape("mse_loss", prediction, target)
    return reduced(square(prediction - target), reduction)


def l1_loss(prediction: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """|prediction - target|. Shapes must agree."""
    _same_shape("l1_loss", prediction, target)
    return reduced(absolute(prediction - target), reduction)


def huber_loss(prediction: Tensor, target: Any, delta: float = 1.0, reduction: str = "mean") -> Tensor:
    """Half the square up to |difference| = delta, then a straight line (Huber 1964). Shapes must agree."""
    _same_shape("huber_loss", prediction, target)
    distance = absolute(prediction - target)
    return reduced(where(distance <= delta, square(distance) * 0.5, distance * delta - 0.5 * delta**2), reduction)


def binary_cross_entropy_with_logits(logits: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """-(t log s + (1 - t) log(1 - s)) with s = sigmoid(logits), without overflow. Targets 0 .. 1, of that shape."""
    _same_shape("binary_cross_entropy_with_logits", logits, target)
    return reduced(softplus(logits) - logits * target, reduction)
