"""Elementwise functions that NumPy lacks, compiled at first use."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from ..dtypes import is_float, wide
from .jit import available, jit


@cache
def _compiled() -> Any:
    if not available():
        return lambda x: np.vectorize(math.erf, otypes=[x.dtype])(x)

    @jit
    def loop(x, out):
        for i in range(x.size):
            out[i] = math.erf(x[i])

    def run(x: Any) -> Any:
        out = np.empty(x.shape, x.dtype)
        loop(np.ascontiguousarray(x).reshape(-1), out.reshape(-1))
        return out

    return run


def erf(x: Any) -> Any:
    """The error function, elementwise, in float64 for integers; 16-bit floats are computed in float32."""
    x = np.asarray(x)
    accumulator = wide(x.dtype)
    if accumulator is not None:
        return _compiled()(x.astype(accumulator)).astype(x.dtype)
    return _compiled()(x if is_float(x.dtype) else x.astype(np.float64))
