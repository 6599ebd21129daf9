"""Rows of losses."""

import numpy as np

import ringtrain as rt

from .table import ORDER, Row, softmax

ROWS = [
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
        lambda x: -np.log(softmax(x))[np.arange(4), ORDER].mean(),
        [((4, 3),), ((4, 17),)],
    ),
    Row(
        "cross_entropy/none",
        lambda x: rt.nn.cross_entropy(x, ORDER, reduction="none"),
        lambda x: -np.log(softmax(x))[np.arange(4), ORDER],
        [((4, 3),)],
    ),
]
