"""Losses: functions of predictions and targets that end in one number.

reduction: "mean" divides by the number of elements (cross-entropies: by the samples' total weight), "sum" adds up,
"none" leaves one loss an element or sample.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import of
from ..dtypes import is_float
from ..tensor import Tensor, beside, raw, wrap
from .define import op
from .elementwise import sigmoid, where
from .elementwise import softplus as _softplus
from .fused import fused
from .index import take, take_along_axis
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


def _composed(logits: Tensor, target: Any, *, ignored: int, counted: int, reduction: str) -> Tensor:
    """logits (N, C), target (N,) class numbers, of which `counted` are not `ignored`."""
    labels, scores = raw(target), log_softmax(logits, axis=1)
    if counted != labels.size:
        return _weighted(scores, labels, labels == ignored, None, 0.0, reduction)
    return reduced(-squeeze(take_along_axis(scores, labels[:, None], 1, checked=True), 1), reduction)


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

    logits        (N, C) or (N, C, ...), any float dtype; or those of one sample, (C,)
    target        class numbers 0 .. C-1, integers of shape (N,) or (N, ...); or floats of the logits' shape, the
                  probability of each class, which get a gradient where they want one
    weight        (C,): a weight for each class; it gets no gradient
    ignore_index  targets of this value do not count; for class numbers
    label_smoothing  the part of the target's probability, 0 to 1, that is spread over all classes

    "mean" divides by the total weight of the targets that count, as PyTorch does (of probabilities: by their number).
    Raises ValueError for a target that is no class, naming it and where it is.
    """
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"label_smoothing must lie in 0 .. 1; got {label_smoothing}")
    if logits.ndim == 1:
        target = target if hasattr(target, "shape") else np.asarray(target)
        some = target.reshape((1, *target.shape))
        out = cross_entropy(logits[None], some, weight, ignore_index, label_smoothing, reduction)
        return squeeze(out, 0) if reduction == "none" else out
    if is_float(getattr(raw(target), "dtype", np.dtype(bool))) and raw(target).shape == logits.shape:
        if ignore_index != -100:
            raise ValueError("cross_entropy: ignore_index is for class numbers; these targets are probabilities")
        return _of_probabilities(logits, target, weight, label_smoothing, reduction)
    labels, counted = _labels("cross_entropy", logits, target, ignore_index)
    if logits.backend.abstract:  # a shape has no labels to look at
        return reduced(log_softmax(logits, axis=1)[:, 0], reduction)
    shape = labels.shape
    if len(shape) > 1:
        logits, labels = _flat(logits, labels)
    if weight is None and not label_smoothing:
        out = _plain(logits, labels, ignored=ignore_index, counted=counted, reduction=reduction)
    else:
        scores = log_softmax(logits, axis=1)
        out = _weighted(scores, labels, labels == ignore_index, weight, label_smoothing, reduction)
    return reshape(out, shape) if reduction == "none" and len(shape) > 1 else out


def _flat(scores: Tensor, labels: Any) -> tuple[Tensor, Any]:
    """Scores (N, C, ...) as (M, C), labels (N, ...) as (M,)."""
    flat = reshape(scores.transpose(0, *range(2, scores.ndim), 1), (-1, scores.shape[1]))
    return flat, labels.reshape(-1)


def _of_probabilities(logits: Tensor, target: Any, weight: Tensor | None, smoothing: float, reduction: str) -> Tensor:
    _one_for_each_class(weight, logits)
    if smoothing:
        target = target * (1.0 - smoothing) + smoothing / logits.shape[1]
    losses = log_softmax(logits, axis=1) * target
    if weight is not None:
        losses = losses * reshape(weight.detach(), (-1,) + (1,) * (logits.ndim - 2))
    losses = -sum(losses, axis=1)
    return losses.sum() * (1.0 / losses.size) if reduction == "mean" and losses.size else reduced(losses, reduction)


