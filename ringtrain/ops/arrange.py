"""Rearrangements: repeated, rolled and padded tensors, triangles, diagonals and windows."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..tensor import Tensor, raw
from . import shape as shapes
from .define import op, register
from .index import getitem, placed, take
from .reduce import sum
from .shape import axis_of, broadcast_to, concatenate, expand_dims, flip, moveaxis, reshape, transpose


def _axes(axis: int | Sequence[int], ndim: int, name: str) -> tuple[int, ...]:
    return tuple(axis_of(a, ndim, name) for a in ((axis,) if isinstance(axis, int) else axis))


# --- padding, rolling, repeating --------------------------------------------------------------------------
_PADDED = ("reflect", "symmetric", "edge", "wrap")


def pad(x: Tensor, widths: Sequence[tuple[int, int]], value: float = 0.0, mode: str = "constant") -> Tensor:
    """x with `widths[i] = (before, after)` elements added along axis i.

    mode  NumPy's names: "constant" (`value`), "reflect" (mirrored without the edge), "symmetric" (with it), "edge",
          "wrap" (from the other end)
    """
    if mode == "constant":
        return shapes.pad(x, widths, value)
    if mode not in _PADDED:
        raise ValueError(f"pad: mode {mode!r} is unknown; use 'constant', {', '.join(map(repr, _PADDED))}")
    if len(widths) != x.ndim or any(a < 0 or b < 0 for a, b in widths):
        raise ValueError(f"pad wants one (before, after) >= 0 for each of the {x.ndim} axes; got {widths}")
    for axis, (before, after) in enumerate(widths):
        if before or after:
            if not x.shape[axis]:
                raise ValueError(f"pad: axis {axis} of {x.shape} has no elements to fill in by {mode!r}")
            x = take(x, np.pad(np.arange(x.shape[axis]), (before, after), mode=mode), axis)  # type: ignore[call-overload]
    return x


_roll = op(
    "roll",
    lambda xp, x, *, shift, axis: xp.roll(x, shift, axis),
    lambda xp, g, shift, axis: xp.roll(g, tuple(-s for s in shift), axis),
    shape=lambda x, *, shift, axis: x.shape,
)


def roll(x: Tensor, shift: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Tensor:
    """x with its elements moved on by `shift` along `axis`, the last coming first; axis None: of the flat tensor."""
    steps = (shift,) if isinstance(shift, (int, np.integer)) else tuple(shift)
    if not steps:
        raise ValueError("roll: no shift is given")
    if axis is None:
        return reshape(roll(reshape(x, -1), builtins.sum(steps), 0), x.shape)
    axes = _axes(axis, x.ndim, "roll")
    if len(steps) == 1:
        steps *= len(axes)
    if len(steps) != len(axes):
        raise ValueError(f"roll: {len(steps)} shifts were given for {len(axes)} axes")
    return _roll(x, shift=tuple(map(int, steps)), axis=axes)


register("roll", lambda x, shift, axis=None: roll(x, shift, axis))


def tile(x: Tensor, reps: int | Sequence[int]) -> Tensor:
    """x repeated as a whole, reps[i] times along axis i; the shorter of shape and reps is filled up with ones."""
    counts = (reps,) if isinstance(reps, (int, np.integer)) else tuple(reps)
    n = max(x.ndim, len(counts))
    shape = (1,) * (n - x.ndim) + x.shape
    counts = (1,) * (n - len(counts)) + counts
    pairs = [(c, s) for c, s in zip(counts, shape, strict=True)]
    spread = broadcast_to(reshape(x, [k for _, s in pairs for k in (1, s)]), [k for pair in pairs for k in pair])
    return reshape(spread, [c * s for c, s in pairs])


def repeat(x: Tensor, repeats: int | Sequence[int], axis: int | None = None) -> Tensor:
    """x with each element repeated along `axis`, all as often or each its own number of times (None: flattened)."""
    if axis is None:
        x, axis = reshape(x, -1), 0
    a = axis_of(axis, x.ndim, "repeat")
    if isinstance(repeats, (int, np.integer)):
        shape = [*x.shape[: a + 1], int(repeats), *x.shape[a + 1 :]]
        return reshape(
            broadcast_to(expand_dims(x, a + 1), shape), [*x.shape[:a], x.shape[a] * int(repeats), *x.shape[a + 1 :]]
        )
    return take(x, np.repeat(np.arange(x.shape[a]), np.asarray(raw(repeats))), a)


def rot90(x: Tensor, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Tensor:
    """x turned k times by 90 degrees in the plane of two axes, from the first towards the second."""
    a, b = _axes(axes, x.ndim, "rot90")
    if a == b:
        raise ValueError(f"rot90: the axes {axes} are one")
    if k % 4 == 0:
        return x
    if k % 4 == 2:
        return flip(x, (a, b))
    order = list(range(x.ndim))
    order[a], order[b] = order[b], order[a]
    return transpose(flip(x, b), order) if k % 4 == 1 else flip(transpose(x, order), b)


# --- joins and parts --------------------------------------------------------------------------------------
def unstack(x: Tensor, axis: int = 0) -> list[Tensor]:
    """The slices of x along `axis`, without it. Views."""
    lead = (slice(None),) * axis_of(axis, x.ndim, "unstack")
    return [x[(*lead, i)] for i in range(x.shape[len(lead)])]


def chunk(x: Tensor, chunks: int, axis: int = 0) -> list[Tensor]:
    """x cut along `axis` into at most that many parts of one length, the last perhaps shorter. Views."""
    a = axis_of(axis, x.ndim, "chunk")
    if chunks < 1:
        raise ValueError(f"chunk: chunks is >= 1; got {chunks}")
    length = max(1, -(-x.shape[a] // chunks))
    return shapes.split(x, list(range(length, x.shape[a], length)), a)


def atleast_1d(x: Tensor) -> Tensor:
    """x, or (1,) of a number."""
    return x if x.ndim else reshape(x, (1,))


def atleast_2d(x: Tensor) -> Tensor:
    """x, with axes of length 1 in front until there are two."""
    return x if x.ndim > 1 else reshape(x, (1, -1))


def atleast_3d(x: Tensor) -> Tensor:
    """x with three axes at least: (n,) becomes (1, n, 1), (m, n) becomes (m, n, 1)."""
    return x if x.ndim > 2 else reshape(x, (1, -1, 1) if x.ndim < 2 else (*x.shape, 1))


def hstack(xs: Sequence[Tensor]) -> Tensor:
    """The tensors side by side: along axis 1, vectors along axis 0."""
    xs = [atleast_1d(x) for x in xs]
    return concatenate(xs, 0 if xs and xs[0].ndim == 1 else 1)


def vstack(xs: Sequence[Tensor]) -> Tensor:
    """The tensors below one another: along axis 0, vectors as rows."""
    return concatenate([atleast_2d(x) for x in xs])


def dstack(xs: Sequence[Tensor]) -> Tensor:
    """The tensors behind one another: along axis 2."""
    return concatenate([atleast_3d(x) for x in xs], 2)


def meshgrid(*xs: Tensor, indexing: str = "xy") -> list[Tensor]:
    """Vectors as the coordinates of a grid, each of the grid's shape. Read-only views.

    indexing  "ij": x_i varies along axis i; "xy" (NumPy's default): the first two axes are exchanged
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: indexing {indexing!r} is unknown; use 'xy' or 'ij'")
    n = len(xs)
    places = [1, 0, *range(2, n)] if indexing == "xy" and n > 1 else list(range(n))
    flat = [reshape(x, -1) for x in xs]
    shape = [0] * n
    for x, p in zip(flat, places, strict=True):
        shape[p] = x.size
    return [broadcast_to(reshape(x, [-1 if i == p else 1 for i in range(n)]), shape) for x, p in zip(flat, places)]  # noqa: B905


# --- triangles and diagonals ------------------------------------------------------------------------------
def _triangle(name: str, kept: str) -> Any:
    return op(
        name,
        lambda xp, x, *, k=0: _matrix(x.shape, name) and getattr(xp, name)(x, k),
        lambda xp, g, k: getattr(xp, name)(g, k),
        shape=lambda x, *, k=0: _matrix(x.shape, name),
        doc=f"x (..., m, n) with zeros {kept} diagonal k: 0 is the main one, positive numbers lie above it.",
    )


def _matrix(shape: tuple[int, ...], name: str) -> tuple[int, ...]:
    if len(shape) < 2:
        raise ValueError(f"{name} wants at least two axes; got {shape}")
    return shape


tril = _triangle("tril", "above")
triu = _triangle("triu", "below")


def _diagonal_of(m: int, n: int, offset: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows and columns of a diagonal of an (m, n) matrix."""
    i = np.arange(max(0, min(m + min(offset, 0), n - max(offset, 0))))
    return i - min(offset, 0), i + max(offset, 0)


def diagonal(x: Tensor, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The diagonal of two axes, which becomes the last axis. A copy."""
    a, b = _axes((axis1, axis2), x.ndim, "diagonal")
    if a == b:
        raise ValueError(f"diagonal: the axes {axis1} and {axis2} are one")
    rest = [i for i in range(x.ndim) if i not in (a, b)]
    rows, columns = _diagonal_of(x.shape[a], x.shape[b], offset)
    return getitem(transpose(x, [*rest, a, b]), (..., _index(x, rows), _index(x, columns)))


def _index(x: Tensor, index: np.ndarray) -> Any:
    """An index as an array of x's backend."""
    return index if x.backend.abstract else x.backend.xp.asarray(index)


def diag_embed(x: Tensor, offset: int = 0, axis1: int = -2, axis2: int = -1) -> Tensor:
    """Square matrices in the axes axis1 and axis2 of the result, zero but for the last axis of x as a diagonal."""
    if not x.ndim:
        raise ValueError("diag_embed wants at least one axis")
    a, b = _axes((axis1, axis2), x.ndim + 1, "diag_embed")
    if a == b:
        raise ValueError(f"diag_embed: the axes {axis1} and {axis2} are one")
    n = x.shape[-1] + abs(offset)
    rows, columns = _diagonal_of(n, n, offset)
    out = placed(x, (..., _index(x, rows), _index(x, columns)), (*x.shape[:-1], n, n))
    if a > b:
        out, a, b = transpose(out, [*range(x.ndim - 1), x.ndim, x.ndim - 1]), b, a
    return moveaxis(moveaxis(out, -2, a), -1, b)


def diag(x: Tensor, k: int = 0) -> Tensor:
    """The matrix with diagonal k of a vector (n,), or the diagonal k of a matrix."""
    if x.ndim == 1:
        return diag_embed(x, k)
    if x.ndim == 2:
        return diagonal(x, k)
    raise ValueError(f"diag wants a vector or a matrix; got {x.shape}")


def trace(x: Tensor, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The sum of the diagonal of two axes."""
    return sum(diagonal(x, offset, axis1, axis2), axis=-1)


# --- windows ----------------------------------------------------------------------------------------------
def sliding_window_view(x: Tensor, window: int, axis: int = -1, step: int = 1) -> Tensor:
    """All windows of that many neighbours along `axis`, in a new last axis, `step` apart. A copy: it can be written."""
    a = axis_of(axis, x.ndim, "sliding_window_view")
    if not 0 < window <= x.shape[a] or step < 1:
        raise ValueError(f"sliding_window_view: a window of {window}, step {step}, along axis {axis} of {x.shape}")
    starts = np.arange(0, x.shape[a] - window + 1, step)
    return moveaxis(take(x, _index(x, starts[:, None] + np.arange(window)), a), a + 1, -1)
