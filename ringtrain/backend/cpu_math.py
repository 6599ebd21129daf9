"""NumPy's names for numbers inside compiled loops: what a rule gets as `xp` there (see `cpu_pointwise.py`).

For float64 these are the C library's functions. For float32 they are made of additions, products and choices, without
a branch or a call, so that a loop over them becomes vector code; each is within three units in the last place. The
polynomials are minimax fits over the intervals that the comments name.
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
def _reduced(x: Any) -> Any:
    """x = r + n log 2 with |r| <= log(2) / 2; n comes as the bits of a float that holds it."""
    held = x * _LOG2E + _ROUND
    n = held - _ROUND
    return (x - n * _LN2_HIGH) - n * _LN2_LOW, held


@inlined
def _beyond(r: Any) -> Any:
    """exp(r) - 1 for |r| <= log(2) / 2; relative error 1.4e-8."""
    p = F(1.394644805e-03)
    p = p * r + F(8.366584095e-03)
    p = p * r + F(4.166628205e-02)
    p = p * r + F(1.666654299e-01)
    p = p * r + F(5.000000062e-01)
    return p * (r * r) + r


@inlined
def _power_of_2(exponent: Any) -> Any:
    return np.int32(np.int32(exponent + np.int32(127)) << np.int32(23)).view(np.float32)


@inlined
def _exp32(x: Any) -> Any:
    inside = min(max(x, F(-104.0)), F(89.0))
    r, held = _reduced(inside)
    n = _whole(held)
    half = np.int32(n >> np.int32(1))  # in two steps: 2^128 is no float, and 2^-149 has no exponent
    value = (_beyond(r) + F(1.0)) * _power_of_2(half) * _power_of_2(np.int32(n - half))
    return value if x == x else x


@inlined
def _expm1_32(x: Any) -> Any:
    r, held = _reduced(min(max(x, F(-20.0)), F(89.0)))
    half = _power_of_2(np.int32(_whole(held) - np.int32(1)))  # of 2^n, as 2^128 is no float
    value = math.copysign(F(2.0) * (_beyond(r) * half + (half - F(0.5))), x)
    return value if x == x else x


@inlined
def _tanh32(x: Any) -> Any:
    r, held = _reduced(min(F(2.0) * abs(x), F(20.0)))
    power = _power_of_2(_whole(held))
    t = _beyond(r) * power + (power - F(1.0))
    value = math.copysign(t / (t + F(2.0)), x)
    return value if x == x else x


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
    value = max(x, F(0.0)) + (p * q * s + F(2.0) * s)
    return value if x == x else x


@inlined
def _erf32(x: Any) -> Any:
    t = abs(x)
    q = min(t * t, F(1.0))  # 0 .. 1: x times a polynomial in x^2
    near = F(7.853857703e-05)
    near = near * q + F(-8.010192520e-04)
    near = near * q + F(5.188327560e-03)
    near = near * q + F(-2.685381187e-02)
    near = near * q + F(1.128358515e-01)
    near = near * q + F(-3.761262582e-01)
    near = near * q + F(1.283791657e-01)
    t = min(t, F(4.0))  # 1 .. 4: 1 - exp(-polynomial)
    far = F(-1.867776497e-04)
    far = far * t + F(2.951883040e-03)
    far = far * t + F(-2.185633611e-02)
    far = far * t + F(1.031480180e-01)
    far = far * t + F(6.380935112e-01)
    far = far * t + F(1.127122530e00)
    far = far * t + F(3.326819944e-04)
    r, held = _reduced(-far)
    power = _power_of_2(_whole(held))
    outer = math.copysign(F(1.0) - (_beyond(r) + F(1.0)) * power, x)
    value = near * x + x if abs(x) <= F(1.0) else outer
    return value if x == x else x


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
