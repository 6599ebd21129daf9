"""Activations: elementwise functions between the layers of a network, and gated units.

The basic ones (relu, sigmoid, tanh, softplus) are in `elementwise.py`. 16-bit floats are computed in float32 and
rounded once. Kinks follow PyTorch, as each docstring says.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..tensor import Tensor
from .define import op, pointwise, widely
from .elementwise import erf_in, log, sigmoid, sigmoid_in, where
from .fused import fused
from .reduce import softmax
from .shape import axis_of, reshape, split


def _activation(name: str, forward: Callable, vjp: Callable, doc: str) -> Any:
    return op(name, widely(pointwise(forward)), widely(pointwise(vjp)), doc=doc)


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


selu = _activation(
    "selu",
    lambda xp, x: xp.where(x > 0, x, xp.expm1(xp.minimum(x, 0)) * _SELU_ALPHA) * _SELU_SCALE,
    lambda xp, g, x: xp.where(x > 0, g, g * xp.exp(xp.minimum(x, 0.0)) * _SELU_ALPHA) * _SELU_SCALE,
    "1.0507 elu(x, alpha=1.6733), which keeps mean 0 and variance 1 through layers (Klambauer et al. 2017).",
)


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


def _mish(xp: Any, x: Any) -> Any:
    # with u = exp(x), tanh(log(1 + u)) is n / (n + 2) for n = u (u + 2); beyond 20 that is 1
    u = xp.exp(xp.minimum(x, 20.0))
    n = u * (u + 2.0)
    return x * (n / (n + 2.0))


def _mish_vjp(xp: Any, g: Any, x: Any) -> Any:
    t = xp.minimum(x, 20.0)
    u = xp.exp(t)
    n = u * (u + 2.0)
    return g * (n + t * (u * (u + 1.0) * 4.0) / (n + 2.0)) / (n + 2.0)


mish = _activation("mish", _mish, _mish_vjp, "x tanh(softplus(x)) (Misra 2019).")
logsigmoid = _activation(
    "logsigmoid",
    lambda xp, x: -xp.logaddexp(-x, 0),
    lambda xp, g, x: g * sigmoid_in(xp, -x),
    "log(sigmoid(x)), without overflow.",
)
_ROOT_HALF, _DENSITY, _GELU = math.sqrt(0.5), 1 / math.sqrt(2 * math.pi), math.sqrt(2 / math.pi)
_gelu = _activation(
    "gelu",
    lambda xp, x: x * (erf_in(xp, x * _ROOT_HALF) + 1.0) * 0.5,
    lambda xp, g, x: g * ((erf_in(xp, x * _ROOT_HALF) + 1.0) * 0.5 + x * xp.exp(x * x * -0.5) * _DENSITY),
    "",
)


def _gelu_tanh_vjp(xp: Any, g: Any, x: Any) -> Any:
    t = xp.tanh((x * x * x * 0.044715 + x) * _GELU)
    return g * ((t + 1.0) * 0.5 + x * (1.0 - t * t) * (x * x * 0.134145 + 1.0) * (0.5 * _GELU))


_gelu_tanh = _activation(
    "gelu_tanh",
    lambda xp, x: x * (xp.tanh((x * x * x * 0.044715 + x) * _GELU) + 1.0) * 0.5,
    _gelu_tanh_vjp,
    "",
)


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """x Phi(x), the Gaussian error linear unit (Hendrycks and Gimpel 2016).

    approximate: "none" is exact; "tanh" is 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), as in GPT-2.
    """
    if approximate == "none":
        return _gelu(x)
    if approximate == "tanh":
        return _gelu_tanh(x)
    raise ValueError(f"gelu: approximate={approximate!r} is unknown; use 'none' or 'tanh'")


softsign = _activation(
    "softsign",
    lambda xp, x: x / (abs(x) + 1.0),
    lambda xp, g, x: g / ((abs(x) + 1.0) * (abs(x) + 1.0)),
    "x / (1 + |x|).",
)


tanhshrink = _activation(
    "tanhshrink",
    lambda xp, x: x - xp.tanh(x),
    lambda xp, g, x: g * (xp.tanh(x) * xp.tanh(x)),
    "x - tanh(x).",
)


def softmin(x: Tensor, axis: int = -1) -> Tensor:
    """softmax(-x) along an axis."""
    return softmax(-x, axis)


# --- piecewise linear units -------------------------------------------------------------------------------
_hardtanh = _activation(
    "hardtanh",
    lambda xp, x, *, min_val=-1.0, max_val=1.0: xp.clip(x, min_val, max_val),
    lambda xp, g, x, min_val, max_val: xp.where((x > min_val) & (x < max_val), g, 0.0),
    "",
)


def hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """x held between min_val and max_val; unlike `clip`, the gradient at the bounds is 0."""
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val={min_val} lies above max_val={max_val}")
    return _hardtanh(x, min_val=min_val, max_val=max_val)


def relu6(x: Tensor) -> Tensor:
    """min(max(x, 0), 6); the gradient at 0 and at 6 is 0."""
    return hardtanh(x, 0.0, 6.0)


hardsigmoid = _activation(
    "hardsigmoid",
    lambda xp, x: xp.clip(x + 3.0, 0.0, 6.0) / 6.0,
    lambda xp, g, x: xp.where((x > -3) & (x < 3), g * (1.0 / 6.0), 0.0),
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
    lambda xp, g, x, lambd: xp.where(abs(x) > lambd, g, 0.0),
    "x where |x| > lambd, else 0.",
)
_softshrink = _activation(
    "softshrink",
    lambda xp, x, *, lambd=0.5: xp.where(x > lambd, x - lambd, xp.where(x < -lambd, x + lambd, x * 0)),
    lambda xp, g, x, lambd: xp.where(abs(x) > lambd, g, 0.0),
    "",
)


def softshrink(x: Tensor, lambd: float = 0.5) -> Tensor:
    """x drawn towards 0 by lambd >= 0, and 0 where |x| <= lambd."""
    if lambd < 0:
        raise ValueError(f"softshrink: lambd is >= 0; got {lambd}")
    return _softshrink(x, lambd=lambd)


threshold = _activation(
    "threshold",
    lambda xp, x, *, threshold, value: xp.where(x <= threshold, value, x),
    lambda xp, g, x, threshold: xp.where(x <= threshold, 0.0, g),
    "x where it is above `threshold`, else `value`; the gradient at the threshold is 0. nan stays.",
)


# --- gated units ------------------------------------------------------------------------------------------
def _by_halves(x: Tensor, *, axis: int) -> Tensor:
    first, second = split(x, 2, axis=axis)
    return first * sigmoid(second)


_glu = fused("glu", _by_halves)


def glu(x: Tensor, axis: int = -1) -> Tensor:
    """a sigmoid(b), where a and b are the halves of x along an axis (Dauphin et al. 2017)."""
    a = axis_of(axis, x.ndim, "glu")
    if x.shape[a] % 2:
        raise ValueError(f"glu halves axis {axis}, which has {x.shape[a]} elements in {x.shape}")
    return _glu(x, axis=a)


def logit(x: Tensor, eps: float | None = None) -> Tensor:
    """log(x / (1 - x)), the inverse of the sigmoid; with eps x is held between eps and 1 - eps."""
    p = x if eps is None else x.clip(eps, 1.0 - eps)
    return log(p / (1.0 - p))