def _labels(name: str, scores: Tensor, target: Any, ignore_index: int) -> tuple[Any, int]:
    """(a copy of the targets, int64 class numbers that exist or are ignored, on the scores' device; how many count)."""
    labels = raw(target) if hasattr(raw(target), "dtype") else np.asarray(target)
    whole = scores.shape
    if len(whole) < 2 or labels.shape != whole[:1] + whole[2:]:
        raise ValueError(f"{name}: scores {whole} want targets of shape {whole[:1] + whole[2:]}; got {labels.shape}")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{name}: targets are class numbers, integers; got {labels.dtype}")
    backend = of(labels)
    if backend.abstract or scores.backend.abstract:
        return labels, labels.size
    # of labels of the host's these are there; a GPU is waited for
    labels = labels.astype(np.int64)
    kernel = backend.kernel("count_labels")
    counted, wrong = (kernel or _count_labels)(labels, whole[1], ignore_index)
    if wrong >= 0:
        place = [int(i) for i in np.unravel_index(wrong, labels.shape)]
        raise ValueError(
            f"{name}: target {int(labels[tuple(place)])} at {place} is no class; "
            f"the scores {whole} have classes 0 .. {whole[1] - 1}"
        )
    return labels if scores.backend is backend else scores.backend.asarray(labels), counted


def _count_labels(labels: Any, classes: int, ignored: int) -> tuple[int, int]:
    """(how many labels are not `ignored`, the place of the first that is no class either, or -1)."""
    counts = labels != ignored
    wrong = (((labels < 0) | (labels >= classes)) & counts).reshape(-1)
    if not labels.size:
        return 0, -1
    counted, first, some = of(labels).read(counts.sum(), wrong.argmax(), wrong.any().astype(np.int64))
    return counted, first if some else -1


def _one_for_each_class(weight: Tensor | None, scores: Tensor) -> None:
    if weight is not None and weight.shape != scores.shape[1:2]:
        raise ValueError(f"scores {scores.shape} want a weight for each class, {scores.shape[1:2]}; got {weight.shape}")


def _weighted(
    scores: Tensor, labels: Any, ignored: Any, weight: Tensor | None, smoothing: float, reduction: str
) -> Tensor:
    """The loss of log probabilities (N, C) with weights of the classes, and targets that do not count."""
    _one_for_each_class(weight, scores)
    safe = scores.backend.xp.where(ignored, 0, labels)
    counts = (~ignored).astype(scores.dtype)
    weights = wrap(counts) if weight is None else take(weight.detach(), safe, checked=True) * wrap(counts)
    losses = -squeeze(take_along_axis(scores, safe[:, None], 1, checked=True), 1) * weights
    if smoothing:
        spread = scores if weight is None else scores * expand_dims(weight.detach(), 0)
        uniform = -sum(spread, axis=1) * wrap(counts) * (1.0 / scores.shape[1])
        losses = losses * (1.0 - smoothing) + uniform * smoothing
    losses = where(ignored, 0.0, losses)  # its gradient is 0 even where nothing counts, and the mean is 0 / 0
    if reduction == "mean":
        return losses.sum() / weights.sum()
    return reduced(losses, reduction)


