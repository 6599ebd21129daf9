"""Rows of products."""

import numpy as np

import ringtrain as rt

from .table import Row


def _attention(q, k, v):
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ v


ROWS = [
    Row(
        "scaled_dot_product_attention",
        rt.nn.scaled_dot_product_attention,
        _attention,
        [((2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6)), ((5, 4), (7, 4), (7, 3))],
    ),
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
    Row(
        "bilinear",
        rt.nn.bilinear,
        lambda a, b, w, c: np.einsum("...i,kij,...j->...k", a, w, b) + c,
        [((5, 2), (5, 3), (4, 2, 3), (4,)), ((2,), (3,), (4, 2, 3), (4,))],
    ),
]
