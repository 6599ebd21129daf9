"""Elementwise functions: arithmetic, powers and exponentials, rounding, comparisons, where.

Kinks follow PyTorch: relu'(0) = 0, abs'(0) = 0, maximum and minimum share a tie equally, clip passes the gradient
at its bounds.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from .. import backend as backends
from ..dtypes import settled
from ..tensor import Tensor, beside, describe
from .define import binary, op, pointwise, register, special, unary, widely

# --- arithmetic -------------------------------------------------------------------------------------------
add = binary("add", operator.add, (lambda xp, g: g, lambda xp, g: g))
subtract = binary("subtract", operator.sub, (lambda xp, g: g, lambda xp, g: -g))
multiply = binary("multiply", operator.mul, (lambda xp, g, b: g * b, lambda xp, g, a: g * a))
divide = binary("divide", operator.truediv, (lambda xp, g, b: g / b, lambda xp, g, b, out: -g * out / b))
floor_divide = binary("floor_divide", operator.floordiv)
remainder = binary("remainder", operator.mod, (lambda xp, g: g, lambda xp, g, a, b: -g * xp.floor_divide(a, b)))
negative = unary("negative", lambda xp, x: -x, lambda xp, g: -g)
absolute = unary("absolute", lambda xp, x: abs(x), lambda xp, g, x: g * xp.sign(x))


def _power_a(xp: Any, g: Any, a: Any, b: Any) -> Any:
    # b * a^(b-1), but 0 where both are 0: 0^(-1) is infinite
    corner = xp.logical_and(a == 0, b == 0)
    return g * (b * xp.power(a, xp.where(corner, 1.0, b - 1.0)))


def _power_b(xp: Any, g: Any, a: Any, b: Any, out: Any) -> Any:
    # a^b log a; where a is 0, PyTorch's 0 without the logarithm of 0, but for a negative exponent: infinite as a^b is
    if not hasattr(a, "shape"):
        if a == 0:
            return g * xp.where(b < 0, -out, 0.0)
        return g * out * (math.log(a) if a > 0 else math.nan)
    slope = xp.where(a == 0, 0.0, out) * xp.log(xp.where(a == 0, 1.0, a))
    return g * xp.where(xp.logical_and(a == 0, b < 0), -out, slope)


_power = binary("power", operator.pow, (_power_a, _power_b))


def power(a: Any, b: Any) -> Tensor:
    """a ** b, elementwise; negative a with a fractional b gives nan, as in NumPy."""
    if type(b) in (int, float) and isinstance(a, Tensor):
        return _power_scalar(a, exponent=b)
    return _power(a, b)


register("power", power)
_power_scalar = op(
    "power_scalar",
    lambda xp, x, *, exponent: x * x if exponent == 2 else settled(x**exponent, (x,)),
    lambda xp, g, x, exponent: (
        g * (x * 2.0) if exponent == 2 else g * 0.0 if exponent == 0 else g * (exponent * x ** (exponent - 1))
    ),
)

# --- powers, exponentials, logarithms ---------------------------------------------------------------------
square = unary("square", lambda xp, x: x * x, lambda xp, g, x: g * (x * 2.0))
sqrt = unary("sqrt", lambda xp, x: xp.sqrt(x), lambda xp, g, out: g / (out * 2.0))
reciprocal = unary("reciprocal", lambda xp, x: 1.0 / x, lambda xp, g, out: -g * out * out)
exp = unary("exp", lambda xp, x: xp.exp(x), lambda xp, g, out: g * out)
expm1 = unary("expm1", lambda xp, x: xp.expm1(x), lambda xp, g, out: g * (out + 1.0))
log = unary("log", lambda xp, x: xp.log(x), lambda xp, g, x: g / x)
log2 = unary("log2", lambda xp, x: xp.log2(x), lambda xp, g, x: g / (x * math.log(2.0)))
log10 = unary("log10", lambda xp, x: xp.log10(x), lambda xp, g, x: g / (x * math.log(10.0)))
log1p = unary("log1p", lambda xp, x: xp.log1p(x), lambda xp, g, x: g / (x + 1.0))
logaddexp = binary(
    "logaddexp",
    np.logaddexp,
    (lambda xp, g, a, b: g * sigmoid_in(xp, a - b), lambda xp, g, a, b: g * sigmoid_in(xp, b - a)),
)

# --- trigonometric and hyperbolic -------------------------------------------------------------------------
sin = unary("sin", lambda xp, x: xp.sin(x), lambda xp, g, x: g * xp.cos(x))
cos = unary("cos", lambda xp, x: xp.cos(x), lambda xp, g, x: -g * xp.sin(x))
tan = unary("tan", lambda xp, x: xp.tan(x), lambda xp, g, out: g * (out * out + 1.0))
arcsin = unary("arcsin", lambda xp, x: xp.arcsin(x), lambda xp, g, x: g / xp.sqrt(1.0 - x * x))
arccos = unary("arccos", lambda xp, x: xp.arccos(x), lambda xp, g, x: -g / xp.sqrt(1.0 - x * x))
arctan = unary("arctan", lambda xp, x: xp.arctan(x), lambda xp, g, x: g / (x * x + 1.0))


def _squares(xp: Any, a: Any, b: Any) -> Any:
    """a^2 + b^2, and 1 where both are 0."""
    return a * a + b * b + xp.logical_and(a == 0, b == 0)


arctan2 = binary(
    "arctan2",
    np.arctan2,
    (lambda xp, g, a, b: g * (b / _squares(xp, a, b)), lambda xp, g, a, b: -g * (a / _squares(xp, a, b))),
    doc="The angle of the point (b, a), in radians; its gradient where both are 0 is 0.",
)
sinh = unary("sinh", lambda xp, x: xp.sinh(x), lambda xp, g, x: g * xp.cosh(x))
cosh = unary("cosh", lambda xp, x: xp.cosh(x), lambda xp, g, x: g * xp.sinh(x))


# --- rounding and signs: piecewise constant, so their gradient is zero -------------------------------------
def no_slope(xp: Any, g: Any) -> Any:
    """The vjp of an op whose result does not change with its input, but for jumps."""
    return xp.zeros_like(g)


sign = unary("sign", lambda xp, x: xp.sign(x), no_slope)
floor = unary("floor", lambda xp, x: xp.floor(x), no_slope)
ceil = unary("ceil", lambda xp, x: xp.ceil(x), no_slope)
round = op(
    "round",
    widely(lambda xp, x, *, decimals=0: xp.round(x, decimals)),
    no_slope,
    doc="x to the nearest number of that many decimals; halves go to the even one.",
)

# --- comparisons: booleans --------------------------------------------------------------------------------
equal = binary("equal", operator.eq)
not_equal = binary("not_equal", operator.ne)
less = binary("less", operator.lt)
less_equal = binary("less_equal", operator.le)
greater = binary("greater", operator.gt)
greater_equal = binary("greater_equal", operator.ge)
logical_and = binary("logical_and", np.logical_and)
logical_or = binary("logical_or", np.logical_or)
logical_xor = binary("logical_xor", np.logical_xor)
bitwise_and = binary("bitwise_and", operator.and_)
bitwise_or = binary("bitwise_or", operator.or_)
bitwise_xor = binary("bitwise_xor", operator.xor)
invert = unary("invert", lambda xp, x: ~x)
logical_not = unary("logical_not", lambda xp, x: xp.logical_not(x))
isnan = unary("isnan", lambda xp, x: xp.isnan(x))
isinf = unary("isinf", lambda xp, x: xp.isinf(x))
isfinite = unary("isfinite", lambda xp, x: xp.isfinite(x))


# --- choices ----------------------------------------------------------------------------------------------
def _prefer(g: Any, mine: Any, other: Any) -> Any:
    """The gradient of the preferred one of two: all of it where it won, half of it at a tie."""
    return g * ((mine > other) + 0.5 * (mine == other)).astype(g.dtype)


maximum = binary("maximum", np.maximum, (lambda xp, g, a, b: _prefer(g, a, b), lambda xp, g, a, b: _prefer(g, b, a)))
minimum = binary("minimum", np.minimum, (lambda xp, g, a, b: _prefer(g, b, a), lambda xp, g, a, b: _prefer(g, a, b)))
where = op(
    "where",
    lambda xp, condition, a, b: settled(xp.where(condition, a, b), (a, b)),
    (
        None,
        lambda xp, g, condition: xp.where(condition, g, 0.0),
        lambda xp, g, condition: xp.where(condition, 0.0, g),
    ),
    broadcasts=True,
    doc="a where the condition holds, else b; all three broadcast.",
)


def _inside(x: Any, low: Any, high: Any) -> Any:
    if low is None:
        return x <= high
    return x >= low if high is None else (x >= low) & (x <= high)


def _held(xp: Any, x: Any, low: Any, high: Any) -> Any:
    if low is None:
        return xp.minimum(x, high)
    return xp.maximum(x, low) if high is None else xp.clip(x, low, high)


_clip = op(
    "clip",
    lambda xp, x, *, low=None, high=None: settled(_held(xp, x, low, high), (x,)),
    lambda xp, g, x, low, high: g * _inside(x, low, high).astype(g.dtype),
)


def clip(x: Tensor, low: Any = None, high: Any = None) -> Tensor:
    """x held between two numbers, or between tensors or arrays that broadcast; None leaves a side open. The upper bound
    wins where they cross. The gradient is x's at the bounds, a bound's beyond it (as in PyTorch)."""
    if low is None and high is None:
        raise ValueError("clip needs a lower bound, an upper bound, or both")
    if hasattr(low, "shape") or hasattr(high, "shape"):
        low, high = beside(x, low), beside(x, high)
        held = x if low is None else where(logical_or(x < low, isnan(low)), low, x)
        return held if high is None else where(logical_or(held > high, isnan(high)), high, held)
    return _clip(x, low=low, high=high)


register("clip", clip)

# --- activations ------------------------------------------------------------------------------------------
relu = unary(
    "relu",
    pointwise(lambda xp, x: xp.maximum(x, 0)),
    pointwise(lambda xp, g, out: xp.where(out > 0, g, 0.0)),
    "max(x, 0); its gradient at 0 is 0.",
)


def _sigmoid(xp: Any, x: Any) -> Any:
    # exp of what is never positive cannot overflow, and small results keep all their digits
    e = xp.exp(abs(x) * -1.0)
    return xp.where(x >= 0, 1.0, e) / (e + 1.0)


sigmoid = unary(
    "sigmoid",
    pointwise(_sigmoid),
    pointwise(lambda xp, g, out: g * out * (1.0 - out)),
    "1 / (1 + exp(-x)), without overflow.",
)
tanh = unary("tanh", pointwise(lambda xp, x: xp.tanh(x)), pointwise(lambda xp, g, out: g * (1.0 - out * out)))


def sigmoid_in(xp: Any, x: Any) -> Any:
    """The sigmoid within a forward function or vjp: of a raw array, or of a tensor."""
    return sigmoid(x) if isinstance(x, Tensor) else _sigmoid(xp, x)


def _softplus_rule(xp: Any, x: Any, *, beta: float, threshold: float) -> Any:
    return xp.where(x * beta > threshold, x, xp.logaddexp(x * beta, 0) / beta)


def _softplus_vjp(xp: Any, g: Any, x: Any, beta: float, threshold: float) -> Any:
    return xp.where(x * beta > threshold, g, g * sigmoid_in(xp, x * beta))


_softplus = op("softplus", widely(pointwise(_softplus_rule)), widely(pointwise(_softplus_vjp)))


def softplus(x: Tensor, beta: float = 1.0, threshold: float | None = None) -> Tensor:
    """log(1 + exp(beta x)) / beta, without overflow.

    threshold: where beta x is larger the result is x itself, as in PyTorch (whose default is 20); None: never.
    """
    return _softplus(x, beta=float(beta), threshold=math.inf if threshold is None else float(threshold))


register("softplus", softplus)


_erf = special("erf")
_TWO_BY_ROOT_PI = 2.0 / math.sqrt(math.pi)
erf = unary(
    "erf",
    pointwise(lambda xp, x: erf_in(xp, x)),
    pointwise(lambda xp, g, x: g * (xp.exp(-x * x) * _TWO_BY_ROOT_PI)),
    "The error function 2/sqrt(pi) * integral of exp(-t^2) from 0 to x.",
)


def erf_in(xp: Any, x: Any) -> Any:
    """`erf` within a forward function or vjp."""
    return erf(x) if isinstance(x, Tensor) else _erf(xp, x)


# --- dtype, memory, device --------------------------------------------------------------------------------
copy = op("copy", lambda xp, x: x.copy(), lambda xp, g: g, doc="The same values in memory of their own.")
_astype = op("astype", lambda xp, x, *, dtype: x.astype(dtype), lambda xp, g: g)


def astype(x: Tensor, dtype: Any) -> Tensor:
    """x in another dtype; the gradient comes back in x's own. Returns x itself where nothing changes."""
    dtype = np.dtype(dtype)
    if x.dtype == dtype:
        return x
    return _astype(x, dtype=dtype)


def _moved(array: Any, device: str) -> Any:
    target, index = backends.get(device)
    source = backends.of(array)
    return target.asarray(array if source is target else source.to_numpy(array), None, index)


_move = op(
    "to_device",
    lambda xp, x, *, source, device: _moved(x, device),
    lambda xp, g, source: to(g, source) if isinstance(g, Tensor) else _moved(g, source),
    shape=lambda x, *, source, device: x.shape,
)


def to(x: Tensor, target: Any) -> Tensor:
    """x on another device ("cpu", "cuda:0") or in another dtype; x itself where nothing changes."""
    if isinstance(target, str) and target.partition(":")[0] in ("cpu", "cuda", "meta"):
        if x.backend.abstract and target != "meta":
            raise RuntimeError(f"{describe(x)} on device 'meta' has no values to put on {target!r}")
        backend, index = backends.get(target)
        device = backend.place(index)
        return x if x.device == device else _move(x, source=x.device, device=target)
    return astype(x, target)


register("astype", astype)
