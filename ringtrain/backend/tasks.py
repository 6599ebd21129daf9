# mypy: ignore-errors
# What numba compiles is typed by numba.
"""Loops that threads share without the interpreter (`threads.together`), for each dtype compiled at first use.

Each is written out: numba finds no closure again among the machine code that it has kept on disk.

Importing it loads numba: import it only when used.
"""

from functools import cache

import numpy as np

from . import gemm, rows
from .jit import task


def _product_f(given):
    gemm.gemm_shares(np.float32(0), given)


def _product_d(given):
    gemm.gemm_shares(np.float64(0), given)


def _products_f(given):
    gemm.gemms(np.float32(0), given)


def _products_d(given):
    gemm.gemms(np.float64(0), given)


def _attend_f(given):
    rows.attend_shares(np.float32(0), given)


def _attend_d(given):
    rows.attend_shares(np.float64(0), given)


def _attend_back_f(given):
    rows.attend_back_shares(np.float32(0), given)


def _attend_back_d(given):
    rows.attend_back_shares(np.float64(0), given)


@cache
def task_for(name, dtype):
    """The task "product", "products", "attend" or "attend_back", whose loop says what it is given."""
    return task(globals()[f"_{name}_{dtype.char}"])
