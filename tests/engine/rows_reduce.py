"""Rows of reductions, running sums and softmax."""

import numpy as np

import ringtrain as rt

from .table import MATRIX, REDUCED, Row, softmax

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
]
