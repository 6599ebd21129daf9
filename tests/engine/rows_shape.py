"""Rows of shapes, joins and indexing."""

import numpy as np

import ringtrain as rt

from .table import CORNER, MASK, MATRIX, ORDER, UNARY, Row

ONCE = np.array([[3, 0], [1, 4], [-1, 2]])
TWICE = np.array([[3, 0], [3, 1], [0, 0]])


def _scattered(x, index, source):
    out = x.copy()
    np.put_along_axis(out[: len(index)], index, source, 1)
    return out


def _combined(x, source, combine, own=True):
    """Along axis 0, with the places TWICE."""
    found = {}
    for (i, j), place in np.ndenumerate(TWICE):
        found.setdefault((place, j), [x[place, j]] if own else []).append(source[i, j])
    out = x.copy()
    for place, values in found.items():
        out[place] = combine(values)
    return out


ROWS = [
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
    Row("split/one", lambda x: x.split(1, 1)[0], lambda x: x, [((2, 3),)]),
    Row("split/all", lambda x: (lambda a, b, c: a * b / c)(*x.split(3)), lambda x: x[:2] * x[2:4] / x[4:], [((6, 2),)]),
    Row(
        "split/overlapping",
        lambda x: (lambda a, b, c: a[2:] * c)(*x.split([3, 1])),
        lambda x: x[2:3] * x[1:],
        [((4, 2),)],
    ),
    *(
        Row(f"pad/{mode}", f, ref, [((4, 5),), ((3, 3),)])
        for mode in ("reflect", "symmetric", "edge", "wrap")
        for f, ref in [
            (
                lambda x, m=mode: rt.pad(x, ((2, 1), (0, 2)), mode=m),
                lambda x, m=mode: np.pad(x, ((2, 1), (0, 2)), mode=m),
            )
        ]
    ),
    Row("ravel", rt.ravel, np.ravel, UNARY),
    Row("roll", lambda x: rt.roll(x, 2), lambda x: np.roll(x, 2), UNARY),
    Row("roll/axes", lambda x: rt.roll(x, (1, -2), (0, 1)), lambda x: np.roll(x, (1, -2), (0, 1)), MATRIX),
    Row("tile", lambda x: rt.tile(x, (2, 1, 3)), lambda x: np.tile(x, (2, 1, 3)), [((2, 3),), ((2, 0),), ((4,),)]),
    Row("tile/short", lambda x: rt.tile(x, 2), lambda x: np.tile(x, 2), [((2, 3),), ((),)]),
    Row("repeat", lambda x: rt.repeat(x, 3, 1), lambda x: np.repeat(x, 3, 1), [((2, 3),), ((2, 0),), ((2, 3, 2),)]),
    Row("repeat/each", lambda x: rt.repeat(x, [2, 0, 3], -1), lambda x: np.repeat(x, [2, 0, 3], -1), [((2, 3),)]),
    Row("repeat/flat", lambda x: rt.repeat(x, 2), lambda x: np.repeat(x, 2), UNARY),
    *(
        Row(f"rot90/{k}", lambda x, k=k: rt.rot90(x, k), lambda x, k=k: np.rot90(x, k), [((2, 3),), ((2, 3, 2),)])
        for k in (0, 1, 2, 3, -1)
    ),
    Row("rot90/axes", lambda x: rt.rot90(x, 1, (-1, 0)), lambda x: np.rot90(x, 1, (-1, 0)), [((2, 3, 4),)]),
    Row("unstack", lambda x: rt.unstack(x, 1)[-1], lambda x: np.unstack(x, axis=1)[-1], MATRIX),
    Row("chunk", lambda x: rt.chunk(x, 3, 1)[-1], lambda x: x[:, 4:], [((2, 5),), ((3, 6),)]),
    *(
        Row(name, getattr(rt, name), getattr(np, name), [((),), ((3,),), ((2, 3),), ((2, 1, 3),)])
        for name in ("atleast_1d", "atleast_2d", "atleast_3d")
    ),
    *(
        Row(name, f, ref, [((3,), (3,)), ((2, 3), (2, 3)), ((2, 3, 2), (2, 3, 2))])
        for name in ("hstack", "vstack", "dstack")
        for f, ref in [(lambda *xs, n=name: getattr(rt, n)(xs), lambda *xs, n=name: getattr(np, n)(xs))]
    ),
    *(
        Row(f"meshgrid/{how}{i}", f, ref, [((3,), (4,), (2,))])
        for how in ("xy", "ij")
        for i in (0, 1)
        for f, ref in [
            (
                lambda *xs, how=how, i=i: rt.meshgrid(*xs, indexing=how)[i],
                lambda *xs, how=how, i=i: np.meshgrid(*xs, indexing=how)[i],
            )
        ]
    ),
    *(
        Row(f"{name}/{k}", f, ref, [((4, 5),), ((2, 3, 3),), ((0, 2),)])
        for name in ("tril", "triu")
        for k in (0, 1, -2)
        for f, ref in [(lambda x, n=name, k=k: getattr(rt, n)(x, k), lambda x, n=name, k=k: getattr(np, n)(x, k))]
    ),
    *(
        Row(
            f"diagonal/{k}",
            lambda x, k=k: rt.diagonal(x, k),
            lambda x, k=k: np.diagonal(x, k),
            [((4, 5),), ((3, 2, 2),)],
        )
        for k in (0, 2, -1, 9)
    ),
    Row("diagonal/axes", lambda x: rt.diagonal(x, 1, -1, 0), lambda x: np.diagonal(x, 1, -1, 0), [((3, 2, 4),)]),
    Row("diag", lambda x: rt.diag(x, -1), lambda x: np.diag(x, -1), [((3,),), ((3, 4),), ((0,),)]),
    Row("diag_embed", rt.diag_embed, lambda x: x[..., None] * np.eye(x.shape[-1]), [((3,),), ((2, 3),), ((2, 0),)]),
    Row(
        "diag_embed/axes",
        lambda x: rt.diag_embed(x, 1, -1, 0),
        lambda x: np.stack([np.diag(v, 1) for v in x]).transpose(2, 0, 1),
        [((2, 3),)],
    ),
    Row("trace", lambda x: rt.trace(x, 1), lambda x: np.asarray(np.trace(x, 1)), [((3, 4),), ((4, 4, 2),)]),
    Row(
        "sliding_window_view",
        lambda x: rt.sliding_window_view(x, 3, 0, 2),
        lambda x: np.lib.stride_tricks.sliding_window_view(x, 3, 0)[::2],
        [((7,),), ((8, 2),)],
    ),
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
    # --- writing at places, masks
    Row("scatter", lambda x, s: rt.scatter(x, 1, ONCE, s), lambda x, s: _scattered(x, ONCE, s), [((4, 5), (3, 2))]),
    Row(
        "scatter/larger",
        lambda x, s: rt.scatter(x, 1, ONCE, s),
        lambda x, s: _scattered(x, ONCE, s[:3, :2]),
        [((4, 5), (4, 3))],
    ),
    Row("scatter/number", lambda x: rt.scatter(x, 1, ONCE, 2.5), lambda x: _scattered(x, ONCE, 2.5), [((4, 5),)]),
    Row(
        "scatter_add",
        lambda x, s: rt.scatter_add(x, 0, TWICE, s),
        lambda x, s: _combined(x, s, lambda a: sum(a)),
        [((4, 3), (3, 2))],
    ),
    *(
        Row(f"scatter_reduce/{how}{own or ''}", f, ref, [((4, 3), (3, 2))])
        for how, fn in [("sum", sum), ("mean", np.mean), ("amax", max), ("amin", min)]
        for own in (True, False)
        for f, ref in [
            (
                lambda x, s, how=how, own=own: rt.scatter_reduce(x, 0, TWICE, s, how, own),
                lambda x, s, fn=fn, own=own: _combined(x, s, fn, own),
            )
        ]
    ),
    Row(
        "index_add",
        lambda x, s: rt.index_add(x, 1, ORDER, s, 0.5),
        lambda x, s: x + 0.5 * np.stack([s[:, j == ORDER].sum(1) for j in range(3)], 1),
        [((2, 3), (2, 4)), ((0, 3), (0, 4))],
    ),
    Row("masked_fill", lambda x: rt.masked_fill(x, MASK, 7.0), lambda x: np.where(MASK, 7.0, x), [((4, 5),), ((5,),)]),
    Row("masked_select", lambda x: rt.masked_select(x, MASK), lambda x: x[MASK], [((4, 5),)]),
    Row(
        "masked_select/broadcast",
        lambda x: rt.masked_select(x, MASK),
        lambda x: np.broadcast_to(x, (4, 5))[MASK],
        [((5,),)],
    ),
]
