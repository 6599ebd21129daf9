"""How elements lie in memory, and moving images between its two orders, (N, C, ...) and (N, ..., C)."""

from __future__ import annotations

import ctypes
import math
from functools import cache
from typing import Any

import numpy as np

from .jit import available

__all__ = ["address", "channels_first", "channels_last", "dense", "like", "on_lines", "turned"]

LINE, PAGE = 64, 4096
# Where an array object keeps the address of its data: first behind what every object begins with, by NumPy's binary
# interface. `x.ctypes.data` makes two objects on its way there.
DATA = object.__basicsize__
_pointer_at = ctypes.c_void_p.from_address


def address(x: np.ndarray) -> int:
    """Where an array's data begin."""
    return _pointer_at(id(x) + DATA).value or 0


def on_lines(shape: tuple[int, ...], dtype: Any, zeros: bool = False, start: int | None = None) -> np.ndarray:
    """A new array, empty or of zeros, that begins a line of the cache: vectors that span two take twice as long.

    start: that many bytes behind a multiple of PAGE; None: anywhere
    """
    size, grain = math.prod(shape) * np.dtype(dtype).itemsize, LINE if start is None else PAGE
    room = (np.zeros if zeros else np.empty)(size + grain, np.uint8)
    first = ((start or 0) - address(room)) % grain
    return room[first : first + size].view(dtype).reshape(shape)


def dense(x: np.ndarray) -> bool:
    """Whether the elements fill their memory without gaps or overlaps, in some order of axes."""
    if x.flags.c_contiguous:
        return True
    expected = x.itemsize
    for n, stride in sorted(zip(x.shape, x.strides, strict=True), key=lambda pair: pair[1]):
        if n > 1:
            if stride != expected:
                return False
            expected *= n
    return True


def turned(x: np.ndarray) -> np.ndarray:
    """A contiguous (n, rows, columns) as a contiguous (n, columns, rows); a view where one of them is 1."""
    n, rows, columns = x.shape
    if min(rows, columns) == 1:
        return x.reshape(n, columns, rows)
    out = np.empty((n, columns, rows), x.dtype)
    if x.dtype in (np.float32, np.float64) and available():
        from .gemm import transpose

        transpose(x.dtype.type(0), n, address(x), rows, columns, address(out))
    else:
        out[...] = x.swapaxes(1, 2)
    return out


@cache
def _axes(ndim: int, first: bool) -> tuple[int, ...]:
    return (0, ndim - 1, *range(1, ndim - 1)) if first else (0, *range(2, ndim), 1)


def channels_first(x: np.ndarray) -> np.ndarray:
    """(N, ..., C) as (N, C, ...), a view."""
    return x.transpose(_axes(x.ndim, True))


def _moved(x: np.ndarray) -> np.ndarray:
    """(N, C, ...) as (N, ..., C), a view."""
    return x.transpose(_axes(x.ndim, False))


def channels_last(x: np.ndarray) -> np.ndarray:
    """(N, C, ...) as a contiguous (N, ..., C); a view where memory is in that order."""
    if not x.flags.c_contiguous or x.ndim < 3:
        return np.ascontiguousarray(_moved(x)) if x.ndim > 1 else x
    n, c, *space = x.shape
    places = math.prod(space)
    return turned(x.reshape(n, c, places)).reshape(n, *space, c)


def like(x: np.ndarray, other: np.ndarray) -> np.ndarray:
    """x in the order of memory of another array of its shape."""
    if x.strides == other.strides:
        return x
    if x.ndim > 2 and _moved(other).flags.c_contiguous:
        return channels_first(channels_last(x))
    if x.ndim > 2 and other.flags.c_contiguous and (last := _moved(x)).flags.c_contiguous:
        n, *space, c = last.shape
        places = math.prod(space)
        return turned(last.reshape(n, places, c)).reshape(x.shape)
    out: Any = np.empty_like(other)
    out[...] = x
    return out
