# mypy: ignore-errors
# What numba compiles is typed by numba.
"""Loops that threads share without the interpreter (`threads.together`), one for each dtype: compiled when imported.

Importing it loads numba: import it only when used.
"""

import numpy as np

from .gemm import gemm_shares, gemms
from .jit import task
from .rows import attend_back_shares, attend_shares


def _of_dtypes(loop):
    single, double = np.float32(0), np.float64(0)

    def for_single(given):
        loop(single, given)

    def for_double(given):
        loop(double, given)

    return {np.dtype(np.float32): task(for_single), np.dtype(np.float64): task(for_double)}


PRODUCT, PRODUCTS = _of_dtypes(gemm_shares), _of_dtypes(gemms)
ATTEND, ATTEND_BACK = _of_dtypes(attend_shares), _of_dtypes(attend_back_shares)
