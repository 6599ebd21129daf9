"""Dropout of elements and of whole channels. Masks are functions of (seed, layer, step, call, sample)."""

from __future__ import annotations

import math
from typing import Any

from .. import random
from ..tensor import Tensor, describe, wrap
from .module import Module

_ALPHA = -1.7580993408473766  # where selu goes to far below 0: - scale * alpha (Klambauer et al. 2017)


def _kept(x: Tensor, p: float, name: str, step: int, channels: bool) -> Any:
    """Which elements, or which whole channels (N, C, 1, ...), stay: booleans on x's device."""
    if channels and x.ndim < 2:
        raise ValueError(f"dropout of channels wants (N, C, ...); got {describe(x)}")
    shape = (*x.shape[:2], *[1] * (x.ndim - 2)) if channels else x.shape
    return x.backend.asarray(random.bernoulli(shape, 1.0 - p, f"dropout/{name}", step))


def dropout(x: Tensor, p: float, name: str, step: int = 0, channels: bool = False) -> Tensor:
    """x with each element zeroed with probability p, the others divided by 1 - p (Srivastava et al. 2014).

    The mask is a function of (seed, name, step) and of the element's place in the global batch.
    channels: whole channels of (N, C, ...) instead of elements (Tompson et al. 2015).
    """
    if p == 0.0 or x.device == "meta":
        return x
    if p == 1.0:
        return x * 0.0
    mask = _kept(x, p, name, step, channels).astype(x.dtype)
    mask *= x.dtype.type(1.0 / (1.0 - p))
    return x * wrap(mask)


def alpha_dropout(x: Tensor, p: float, name: str, step: int = 0, channels: bool = False) -> Tensor:
    """Dropout that keeps mean 0 and variance 1, for networks of selu (Klambauer et al. 2017).

    Dropped elements become selu's lower limit, and all are scaled and shifted. Arguments as in `dropout`.
    """
    if p == 0.0 or x.device == "meta":
        return x
    if p == 1.0:
        return x * 0.0
    keep = _kept(x, p, name, step, channels)
    scale = 1.0 / math.sqrt((1.0 - p) * (1.0 + p * _ALPHA**2))
    shift = -scale * p * _ALPHA
    dropped = (~keep).astype(x.dtype) * x.dtype.type(_ALPHA * scale) + x.dtype.type(shift)
    return x * wrap(keep.astype(x.dtype) * x.dtype.type(scale)) + wrap(dropped)


class _Dropout(Module):
    """Draws a new mask for each call in training."""

    _drop = staticmethod(dropout)
    _channels = False
    _axes: tuple[int, ...] = ()

    def __init__(self, p: float = 0.5) -> None:
        kind = type(self).__name__
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"{kind}: p is a probability; got {p}")
        self.p = p
        self._name = random.next_name(kind)
        self._last = (-1, 0)  # the step of the last call, and which call of that step it was

    def forward(self, x: Tensor) -> Tensor:
        if self._axes and x.ndim not in self._axes:
            wanted = " or ".join(map(str, self._axes))
            raise ValueError(f"{type(self).__name__} wants an input (N, C, ...) of {wanted} axes; got {describe(x)}")
        if not self.training:
            return x
        step, call = now = random.turn(self._last)
        if random.state.replay is None:
            self._last = now
        return self._drop(x, self.p, f"{self._name}/{call}", step, self._channels)

    def __deepcopy__(self, memo: dict) -> _Dropout:
        copy = type(self)(self.p)  # with masks of its own: layers are stacked by copying them
        copy.training = self.training
        return copy

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Dropout(_Dropout):
    """In training zeroes elements with probability p and divides the others by 1 - p.

    The mask depends on the seed, this layer, the training step (which optimisers advance), how often the layer has
    run in this step, and the sample's place in the global batch: so it is the same on any number of ranks.
    """


class Dropout1d(_Dropout):
    """`Dropout` of whole channels of (N, C, L)."""

    _channels, _axes = True, (3,)


class Dropout2d(_Dropout):
    """`Dropout` of whole channels of (N, C, H, W)."""

    _channels, _axes = True, (4,)


class Dropout3d(_Dropout):
    """`Dropout` of whole channels of (N, C, D, H, W)."""

    _channels, _axes = True, (5,)


class AlphaDropout(_Dropout):
    """`Dropout` for networks of selu, which keeps mean and variance: see `rt.nn.alpha_dropout`."""

    _drop = staticmethod(alpha_dropout)


class FeatureAlphaDropout(_Dropout):
    """`AlphaDropout` of whole channels of (N, C, ...)."""

    _drop, _channels = staticmethod(alpha_dropout), True
