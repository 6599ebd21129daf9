"""Rows of activations."""

import numpy as np

from ringtrain import nn

from .table import MATRIX, UNARY, Row, softmax


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _turned(x, base):
    angles = np.arange(x.shape[-2])[:, None] * base ** (-np.arange(0, x.shape[-1], 2) / x.shape[-1])
    z = (x[..., : x.shape[-1] // 2] + 1j * x[..., x.shape[-1] // 2 :]) * np.exp(1j * angles)
    return np.concatenate([z.real, z.imag], -1)


ROWS = [
    Row("rrelu", nn.rrelu, lambda x: np.where(x > 0, x, x * ((1 / 8 + 1 / 3) / 2)), UNARY),
    Row(
        "rotary_embedding",
        lambda x: nn.rotary_embedding(x, base=10.0),
        lambda x: _turned(x, 10.0),
        [((3, 4),), ((2, 3, 2),), ((0, 2),)],
    ),
    Row("leaky_relu", nn.leaky_relu, lambda x: np.where(x > 0, x, 0.01 * x), UNARY),
    Row("leaky_relu/0.3", lambda x: nn.leaky_relu(x, 0.3), lambda x: np.where(x > 0, x, 0.3 * x), UNARY),
    Row("prelu", nn.prelu, lambda x, w: np.where(x > 0, x, w * x), [((2, 3), (3,)), ((4,), (1,)), ((4,), ())]),
    Row("prelu/point", nn.prelu, lambda x, w: np.where(x > 0, x, w[0] * x), [((), (1,))]),
    Row(
        "prelu/channels",
        nn.prelu,
        lambda x, w: np.where(x > 0, x, w[:, None] * x),
        [((2, 3, 4), (3,)), ((2, 0, 4), (0,))],
    ),
    Row("elu", nn.elu, lambda x: np.where(x > 0, x, np.expm1(x)), UNARY),
    Row("elu/0.5", lambda x: nn.elu(x, 0.5), lambda x: np.where(x > 0, x, 0.5 * np.expm1(x)), UNARY),
    Row("celu", lambda x: nn.celu(x, 0.5), lambda x: np.where(x > 0, x, 0.5 * np.expm1(x / 0.5)), UNARY),
    Row(
        "selu",
        nn.selu,
        lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543773 * np.expm1(x)),
        UNARY,
    ),
    Row("silu", nn.silu, lambda x: x * _sigmoid(x), UNARY),
    Row("mish", nn.mish, lambda x: x * np.tanh(np.log1p(np.exp(x))), UNARY),
    Row("logsigmoid", nn.logsigmoid, lambda x: np.log(_sigmoid(x)), UNARY),
    Row("softplus/beta", lambda x: nn.softplus(x, 3.0), lambda x: np.log1p(np.exp(3 * x)) / 3, UNARY),
    Row(
        "softplus/threshold",
        lambda x: nn.softplus(x, 2.0, 1.5),
        lambda x: np.where(2 * x > 1.5, x, np.log1p(np.exp(2 * x)) / 2),
        UNARY,
    ),
    Row("softsign", nn.softsign, lambda x: x / (1 + abs(x)), UNARY),
    Row("tanhshrink", nn.tanhshrink, lambda x: x - np.tanh(x), UNARY),
    Row("softmin", lambda x: nn.softmin(x, 0), lambda x: softmax(-x, 0), MATRIX),
    Row("hardtanh", nn.hardtanh, lambda x: np.clip(x, -1, 1), UNARY),
    Row("relu6", nn.relu6, lambda x: np.clip(x, 0, 6), UNARY, (-3, 9)),
    Row("hardsigmoid", nn.hardsigmoid, lambda x: np.clip(x + 3, 0, 6) / 6, UNARY, (-5, 5)),
    Row("hardswish", nn.hardswish, lambda x: x * np.clip(x + 3, 0, 6) / 6, UNARY, (-5, 5)),
    Row("hardshrink", nn.hardshrink, lambda x: np.where(abs(x) > 0.5, x, 0), UNARY),
    Row("softshrink", nn.softshrink, lambda x: np.sign(x) * np.maximum(abs(x) - 0.5, 0), UNARY),
    Row("threshold", lambda x: nn.threshold(x, 0.3, -7.0), lambda x: np.where(x > 0.3, x, -7.0), UNARY),
    Row("glu", nn.glu, lambda x: x[..., :3] * _sigmoid(x[..., 3:]), [((2, 6),), ((0, 6),)]),
    Row("glu/0", lambda x: nn.glu(x, 0), lambda x: x[:2] * _sigmoid(x[2:]), [((4, 3),), ((4, 0),)]),
    Row("logit", nn.logit, lambda x: np.log(x / (1 - x)), UNARY, (0.1, 0.9)),
    Row(
        "logit/eps",
        lambda x: nn.logit(x, 0.2),
        lambda x: np.log(np.clip(x, 0.2, 0.8) / (1 - np.clip(x, 0.2, 0.8))),
        UNARY,
        (0.05, 0.95),
    ),
]
