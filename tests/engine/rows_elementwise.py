"""Rows of elementwise functions."""

import math

import numpy as np

import ringtrain as rt
from ringtrain.ops import elementwise

from .table import BINARY, UNARY, Row, erf

_unary = [
    *("exp", "expm1", "sin", "cos", "sinh", "cosh", "tanh", "arctan", "square"),
    *("tan|-1.2|1.2", "arcsin|-0.9|0.9", "arccos|-0.9|0.9", "log1p|-0.5|2", "reciprocal|0.5|2"),
    *("exp2", "cbrt|0.2|3", "arcsinh", "arccosh|1.2|3", "arctanh|-0.9|0.9", "deg2rad", "rad2deg", "sinc", "nan_to_num"),
    *("log|0.2|3", "log2|0.2|3", "log10|0.2|3", "sqrt|0.2|3", "absolute|0.1|2", "negative"),
]
_steps = ["sign", "floor", "ceil", "trunc", "round"]
_flat = ["signbit", "isnan", "isinf", "isfinite", "logical_not"]
_pair = [
    *("add", "subtract", "multiply", "divide|0.3|2", "arctan2|0.3|2", "logaddexp", "maximum", "minimum"),
    *("power|0.3|2", "remainder|0.3|2", "fmod|0.3|2", "hypot", "fmax", "fmin", "copysign"),
]
_compare = ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"]


def _of_ints(module, name):
    return lambda *xs: getattr(module, name)(*[x.astype(np.int64) for x in xs])


def polygamma(n, x):
    """(-1)^(n+1) n! times the sum of (x + k)^-(n+1): its first terms, and Euler and Maclaurin's for the rest."""
    k = np.arange(400).reshape(-1, *[1] * np.ndim(x))
    tail, s = x + 400, n + 1
    rest = tail ** (1 - s) / (s - 1) + tail**-s / 2 + s * tail ** (-s - 1) / 12
    return (-1) ** (n + 1) * math.factorial(n) * (((x + k) ** -s).sum(0) + rest)


def digamma(x):
    """Recurrence to x + 400, where log(x) - 1/(2x) - 1/(12 x^2) is exact to 1e-12."""
    k = np.arange(400).reshape(-1, *[1] * np.ndim(x))
    tail = x + 400
    return np.log(tail) - 1 / (2 * tail) - 1 / (12 * tail**2) + 1 / (120 * tail**4) - (1 / (x + k)).sum(0)


def _simple(text, shapes, grad):
    name, *domain = text.split("|")
    f = getattr(rt, name, None) or getattr(elementwise, name)
    return Row(name, f, getattr(np, name), shapes, tuple(map(float, domain)) or (-2.0, 2.0), grad)


