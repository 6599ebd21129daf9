"""The sum of squares, accumulated in float64, in one pass without a temporary array."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from .jit import jit


@cache
def _loop() -> Callable:
    def square_sum(x):
        total = 0.0
        for i in range(x.size):
            wide = np.float64(x[i])
            total += wide * wide
        return total

    return jit(square_sum, reorder=True)


class _SquareSum:
    def accepts(self, x: Any) -> bool:
        return x.dtype in (np.float32, np.float64)

    def __call__(self, x: Any) -> float:
        """Of a flat array."""
        return _loop()(x)


KERNEL = _SquareSum()
