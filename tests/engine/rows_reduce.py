"""Rows of reductions, running sums and softmax."""

import numpy as np

import ringtrain as rt

from .table import MATRIX, REDUCED, Row, softmax


def _holed(x):
    """x, every third element along the first axis nan."""
    mask = (np.arange(len(x)) % 3 == 1).reshape(-1, *[1] * (len(x.shape) - 1))
    where = rt.where if isinstance(x, rt.Tensor) else np.where
    return where(mask, float("nan"), x)


ROWS = [
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
    Row("softmax", rt.softmax, softmax, MATRIX),
    Row("softmax/0", lambda x: rt.softmax(x, 0), lambda x: softmax(x, 0), MATRIX),
    Row("log_softmax", rt.log_softmax, lambda x: np.log(softmax(x)), MATRIX),
    # --- counts, running operations, order
    Row("count_nonzero", lambda x: rt.count_nonzero(x, 0), lambda x: np.count_nonzero(x, 0), REDUCED, grad=False),
    Row("nansum", lambda x: rt.nansum(_holed(x), 0), lambda x: np.nansum(_holed(x), 0), REDUCED),
    Row("nanmean", lambda x: rt.nanmean(_holed(x), 0), lambda x: np.nanmean(_holed(x), 0), REDUCED),
    Row("cumprod", lambda x: rt.cumprod(x, axis=-1), lambda x: np.cumprod(x, -1), [*REDUCED, ((2, 0),), ((3, 1),)]),
    Row("cumprod/0", lambda x: rt.cumprod(x, axis=0), lambda x: np.cumprod(x, 0), REDUCED),
    *(
        Row(f"{name}/{axis}", f, ref, [((13,),), ((3, 6, 5),), ((2, 0, 1),)])
        for name, ufunc in (("cummax", np.maximum), ("cummin", np.minimum))
        for axis in (0, -1)
        for f, ref in [
            (
                lambda x, name=name, axis=axis: getattr(rt, name)(x, axis)[0],
                lambda x, ufunc=ufunc, axis=axis: ufunc.accumulate(x, axis),
            )
        ]
    ),
    Row("diff", rt.diff, np.diff, REDUCED),
    Row("diff/2", lambda x: rt.diff(x, 2, 0), lambda x: np.diff(x, 2, 0), REDUCED),
    Row("sort", rt.sort, np.sort, [*REDUCED, ((2, 0),)]),
    Row("sort/0", lambda x: rt.sort(x, 0, descending=True), lambda x: np.flip(np.sort(x, 0), 0), REDUCED),
    Row("argsort", rt.argsort, np.argsort, REDUCED, grad=False),
    Row("argsort/descending", lambda x: rt.argsort(x, 0, True), lambda x: np.argsort(-x, 0), REDUCED, grad=False),
    Row("topk", lambda x: rt.topk(x, 3, 0)[0], lambda x: np.flip(np.sort(x, 0), 0)[:3], REDUCED),
    Row("topk/smallest", lambda x: rt.topk(x, 2, -1, False)[0], lambda x: np.sort(x, -1)[..., :2], REDUCED),
    Row("topk/indices", lambda x: rt.topk(x, 2)[1], lambda x: np.argsort(-x, -1)[..., :2], REDUCED, grad=False),
    Row("median", rt.median, np.median, [*REDUCED, ((4, 3),)]),
    Row("median/axis", lambda x: x.median(-1, True), lambda x: np.median(x, -1, keepdims=True), [((4, 3),), ((3, 4),)]),
    *(
        Row(f"quantile/{method}", f, ref, REDUCED)
        for method in ("linear", "lower", "higher", "nearest", "midpoint")
        for f, ref in [
            (
                lambda x, m=method: rt.quantile(x, [0.0, 0.33, 0.8, 1.0], 0, method=m),
                lambda x, m=method: np.quantile(x, [0.0, 0.33, 0.8, 1.0], 0, method=m),
            )
        ]
    ),
    Row(
        "quantile/axes",
        lambda x: rt.quantile(x, 0.3, (0, 2), True),
        lambda x: np.quantile(x, 0.3, (0, 2), keepdims=True),
        [((3, 2, 4),)],
    ),
]
