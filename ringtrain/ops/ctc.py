"""Connectionist temporal classification (Graves et al. 2006): labels of a sequence without an alignment."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..backend.cpu_ctc import paths
from ..dtypes import wide
from ..tensor import Tensor, raw, wrap
from .elementwise import where
from .fused import fused
from .index import getitem
from .loss import reduced
from .reduce import logsumexp
from .shape import expand_dims, pad, squeeze, stack

_FAR = -1e30  # the logarithm of 0, as far as sums and differences go


def _composed(scores: Tensor, targets: Any, input_lengths: Any, target_lengths: Any, *, blank: int) -> Tensor:
    """(B,): minus the logarithm of the probability of all paths that spell the target."""
    backend = scores.backend
    labels, skips, ends = map(backend.asarray, paths(raw(targets), raw(target_lengths), blank))
    batch, width = labels.shape
    emitted = getitem(scores, (slice(None), np.arange(batch)[:, None], labels))
    emitted = where(emitted > _FAR, emitted, _FAR)
    first = np.full((batch, width), _FAR)
    first[:, 0] = 0  # before the first step a path is at its first blank
    alpha = wrap(backend.asarray(first, scores.dtype))
    inside = np.arange(len(scores))[:, None] < raw(input_lengths)
    for t in range(len(scores)):
        one = pad(alpha, ((0, 0), (1, 0)), _FAR)[:, :-1]
        two = where(skips, pad(alpha, ((0, 0), (2, 0)), _FAR)[:, :-2], _FAR)
        following = logsumexp(stack([alpha, one, two]), axis=0) + emitted[t]
        alpha = where(backend.asarray(inside[t][:, None]), following, alpha)
    loss = -logsumexp(where(ends, alpha, _FAR), axis=1)
    return where(loss > -_FAR / 10, math.inf, loss)


_losses = fused("ctc", _composed)


def ctc_loss(
    log_probs: Tensor,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Minus the logarithm of the probability that a sequence spells its target, over all alignments.

    log_probs       (T, B, C), logarithms of probabilities, of `log_softmax`; (T, C) without a batch
    targets         integers (B, L), or all targets one behind the other (sum of target_lengths,)
    input_lengths   (B,) integers 0 .. T
    target_lengths  (B,) integers 0 .. L
    blank           the class that stands for no label, which no target may hold
    reduction       "mean" divides each loss by its target's length (1 at least) and averages; "sum"; "none"
    zero_infinity   0 for targets that do not fit into their inputs, instead of inf; neither has a gradient

    The gradient is that of log_probs themselves. PyTorch's is that of what log_softmax had been given; behind a
    log_softmax they come to the same. Gluon's CTCLoss takes scores before softmax, and the last class as blank.
    Raises ValueError for lengths and labels that cannot be.
    """
    if log_probs.ndim == 2:
        one, other = (_host(n).reshape(1) for n in (input_lengths, target_lengths))
        targets = _host(targets).reshape(1, -1)
        loss = ctc_loss(expand_dims(log_probs, 1), targets, one, other, blank, reduction, zero_infinity)
        return squeeze(loss, 0) if reduction == "none" else loss
    if log_probs.ndim != 3 or not 0 <= blank < log_probs.shape[2]:
        raise ValueError(f"ctc_loss wants log_probs (T, B, C) and a blank below C; got {log_probs.shape} and {blank}")
    steps, batch, classes = log_probs.shape
    if log_probs.device == "meta":
        return reduced(log_probs[:, :, 0].sum(axis=0), reduction)
    inputs, spelled = _lengths("input", input_lengths, batch, steps), _lengths("target", target_lengths, batch, None)
    labels = _labels(targets, spelled, classes, blank)
    accumulator = wide(log_probs.dtype)
    scores = log_probs if accumulator is None else log_probs.astype(accumulator)
    losses = _losses(scores, labels, inputs, spelled, blank=blank)
    if zero_infinity:
        losses = where(raw(losses) == math.inf, 0.0, losses)
    if reduction == "mean":
        losses = losses / losses.backend.asarray(spelled.clip(min=1), losses.dtype)
    out = reduced(losses, reduction)
    return out if accumulator is None else out.astype(log_probs.dtype)


def _host(values: Any) -> np.ndarray:
    """Integers on the CPU, where the paths are laid out, in memory of their own."""
    array = values.backend.to_numpy(values._data) if isinstance(values, Tensor) else np.asarray(values)
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"ctc_loss: targets and lengths are integers; got {array.dtype}")
    return array.astype(np.int64)


def _lengths(what: str, values: Any, batch: int, most: int | None) -> np.ndarray:
    lengths = _host(values)
    if lengths.shape != (batch,):
        raise ValueError(f"ctc_loss: {what}_lengths are {batch} integers, one a sample; got {lengths.shape}")
    if batch and (lengths.min() < 0 or (most is not None and lengths.max() > most)):
        bound = "" if most is None else f" .. {most}"
        raise ValueError(f"ctc_loss: {what}_lengths lie in 0{bound}; got {lengths.min()} .. {lengths.max()}")
    return lengths


def _labels(targets: Any, lengths: np.ndarray, classes: int, blank: int) -> np.ndarray:
    """(B, longest target), with blanks past each target's end."""
    given = _host(targets)
    longest = int(lengths.max(initial=0))
    inside = np.arange(longest) < lengths[:, None]
    out = np.full(inside.shape, blank, np.int64)
    if given.ndim == 1 and given.size == lengths.sum():
        out[inside] = given
    elif given.ndim == 2 and len(given) == len(lengths) and given.shape[1] >= longest:
        out[inside] = given[:, :longest][inside]
    else:
        wanted = f"({len(lengths)}, {longest}) or ({int(lengths.sum())},)"
        raise ValueError(f"ctc_loss: targets of these lengths have the shape {wanted}; got {given.shape}")
    wrong = inside & ((out < 0) | (out >= classes) | (out == blank))
    if wrong.any():
        sample, place = (int(i[0]) for i in wrong.nonzero())
        raise ValueError(
            f"ctc_loss: target {out[sample, place]} at place {place} of sample {sample} is no label; "
            f"there are classes 0 .. {classes - 1}, and {blank} is the blank"
        )
    return out
