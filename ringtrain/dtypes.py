"""Dtypes: which are floats, and the engine's own rules for those of 16 bits.

NumPy 2 never widens an array for a Python scalar, but ml_dtypes makes float32 of bfloat16 and a Python float: the
engine rounds such results back (`settled`). Sums and products of 16-bit floats are accumulated in float32 (`wide`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import ml_dtypes
import numpy as np

__all__ = ["BFLOAT16", "is_float", "settled", "wide"]

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def is_float(dtype: Any) -> bool:
    """Whether gradients of that dtype make sense: float16, bfloat16, float32, float64."""
    return dtype.kind == "f" or dtype == BFLOAT16


def wide(dtype: Any) -> Any:
    """What a float of that dtype is accumulated in: float32 for 16 bits; None leaves it to NumPy."""
    return np.float32 if dtype.itemsize == 2 and is_float(dtype) else None


def settled(result: Any, inputs: Iterable) -> Any:
    """An op's result, back in bfloat16 where all arrays among its inputs are: the others are Python scalars."""
    if getattr(result, "dtype", None) not in (np.float32, np.float64):
        return result
    return result.astype(BFLOAT16) if {x.dtype for x in inputs if hasattr(x, "dtype")} == {BFLOAT16} else result
