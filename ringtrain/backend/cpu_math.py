"""NumPy's names for numbers inside compiled loops: what a rule gets as `xp` there (see `cpu_pointwise.py`).

For float64 these are the C library's functions. For float32 they are made of additions, products and choices, without
a branch or a call, so that a loop over them becomes vector code; they are within three units in the last place, `tanh`
and `erf` within six. The polynomials are minimax fits over the intervals that the comments name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload, register_jitable

F = np.float32  # a number in float32 code is given this type: a plain one would be float64

# a call that is left in a loop keeps it from becoming vector code; sums in another order would undo `_reduced`
_OPTIONS: Any = {"forceinline": True, "fastmath": {"contract"}}
inlined = register_jitable(**_OPTIONS)

_LOG2E, _LN2_HIGH, _LN2_LOW = F(1.44269504), F(0.693359375), F(-2.12194440e-4)  # high and low: the product is exact
_ROUND = F(12582912.0)  # 3 * 2^22: adding it leaves a whole number in the low bits
_ROUND_BITS = np.int32(0x4B400000)


@inlined
def _whole(held: Any) -> Any:
    """The n that `_reduced` gives, as an integer."""
    return np.int32(np.float32(held).view(np.int32) - _ROUND_BITS)


@inlined
def _below(x: Any, high: Any) -> Any:
    """The smaller one; nan stays nan, in the processor's own instruction."""
    return high if x > high else x


@inlined
def _above(x: Any, low: Any) -> Any:
    return low if x < low else x


@inlined
def _reduced(x: Any) -> Any:
    """x = r + n log 2 with |r| <= log(2) / 2; n comes as the bits of a float that holds it."""
    held = x * _LOG2E + _ROUND
    n = held - _ROUND
    return (x - n * _LN2_HIGH) - n * _LN2_LOW, held


@inlined
def _beyond(r: Any) -> Any:
    """exp(r) - 1 for |r| <= log(2) / 2; relative error 1.4e-8.

    By pairs of terms (Estrin's scheme): the processor waits for one result after the other, not for room to compute.
    """
    s = r * r
    low = F(1.666654299e-01) * r + F(5.000000062e-01)
    high = F(8.366584095e-03) * r + F(4.166628205e-02)
    high = F(1.394644805e-03) * s + high
    return (high * s + low) * s + r


@inlined
def _power_of_2(exponent: Any) -> Any:
    return np.int32(np.int32(exponent + np.int32(127)) << np.int32(23)).view(np.float32)


@inlined
def _exp32(x: Any) -> Any:
    r, held = _reduced(_below(_above(x, F(-104.0)), F(89.0)))
    n = _whole(held)
    half = np.int32(n >> np.int32(1))  # in two steps: 2^128 is no float, and 2^-149 has no exponent
    power = _power_of_2(half)
    return (_beyond(r) * power + power) * _power_of_2(np.int32(n - half))


@inlined
def _decay32(x: Any) -> Any:
    r, held = _reduced(_above(x, F(-88.0)))  # whose power is 2^-127: its bits are those of 0
    power = _power_of_2(_whole(held))
    return _beyond(r) * power + power


@inlined
def _expm1_32(x: Any) -> Any:
    r, held = _reduced(_below(_above(x, F(-20.0)), F(89.0)))
    half = _power_of_2(np.int32(_whole(held) - np.int32(1)))  # of 2^n, as 2^128 is no float
    return math.copysign(F(2.0) * (_beyond(r) * half + (half - F(0.5))), x)


@inlined
def _tanh32(x: Any) -> Any:
    """x P(x^2) / Q(x^2): half the work of a quotient of exponentials. From 9.02 on the result is 1."""
    x = _below(_above(x, F(-9.02)), F(9.02))
    z = x * x
    p = F(1.33191804e-08)
    p = p * z + F(2.05835386e-05)
    p = p * z + F(3.49403825e-03)
    p = p * z + F(0.133797213)
    p = p * z + F(1.0)
    q = F(7.76205582e-07)
    q = q * z + F(3.28309863e-04)
    q = q * z + F(2.58710869e-02)
    q = q * z + F(0.467130393)
    q = q * z + F(1.0)
    return _below(_above(p * x / q, F(-1.0)), F(1.0))


@inlined
def _softplus32(x: Any) -> Any:
    """log(1 + exp(x)): with u = exp(-|x|), log(1 + u) is twice the artanh of u / (2 + u), which lies in 0 .. 1/3."""
    u = _exp32(-abs(x))
    s = u / (u + F(2.0))
    q = s * s
    p = F(2.803128045e-01)
    p = p * q + F(2.799786199e-01)
    p = p * q + F(4.002177005e-01)
    p = p * q + F(6.666641204e-01)
    return _above(x, F(0.0)) + (p * q * s + F(2.0) * s)


@inlined
def _erf32(x: Any) -> Any:
    """As `_tanh32`; from 3.95 on the result is 1."""
    x = _below(_above(x, F(-3.95)), F(3.95))
    z = x * x
    p = F(2.02591627e-06)
    p = p * z + F(2.84687587e-04)
    p = p * z + F(3.80814704e-03)
    p = p * z + F(5.28753735e-02)
    p = p * z + F(0.191549897)
    p = p * z + F(1.12837911)
    q = F(3.78318437e-05)
    q = q * z + F(1.17072253e-03)
    q = q * z + F(1.50550595e-02)
    q = q * z + F(0.114559412)
    q = q * z + F(0.503089309)
    q = q * z + F(1.0)
    return _below(_above(p * x / q, F(-1.0)), F(1.0))


def _softplus64(x: Any) -> Any:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _made(name: str, single: Callable, double: Callable) -> Callable:
    """A function of numbers by that name, of float32 by `single`."""

    def stub(x):
        raise NotImplementedError(f"{name} is for compiled loops")

    stub.__name__ = stub.__qualname__ = name

    @overload(stub, jit_options=_OPTIONS)
    def choose(x):
        return (lambda x: single(x)) if x == types.float32 else (lambda x: double(x))

    return stub


exp = _made("exp", _exp32, math.exp)
decay = _made("decay", _decay32, math.exp)  # exp of what is not above 0, for shares of a sum: 0 below 1e-38
expm1 = _made("expm1", _expm1_32, math.expm1)
tanh = _made("tanh", _tanh32, math.tanh)
erf = _made("erf", _erf32, math.erf)
softplus = _made("softplus", _softplus32, inlined(_softplus64))


@inlined
def where(condition: Any, a: Any, b: Any) -> Any:
    return a if condition else b


@inlined
def minimum(a: Any, b: Any) -> Any:
    return a if a <= b or a != a else b


@inlined
def maximum(a: Any, b: Any) -> Any:
    return a if a >= b or a != a else b


@inlined
def clip(x: Any, low: Any, high: Any) -> Any:
    return minimum(maximum(x, low), high)


@inlined
def logaddexp(a: Any, b: Any) -> Any:
    """For finite b."""
    return softplus(a - b) + b


# what rules call of `ops`, which tells arrays from tensors there
@inlined
def sigmoid_in(xp: Any, x: Any) -> Any:
    e = exp(-abs(x))
    return where(x >= 0, type(e)(1), e) / (e + type(e)(1))


@inlined
def erf_in(xp: Any, x: Any) -> Any:
    return erf(x)
