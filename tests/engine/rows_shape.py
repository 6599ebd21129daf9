"""Rows of shapes, joins and indexing."""

import numpy as np

import ringtrain as rt

from .table import CORNER, MASK, MATRIX, ORDER, UNARY, Row

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
]