def nll_loss(
    log_probabilities: Tensor,
    target: Any,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """-log_probabilities[target]: (N, C) or (N, C, ...), and class numbers; with log_softmax it is cross_entropy.

    Of one sample (C,) and a number. weight, ignore_index, reduction: as in `cross_entropy`.
    """
    if log_probabilities.ndim == 1:
        label = np.reshape(raw(target), 1)
        out = nll_loss(log_probabilities[None], label, weight, ignore_index, reduction)
        return squeeze(out, 0) if reduction == "none" else out
    if not is_float(log_probabilities.dtype):
        raise TypeError(f"nll_loss: log probabilities are floats; got {log_probabilities.dtype}")
    labels, _ = _labels("nll_loss", log_probabilities, target, ignore_index)
    if log_probabilities.backend.abstract:
        return reduced(-log_probabilities[:, 0], reduction)
    shape = labels.shape
    if len(shape) > 1:
        log_probabilities, labels = _flat(log_probabilities, labels)
    out = _weighted(log_probabilities, labels, labels == ignore_index, weight, 0.0, reduction)
    return reshape(out, shape) if reduction == "none" and len(shape) > 1 else out


def same_shape(name: str, prediction: Tensor, target: Any) -> Any:
    """The target beside the prediction, integers and booleans in its dtype.

    Raises where it has not the prediction's shape: broadcasting here is nearly always a mistake.
    """
    shape = getattr(target, "shape", ())
    if prediction.shape != shape:
        raise ValueError(f"{name}: prediction {prediction.shape} and target {shape} differ in shape")
    target = beside(prediction, target)
    if hasattr(target, "dtype") and not is_float(target.dtype) and is_float(prediction.dtype):
        return target.astype(prediction.dtype)
    return target


# --- two classes ------------------------------------------------------------------------------------------
def _logs(xp: Any, p: Any) -> tuple[Any, Any]:
    """log(p) and log(1 - p), no lower than -100."""
    low = xp.where(p <= 0, 1.0, p), xp.where(p >= 1, 0.0, p)
    return (
        xp.where(p <= 0, -100.0, xp.maximum(xp.log(low[0]), -100.0)),
        xp.where(p >= 1, -100.0, xp.maximum(xp.log1p(-low[1]), -100.0)),
    )


def _bce_target(xp: Any, g: Any, p: Any) -> Any:
    yes, no = _logs(xp, p)
    return g * (no - yes)


def _bce(xp: Any, p: Any, t: Any) -> Any:
    yes, no = _logs(xp, p)
    return -(t * yes + (1.0 - t) * no).astype(np.result_type(p.dtype, t.dtype))


_binary_cross_entropy = op(
    "binary_cross_entropy",
    _bce,
    (lambda xp, g, p, t: g * (p - t) / xp.maximum(p * (1.0 - p), 1e-12), _bce_target),
)


def binary_cross_entropy(prediction: Tensor, target: Any, weight: Any = None, reduction: str = "mean") -> Tensor:
    """-(t log p + (1 - t) log(1 - p)) of probabilities p, the logarithms no lower than -100 (as in PyTorch).

    weight: broadcasts; it gets no gradient. Raises ValueError for a prediction outside 0 .. 1.
    """
    target = same_shape("binary_cross_entropy", prediction, target)
    p = prediction._data
    if not prediction.backend.abstract and not ((p >= 0) & (p <= 1)).all():
        raise ValueError("binary_cross_entropy: a prediction lies outside 0 .. 1; are these logits?")
    if not isinstance(target, Tensor):
        target = wrap(prediction.backend.asarray(target, prediction.dtype))
    losses = _binary_cross_entropy(prediction, target)
    return reduced(losses if weight is None else losses * raw(weight), reduction)


def binary_cross_entropy_with_logits(
    logits: Tensor, target: Any, weight: Any = None, pos_weight: Any = None, reduction: str = "mean"
) -> Tensor:
    """-(w t log s + (1 - t) log(1 - s)) with s = sigmoid(logits), without overflow. Targets 0 .. 1, of that shape.

    weight      multiplies the losses; broadcasts, no gradient
    pos_weight  w, for the positive class of each label; broadcasts, no gradient
    """
    target = same_shape("binary_cross_entropy_with_logits", logits, target)
    if pos_weight is None:
        losses = _softplus(logits) - logits * target
    else:
        losses = logits * (1.0 - target) + _softplus(-logits) * (target * (beside(logits, raw(pos_weight)) - 1.0) + 1.0)
    return reduced(losses if weight is None else losses * raw(weight), reduction)


def sigmoid_focal_loss(
    logits: Tensor, target: Any, alpha: float = 0.25, gamma: float = 2.0, reduction: str = "none"
) -> Tensor:
    """Binary cross-entropy times (1 - p_t)^gamma: easy samples count less (Lin et al. 2017).

    alpha: the weight of the positive class, that of the negative is 1 - alpha; below 0: no weights.
    """
    losses = binary_cross_entropy_with_logits(logits, target, reduction="none")
    p = sigmoid(logits)
    losses = losses * (p * (1.0 - target) + (1.0 - p) * target) ** gamma
    return reduced(losses if alpha < 0 else losses * (target * (2.0 * alpha - 1.0) + (1.0 - alpha)), reduction)


def soft_margin_loss(prediction: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """log(1 + exp(-t x)) of targets 1 and -1: the logistic loss."""
    target = same_shape("soft_margin_loss", prediction, target)
    return reduced(_softplus(-prediction * target), reduction)
