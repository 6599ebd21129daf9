"""Shapes: reshape, transpose, slice, pad, join and cut; tensors from nothing."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Any

import numpy as np

from ...ops import elementwise as e
from ...ops import gather, shape
from ...ops.geometry import pad_axes
from ...tensor import Tensor
from ..proto import dtype_of
from ..registry import handler
from ..values import array, axes, ints, made, number

_axes = axes


@handler("Shape")
def shape_(x: Tensor, *, start: int = 0, end: int | None = None) -> Tensor:
    return made(np.array(x.shape[slice(start, end)], np.int64))


@handler("Size")
def size(x: Tensor) -> Tensor:
    return made(np.array(x.size, np.int64))


@handler("Reshape", since=5, fixed=(1,))
def reshape(x: Tensor, wanted: Tensor, *, allowzero: int = 0) -> Tensor:
    """0 stands for the input's own length there, unless zeros are allowed."""
    lengths = ints(wanted)
    return shape.reshape(x, lengths if allowzero else [x.shape[i] if n == 0 else n for i, n in enumerate(lengths)])


@handler("Flatten")
def flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    axis = axis + x.ndim if axis < 0 else axis
    return shape.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


@handler("Transpose")
def transpose(x: Tensor, *, perm: list[int] | None = None) -> Tensor:
    return shape.transpose(x, perm)


@handler("Squeeze", fixed=(1,))
def squeeze(x: Tensor, given: Tensor | None = None, /, *, axes: list[int] | None = None) -> Tensor:
    wanted = _axes(given, axes)
    return shape.squeeze(x, None if wanted is None else tuple(wanted))


@handler("Unsqueeze", fixed=(1,))
def unsqueeze(x: Tensor, given: Tensor | None = None, /, *, axes: list[int] | None = None) -> Tensor:
    wanted = _axes(given, axes) or []
    n = x.ndim + len(wanted)
    places = {a % n for a in wanted}
    rest = iter(x.shape)
    return shape.reshape(x, [1 if i in places else next(rest) for i in range(n)])


@handler("Expand", fixed=(1,))
def expand(x: Tensor, wanted: Tensor) -> Tensor:
    """Lengths broadcast both ways."""
    return shape.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(ints(wanted))))


@handler("Tile", since=6, fixed=(1,))
def tile(x: Tensor, repeats: Tensor) -> Tensor:
    times = ints(repeats)
    lead = [n for length in x.shape for n in (1, length)]
    wide = [n for t, length in zip(times, x.shape, strict=True) for n in (t, length)]
    return shape.reshape(
        shape.broadcast_to(shape.reshape(x, lead), wide), [t * n for t, n in zip(times, x.shape, strict=True)]
    )


@handler("Concat", since=4)
def concat(*xs: Tensor, axis: int) -> Tensor:
    return shape.concatenate(xs, axis)


def pieces(x: Tensor, sizes: list[int], axis: int) -> list[Tensor]:
    """x cut into parts of these lengths."""
    if sum(sizes) != x.shape[axis]:
        raise ValueError(f"Split: parts of {sizes} do not make up axis {axis} of {x.shape}")
    return shape.split(x, list(accumulate(sizes))[:-1], axis)


def even(n: int, count: int) -> list[int]:
    """n elements as `count` parts, the last ones shorter, or empty."""
    part = -(-n // count)
    return [max(0, min(part, n - i * part)) for i in range(count)]


@handler("Split", since=2, fixed=(1,))
def split(
    x: Tensor, given: Tensor | None = None, /, *, axis: int = 0, split: list[int] | None = None,
    num_outputs: int | None = None, n_outputs: int = 1,
) -> tuple:  # fmt: skip
    sizes = _axes(given, split)
    return tuple(pieces(x, even(x.shape[axis], num_outputs or n_outputs) if sizes is None else sizes, axis))


@handler("Slice", since=10, fixed=(1, 2, 3, 4))
def slice_(x: Tensor, starts: Tensor, ends: Tensor, along: Tensor | None = None, steps: Tensor | None = None) -> Tensor:
    begin, end = ints(starts), ints(ends)
    return _sliced(x, begin, end, list(range(len(begin))) if along is None else ints(along),
                   [1] * len(begin) if steps is None else ints(steps))  # fmt: skip


@handler("Slice")
def slice_1(x: Tensor, *, starts: list[int], ends: list[int], axes: list[int] | None = None) -> Tensor:
    return _sliced(x, starts, ends, list(range(len(starts))) if axes is None else axes, [1] * len(starts))


def _sliced(x: Tensor, starts: list[int], ends: list[int], along: list[int], steps: list[int]) -> Tensor:
    index = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, along, steps, strict=True):
        index[axis] = slice(start, end, step)
    return x[tuple(index)]


