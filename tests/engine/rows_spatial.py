"""Rows of convolution, pooling and normalisation."""

import numpy as np

import ringtrain as rt

from .table import Row

ROWS = [
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
