"""Elementwise functions that NumPy lacks, compiled at first use."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ..dtypes import is_float, wide


@cache
def _compiled() -> Any:
    import math

    from numba import vectorize

    return vectorize(["float32(float32)", "float64(float64)"], nopython=True, cache=True)(lambda x: math.erf(x))


def erf(x: Any) -> Any:
    """The error function, elementwise, in float64 for integers; 16-bit floats are computed in float32."""
    x = np.asarray(x)
    accumulator = wide(x.dtype)
    if accumulator is not None:
        return _compiled()(x.astype(accumulator)).astype(x.dtype)
    return _compiled()(x if is_float(x.dtype) else x.astype(np.float64))
