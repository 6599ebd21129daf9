"""Rows of parts and blocks, of slices and masks written, of statistics."""

import numpy as np

import ringtrain as rt

from .rows_shape import MASK, ONCE, ORDER, TWICE, _combined
from .table import BINARY, MATRIX, UNARY, Row

WHICH = np.array([2, 0])
HOLES = np.array([[False, True, False], [True, False, False]])


def _copied(x, s):
    out = x.copy()
    out[:, WHICH] = s
    return out


def _filled(x):
    out = x.copy()
    out[WHICH] = 7
    return out


def _into_mask(x, s):
    out = np.broadcast_to(x, MASK.shape).copy()
    out[MASK] = s.reshape(-1)[: MASK.sum()]
    return out


def _with_nans(x):
    """Holes that stay where they are."""
    return np.where(HOLES, np.nan, x) if isinstance(x, np.ndarray) else rt.where(HOLES, np.nan, x)


def _of_parts(name, parts, i):
    return lambda x: getattr(rt, name)(x, parts)[i], lambda x: getattr(np, name)(x, parts)[i]


def _integral(y, x):
    return np.asarray(np.trapezoid(y, x.reshape(-1, *[1] * (y.ndim - 1)) if x.ndim == 1 else x, axis=0))


def _blocks(a, b):
    a, b = np.atleast_2d(a), np.atleast_2d(b)
    return np.block([[a, np.zeros((len(a), b.shape[1]), a.dtype)], [np.zeros((len(b), a.shape[1]), a.dtype), b]])


def _ones_at(s):
    out = np.ones((3, 5), s.dtype)
    np.put_along_axis(out, ONCE, s, 1)
    return out


