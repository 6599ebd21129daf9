"""Rows of what is made of solving and decomposing matrices, and of distances."""

import numpy as np

import ringtrain as rt
from ringtrain import nn

from .rows_linalg import SQUARE, _positive, _regular
from .table import Row


def _expm(x):
    """By the Taylor series of x / 2^20, squared: in float128, as it loses twenty bits."""
    term = out = np.eye(x.shape[-1], dtype=np.longdouble)
    for k in range(1, 9):
        term = term @ (x / np.longdouble(2**20)) / k
        out = out + term
    for _ in range(20):
        out = out @ out
    return out.astype(x.dtype)


def _tall(x):
    """Of full rank, and not badly conditioned."""
    return x + 3 * np.eye(*x.shape[-2:], dtype=x.dtype)


def _solved(a, b):
    return np.linalg.pinv(_tall(a)) @ b


def _triangle(x, upper, unit=False):
    x = _regular(x)
    out = np.triu(x) if upper else np.tril(x)
    return out - np.diag(np.diagonal(out)) + np.eye(len(x)) if unit else out


LSTSQ = [((5, 3), (5, 2)), ((3, 5), (3, 2)), ((3, 3), (3,)), ((2, 5, 3), (2, 5, 1))]
ROWS = [
    *(
        Row(f"svd/full {i}", lambda x, i=i: rt.linalg.svd(x, True)[i], lambda x, i=i: np.linalg.svd(x)[i],
            [((3, 3),), ((2, 4, 3),), ((2, 4),)][: 1 if i != 1 else 3])
        for i in (0, 1, 2)
    ),
    Row("svd/full, first columns", lambda x: rt.linalg.svd(x, True)[0][:, :3], lambda x: np.linalg.svd(x)[0][:, :3],
        [((5, 3),)]),
    Row("svd/full, first rows", lambda x: rt.linalg.svd(x, True)[2][:3], lambda x: np.linalg.svd(x)[2][:3],
        [((3, 5),)]),
    Row("lstsq/solution", lambda a, b: rt.linalg.lstsq(_tall(a), b)[0], _solved, LSTSQ),
    Row("lstsq/residuals", lambda a, b: rt.linalg.lstsq(_tall(a), b)[1],
        lambda a, b: np.linalg.lstsq(_tall(a), b, None)[1], [((5, 3), (5, 2)), ((5, 1), (5, 3))]),
    Row("lstsq/rank", lambda a, b: rt.linalg.lstsq(_tall(a), b)[2],
        lambda a, b: np.asarray(np.linalg.lstsq(_tall(a), b, None)[2], np.int64), LSTSQ[:3], grad=False),
    Row("matrix_rank", lambda x: rt.linalg.matrix_rank(x @ x.swapaxes(-1, -2)),
        lambda x: np.linalg.matrix_rank(x @ x.swapaxes(-1, -2)), [((4, 2),), ((2, 3, 3),)], grad=False),
    *(
        Row(f"cond/{p}", lambda x, p=p: rt.linalg.cond(_regular(x), p),
            lambda x, p=p: np.asarray(np.linalg.cond(_regular(x), p)), SQUARE[:2])
        for p in (None, 2, -2, 1, -1, np.inf, -np.inf, "fro", "nuc")
    ),
    *(
        Row(f"solve_triangular/{upper} {unit}",
            lambda a, b, u=upper, d=unit: rt.linalg.solve_triangular(_regular(a), b, upper=u, unitriangular=d),
            lambda a, b, u=upper, d=unit: np.linalg.solve(_triangle(a, u, d), b), [((4, 4), (4, 2))])
        for upper in (True, False) for unit in (True, False)
    ),
    Row("solve_triangular/right", lambda a, b: rt.linalg.solve_triangular(_regular(a), b, upper=True, left=False),
        lambda a, b: b @ np.linalg.inv(_triangle(a, True)), [((4, 4), (2, 4))]),
    *(
        Row(f"cholesky_solve/{upper}",
            lambda a, b, u=upper: rt.linalg.cholesky_solve(b, rt.linalg.cholesky(_positive(a)).T if u
                                                           else rt.linalg.cholesky(_positive(a)), u),
            lambda a, b: np.linalg.solve(_positive(a), b), [((4, 4), (4, 2))])
        for upper in (False, True)
    ),
    Row("logdet", lambda x: rt.linalg.logdet(_positive(x)), lambda x: np.linalg.slogdet(_positive(x))[1], SQUARE),
    Row("matrix_exp", rt.linalg.matrix_exp, _expm, [((3, 3),), ((2, 3, 3),), ((1, 1),)]),
    Row("matrix_exp/large", lambda x: rt.linalg.matrix_exp(x * 4.0), lambda x: _expm(x * 4), [((3, 3),)], (-1, 1)),
    Row("multi_dot", lambda *xs: rt.linalg.multi_dot(xs), lambda *xs: np.linalg.multi_dot(xs),
        [((3, 7), (7, 2), (2, 5), (5, 4)), ((3,), (3, 2), (2,)), ((2, 3), (3,)), ((3, 2), (2, 5))]),
    Row("vecdot", rt.linalg.vecdot, np.vecdot, [((3, 4), (4,)), ((2, 1, 3), (4, 3)), ((2, 0), (2, 0))]),
    Row("cross", rt.linalg.cross, np.linalg.cross, [((3,), (3,)), ((4, 3), (3,)), ((2, 1, 3), (4, 3))]),
    Row("cross/axis", lambda a, b: rt.linalg.cross(a, b, 0), lambda a, b: np.linalg.cross(a, b, axis=0),
        [((3, 2), (3, 2))]),
    Row("vander", rt.linalg.vander, np.vander, [((4,),), ((0,),), ((1,),)], (0.3, 2)),
    Row("vander/increasing", lambda x: rt.linalg.vander(x, 3, True), lambda x: np.vander(x, 3, True),
        [((4,),)], (0.3, 2)),
    Row("vector_norm", lambda x: rt.linalg.vector_norm(x, 3, (0, 1)),
        lambda x: np.linalg.vector_norm(x, ord=3, axis=(0, 1)), [((3, 4),), ((2, 3, 2),)]),
    # --- distances
    *(
        Row(f"cdist/{p}", lambda a, b, p=p: rt.cdist(a, b, p),
            lambda a, b, p=p: np.linalg.vector_norm(a[..., :, None, :] - b[..., None, :, :], ord=p, axis=-1),
            [((5, 3), (4, 3)), ((2, 1, 5, 3), (3, 4, 3)), ((0, 3), (4, 3))])
        for p in (2, 1, 3, 1.5)
    ),
    Row("pdist", rt.pdist, lambda x: np.linalg.norm(x[:, None] - x, axis=-1)[np.triu_indices(len(x), 1)],
        [((5, 3),), ((1, 3),)]),
    Row("triplet_margin_with_distance_loss",
        lambda *xs: nn.triplet_margin_with_distance_loss(*xs, lambda a, b: nn.pairwise_distance(a, b, 1.0, 0.0), 3.0),
        lambda a, p, n: np.asarray(np.maximum(abs(a - p).sum(1) - abs(a - n).sum(1) + 3, 0).mean()),
        [((5, 3), (5, 3), (5, 3))]),
]  # fmt: skip
