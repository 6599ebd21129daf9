"""Tensors cut into parts and put together from blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..tensor import Tensor, wrap
from .shape import axis_of, broadcast_to, concatenate, expand_dims, flip, pad, reshape, split


# --- parts ------------------------------------------------------------------------------------------------
def array_split(x: Tensor, parts: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """`split` into that many parts even where the length cannot be divided: the first ones are one longer. Views."""
    if not isinstance(parts, (int, np.integer)):
        return split(x, parts, axis)
    n = x.shape[axis_of(axis, x.ndim, "array_split")]
    if parts < 1:
        raise ValueError(f"array_split: parts is >= 1; got {parts}")
    each, more = divmod(n, int(parts))
    return split(x, [each * i + min(i, more) for i in range(1, int(parts))], axis)


def _least(x: Tensor, axes: int, name: str) -> None:
    if x.ndim < axes:
        raise ValueError(f"{name} wants {axes} axes at least; got {x.shape}")


def hsplit(x: Tensor, parts: int | Sequence[int]) -> list[Tensor]:
    """`split` along axis 1, of vectors along axis 0."""
    _least(x, 1, "hsplit")
    return split(x, parts, 1 if x.ndim > 1 else 0)


def vsplit(x: Tensor, parts: int | Sequence[int]) -> list[Tensor]:
    """`split` along axis 0 of what has two axes at least."""
    _least(x, 2, "vsplit")
    return split(x, parts, 0)


def dsplit(x: Tensor, parts: int | Sequence[int]) -> list[Tensor]:
    """`split` along axis 2."""
    _least(x, 3, "dsplit")
    return split(x, parts, 2)


def unflatten(x: Tensor, axis: int, shape: Sequence[int]) -> Tensor:
    """An axis as several, of the given lengths, of which one may be -1: the inverse of `flatten`. A view."""
    a = axis_of(axis, x.ndim, "unflatten")
    lengths, n = list(shape), x.shape[a]
    if -1 in lengths:
        known = int(np.prod([k for k in lengths if k != -1]))
        lengths[lengths.index(-1)] = n // known if known else 0
    if int(np.prod(lengths)) != n or min(lengths, default=0) < 0:
        raise ValueError(f"unflatten: axis {axis} of {x.shape} has {n} elements, which are not {tuple(shape)}")
    return reshape(x, (*x.shape[:a], *lengths, *x.shape[a + 1 :]))


# --- turns ------------------------------------------------------------------------------------------------
def fliplr(x: Tensor) -> Tensor:
    """Axis 1 back to front. A view."""
    _least(x, 2, "fliplr")
    return flip(x, 1)


def flipud(x: Tensor) -> Tensor:
    """Axis 0 back to front. A view."""
    _least(x, 1, "flipud")
    return flip(x, 0)


# --- joins ------------------------------------------------------------------------------------------------
def column_stack(xs: Sequence[Tensor]) -> Tensor:
    """Vectors (n,) as columns, and matrices (n, k), side by side."""
    return concatenate([x if x.ndim > 1 else reshape(x, (-1, 1)) for x in xs], 1)


def block_diag(*xs: Tensor) -> Tensor:
    """The matrix with the given ones along its diagonal, zeros elsewhere; a vector is a row, a number (1, 1)."""
    if not xs:
        raise ValueError("block_diag wants one matrix at least")
    blocks = [x if x.ndim == 2 else reshape(x, (1, -1)) if x.ndim < 2 else x for x in xs]
    if any(b.ndim != 2 for b in blocks):
        raise ValueError(f"block_diag wants matrices; got {[x.shape for x in xs]}")
    width, rows, left = sum(b.shape[1] for b in blocks), [], 0
    for b in blocks:
        rows.append(pad(b, ((0, 0), (left, width - left - b.shape[1]))))
        left += b.shape[1]
    return concatenate(rows)


def broadcast_arrays(*xs: Tensor) -> list[Tensor]:
    """All in the one shape that they broadcast to. Read-only views."""
    shape = np.broadcast_shapes(*(x.shape for x in xs))
    return [broadcast_to(x, shape) for x in xs]


def cartesian_prod(*xs: Tensor) -> Tensor:
    """All the ways to choose an element of each vector (n_i,), a row for each, the last moving first; one vector is
    itself."""
    if not xs or any(x.ndim != 1 for x in xs):
        raise ValueError(f"cartesian_prod wants vectors; got {[x.shape for x in xs]}")
    if len(xs) == 1:
        return xs[0]
    shape = tuple(len(x) for x in xs)
    columns = []
    for i, x in enumerate(xs):
        line = reshape(x, [-1 if j == i else 1 for j in range(len(xs))])
        columns.append(expand_dims(reshape(broadcast_to(line, shape), -1), 1))
    return concatenate(columns, 1)


# --- places -----------------------------------------------------------------------------------------------
def _places(name: str, n: int, k: int, m: int | None, device: Any) -> tuple[Tensor, Tensor]:
    from .. import backend as backends

    backend, index = backends.get(device)
    rows, columns = getattr(np, name)(n, k, n if m is None else m)
    return wrap(backend.asarray(rows, np.int64, index)), wrap(backend.asarray(columns, np.int64, index))


def tril_indices(n: int, k: int = 0, m: int | None = None, device: str | None = None) -> tuple[Tensor, Tensor]:
    """(rows, columns) of the elements of an (n, m or n) matrix on and below diagonal k, int64."""
    return _places("tril_indices", n, k, m, device)


def triu_indices(n: int, k: int = 0, m: int | None = None, device: str | None = None) -> tuple[Tensor, Tensor]:
    """(rows, columns) of the elements of an (n, m or n) matrix on and above diagonal k, int64."""
    return _places("triu_indices", n, k, m, device)
