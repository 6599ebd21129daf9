"""Activations, softmax and dropout."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import random
from ...ops import activations, index, reduce, shape
from ...ops import elementwise as e
from ...tensor import Tensor, wrap
from ..proto import dtype_of
from ..registry import handler
from ..values import made, number


@handler("Relu")
def relu(x: Tensor) -> Tensor:
    return e.relu(x) if x.dtype.kind != "i" else e.maximum(x, 0)


@handler("Sigmoid")
def sigmoid(x: Tensor) -> Tensor:
    return e.sigmoid(x)


@handler("Tanh")
def tanh(x: Tensor) -> Tensor:
    return e.tanh(x)


@handler("Softplus")
def softplus(x: Tensor) -> Tensor:
    return e.softplus(x)


@handler("Softsign")
def softsign(x: Tensor) -> Tensor:
    return x / (e.absolute(x) + 1.0)


def _below_zero(x: Tensor) -> Tensor:
    """exp(min(x, 0)) - 1, which does not overflow on the side that is not taken."""
    return e.expm1(e.minimum(x, 0.0))


@handler("Elu", since=6)
def elu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return e.where(x > 0, x, _below_zero(x) * alpha)


@handler("Celu")
def celu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return e.maximum(x, 0.0) + _below_zero(x / alpha) * alpha


@handler("Selu", since=6)
def selu(x: Tensor, *, alpha: float = 1.6732632423543772, gamma: float = 1.0507009873554805) -> Tensor:
    return elu(x, alpha=alpha) * gamma


@handler("LeakyRelu", since=6)
def leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    return e.where(x < 0, x * alpha, x)


@handler("PRelu", since=7)
def prelu(x: Tensor, slope: Tensor) -> Tensor:
    return e.where(x < 0, x * slope, x)


@handler("ThresholdedRelu")
def thresholded_relu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return e.where(x > alpha, x, 0.0)


@handler("HardSigmoid", since=6)
def hard_sigmoid(x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    return e.clip(x * alpha + beta, 0.0, 1.0)


@handler("HardSwish")
def hard_swish(x: Tensor) -> Tensor:
    return x * e.clip(x * (1.0 / 6.0) + 0.5, 0.0, 1.0)


@handler("Mish")
def mish(x: Tensor) -> Tensor:
    return activations.mish(x)


@handler("Swish")
def swish(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return x * e.sigmoid(x * alpha)


@handler("Gelu")
def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    return activations.gelu(x, approximate)


@handler("Shrink")
def shrink(x: Tensor, *, bias: float = 0.0, lambd: float = 0.5) -> Tensor:
    dtype = x.dtype
    below = e.where(x < -lambd, x + bias, 0)
    return e.where(x > lambd, x - bias, below).astype(dtype)


# --- over an axis -----------------------------------------------------------------------------------------
def _as_matrix(fn: Any, x: Tensor, axis: int) -> Tensor:
    """Before opset 13: over all axes from `axis` on, as one."""
    axis = axis % x.ndim if x.ndim else 0
    flat = shape.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))
    return shape.reshape(fn(flat, -1), x.shape)


@handler("Softmax", since=13)
def softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    return reduce.softmax(x, axis=axis)


@handler("Softmax")
def softmax_1(x: Tensor, *, axis: int = 1) -> Tensor:
    return _as_matrix(lambda t, a: reduce.softmax(t, axis=a), x, axis)


@handler("LogSoftmax", since=13)
def log_softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    return reduce.log_softmax(x, axis=axis)


@handler("LogSoftmax")
def log_softmax_1(x: Tensor, *, axis: int = 1) -> Tensor:
    return _as_matrix(lambda t, a: reduce.log_softmax(t, axis=a), x, axis)


def _largest(x: Tensor, axis: int) -> Tensor:
    places = reduce.argmax(x, axis=axis)
    return shape.moveaxis(index.one_hot(places, x.shape[axis], x.dtype), -1, axis % x.ndim)


@handler("Hardmax", since=13)
def hardmax(x: Tensor, *, axis: int = -1) -> Tensor:
    return _largest(x, axis)


@handler("Hardmax")
def hardmax_1(x: Tensor, *, axis: int = 1) -> Tensor:
    return _as_matrix(_largest, x, axis)


# --- dropout ----------------------------------------------------------------------------------------------
@handler("Dropout", since=12, fixed=(1, 2))
def dropout(
    x: Tensor, ratio: Tensor | None = None, training: Tensor | None = None, *, seed: int | None = None,
    n_outputs: int = 1,
) -> Any:  # fmt: skip
    """Drops where the model says that it is in training; the mask is ringtrain's own draw."""
    p = 0.5 if ratio is None else number(ratio)
    if training is None or not number(training) or p == 0.0:
        return (x, made(np.ones(x.shape, bool), x))[:n_outputs]
    name = random.next_name("onnx.Dropout") if seed is None else f"onnx.Dropout:seed={seed}"
    mask = made(random.bernoulli(x.shape, 1.0 - p, name, random.state.step), x)
    return e.where(mask, x / (1.0 - p), 0.0), mask


@handler("Dropout", since=7)
def dropout_7(x: Tensor, *, ratio: float = 0.5, n_outputs: int = 1) -> Any:
    """Up to opset 11 a model is for inference: the input as it is."""
    return (x, wrap(x.backend.asarray(np.ones(x.shape, bool))))[:n_outputs]


@handler("Bernoulli")
def bernoulli(p: Tensor, *, dtype: int | None = None, seed: float | None = None) -> Tensor:
    """1 with probability p, by ringtrain's own draw."""
    name = random.next_name("onnx.Bernoulli") if seed is None else f"onnx.Bernoulli:seed={seed}"
    drawn = made(random.uniform(p.shape, 0.0, 1.0, name, random.state.step), p)
    return e.less(drawn, p).astype(p.dtype if dtype is None else dtype_of(dtype))