ROWS = [
    *(_simple(text, UNARY, True) for text in _unary),
    *(_simple(text, UNARY, True) for text in _steps),
    *(_simple(text, UNARY, False) for text in _flat),
    *(_simple(text, BINARY, True) for text in _pair),
    *(_simple(text, BINARY, False) for text in [*_compare, "logical_and", "logical_or", "logical_xor"]),
    *(
        Row(
            name,
            _of_ints(rt, name),
            _of_ints(np, name),
            [((13,), (13,)), ((3, 1), (4,)), ((0,), (1,))],
            (0, 9),
            False,
        )
        for name in ("bitwise_and", "bitwise_or", "bitwise_xor", "left_shift", "right_shift")
    ),
    Row("invert", _of_ints(rt, "invert"), _of_ints(np, "invert"), UNARY, (-9, 9), False),
    Row("power/2", lambda x: x**2, lambda x: x**2, UNARY),
    Row("power/3", lambda x: rt.power(x, 3), lambda x: x**3, UNARY),
    Row("power/-1.5", lambda x: x**-1.5, lambda x: x**-1.5, UNARY, (0.5, 2)),
    Row("power/0", lambda x: x**0, lambda x: x**0, UNARY),
    Row("power/left", lambda x: 2.5**x, lambda x: 2.5**x, UNARY),
    Row("add/left", lambda x: 2 + x, lambda x: 2 + x, UNARY),
    Row("subtract/left", lambda x: 2 - x, lambda x: 2 - x, UNARY),
    Row("multiply/right", lambda x: x * 3, lambda x: x * 3, UNARY),
    Row("divide/left", lambda x: 1 / x, lambda x: 1 / x, UNARY, (0.5, 2)),
    Row("round/2", lambda x: rt.round(x, 2), lambda x: np.round(x, 2), UNARY, grad=False),
    Row("rsqrt", rt.rsqrt, lambda x: 1 / np.sqrt(x), UNARY, (0.3, 2)),
    Row("erfc", rt.erfc, lambda x: 1 - erf(x), UNARY),
    Row("erfinv", lambda x: rt.erfinv(rt.erf(x)), lambda x: x, UNARY, (-1.2, 1.2)),
    Row("lgamma", rt.lgamma, lambda x: np.vectorize(math.lgamma, otypes=[float])(x), UNARY, (0.3, 4)),
    Row("digamma", rt.digamma, digamma, UNARY, (0.3, 4)),
    Row("polygamma/0", lambda x: rt.polygamma(0, x), digamma, UNARY, (-0.9, -0.1)),
    Row("polygamma/1", lambda x: rt.polygamma(1, x), lambda x: polygamma(1, x), UNARY, (0.5, 2)),
    Row("polygamma/3", lambda x: rt.polygamma(3, x), lambda x: polygamma(3, x), UNARY, (0.5, 2)),
    Row("xlogy", rt.xlogy, lambda a, b: a * np.log(b), BINARY, (0.3, 2)),
    Row("lerp", rt.lerp, lambda a, b, w: a + (b - a) * w, [((3, 1), (4,), ()), ((0,), (1,), (0,))]),
    Row("addcmul", lambda *a: rt.addcmul(*a, value=0.5), lambda x, a, b: x + a * b / 2, [((3, 1), (4,), ())]),
    Row("addcdiv", rt.addcdiv, lambda x, a, b: x + a / b, [((3, 1), (4,), ())], (0.3, 2)),
    Row("floor_divide", lambda x: x // 0.3, lambda x: x // 0.3, UNARY, grad=False),
    Row("clip", lambda x: rt.clip(x, -0.5, 1.1), lambda x: np.clip(x, -0.5, 1.1), UNARY),
    Row("clip/above", lambda x: x.clip(high=0.4), lambda x: np.minimum(x, 0.4), UNARY),
    Row("astype", lambda x: rt.astype(x, np.float32).astype(np.float64), lambda x: x.astype(np.float32), UNARY),
    Row("sigmoid", rt.sigmoid, lambda x: 1 / (1 + np.exp(-x)), UNARY),
    Row("softplus", rt.softplus, lambda x: np.log1p(np.exp(x)), UNARY),
    Row("erf", rt.erf, erf, UNARY),
    Row("relu", rt.nn.relu, lambda x: np.maximum(x, 0), UNARY),
    Row("gelu", rt.nn.gelu, lambda x: x * (erf(x / math.sqrt(2)) + 1) / 2, UNARY),
    Row(
        "gelu/tanh",
        lambda x: rt.nn.gelu(x, "tanh"),
        lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        UNARY,
    ),
    Row(
        "where",
        lambda c, a, b: rt.where(c.detach() > 0, a, b),
        lambda c, a, b: np.where(c > 0, a, b),
        [((13,), (13,), (13,)), ((3, 1), (4,), ()), ((), (2, 1), (1, 3))],
    ),
    Row("where/scalar", lambda x: rt.where(x.detach() > 0, x, 0.5), lambda x: np.where(x > 0, x, 0.5), UNARY),
    Row("copy", elementwise.copy, np.copy, UNARY),
]
