"""Special functions that NumPy lacks: the error functions, the logarithm of gamma, and its derivatives.

erf, erfc and lgamma are the C library's, in loops compiled at first use. All are elementwise, in float64 for integers;
16-bit floats are computed in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ..dtypes import is_float, wide
from .jit import available, jit

_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)  # B2, B4, ... B16
_LOWEST = -1000.0  # the recurrence starts no lower
_FAR = 10.0  # from here on eight terms of the asymptotic series leave less than a rounding


def _erf_loop(x, out):
    for i in range(x.size):
        out[i] = math.erf(x[i])


def _erfc_loop(x, out):
    for i in range(x.size):
        out[i] = math.erfc(x[i])


def _lgamma_loop(x, out):
    for i in range(x.size):
        out[i] = math.lgamma(x[i])


def _lgamma(x: float) -> float:
    return math.inf if x <= 0 and x == math.floor(x) else math.lgamma(x)


_LOOPS: dict[str, tuple[Callable, Callable]] = {
    "erf": (_erf_loop, math.erf),
    "erfc": (_erfc_loop, math.erfc),
    "lgamma": (_lgamma_loop, _lgamma),
}


@cache
def _compiled(name: str) -> Any:
    loop, scalar = _LOOPS[name]
    if not available():
        return lambda x: np.vectorize(scalar, otypes=[x.dtype])(x)
    fast = jit(loop)

    def run(x: Any) -> Any:
        out = np.empty(x.shape, x.dtype)
        fast(np.ascontiguousarray(x).reshape(-1), out.reshape(-1))
        return out

    return run


def _floating(function: Callable[[Any], Any], x: Any) -> Any:
    """A function of float32 or float64 arrays, on any array."""
    x = np.asarray(x)
    accumulator = wide(x.dtype)
    if accumulator is not None:
        return function(x.astype(accumulator)).astype(x.dtype)
    return function(x if is_float(x.dtype) else x.astype(np.float64))


def erf(x: Any) -> Any:
    """The error function."""
    return _floating(_compiled("erf"), x)


def erfc(x: Any) -> Any:
    """1 - erf(x), with all its digits where that is small."""
    return _floating(_compiled("erfc"), x)


def lgamma(x: Any) -> Any:
    """log |gamma(x)|; infinite at 0, -1, -2, ..."""
    return _floating(_compiled("lgamma"), x)


def erfinv(x: Any) -> Any:
    """The inverse of erf on -1 .. 1: infinite at the ends, nan outside.

    Winitzki's approximation, and three of Halley's steps, each of which triples the number of digits.
    """
    return _floating(_erfinv, x)


def _erfinv(x: Any) -> Any:
    inside = abs(x) < 1
    t = np.where(inside, abs(x), 0).astype(np.float64)
    rest = 1 - t  # exact near 1, where erfc keeps the digits that erf loses
    log = np.log1p(-t) + np.log1p(t)
    a = 0.147
    half = 2 / (math.pi * a) + log / 2
    y = np.sqrt(np.maximum(np.sqrt(half * half - log / a) - half, 0))
    for _ in range(3):
        excess = np.where(t > 0.5, rest - erfc(y), erf(y) - t)
        step = excess * np.exp(y * y) * (math.sqrt(math.pi) / 2)
        y = y - step / (y * step + 1)
    y = np.where(inside, y, np.where(abs(x) == 1, np.inf, np.nan))
    return np.copysign(y, x).astype(x.dtype)


def polygamma(n: int, x: Any) -> Any:
    """The n-th derivative of digamma, which is the first of log gamma; for n > 1 nan below -1000."""
    return _floating(lambda x: _polygamma(n, x.astype(np.float64)).astype(x.dtype), x)


def _polygamma(n: int, x: Any) -> Any:
    if n > 1:
        far = x < _LOWEST
        value = _climbed(n, np.where(far | ((x <= 0) & (x == np.floor(x))), 1.0, x))
        return np.where(far, np.nan, np.where((x <= 0) & (x == np.floor(x)), np.inf if n % 2 else np.nan, value))
    mirror = x <= 0
    value = _climbed(n, np.where(mirror, 1 - x, x))
    pole = mirror & (x == np.floor(x))
    # the reflection formulas; the fractional part keeps the tangent's digits
    angle = math.pi * np.where(mirror & ~pole, x - np.floor(x), 0.5)
    reflected = value - math.pi / np.tan(angle) if n == 0 else (math.pi / np.sin(angle)) ** 2 - value
    at_pole = np.where(x == 0, np.copysign(np.inf, -x), np.nan) if n == 0 else np.inf
    return np.where(pole, at_pole, np.where(mirror, reflected, value))


def _climbed(n: int, x: Any) -> Any:
    """By recurrence up to `_FAR`, and from there the asymptotic series (Abramowitz and Stegun 6.3.18, 6.4.11)."""
    total = np.zeros_like(x)
    x = x.copy()
    sign = -1.0 if n % 2 == 0 else 1.0
    for _ in range(math.ceil(_FAR - x.min(initial=_FAR, where=~np.isnan(x)))):
        near = x < _FAR
        total += np.where(near, sign * math.factorial(n) / x ** (n + 1), 0.0)
        x += near
    if n == 0:
        series = np.log(x) - 0.5 / x
        for k, b in enumerate(_BERNOULLI, 1):
            series -= b / (2 * k * x ** (2 * k))
        return total + series
    series = math.factorial(n - 1) / x**n + math.factorial(n) / (2 * x ** (n + 1))
    for k, b in enumerate(_BERNOULLI, 1):
        series += b * math.factorial(2 * k + n - 1) / (math.factorial(2 * k) * x ** (2 * k + n))
    return total + sign * series
