"""The table of ops: one row for each public op, with NumPy's answer and inputs that avoid its kinks.

A test that takes `row` runs once for every row, one that takes `grad_row` for every row that has gradients; `rows`
is all of them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

import ringtrain as rt
from ringtrain.ops import elementwise

UNARY = [((13,),), ((3, 17),), ((),), ((0, 4),)]
BINARY = [((13,), (13,)), ((3, 1), (1, 4)), ((), (5,)), ((2, 0), (1,)), ((), ()), ((4, 1, 3), (2, 1))]
REDUCED = [((13,),), ((3, 4, 5),)]
MATRIX = [((13, 17),), ((1, 4),)]


@dataclass
class Row:
    """One op.

    name       its public name, and what tells variants apart after a "/"
    f, ref     on tensors, on NumPy arrays
    shapes     for each case the shapes of the inputs
    domain     where the inputs' values lie
    grad       whether it has gradients
    """

    name: str
    f: Callable
    ref: Callable
    shapes: list
    domain: tuple = (-2.0, 2.0)
    grad: bool = True

    def cases(self, dtype=np.float64):
        """Arrays for each case, in the domain, no two values alike."""
        for k, shapes in enumerate(self.shapes):
            rng = np.random.default_rng(100 + k)
            yield [rng.uniform(*self.domain, shape).astype(dtype) for shape in shapes]


def _erf(x):
    return np.vectorize(math.erf, otypes=[float])(x)


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def _set(x, value):
    y = x.copy()
    y[1:, ::2] = value
    return y


CORNER = np.array([[2, 0], [1, 1]])
MASK = np.arange(20).reshape(4, 5) % 3 == 0
ORDER = np.array([2, 0, 2, 1])

_unary = [
    *("exp", "expm1", "sin", "cos", "sinh", "cosh", "tanh", "arctan", "square"),
    *("tan|-1.2|1.2", "arcsin|-0.9|0.9", "arccos|-0.9|0.9", "log1p|-0.5|2", "reciprocal|0.5|2"),
    *("log|0.2|3", "log2|0.2|3", "log10|0.2|3", "sqrt|0.2|3", "absolute|0.1|2", "negative"),
]
_flat = ["sign", "floor", "ceil", "isnan", "isinf", "isfinite", "logical_not"]
_pair = [
    *("add", "subtract", "multiply", "divide|0.3|2", "arctan2|0.3|2", "logaddexp", "maximum", "minimum"),
    *("power|0.3|2", "remainder|0.3|2"),
]
_compare = ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"]


def _simple(text, shapes, grad):
    name, *domain = text.split("|")
    f = getattr(rt, name, None) or getattr(elementwise, name)
    return Row(name, f, getattr(np, name), shapes, tuple(map(float, domain)) or (-2.0, 2.0), grad)


ROWS = [
    *(_simple(text, UNARY, True) for text in _unary),
    *(_simple(text, UNARY, False) for text in _flat),
    *(_simple(text, BINARY, True) for text in _pair),
    *(_simple(text, BINARY, False) for text in [*_compare, "logical_and", "logical_or", "logical_xor"]),
    Row("power/2", lambda x: x**2, lambda x: x**2, UNARY),
    Row("power/3", lambda x: rt.power(x, 3), lambda x: x**3, UNARY),
    Row("power/-1.5", lambda x: x**-1.5, lambda x: x**-1.5, UNARY, (0.5, 2)),
    Row("power/0", lambda x: x**0, lambda x: x**0, UNARY),
    Row("power/left", lambda x: 2.5**x, lambda x: 2.5**x, UNARY),
    Row("add/left", lambda x: 2 + x, lambda x: 2 + x, UNARY),
    Row("subtract/left", lambda x: 2 - x, lambda x: 2 - x, UNARY),
    Row("multiply/right", lambda x: x * 3, lambda x: x * 3, UNARY),
    Row("divide/left", lambda x: 1 / x, lambda x: 1 / x, UNARY, (0.5, 2)),
    Row("floor_divide", lambda x: x // 0.3, lambda x: x // 0.3, UNARY, grad=False),
    Row("clip", lambda x: rt.clip(x, -0.5, 1.1), lambda x: np.clip(x, -0.5, 1.1), UNARY),
    Row("clip/above", lambda x: x.clip(high=0.4), lambda x: np.minimum(x, 0.4), UNARY),
    Row("astype", lambda x: rt.astype(x, np.float32).astype(np.float64), lambda x: x.astype(np.float32), UNARY),
    Row("sigmoid", rt.sigmoid, lambda x: 1 / (1 + np.exp(-x)), UNARY),
    Row("softplus", rt.softplus, lambda x: np.log1p(np.exp(x)), UNARY),
    Row("erf", rt.erf, _erf, UNARY),
    Row("relu", rt.nn.relu, lambda x: np.maximum(x, 0), UNARY),
    Row("gelu", rt.nn.gelu, lambda x: x * (_erf(x / math.sqrt(2)) + 1) / 2, UNARY),
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
    # --- reductions
    *(
        Row(f"{name}/{axis}{keep or ''}", f, ref, REDUCED, (0.5, 1.5), grad)
        for name, grad in [
            *[(n, True) for n in ("sum", "mean", "var", "std", "max", "min", "prod")],
            *[(n, False) for n in ("argmax", "argmin", "all", "any")],
        ]
        for axis, keep in [(None, False), (0, True), (-1, False)]
        for f, ref in [
            (
                lambda x, name=name, axis=axis, keep=keep: getattr(rt, name)(x, axis=axis, keepdims=keep),
                lambda x, name=name, axis=axis, keep=keep: getattr(np, name)(x, axis=axis, keepdims=keep),
            )
        ]
    ),
    *(
        Row(f"{name}/axes", f, ref, [((3, 4, 5),)])
        for name in ("sum", "mean", "var", "max", "prod")
        for f, ref in [
            (
                lambda x, name=name: getattr(rt, name)(x, (0, -1)),
                lambda x, name=name: getattr(np, name)(x, (0, -1)),
            )
        ]
    ),
    Row("sum/empty", lambda x: x.sum(axis=0), lambda x: x.sum(axis=0), [((0, 4),), ((3, 0),)]),
    Row("prod/empty", lambda x: x.prod(axis=0), lambda x: x.prod(axis=0), [((0, 4),), ((3, 0),), ((1, 3),)]),
    Row("var/ddof", lambda x: rt.var(x, 0, ddof=1), lambda x: np.var(x, 0, ddof=1), REDUCED),
    Row("std/ddof", lambda x: x.std(0, ddof=1), lambda x: np.std(x, 0, ddof=1), REDUCED),
    Row("cumsum", lambda x: rt.cumsum(x, axis=-1), lambda x: np.cumsum(x, -1), [*REDUCED, ((2, 0),)]),
    Row("norm", lambda x: rt.norm(x, axis=-1), lambda x: np.linalg.norm(x, axis=-1), REDUCED),
    Row("norm/all", rt.norm, lambda x: np.sqrt((x * x).sum()), REDUCED),
    Row("logsumexp", lambda x: rt.logsumexp(x, -1), lambda x: np.log(np.exp(x).sum(-1)), REDUCED),
    Row("logsumexp/all", rt.logsumexp, lambda x: np.log(np.exp(x).sum()), REDUCED),
    Row("softmax", rt.softmax, _softmax, MATRIX),
    Row("softmax/0", lambda x: rt.softmax(x, 0), lambda x: _softmax(x, 0), MATRIX),
    Row("log_softmax", rt.log_softmax, lambda x: np.log(_softmax(x)), MATRIX),
    # --- shapes
    Row("reshape", lambda x: rt.reshape(x, (17, -1)), lambda x: x.reshape(17, -1), [((13, 17),), ((17,),)]),
    Row("flatten", lambda x: rt.flatten(x, 1), lambda x: x.reshape(len(x), -1), [((2, 3, 4),), ((3, 1, 0),)]),
    Row("transpose", lambda x: rt.transpose(x, (1, -1, 0)), lambda x: x.transpose(1, 2, 0), [((2, 3, 4),)]),
    Row("transpose/T", lambda x: x.T, lambda x: x.T, MATRIX),
    Row("swapaxes", lambda x: rt.swapaxes(x, 0, -1), lambda x: x.swapaxes(0, -1), [((2, 3, 4),)]),
    Row("moveaxis", lambda x: rt.moveaxis(x, 0, -1), lambda x: np.moveaxis(x, 0, -1), [((2, 3, 4),)]),
    Row("expand_dims", lambda x: rt.expand_dims(x, -1), lambda x: np.expand_dims(x, -1), UNARY),
    Row("squeeze", rt.squeeze, np.squeeze, [((1, 3, 1),), ((1,),)]),
    Row("squeeze/axis", lambda x: rt.squeeze(x, -1), lambda x: np.squeeze(x, -1), [((1, 3, 1),), ((1,),)]),
    Row("broadcast_to", lambda x: rt.broadcast_to(x, (2, 3, 4)), lambda x: np.broadcast_to(x, (2, 3, 4)), [((3, 1),)]),
    Row("flip", rt.flip, np.flip, UNARY),
    Row("flip/1", lambda x: rt.flip(x, 1), lambda x: np.flip(x, 1), MATRIX),
    Row("pad", lambda x: rt.pad(x, ((1, 0), (2, 3))), lambda x: np.pad(x, ((1, 0), (2, 3))), MATRIX),
    Row("pad/value", lambda x: rt.pad(x, ((0, 2),), 7.0), lambda x: np.pad(x, (0, 2), constant_values=7.0), [((13,),)]),
    Row(
        "concatenate",
        lambda a, b: rt.concatenate([a, b, a], axis=1),
        lambda a, b: np.concatenate([a, b, a], axis=1),
        [((2, 3), (2, 1)), ((2, 0), (2, 4))],
    ),
    Row("stack", lambda a, b: rt.stack([a, b], 1), lambda a, b: np.stack([a, b], 1), [((3, 4),) * 2, ((5,),) * 2]),
    Row("split", lambda x: rt.split(x, [1, 3], 1)[1], lambda x: np.split(x, [1, 3], 1)[1], [((2, 5),)]),
    Row("split/even", lambda x: x.split(3)[2] * x.split(3)[0], lambda x: x[4:] * x[:2], [((6, 2),)]),
    # --- indices
    Row("getitem/basic", lambda x: x[1, ..., None, ::-2], lambda x: x[1, ..., None, ::-2], [((4, 5),), ((2, 3, 4),)]),
    Row("getitem/one", lambda x: x[-1], lambda x: np.asarray(x[-1]), [((4,),), ((4, 5),)]),
    Row("getitem/array", lambda x: x[CORNER, [[0], [3]]], lambda x: x[CORNER, [[0], [3]]], [((4, 5),)]),
    Row("getitem/mask", lambda x: x[MASK], lambda x: x[MASK], [((4, 5),)]),
    Row("getitem/twice", lambda x: x[ORDER], lambda x: x[ORDER], [((4, 5),), ((3,),)]),
    Row("take", lambda x: rt.take(x, CORNER, axis=1), lambda x: np.take(x, CORNER, 1), [((2, 4),), ((2, 3, 2),)]),
    Row(
        "take_along_axis",
        lambda x: rt.take_along_axis(x, ORDER[:, None], 1),
        lambda x: np.take_along_axis(x, ORDER[:, None], 1),
        [((4, 5),)],
    ),
    Row(
        "take_along_axis/broadcast",
        lambda x: rt.take_along_axis(x, ORDER[None], 1),
        lambda x: np.take_along_axis(x, ORDER[None], 1),
        [((6, 5),)],
    ),
    # --- products
    Row(
        "matmul",
        rt.matmul,
        np.matmul,
        [
            *[((13, 17), (17, 5)), ((4,), (4,)), ((4,), (4, 3)), ((2, 4), (4,)), ((2, 0), (0, 3))],
            *[((2, 1, 3, 4), (5, 4, 2)), ((3,), (2, 3, 4)), ((2, 3, 4), (4,))],
        ],
    ),
    Row("outer", rt.outer, np.outer, [((3,), (5,)), ((0,), (2,))]),
    *(
        Row(f"einsum/{e}", f, ref, shapes)
        for e, shapes in [
            ("ij,jk->ik", [((3, 4), (4, 5))]),
            ("ij->j", [((3, 4),)]),
            ("ij->", [((3, 4),)]),
            ("bij,bkj", [((2, 3, 4), (2, 5, 4))]),
            ("...ij,...jk->...ik", [((2, 3, 4), (2, 4, 5)), ((6, 2, 3, 4), (2, 4, 5)), ((3, 4), (7, 4, 5))]),
            ("ij,j,kj->ki", [((3, 4), (4,), (5, 4))]),
            ("ij,k->j", [((3, 4), (2,))]),
            ("i,->i", [((3,), ())]),
        ]
        for f, ref in [(lambda *xs, e=e: rt.einsum(e, *xs), lambda *xs, e=e: np.einsum(e, *xs))]
    ),
    Row("linear", rt.nn.linear, lambda x, w, b: x @ w.T + b, [((5, 3), (4, 3), (4,)), ((2, 5, 3), (4, 3), (4,))]),
    Row("linear/plain", rt.nn.linear, lambda x, w: x @ w.T, [((3,), (4, 3)), ((0, 3), (4, 3))]),
    # --- losses
    Row("mse_loss", rt.nn.mse_loss, lambda a, b: ((a - b) ** 2).mean(), [((13,), (13,)), ((3, 4), (3, 4))]),
    Row(
        "mse_loss/none",
        lambda a, b: rt.nn.mse_loss(a, b, "none"),
        lambda a, b: (a - b) ** 2,
        [((3, 4), (3, 4))],
    ),
    Row("l1_loss", lambda a, b: rt.nn.l1_loss(a, b, "sum"), lambda a, b: abs(a - b).sum(), [((13,), (13,))]),
    Row(
        "huber_loss",
        lambda a, b: rt.nn.huber_loss(a, b, 0.7),
        lambda a, b: np.where(abs(a - b) <= 0.7, (a - b) ** 2 / 2, 0.7 * (abs(a - b) - 0.35)).mean(),
        [((13,), (13,))],
    ),
    Row(
        "binary_cross_entropy_with_logits",
        rt.nn.binary_cross_entropy_with_logits,
        lambda a, t: -(t * np.log(1 / (1 + np.exp(-a))) + (1 - t) * np.log(1 - 1 / (1 + np.exp(-a)))).mean(),
        [((13,), (13,))],
    ),
    Row(
        "nll_loss",
        lambda x: rt.nn.nll_loss(x, ORDER),
        lambda x: -x[np.arange(4), ORDER].mean(),
        [((4, 3),)],
    ),
    Row(
        "cross_entropy",
        lambda x: rt.nn.cross_entropy(x, ORDER),
        lambda x: -np.log(_softmax(x))[np.arange(4), ORDER].mean(),
        [((4, 3),), ((4, 17),)],
    ),
    Row(
        "cross_entropy/none",
        lambda x: rt.nn.cross_entropy(x, ORDER, reduction="none"),
        lambda x: -np.log(_softmax(x))[np.arange(4), ORDER],
        [((4, 3),)],
    ),
    # --- images
    Row(
        "avg_pool2d",
        lambda x: rt.nn.avg_pool2d(x, 2),
        lambda x: x[:, :, :4, :6].reshape(*x.shape[:2], 2, 2, 3, 2).mean((3, 5)),
        [((2, 3, 5, 7),)],
    ),
    Row(
        "max_pool2d",
        lambda x: rt.nn.max_pool2d(x, 2),
        lambda x: x[:, :, :4, :6].reshape(*x.shape[:2], 2, 2, 3, 2).max((3, 5)),
        [((2, 3, 5, 7),)],
    ),
    Row(
        "conv2d",
        lambda x, w, b: rt.nn.conv2d(x, w, b),
        lambda x, w, b: (
            np.einsum("nchwij,ocij->nohw", np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3)), w)
            + b[:, None, None]
        ),
        [((2, 3, 5, 4), (4, 3, 3, 2), (4,))],
    ),
    Row(
        "batch_norm",
        lambda x, w, b: rt.nn.batch_norm(x, w, b)[0],
        lambda x, w, b: (
            (x - x.mean((0, 2), keepdims=True)) / np.sqrt(x.var((0, 2), keepdims=True) + 1e-5) * w[:, None] + b[:, None]
        ),
        [((4, 3, 5), (3,), (3,))],
    ),
]
# what a row is known by in rt or rt.nn, though it makes no tensor from tensors of floats
COVERED_ELSEWHERE = {"one_hot", "allclose", "arange", "full", "ones", "ones_like", "zeros", "zeros_like", "dropout"}
NOT_OPS = {"Tensor", "tensor", "from_numpy", "Function", "backward", "grad", "gradcheck", "seed"} | {
    "enable_grad",
    "is_grad_enabled",
    "no_grad",
}


def pytest_generate_tests(metafunc):
    chosen = {"row": ROWS, "grad_row": [r for r in ROWS if r.grad]}
    for name in chosen.keys() & set(metafunc.fixturenames):
        metafunc.parametrize(name, chosen[name], ids=[r.name for r in chosen[name]])


@pytest.fixture
def rows():
    return ROWS


@pytest.fixture
def not_in_table():
    return COVERED_ELSEWHERE | NOT_OPS


@pytest.fixture
def rng():
    return np.random.default_rng(7)
