"""Activations: elementwise functions between the layers of a network, and gated units.

The basic ones (relu, sigmoid, tanh, softplus, gelu) are in `elementwise.py`. 16-bit floats are computed in float32 and
rounded once. Kinks follow PyTorch, as each docstring says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..tensor import Tensor
from .define import op, widely
from .elementwise import log, sigmoid, sigmoid_in, softplus, tanh, where
from .reduce import softmax
from .shape import axis_of, reshape


def _activation(name: str, forward: Callable, vjp: Callable, doc: str) -> Any:
    return op(name, widely(forward), vjp, doc=doc)


def _chosen(xp: Any, condition: Any, g: Any) -> Any:
    """The gradient where a condition holds, else 0."""
    return g * condition.astype(g.dtype)


# --- leaky and exponential units --------------------------------------------------------------------------
leaky_relu = _activation(
    "leaky_relu",
    lambda xp, x, *, negative_slope=0.01: xp.where(x > 0, x, x * negative_slope),
    lambda xp, g, x, negative_slope: xp.where(x > 0, g, g * negative_slope),
    "x where it is positive, else negative_slope * x; the gradient at 0 is negative_slope.",
)


def prelu(x: Tensor, weight: Tensor) -> Tensor:
    """x where it is positive, else weight * x (He et al. 2015); weight (1,), or (C,) for x (N, C, ...)."""
    if weight.ndim > 1 or (weight.size != 1 and (x.ndim < 2 or weight.size != x.shape[1])):
        raise ValueError(f"prelu: the weight is (1,) or has a value for each channel; got {weight.shape} for {x.shape}")
    slope = reshape(weight, (-1,) + (1,) * max(0, x.ndim - 2) if x.ndim else ())
    return where(x > 0, x, x * slope)


def _elu(xp: Any, x: Any, *, alpha: float = 1.0) -> Any:
    return xp.where(x > 0, x, xp.expm1(xp.minimum(x, 0)) * alpha)


elu = _activation(
    "elu",
    _elu,
    lambda xp, g, x, alpha: xp.where(x > 0, g, g * xp.exp(xp.minimum(x, 0.0)) * alpha),
    "x where it is positive, else alpha (exp(x) - 1) (Clevert et al. 2015); the gradient at 0 is alpha.",
)
celu = _activation(
    "celu",
    lambda xp, x, *, alpha=1.0: xp.where(x > 0, x, xp.expm1(xp.minimum(x, 0) / alpha) * alpha),
    lambda xp, g, x, alpha: xp.where(x > 0, g, g * xp.exp(xp.minimum(x, 0.0) / alpha)),
    "x where it is positive, else alpha (exp(x / alpha) - 1) (Barron 2017).",
)
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def selu(x: Tensor) -> Tensor:
    """1.0507 elu(x, alpha=1.6733), which keeps mean 0 and variance 1 through layers (Klambauer et al. 2017)."""
    return elu(x, alpha=_SELU_ALPHA) * _SELU_SCALE


# --- smooth units -----------------------------------------------------------------------------------------
def _silu_vjp(xp: Any, g: Any, x: Any) -> Any:
    s = sigmoid_in(xp, x)
    return g * (s * ((1.0 - s) * x + 1.0))


silu = _activation(
    "silu",
    lambda xp, x: x * sigmoid_in(xp, x),
    _silu_vjp,
    "x sigmoid(x), also called swish (Hendrycks and Gimpel 2016; Ramachandran et al. 2017).",
)


def mish(x: Tensor) -> Tensor:
    """x tanh(softplus(x)) (Misra 2019)."""
    return x * tanh(softplus(x))


def logsigmoid(x: Tensor) -> Tensor:
    """log(sigmoid(x)), without overflow."""
    return -softplus(-x)


softsign = _activation(
    "softsign",
    lambda xp, x: x / (abs(x) + 1.0),
    lambda xp, g, x: g / (abs(x) + 1.0) ** 2,
    "x / (1 + |x|).",
)


def tanhshrink(x: Tensor) -> Tensor:
    """x - tanh(x)."""
    return x - tanh(x)


def softmin(x: Tensor, axis: int = -1) -> Tensor:
    """softmax(-x) along an axis."""
    return softmax(-x, axis)


# --- piecewise linear units -------------------------------------------------------------------------------
hardtanh = _activation(
    "hardtanh",
    lambda xp, x, *, min_val=-1.0, max_val=1.0: xp.clip(x, min_val, max_val),
    lambda xp, g, x, min_val, max_val: _chosen(xp, (x > min_val) & (x < max_val), g),
    "x held between min_val and max_val; unlike `clip`, the gradient at the bounds is 0.",
)


def relu6(x: Tensor) -> Tensor:
    """min(max(x, 0), 6); the gradient at 0 and at 6 is 0."""
    return hardtanh(x, 0.0, 6.0)


hardsigmoid = _activation(
    "hardsigmoid",
    lambda xp, x: xp.clip(x + 3.0, 0.0, 6.0) / 6.0,
    lambda xp, g, x: _chosen(xp, (x > -3) & (x < 3), g * (1.0 / 6.0)),
    "min(max(x + 3, 0), 6) / 6; the gradient at the corners is 0.",
)
hardswish = _activation(
    "hardswish",
    lambda xp, x: x * xp.clip(x + 3.0, 0.0, 6.0) / 6.0,
    lambda xp, g, x: xp.where(x <= -3, 0.0, xp.where(x < 3, g * (x * (1.0 / 3.0) + 0.5), g)),
    "x hardsigmoid(x) (Howard et al. 2019); the gradient at -3 is 0, at 3 it is 1.",
)
hardshrink = _activation(
    "hardshrink",
    lambda xp, x, *, lambd=0.5: xp.where(abs(x) <= lambd, 0, x),
    lambda xp, g, x, lambd: _chosen(xp, abs(x) > lambd, g),
    "x where |x| > lambd, else 0.",
)
softshrink = _activation(
    "softshrink",
    lambda xp, x, *, lambd=0.5: xp.where(x > lambd, x - lambd, xp.where(x < -lambd, x + lambd, x * 0)),
    lambda xp, g, x, lambd: _chosen(xp, abs(x) > lambd, g),
    "x drawn towards 0 by lambd, and 0 where |x| <= lambd.",
)
threshold = _activation(
    "threshold",
    lambda xp, x, *, threshold, value: xp.where(x > threshold, x, value),
    lambda xp, g, x, threshold: _chosen(xp, x > threshold, g),
    "x where it is above `threshold`, else `value`; the gradient at the threshold is 0.",
)


# --- gated units ------------------------------------------------------------------------------------------
def glu(x: Tensor, axis: int = -1) -> Tensor:
    """a sigmoid(b), where a and b are the halves of x along an axis (Dauphin et al. 2017)."""
    a = axis_of(axis, x.ndim, "glu")
    if x.shape[a] % 2:
        raise ValueError(f"glu halves axis {axis}, which has {x.shape[a]} elements in {x.shape}")
    lead, half = (slice(None),) * a, x.shape[a] // 2
    return x[(*lead, slice(half))] * sigmoid(x[(*lead, slice(half, None))])


def logit(x: Tensor, eps: float | None = None) -> Tensor:
    """log(x / (1 - x)), the inverse of the sigmoid; with eps x is held between eps and 1 - eps."""
    p = x if eps is None else x.clip(eps, 1.0 - eps)
    return log(p / (1.0 - p))
