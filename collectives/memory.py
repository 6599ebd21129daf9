"""Arrays in the memory that collectives reach best."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from .arena import Arena

CACHE_LINE = 64  # bytes


def empty(shape: int | Sequence[int], dtype: DTypeLike, arena: Arena | None) -> np.ndarray:
    """An uninitialised array aligned to a cache line, in the arena if there is one with room."""
    kind = np.dtype(dtype)
    if kind.hasobject:
        raise TypeError(f"{kind} arrays hold Python objects, which other processes cannot read")
    length = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    memory = arena.take(length) if arena is not None and length else None
    if memory is None:
        memory = np.empty(length + CACHE_LINE, np.uint8)
        start = -memory.ctypes.data % CACHE_LINE
        memory = memory[start : start + length]
    return memory.view(kind).reshape(shape)
