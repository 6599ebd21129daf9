"""Adding rows at places of an array, some of them named more than once: one compiled loop."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from .jit import jit


@cache
def _loop() -> Any:
    def add_rows(out, places, rows):
        for i in range(len(places)):
            to, row = out[places[i]], rows[i]
            for j in range(np.uint64(row.size)):
                to[j] += row[j]

    return jit(add_rows)


class _AddAt:
    """Kernel `add_at`: out[index] += g, for an index of integers for the first axes of a contiguous array."""

    def accepts(self, out: Any, index: Any, g: Any) -> bool:
        parts = index if type(index) is tuple else (index,)
        integers = all(isinstance(i, np.ndarray) and i.dtype.kind in "iu" for i in parts)
        return bool(integers and parts) and out.dtype in (np.float32, np.float64) and out.size > 0

    def __call__(self, out: Any, index: Any, g: Any) -> None:
        parts = index if type(index) is tuple else (index,)
        lead, rest = out.shape[: len(parts)], math.prod(out.shape[len(parts) :])
        places = np.ravel_multi_index(parts, lead, mode="wrap").reshape(-1)  # negative numbers count from the end
        rows = np.ascontiguousarray(g, out.dtype).reshape(-1, rest)
        _loop()(out.reshape(-1, rest), places, rows)


KERNEL = _AddAt()
