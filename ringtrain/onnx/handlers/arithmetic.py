"""Arithmetic, comparisons and logic, elementwise with broadcasting; casts."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from ...dtypes import is_float, wide
from ...ops import elementwise as e
from ...tensor import Tensor
from ..proto import dtype_of, power_of_two
from ..registry import handler
from ..values import array, made

_PLAIN: dict[str, Callable] = {
    "Add": e.add, "Sub": e.subtract, "Mul": e.multiply, "And": e.logical_and, "Or": e.logical_or,
    "Xor": e.logical_xor, "Not": e.logical_not, "Equal": e.equal, "Less": e.less, "LessOrEqual": e.less_equal,
    "Greater": e.greater, "GreaterOrEqual": e.greater_equal, "BitwiseAnd": e.bitwise_and, "BitwiseOr": e.bitwise_or,
    "BitwiseXor": e.bitwise_xor, "BitwiseNot": e.invert, "Where": e.where, "IsNaN": e.isnan, "Abs": e.absolute,
    "Neg": e.negative, "Sign": e.sign, "Ceil": e.ceil, "Floor": e.floor, "Round": e.round, "Sqrt": e.sqrt,
    "Exp": e.exp, "Log": e.log, "Sin": e.sin, "Cos": e.cos, "Tan": e.tan, "Asin": e.arcsin, "Acos": e.arccos,
    "Atan": e.arctan, "Sinh": e.sinh, "Cosh": e.cosh, "Erf": e.erf, "Reciprocal": e.reciprocal,
}  # fmt: skip


def _plain(fn: Callable) -> Callable:
    """A handler of inputs alone."""

    def run(*inputs: Tensor) -> Tensor:
        return fn(*inputs)

    run.__module__ = __name__
    return run


_BROADCAST_SINCE_7 = ("Add", "Sub", "Mul", "And", "Or", "Xor", "Less", "Greater", "Equal")
for _name, _fn in _PLAIN.items():
    handler(_name, since=7 if _name in _BROADCAST_SINCE_7 else 1)(_plain(_fn))


@handler("Asinh")
def asinh(x: Tensor) -> Tensor:
    size = e.absolute(x)
    square = size * size
    return e.sign(x) * e.log1p(size + square / (e.sqrt(square + 1.0) + 1.0))


@handler("Acosh")
def acosh(x: Tensor) -> Tensor:
    return e.log(x + e.sqrt(x * x - 1.0))


@handler("Atanh")
def atanh(x: Tensor) -> Tensor:
    return (e.log1p(x) - e.log1p(-x)) * 0.5


@handler("Div", since=7)
def div(a: Tensor, b: Tensor) -> Tensor:
    """Integers are rounded towards zero."""
    if is_float(a.dtype):
        return a / b
    quotient = e.floor_divide(a, b)
    inexact = e.not_equal(quotient * b, a)
    return quotient + e.logical_and(inexact, e.logical_xor(a < 0, b < 0)).astype(quotient.dtype)


@handler("Mod")
def mod(a: Tensor, b: Tensor, *, fmod: int = 0) -> Tensor:
    """fmod: the result has the sign of a, as in C; else that of b, as in Python."""
    rest = e.remainder(a, b)
    if not fmod:
        return rest
    return e.where(e.logical_and(e.not_equal(rest, 0), e.logical_xor(rest < 0, a < 0)), rest - b, rest)


@handler("Pow", since=7)
def pow(a: Tensor, b: Tensor) -> Tensor:
    return e.power(a, b).astype(a.dtype)


def _extreme(pick: Callable) -> Callable:
    def run(*xs: Tensor) -> Tensor:
        return reduce(pick, xs)

    run.__module__ = __name__
    return run


for _name, _fn in {"Max": e.maximum, "Min": e.minimum, "Sum": e.add}.items():
    handler(_name, since=6)(_extreme(_fn))


@handler("Mean", since=6)
def mean(*xs: Tensor) -> Tensor:
    return reduce(e.add, xs) / float(len(xs))


@handler("IsInf")
def isinf(x: Tensor, *, detect_negative: int = 1, detect_positive: int = 1) -> Tensor:
    found = e.isinf(x)
    if not detect_negative:
        found = e.logical_and(found, x > 0)
    return found if detect_positive else e.logical_and(found, x < 0)


@handler("BitShift")
def bit_shift(a: Tensor, b: Tensor, *, direction: str) -> Tensor:
    return made((np.left_shift if direction == "LEFT" else np.right_shift)(array(a), array(b)), a)


@handler("Clip", since=11, fixed=(1, 2))
def clip(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    x = x if low is None else e.maximum(x, low)
    return x if high is None else e.minimum(x, high)


@handler("Clip", since=6)
def clip_6(x: Tensor, *, min: float | None = None, max: float | None = None) -> Tensor:
    return x if min is None and max is None else e.clip(x, min, max)


# --- dtypes -----------------------------------------------------------------------------------------------
def converted(x: Tensor, dtype: Any, saturate: bool = True, round_mode: str = "up") -> Tensor:
    """x in another dtype; what is beyond the range of an 8-bit float becomes its largest value if it saturates."""
    small = dtype.kind == "V" or dtype.itemsize == 1
    if not small or not dtype.name.startswith("float"):
        if dtype.name in ("int4", "uint4", "int2", "uint2") and x.dtype.kind == "f":
            return made(array(x).astype(np.int32).astype(dtype), x)
        return x.astype(dtype)
    import ml_dtypes

    values = array(x).astype(np.float32)
    if dtype.name == "float8_e8m0fnu":  # powers of two
        return made(power_of_two(values, saturate, round_mode), x)
    if saturate:
        top = float(ml_dtypes.finfo(dtype).max)
        values = np.where(np.isnan(values), values, np.clip(values, -top, top))
    return made(values.astype(dtype), x)


@handler("Cast", since=6)
def cast(x: Tensor, *, to: int, saturate: int = 1, round_mode: str = "up") -> Tensor:
    return converted(x, dtype_of(to), bool(saturate), round_mode)


@handler("CastLike")
def cast_like(x: Tensor, like: Tensor, *, saturate: int = 1, round_mode: str = "up") -> Tensor:
    return converted(x, like.dtype, bool(saturate), round_mode)


@handler("BitCast")
def bit_cast(x: Tensor, *, to: int) -> Tensor:
    return made(array(x).view(dtype_of(to)), x)


@handler("Identity")
def identity(x: Any) -> Any:
    return x


def in_float32(fn: Callable, x: Tensor) -> Tensor:
    """fn(x), 16-bit floats computed in float32 and rounded once."""
    accumulator = wide(x.dtype)
    return fn(x) if accumulator is None else fn(x.astype(accumulator)).astype(x.dtype)
