"""Many arrays as one buffer a dtype, so that they cost one message's latency instead of many."""

from collections.abc import Sequence

import numpy as np

from .device import library


class Fused:
    """Copies of arrays of one kind, laid end to end by dtype: `buffers` are the flat arrays to communicate."""

    def __init__(self, arrays: Sequence[np.ndarray]):
        totals: dict[np.dtype, int] = {}
        for array in arrays:
            totals[array.dtype] = totals.get(array.dtype, 0) + array.size
        by_dtype = {dtype: library(arrays[0]).empty(total, dtype) for dtype, total in totals.items()}
        used = dict.fromkeys(totals, 0)
        self.views = []
        for array in arrays:
            start = used[array.dtype]
            used[array.dtype] = start + array.size
            view = by_dtype[array.dtype][start : start + array.size].reshape(array.shape)
            view[...] = array
            self.views.append(view)
        self.buffers = list(by_dtype.values())

    def unpack(self, arrays: Sequence[np.ndarray]) -> None:
        """Copy the buffers' values back into arrays of the shapes that were packed."""
        for array, view in zip(arrays, self.views, strict=True):
            array[...] = view
