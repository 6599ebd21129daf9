"""Rows of products."""

import numpy as np

import ringtrain as rt
from ringtrain.ops.linalg import rectified_linear

from .table import Row


def _attention(q, k, v):
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ v


SQUARE = [((4, 4),), ((2, 3, 3),), ((1, 1),)]


def _regular(x):
    """Far from singular."""
    return x + 4 * np.eye(x.shape[-1], dtype=x.dtype)


def _positive(x):
    """Symmetric, positive definite, with distinct eigenvalues."""
    turned = x.swapaxes(-1, -2)
    return (x + turned) * x.dtype.type(0.25) + np.diag(np.arange(3, 3 + 4 * x.shape[-1], 4)).astype(x.dtype)


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
            ("...i,...i->...", [((2, 1, 3), (4, 3)), ((3,), (2, 3)), ((1, 3), (5, 3))]),
            ("...ij,...jk", [((2, 1, 3, 4), (5, 4, 2)), ((1, 3, 4), (1, 4, 2))]),
            ("...,...", [((2, 1), (1, 3))]),
            ("ii->i", [((3, 3),)]),
            ("ii", [((3, 3),)]),
            ("iji,jk->ik", [((3, 2, 3), (2, 4))]),
            ("iii,i->", [((3, 3, 3), (3,))]),
        ]
        for f, ref in [(lambda *xs, e=e: rt.einsum(e, *xs), lambda *xs, e=e: np.einsum(e, *xs))]
    ),
    Row("linear", rt.nn.linear, lambda x, w, b: x @ w.T + b, [((5, 3), (4, 3), (4,)), ((2, 5, 3), (4, 3), (4,))]),
    Row("linear/plain", rt.nn.linear, lambda x, w: x @ w.T, [((3,), (4, 3)), ((0, 3), (4, 3))]),
    Row(
        "rectified_linear",
        rectified_linear,
        lambda x, w, b: np.maximum(x @ w.T + b, 0),
        [((5, 3), (4, 3), (4,)), ((2, 5, 3), (4, 3), (4,))],
    ),
    Row("dot", rt.dot, np.dot, [((3,), (3,)), ((2, 3), (3, 4)), ((2, 3), (3,)), ((), (2,)), ((2, 3), (4, 3, 2))]),
    Row("kron", rt.kron, np.kron, [((2, 3), (3, 2)), ((3,), (2, 2)), ((), (2,)), ((0, 2), (2, 1))]),
    Row("tensordot", rt.tensordot, np.tensordot, [((2, 3, 4), (3, 4, 5)), ((3, 4), (3, 4))]),
    Row(
        "tensordot/axes",
        lambda a, b: rt.tensordot(a, b, ([0, -1], [1, 0])),
        lambda a, b: np.tensordot(a, b, ([0, -1], [1, 0])),
        [((2, 3, 4), (4, 2, 5))],
    ),
    Row("inv", lambda x: rt.linalg.inv(_regular(x)), lambda x: np.linalg.inv(_regular(x)), SQUARE),
    Row(
        "solve",
        lambda x, b: rt.linalg.solve(_regular(x), b),
        lambda x, b: np.linalg.solve(_regular(x), b),
        [((4, 4), (4, 2)), ((2, 3, 3), (3, 1)), ((3, 3), (3,)), ((3, 3), (2, 3, 2))],
    ),
    Row("pinv", rt.linalg.pinv, np.linalg.pinv, [((4, 3),), ((2, 3, 5),), ((1, 1),)]),
    Row("det", rt.linalg.det, np.linalg.det, [((4, 4),), ((2, 3, 3),), ((1, 1),)]),
    *(
        Row(f"slogdet/{i}", lambda x, i=i: rt.linalg.slogdet(x)[i], lambda x, i=i: np.linalg.slogdet(x)[i], SQUARE)
        for i in (0, 1)
    ),
    Row("cholesky", lambda x: rt.linalg.cholesky(_positive(x)), lambda x: np.linalg.cholesky(_positive(x)), SQUARE),
    Row("eigh/values", lambda x: rt.linalg.eigh(_positive(x))[0], lambda x: np.linalg.eigh(_positive(x))[0], SQUARE),
    Row("eigh/vectors", lambda x: rt.linalg.eigh(_positive(x))[1], lambda x: np.linalg.eigh(_positive(x))[1], SQUARE),
    Row("eigvalsh", lambda x: rt.linalg.eigvalsh(_positive(x)), lambda x: np.linalg.eigvalsh(_positive(x)), SQUARE),
    *(
        Row(
            f"svd/{i}",
            lambda x, i=i: rt.linalg.svd(x)[i],
            lambda x, i=i: np.linalg.svd(x, full_matrices=False)[i],
            [((4, 3),), ((2, 2, 4),), ((3, 3),)],
        )
        for i in (0, 1, 2)
    ),
    Row("svdvals", rt.linalg.svdvals, np.linalg.svdvals, [((4, 3),), ((2, 2, 4),)]),
    *(
        Row(
            f"qr/{i}",
            lambda x, i=i: rt.linalg.qr(x)[i],
            lambda x, i=i: np.linalg.qr(x)[i],
            [((4, 3),), ((3, 3),), ((2, 2, 4),)],
        )
        for i in (0, 1)
    ),
    *(
        Row(
            f"matrix_power/{n}",
            lambda x, n=n: rt.linalg.matrix_power(_regular(x), n),
            lambda x, n=n: np.linalg.matrix_power(_regular(x), n),
            SQUARE,
        )
        for n in (0, 1, 2, 5, -2)
    ),
    *(
        Row(
            f"norm/{ord}{axis or ''}",
            lambda x, o=ord, a=axis: rt.linalg.norm(x, o, a),
            lambda x, o=ord, a=axis: np.linalg.norm(x, o, a),
            [((4, 3),), ((3, 3, 2),)] if axis else [((3, 4),)],
        )
        for ord in (None, 1, -1, 2, -2, np.inf, -np.inf, "fro", "nuc")
        for axis in (None, (1, 0))
    ),
    *(
        Row(
            f"norm/vector {ord}",
            lambda x, o=ord: rt.linalg.norm(x, o, 0, True),
            lambda x, o=ord: np.linalg.norm(x, o, 0, True),
            [((4,),), ((3, 2),)],
            grad=ord != 0,
        )
        for ord in (0, 1, 2, 3, 0.5, -1.5, np.inf, -np.inf)
    ),
    Row(
        "bilinear",
        rt.nn.bilinear,
        lambda a, b, w, c: np.einsum("...i,kij,...j->...k", a, w, b) + c,
        [((5, 2), (5, 3), (4, 2, 3), (4,)), ((2,), (3,), (4, 2, 3), (4,))],
    ),
]