# --- padding ----------------------------------------------------------------------------------------------
_MODES: dict[str, Any] = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}


def _padded(x: Tensor, widths: list[tuple[int, int]], mode: str, value: Any) -> Tensor:
    """Each axis by (before, after), negative numbers cut off."""
    if mode == "constant":
        return pad_axes(x, widths, value)
    if mode not in _MODES:
        raise ValueError(f"Pad: mode {mode!r} is unknown")
    tables = []
    for n, (before, after) in zip(x.shape, widths, strict=True):
        places = np.arange(n)[max(-before, 0) : n - max(-after, 0)]
        places = np.pad(places, (max(before, 0), max(after, 0)), mode=_MODES[mode])
        tables.append(gather.Table(places[:, None], None, n) if before or after else None)
    return gather.gather_axes(x, tables, 0)


@handler("Pad", since=11, fixed=(1, 2, 3))
def pad(
    x: Tensor, pads: Tensor, value: Tensor | None = None, along: Tensor | None = None, *, mode: str = "constant"
) -> Tensor:
    amounts = ints(pads)
    places = list(range(x.ndim)) if along is None else ints(along)
    widths = [(0, 0)] * x.ndim
    for i, axis in enumerate(places):
        widths[axis] = (amounts[i], amounts[i + len(places)])
    return _padded(x, widths, mode, 0 if value is None else number(value))


@handler("Pad", since=2)
def pad_2(x: Tensor, *, pads: list[int], mode: str = "constant", value: float = 0.0) -> Tensor:
    return _padded(x, list(zip(pads[: x.ndim], pads[x.ndim :], strict=True)), mode, value)


# --- blocks of channels -----------------------------------------------------------------------------------
@handler("DepthToSpace")
def depth_to_space(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    n, c, h, w = x.shape
    b = blocksize
    if mode == "DCR":
        parts = shape.transpose(shape.reshape(x, (n, b, b, c // (b * b), h, w)), (0, 3, 4, 1, 5, 2))
    else:
        parts = shape.transpose(shape.reshape(x, (n, c // (b * b), b, b, h, w)), (0, 1, 4, 2, 5, 3))
    return shape.reshape(parts, (n, c // (b * b), h * b, w * b))


@handler("SpaceToDepth")
def space_to_depth(x: Tensor, *, blocksize: int) -> Tensor:
    n, c, h, w = x.shape
    b = blocksize
    parts = shape.transpose(shape.reshape(x, (n, c, h // b, b, w // b, b)), (0, 3, 5, 1, 2, 4))
    return shape.reshape(parts, (n, c * b * b, h // b, w // b))


# --- from nothing -----------------------------------------------------------------------------------------
@handler("Constant")
def constant(
    *, value: Any = None, value_float: float | None = None, value_floats: list[float] | None = None,
    value_int: int | None = None, value_ints: list[int] | None = None,
) -> Tensor:  # fmt: skip
    if value is not None:
        return value
    if value_float is not None or value_floats is not None:
        return made(np.array(value_floats if value_float is None else value_float, np.float32))
    return made(np.array(value_ints if value_int is None else value_int, np.int64))


@handler("ConstantOfShape", fixed=(0,))
def constant_of_shape(lengths: Tensor, *, value: Tensor | None = None) -> Tensor:
    fill = np.zeros(1, np.float32) if value is None else array(value)
    return made(np.broadcast_to(fill.reshape(()), tuple(ints(lengths))).copy())


@handler("Range")
def range_(start: Tensor, limit: Tensor, delta: Tensor, *, stash_type: int = 1) -> Tensor:
    """16-bit floats are computed in more than the stash type, float32, and rounded once."""
    first, end, step = number(start), number(limit), number(delta)
    count = max(math.ceil((end - first) / step), 0)
    return made((first + np.arange(count) * step).astype(start.dtype))


@handler("EyeLike")
def eye_like(x: Tensor, *, dtype: int | None = None, k: int = 0) -> Tensor:
    return made(np.eye(x.shape[0], x.shape[1], k=k, dtype=x.dtype if dtype is None else dtype_of(dtype)), x)


@handler("Trilu", fixed=(1,))
def trilu(x: Tensor, k: Tensor | None = None, *, upper: int = 1) -> Tensor:
    offset = 0 if k is None else number(k)
    below = np.tri(x.shape[-2], x.shape[-1], k=offset - 1 if upper else offset, dtype=bool)
    keep = made(~below if upper else below, x)
    return e.where(keep, x, 0).astype(x.dtype)
