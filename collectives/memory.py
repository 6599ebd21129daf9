"""Arrays in the memory that collectives reach best."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

CACHE_LINE = 64  # bytes


def empty(shape: int | Sequence[int], dtype: DTypeLike = np.float32) -> np.ndarray:
    """An uninitialised array, contiguous and aligned to a cache line.

    Made for arrays that are communicated again and again, such as gradient buckets: it may hand
    out memory that every rank of this host can read. For now it is the process's own.
    """
    kind = np.dtype(dtype)
    count = int(np.prod(shape, dtype=np.int64))
    memory = np.empty(count * kind.itemsize + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    return memory[start : start + count * kind.itemsize].view(kind).reshape(shape)