ROWS = [
    *(
        Row(f"scatter_reduce/prod{own or ''}", lambda x, s, own=own: rt.scatter_reduce(x, 0, TWICE, s, "prod", own),
            lambda x, s, own=own: _combined(x, s, np.prod, own), [((4, 3), (3, 2))])
        for own in (True, False)
    ),
    Row("scatter_reduce/prod with zeros",
        lambda x, s: rt.scatter_reduce(x * np.array([0, 1, 0, 1.0])[:, None].astype(x.dtype), 0, TWICE, s, "prod"),
        lambda x, s: _combined(x * np.array([0, 1, 0, 1.0])[:, None].astype(x.dtype), s, np.prod), [((4, 3), (3, 2))]),
    Row("scatter_reduce/prod once", lambda x, s: rt.scatter_reduce(x, 1, ONCE, s, "prod"),
        lambda x, s: np.concatenate([x[:3] * _ones_at(s), x[3:]]), [((4, 5), (3, 2))]),
    Row("index_copy", lambda x, s: rt.index_copy(x, 1, WHICH, s), _copied, [((2, 3), (2, 2)), ((0, 3), (0, 2))]),
    Row("index_fill", lambda x: rt.index_fill(x, 0, WHICH, 7.0), _filled, [((3,),), ((4, 2),)]),
    Row("masked_scatter", lambda x, s: rt.masked_scatter(x, MASK, s), _into_mask, [((4, 5), (7,)), ((5,), (3, 4))]),
    # --- parts and blocks
    *(
        Row(f"{name}/{parts} {i}", *_of_parts(name, parts, i), shapes)
        for name, parts, i, shapes in [
            *[("array_split", 3, i, [((8, 2),), ((2,),), ((7,),)]) for i in (0, 1, 2)],
            ("array_split", [2, 5], 1, [((8, 2),)]),
            ("hsplit", 2, 1, [((3, 4),), ((4,),)]),
            ("vsplit", [1, 2], 1, [((3, 4),)]),
            ("dsplit", 2, 0, [((2, 1, 4),)]),
        ]
    ),
    Row("unflatten", lambda x: rt.unflatten(x, 1, (2, -1)), lambda x: x.reshape(x.shape[0], 2, -1, *x.shape[2:]),
        [((3, 6),), ((2, 4, 3),)]),
    Row("fliplr", rt.fliplr, np.fliplr, MATRIX),
    Row("flipud", rt.flipud, np.flipud, MATRIX),
    Row("column_stack", lambda *xs: rt.column_stack(xs), lambda *xs: np.column_stack(xs),
        [((3,), (3, 2), (3,)), ((2, 1), (2, 2))]),
    Row("block_diag", rt.block_diag, _blocks, [((2, 3), (3, 1)), ((2, 2), (4,)), ((), (2, 2))]),
    Row("broadcast_arrays", lambda *xs: rt.broadcast_arrays(*xs)[0], lambda *xs: np.broadcast_arrays(*xs)[0].copy(),
        [((3, 1), (4,)), ((), (2, 3))]),
    Row("cartesian_prod", rt.cartesian_prod,
        lambda *xs: np.stack([g.reshape(-1) for g in np.meshgrid(*xs, indexing="ij")], -1) if xs[1:] else xs[0],
        [((2,), (3,), (2,)), ((3,),), ((0,), (2,))]),
    # --- elementwise
    Row("logaddexp2", rt.logaddexp2, np.logaddexp2, BINARY),
    Row("ldexp", lambda x: rt.ldexp(x, ORDER), lambda x: x * 2.0 ** ORDER.astype(x.dtype), [((4,),), ((3, 4),)]),
    Row("frac", rt.frac, lambda x: x - np.trunc(x), UNARY),
    Row("heaviside", lambda x: rt.heaviside(x, 0.5), lambda x: np.heaviside(x, 0.5).astype(x.dtype), UNARY, grad=False),
    Row("isclose", lambda a, b: rt.isclose(a, b, 0.1, 0.5), lambda a, b: np.isclose(a, b, 0.1, 0.5), BINARY,
        grad=False),
    *(
        Row(f"isin/{invert}", lambda x, i=invert: rt.isin(rt.round(x), [1.0, -2.0, 0.0], i),
            lambda x, i=invert: np.isin(np.round(x), [1.0, -2.0, 0.0], invert=i), UNARY, grad=False)
        for invert in (False, True)
    ),
    *(
        Row(name, getattr(rt, name), getattr(np, name), UNARY, grad=False)
        for name in ("isposinf", "isneginf")
    ),
    # --- statistics
    Row("cov", rt.cov, np.cov, [((3, 7),), ((7,),)]),
    Row("cov/columns", lambda x: rt.cov(x, False, 0), lambda x: np.cov(x, rowvar=False, ddof=0), [((7, 3),)]),
    Row("corrcoef", rt.corrcoef, np.corrcoef, [((3, 7),)]),
    Row("kthvalue", lambda x: rt.kthvalue(x, 2, 0)[0], lambda x: np.sort(x, 0)[1], [((5,),), ((4, 3),)]),
    Row("nanquantile", lambda x: rt.nanquantile(_with_nans(x), 0.3, 1), lambda x: np.nanquantile(_with_nans(x), 0.3, 1),
        [((2, 3),)]),
    Row("nanquantile/all", lambda x: rt.nanquantile(_with_nans(x), 0.8, keepdims=True),
        lambda x: np.nanquantile(_with_nans(x), 0.8, keepdims=True), [((2, 3),)]),
    Row("nanmedian", lambda x: rt.nanmedian(_with_nans(x), 0), lambda x: np.nanmedian(_with_nans(x), 0), [((2, 3),)]),
    Row("logcumsumexp", lambda x: rt.logcumsumexp(x, 0), lambda x: np.log(np.cumsum(np.exp(x), 0)),
        [((13,),), ((5, 3),), ((0, 2),), ((1,),)]),
    Row("trapezoid", lambda y: rt.trapezoid(y, dx=0.5), lambda y: np.asarray(np.trapezoid(y, dx=0.5)),
        [((7,),), ((3, 4),)]),
    Row("trapezoid/places", lambda y, x: rt.trapezoid(y, x, axis=0), _integral,
        [((4,), (4,)), ((4, 3), (4,)), ((4, 3), (4, 3))]),
]  # fmt: skip
