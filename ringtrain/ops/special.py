"""Elementwise functions beyond arithmetic: inverse hyperbolic, special functions, interpolation, nan handling."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import backend as backends
from ..autograd import taped
from ..backend.meta import MetaArray
from ..dtypes import is_float, settled
from ..tensor import Tensor
from .define import binary, op, register, special, unary
from .elementwise import (
    absolute,
    equal,
    isfinite,
    isnan,
    logaddexp,
    logical_and,
    logical_not,
    logical_or,
    no_slope,
    power,
    where,
)

# --- powers, logarithms, hyperbolic -----------------------------------------------------------------------
exp2 = unary("exp2", lambda xp, x: xp.exp2(x), lambda xp, g, out: g * (out * math.log(2.0)))
cbrt = unary("cbrt", lambda xp, x: xp.cbrt(x), lambda xp, g, out: g / (out * out * 3.0))
rsqrt = unary("rsqrt", lambda xp, x: 1.0 / xp.sqrt(x), lambda xp, g, x, out: g * out / x * -0.5, "1 / sqrt(x).")
arcsinh = unary("arcsinh", lambda xp, x: xp.arcsinh(x), lambda xp, g, x: g / xp.sqrt(x * x + 1.0))
arccosh = unary("arccosh", lambda xp, x: xp.arccosh(x), lambda xp, g, x: g / xp.sqrt((x - 1.0) * (x + 1.0)))
arctanh = unary("arctanh", lambda xp, x: xp.arctanh(x), lambda xp, g, x: g / ((1.0 - x) * (x + 1.0)))
trunc = unary("trunc", lambda xp, x: xp.trunc(x), no_slope)
signbit = unary("signbit", lambda xp, x: xp.signbit(x))
deg2rad = unary("deg2rad", lambda xp, x: x * (math.pi / 180.0), lambda xp, g: g * (math.pi / 180.0))
rad2deg = unary("rad2deg", lambda xp, x: x * (180.0 / math.pi), lambda xp, g: g * (180.0 / math.pi))


def _ratio(a: Any, out: Any, xp: Any) -> Any:
    """a / out, and 0 where both are 0."""
    return xp.where(out == 0, 0.0, a / xp.where(out == 0, 1.0, out))


hypot = binary(
    "hypot",
    np.hypot,
    (lambda xp, g, a, out: g * _ratio(a, out, xp), lambda xp, g, b, out: g * _ratio(b, out, xp)),
    "sqrt(a^2 + b^2), without overflow; its gradient where both are 0 is 0.",
)
fmod = binary(
    "fmod",
    np.fmod,
    (lambda xp, g: g, lambda xp, g, a, b: -g * xp.trunc(a / b)),
    "The remainder of a / b with the sign of a (`remainder` has that of b).",
)


def _first(xp: Any, a: Any, b: Any, larger: bool) -> Any:
    """Whether the first of two is chosen: at a tie it is, and beside a nan."""
    return xp.logical_or(a >= b if larger else a <= b, xp.isnan(b))


def _chooser(name: str, forward: Any, larger: bool, doc: str) -> Any:
    return binary(
        name,
        forward,
        (
            lambda xp, g, a, b: xp.where(_first(xp, a, b, larger), g, 0.0),
            lambda xp, g, a, b: xp.where(_first(xp, a, b, larger), 0.0, g),
        ),
        f"The {doc} of two; of a number and a nan the number. The gradient goes to it, at a tie to the first.",
    )


fmax = _chooser("fmax", np.fmax, True, "larger")
fmin = _chooser("fmin", np.fmin, False, "smaller")
copysign = binary(
    "copysign",
    np.copysign,
    (lambda xp, g, a, b: g * xp.sign(a) * _sign_of(xp, b), lambda xp, g: g * 0.0),
    "|a| with the sign of b.",
)


def _sign_of(xp: Any, x: Any) -> Any:
    """1 or -1, and the sign that a zero has."""
    return xp.where(xp.signbit(x), -1.0, 1.0).astype(x.dtype) if hasattr(x, "dtype") else math.copysign(1.0, x)


left_shift = binary("left_shift", lambda a, b: a << b)
right_shift = binary("right_shift", lambda a, b: a >> b)


def _sinc_slope(xp: Any, x: Any, out: Any) -> Any:
    """(cos(pi x) - sinc(x)) / x, by its series where x is small: there the difference loses its digits."""
    near = abs(x) < 1e-2
    far = xp.where(near, 1.0, x)
    square = xp.where(near, x, 0.0) ** 2
    p = math.pi**2
    series = x * ((square * (-p / 840.0) + 1.0 / 30.0) * (square * p) - 1.0 / 3.0) * p
    return xp.where(near, series, (xp.cos(far * math.pi) - out) / far)


sinc = unary(
    "sinc",
    lambda xp, x: xp.sinc(x if is_float(getattr(x, "dtype", np.float64)) else x.astype(np.float64)),
    lambda xp, g, x, out: g * _sinc_slope(xp, x, out),
    "sin(pi x) / (pi x), and 1 at 0.",
)


# --- special functions ------------------------------------------------------------------------------------
erfc = unary(
    "erfc",
    special("erfc"),
    lambda xp, g, x: g * (xp.exp(-x * x) * (-2.0 / math.sqrt(math.pi))),
    "1 - erf(x), with all its digits where that is small.",
)
erfinv = unary(
    "erfinv",
    special("erfinv"),
    lambda xp, g, out: g * (xp.exp(out * out) * (math.sqrt(math.pi) / 2.0)),
    "The inverse of erf on -1 .. 1.",
)


def _polygamma_forward(n: int, x: Any) -> Any:
    return backends.of(x).special("polygamma")(n, x)


def _derivative(xp: Any, n: int, x: Any) -> Any:
    """Polygamma within a vjp."""
    return xp.polygamma(n, x) if xp is taped else _polygamma_forward(n, x).astype(x.dtype)


_polygamma = op(
    "polygamma",
    lambda xp, x, *, n: settled(_polygamma_forward(n, x), (x,)),
    lambda xp, g, x, n: g * _derivative(xp, n + 1, x),
)


def polygamma(n: int, x: Tensor) -> Tensor:
    """The n-th derivative of `digamma`, n = 0, 1, 2, ..."""
    if not isinstance(n, (int, np.integer)) or n < 0:
        raise ValueError(f"polygamma: n is an integer >= 0; got {n!r}")
    return _polygamma(x, n=int(n))


register("polygamma", polygamma)
lgamma = unary(
    "lgamma",
    special("lgamma"),
    lambda xp, g, x: g * _derivative(xp, 0, x),
    "The logarithm of |gamma(x)|.",
)


def digamma(x: Tensor) -> Tensor:
    """The derivative of `lgamma`."""
    return _polygamma(x, n=0)


def _xlogy(a: Any, b: Any) -> Any:
    zero = (a == 0) & ~np.isnan(b)
    return a * np.log(np.where(zero, 1.0, b).astype(np.result_type(a, b)))  # where zero, 0 times the logarithm of 1


def _xlogy_a(xp: Any, g: Any, a: Any, b: Any) -> Any:
    corner = xp.logical_and(a == 0, b <= 0)
    return xp.where(corner, 0.0, g * xp.log(xp.where(corner, 1.0, b)))


xlogy = binary(
    "xlogy",
    _xlogy,
    (_xlogy_a, lambda xp, g, a, b: g * a / b),
    "a log(b), and 0 where a is 0, whatever b is; nan where b is nan.",
)


# --- compounds --------------------------------------------------------------------------------------------
def lerp(a: Tensor, b: Tensor, weight: Any) -> Tensor:
    """a + weight (b - a); all three broadcast."""
    return a + (b - a) * weight


def addcmul(x: Tensor, a: Tensor, b: Tensor, value: float = 1.0) -> Tensor:
    """x + value * a * b; all three broadcast."""
    return x + a * b * value


def addcdiv(x: Tensor, a: Tensor, b: Tensor, value: float = 1.0) -> Tensor:
    """x + value * a / b; all three broadcast."""
    return x + a / b * value


def float_power(a: Any, b: Any) -> Tensor:
    """a^b in float64, of two of which one may be a number or an array."""
    return power(*(v.astype(np.float64) if hasattr(v, "astype") else np.float64(v) for v in (a, b)))


def ldexp(x: Tensor, exponent: Any) -> Tensor:
    """x 2^exponent."""
    if isinstance(exponent, Tensor):
        return x * exp2(exponent.astype(x.dtype))
    return x * x.backend.asarray(np.exp2(exponent), x.dtype)


def logaddexp2(a: Tensor, b: Tensor) -> Tensor:
    """log2(2^a + 2^b), without overflow."""
    return logaddexp(a * math.log(2.0), b * math.log(2.0)) * (1.0 / math.log(2.0))


def frac(x: Tensor) -> Tensor:
    """x - trunc(x): what stands after the point, with the sign of x."""
    return x - trunc(x)


def heaviside(x: Tensor, value: Any) -> Tensor:
    """0 where x is negative, 1 where it is positive, `value` where it is 0; nan stays. No gradient for x."""
    return where(x == 0, value, where(isnan(x), x.detach(), (x > 0).astype(x.dtype)))


# --- questions --------------------------------------------------------------------------------------------
def _floating(x: Any) -> Any:
    """Whole numbers and booleans as float64: differences of unsigned ones wrap around."""
    return x.astype(np.float64) if hasattr(x, "dtype") and x.dtype.kind in "biu" else x


def isclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """Where |a - b| <= atol + rtol |b|; infinities are close to themselves, with equal_nan nans too."""
    if rtol < 0 or atol < 0:
        raise ValueError(f"isclose: rtol and atol are >= 0; got {rtol} and {atol}")
    a, b = map(_floating, (a, b))
    near = logical_and(absolute(a - b) <= absolute(b) * rtol + atol, isfinite(b))
    near = logical_or(near, equal(a, b))
    return logical_or(near, logical_and(isnan(a), isnan(b))) if equal_nan else near


_isin = op("isin", lambda xp, x, values: xp.isin(x, values), shape=lambda x, values: MetaArray(x.shape, np.bool_))


def isin(x: Tensor, values: Any, invert: bool = False) -> Tensor:
    """Which elements of x occur among the values, of any shape; with `invert` those that do not."""
    found = _isin(x, values if isinstance(values, Tensor) else x.backend.asarray(np.asarray(values)))
    return logical_not(found) if invert else found


def isposinf(x: Tensor) -> Tensor:
    """Which elements are inf."""
    return equal(x, math.inf)


def isneginf(x: Tensor) -> Tensor:
    """Which elements are -inf."""
    return equal(x, -math.inf)


nan_to_num = op(
    "nan_to_num",
    lambda xp, x, *, nan=0.0, posinf=None, neginf=None: settled(
        _numbers(xp, x, nan, posinf, neginf) if is_float(x.dtype) else x.copy(), (x,)
    ),
    lambda xp, g, x: g * xp.isfinite(x).astype(g.dtype),
    doc="x with nan, inf and -inf replaced by numbers (None: the dtype's largest); there the gradient is 0.",
)


def _numbers(xp: Any, x: Any, nan: float, posinf: float | None, neginf: float | None) -> Any:
    import ml_dtypes

    largest = float(ml_dtypes.finfo(x.dtype).max)
    high, low = largest if posinf is None else posinf, -largest if neginf is None else neginf
    scalar = x.dtype.type
    out = xp.where(xp.isnan(x), scalar(nan), x)
    return xp.where(x == math.inf, scalar(high), xp.where(x == -math.inf, scalar(low), out))
