"""Shapes: views where NumPy gives views (they share storage), and joins."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .. import backend as backends
from ..tensor import Tensor, raw, share
from .define import op, register


def _viewing(result: Tensor, source: Any) -> Tensor:
    """Marks a result as a view of its source."""
    if isinstance(source, Tensor):
        share(source, result)
    return result


def _is_view(result: Any, source: Any) -> bool:
    """Whether a reshaped array lies in its source's memory; arrays without values never do."""
    base = getattr(result, "base", None)
    return base is not None and (base is source or base is source.base)


def axis_of(axis: int, ndim: int, name: str) -> int:
    """An axis as a number in 0 .. ndim-1; raises ValueError, in the name of an op, where there is no such axis."""
    if not -ndim <= axis < ndim:
        raise ValueError(f"{name}: axis {axis} does not exist in a tensor of {ndim} axes")
    return axis % ndim


def _infer(shape: Sequence[int], size: int) -> tuple[int, ...]:
    """The shape with its -1 filled in; raises where it cannot hold `size` elements."""
    known = math.prod(n for n in shape if n != -1)
    out = tuple(size // known if n == -1 and known else n for n in shape)
    if -1 in out or list(shape).count(-1) > 1 or math.prod(out) != size:
        raise ValueError(f"{size} elements do not fit the shape {tuple(shape)}")
    return out


_reshape = op(
    "reshape",
    lambda xp, x, *, shape: x.reshape(shape),
    lambda xp, g, x_shape: xp.reshape(g, x_shape),
    shape=lambda x, *, shape: _infer(shape, x.size),
)


def reshape(x: Tensor, shape: int | Sequence[int]) -> Tensor:
    """x in another shape; one length may be -1. A view where the memory allows, else a copy."""
    out = _reshape(x, shape=(int(shape),) if isinstance(shape, (int, np.integer)) else tuple(shape))
    return _viewing(out, x) if _is_view(out._data, raw(x)) else out


def of_numbers(function: Callable) -> Callable:
    """A function along an axis of a tensor that takes a number () for the only element of that axis, as in PyTorch."""

    @functools.wraps(function)
    def inside(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        if x.shape:
            return function(x, *args, **kwargs)
        outs = function(reshape(x, (1,)), *args, **kwargs)
        return tuple([reshape(out, ()) for out in outs]) if isinstance(outs, tuple) else reshape(outs, ())

    return inside


def ravel(x: Tensor) -> Tensor:
    """x with all axes made one. A view where the memory allows, else a copy."""
    return reshape(x, -1)


def flatten(x: Tensor, start_axis: int = 0, end_axis: int = -1) -> Tensor:
    """x with the axes from start_axis to end_axis (included) made one."""
    n = x.ndim
    if n == 0:
        return reshape(x, (1,))
    a, b = axis_of(start_axis, n, "flatten"), axis_of(end_axis, n, "flatten")
    if a > b:
        raise ValueError(f"flatten: start_axis {start_axis} comes after end_axis {end_axis}")
    return reshape(x, (*x.shape[:a], math.prod(x.shape[a : b + 1]), *x.shape[b + 1 :]))


_transpose = op(
    "transpose",
    lambda xp, x, *, axes: x.transpose(axes),
    lambda xp, g, axes: xp.transpose(g, tuple(int(i) for i in np.argsort(axes))),
    shape=lambda x, *, axes: tuple(x.shape[a] for a in axes),
)


def transpose(x: Tensor, axes: Sequence[int] | None = None) -> Tensor:
    """x with its axes in another order; None reverses them. A view."""
    n = x.ndim
    order = tuple(range(n))[::-1] if axes is None else tuple(axis_of(a, n, "transpose") for a in axes)
    if sorted(order) != list(range(n)):
        raise ValueError(f"transpose: axes {axes} are no permutation of the {n} axes of {x.shape}")
    return _viewing(_transpose(x, axes=order), x)


def swapaxes(x: Tensor, a: int, b: int) -> Tensor:
    """x with two axes exchanged. A view."""
    order = list(range(x.ndim))
    a, b = axis_of(a, x.ndim, "swapaxes"), axis_of(b, x.ndim, "swapaxes")
    order[a], order[b] = order[b], order[a]
    return transpose(x, order)


def moveaxis(x: Tensor, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """x with one axis, or several, moved to other places. A view."""
    pairs = [(places,) if isinstance(places, (int, np.integer)) else tuple(places) for places in (source, destination)]
    origins, targets = ([axis_of(a, x.ndim, "moveaxis") for a in places] for places in pairs)
    if len(origins) != len(targets) or len(set(origins)) != len(origins) or len(set(targets)) != len(targets):
        raise ValueError(f"moveaxis: axes {source} cannot go to {destination}; as many of each, none twice")
    order = [i for i in range(x.ndim) if i not in origins]
    for target, origin in sorted(zip(targets, origins, strict=True)):
        order.insert(target, origin)
    return transpose(x, order)


def expand_dims(x: Tensor, axis: int) -> Tensor:
    """x with a new axis of length 1 at place `axis`. A view."""
    a = axis_of(axis, x.ndim + 1, "expand_dims")
    return reshape(x, (*x.shape[:a], 1, *x.shape[a:]))


def squeeze(x: Tensor, axis: int | tuple[int, ...] | None = None) -> Tensor:
    """x without its axes of length 1, or without the given ones, which must have length 1. A view."""
    if axis is None:
        return reshape(x, [n for n in x.shape if n != 1])
    axes = {axis_of(a, x.ndim, "squeeze") for a in ((axis,) if isinstance(axis, int) else axis)}
    for a in axes:
        if x.shape[a] != 1:
            raise ValueError(f"squeeze: axis {a} of {x.shape} has length {x.shape[a]}, not 1")
    return reshape(x, [n for i, n in enumerate(x.shape) if i not in axes])


_broadcast_to = op(
    "broadcast_to",
    lambda xp, x, *, shape: xp.broadcast_to(x, shape),
    lambda xp, g: g,
    shape=lambda x, *, shape: np.broadcast_shapes(x.shape, shape),
    broadcasts=True,
)


def broadcast_to(x: Tensor, shape: Sequence[int]) -> Tensor:
    """x repeated along new axes and axes of length 1 until it has `shape`. A read-only view."""
    return _viewing(_broadcast_to(x, shape=tuple(shape)), x)


_flip = op(
    "flip",
    lambda xp, x, *, axis: xp.flip(x, axis),
    lambda xp, g, axis: xp.flip(g, axis),
    shape=lambda x, *, axis: x.shape,
)


def flip(x: Tensor, axis: int | tuple[int, ...] | None = None) -> Tensor:
    """x with the order of its elements reversed along `axis`. A view."""
    axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    return _viewing(_flip(x, axis=tuple(axis_of(a, x.ndim, "flip") for a in axes)), x)


_pad = op(
    "pad",
    lambda xp, x, *, widths, value=0.0: xp.pad(x, widths, constant_values=value),
    lambda xp, g, widths: g[tuple(slice(a, n - b) for (a, b), n in zip(widths, g.shape, strict=True))],
    shape=lambda x, *, widths, value=0.0: tuple(n + a + b for n, (a, b) in zip(x.shape, widths, strict=True)),
)


def pad(x: Tensor, widths: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    """x with `widths[i] = (before, after)` elements of `value` added along axis i."""
    if len(widths) != x.ndim or any(a < 0 or b < 0 for a, b in widths):
        raise ValueError(f"pad wants one (before, after) >= 0 for each of the {x.ndim} axes; got {widths}")
    return _pad(x, widths=tuple((int(a), int(b)) for a, b in widths), value=value)


# --- joins ------------------------------------------------------------------------------------------------
def _pieces(xp: Any, g: Any, needs: Sequence[bool], axis: int, sizes: tuple[int, ...]) -> list:
    """The parts of a concatenation's gradient."""
    lead = (slice(None),) * axis
    ends = np.cumsum(sizes).tolist()
    return [g[(*lead, slice(e - n, e))] if need else None for need, n, e in zip(needs, sizes, ends, strict=True)]


_concatenate = op(
    "concatenate",
    lambda xp, *xs, axis, sizes: xp.concatenate(xs, axis=axis),
    _pieces,
    shape=lambda *xs, axis, sizes: (*xs[0].shape[:axis], sum(sizes), *xs[0].shape[axis + 1 :]),
    joint=True,
)


def concatenate(xs: Sequence[Tensor], axis: int = 0) -> Tensor:
    """The tensors one after the other along an axis that exists; all other lengths must agree."""
    if not xs:
        raise ValueError("concatenate needs at least one tensor")
    shapes = [raw(x).shape for x in xs]
    n = len(shapes[0])
    a = axis_of(axis, n, "concatenate")
    for s in shapes:
        if len(s) != n or s[:a] != shapes[0][:a] or s[a + 1 :] != shapes[0][a + 1 :]:
            raise ValueError(f"concatenate along axis {axis}: the shapes {shapes} differ in another axis")
    return _concatenate(*xs, axis=a, sizes=tuple(s[a] for s in shapes))


def stack(xs: Sequence[Tensor], axis: int = 0) -> Tensor:
    """The tensors, all of one shape, along a new axis at place `axis`."""
    if len({x.shape for x in xs}) != 1:
        raise ValueError(f"stack needs tensors of one shape; got {[x.shape for x in xs]}")
    return concatenate([expand_dims(x, axis) for x in xs], axis)


def _joined(xp: Any, g: Any, axis: int, edges: tuple[int, ...], x_shape: tuple[int, ...]) -> Any:
    """The gradient of what was split, of those of its parts: zeros where none arrived."""
    if type(g) is not list:  # it was one part
        return g
    some = raw(next(part for part in g if part is not None))
    lengths = [stop - start for start, stop in pairwise(edges)]
    shapes = [(*x_shape[:axis], length, *x_shape[axis + 1 :]) for length in lengths]
    library = backends.of(some).xp
    parts = [library.zeros(s, some.dtype) if part is None else part for part, s in zip(g, shapes, strict=True)]
    return xp.concatenate(parts, axis=axis)


_split = op(
    "split_at",
    lambda xp, x, *, axis, edges: tuple([x[(slice(None),) * axis + (slice(*ends),)] for ends in pairwise(edges)]),
    _joined,
)


def split(x: Tensor, parts: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """x cut along `axis` into that many equal parts, or before each of the given places. Views.

    Raises ValueError where the length cannot be divided.
    """
    a = axis_of(axis, x.ndim, "split")
    n = x.shape[a]
    if isinstance(parts, int):
        if parts < 1 or n % parts:
            raise ValueError(f"split: axis {axis} of {x.shape} has {n} elements, which {parts} does not divide")
        edges = list(range(0, n + 1, n // parts)) if n else [0] * (parts + 1)
    else:
        edges = [0, *map(int, parts), n]
    if x.backend.abstract or sorted(edges) != edges or edges[0] < 0:  # parts that NumPy cuts as slices may overlap
        lead = (slice(None),) * a
        return [x[(*lead, slice(start, stop))] for start, stop in pairwise(edges)]
    return [_viewing(part, x) for part in _split(x, axis=a, edges=tuple(edges))]


_views: list[Callable] = [reshape, flatten, transpose, swapaxes, moveaxis, expand_dims, squeeze, broadcast_to, flip]
_joins: list[Callable] = [pad, concatenate, stack, split]
for _fn in _views + _joins:
    register(_fn.__name__, _fn)
