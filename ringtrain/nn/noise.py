"""Activations that draw: leaky units of random slope, Gumbel's softmax."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import random
from ..ops.activations import leaky_relu
from ..ops.elementwise import where
from ..ops.index import one_hot
from ..ops.reduce import argmax, softmax
from ..ops.shape import moveaxis
from ..tensor import Tensor, wrap
from .module import Module


def rrelu(
    x: Tensor,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    name: str = "rrelu",
    step: int = 0,
) -> Tensor:
    """x where it is positive, else a slope times x (Xu et al. 2015); the gradient at 0 is the slope.

    In training the slope of each element is drawn between lower and upper, as a function of (seed, name, step) and of
    the element's place in the global batch; else it is their mean.
    """
    if not 0.0 <= lower <= upper:
        raise ValueError(f"rrelu wants 0 <= lower <= upper; got {lower} and {upper}")
    if not training or x.backend.abstract:
        return leaky_relu(x, (lower + upper) / 2.0)
    slopes = random.uniform(x.shape, lower, upper, f"rrelu/{name}", step, np.float64, rows=True)
    return where(x > 0, x, x * wrap(x.backend.asarray(slopes.astype(x.dtype))))


class RReLU(Module):
    """`rrelu` with slopes of its own for each call in training, the same on any number of ranks."""

    def __init__(self, lower: float = 1.0 / 8, upper: float = 1.0 / 3) -> None:
        if not 0.0 <= lower <= upper:
            raise ValueError(f"RReLU wants 0 <= lower <= upper; got {lower} and {upper}")
        self.lower, self.upper = lower, upper
        self._name = random.next_name("RReLU")
        self._last = (-1, 0)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return rrelu(x, self.lower, self.upper)
        step, call = now = random.turn(self._last)
        if random.state.replay is None:
            self._last = now
        return rrelu(x, self.lower, self.upper, True, f"{self._name}/{call}", step)

    def __deepcopy__(self, memo: dict) -> RReLU:
        copy = type(self)(self.lower, self.upper)  # with slopes of its own
        copy.training = self.training
        return copy

    def extra_repr(self) -> str:
        return f"lower={self.lower}, upper={self.upper}"


def gumbel_softmax(logits: Tensor, tau: float = 1.0, hard: bool = False, axis: int = -1) -> Tensor:
    """A sample of classes that has a gradient: softmax((logits + noise) / tau) along an axis (Jang et al. 2017).

    hard  one-hot, with the gradient of the soft sample. Noise is drawn anew by each call, by the seed, the step
    and the sample's place in the global batch.
    """
    if not tau > 0:
        raise ValueError(f"gumbel_softmax: tau is > 0; got {tau}")
    if logits.backend.abstract:
        return softmax(logits, axis)
    draws = random.uniform(logits.shape, 0.0, 1.0, random.next_draw("gumbel"), random.state.step, np.float64, True)
    noise = -np.log(-np.log(np.maximum(draws, np.finfo(np.float64).tiny)))
    soft = softmax((logits + wrap(logits.backend.asarray(noise.astype(logits.dtype)))) * (1.0 / tau), axis)
    if not hard:
        return soft
    chosen: Any = one_hot(argmax(soft.detach(), axis=axis), soft.shape[axis])
    return moveaxis(chosen, -1, axis).astype(soft.dtype) - soft.detach() + soft
