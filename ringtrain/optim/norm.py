"""Norms of flat arrays, accumulated in float64 whatever their dtype."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..backend import of

__all__ = ["joined", "norm"]


def norm(x: Any, order: float = 2.0) -> float:
    """The vector norm (sum |x|^order)^(1/order) of a flat array; order inf is the largest |x|. 0 for no elements."""
    if not x.size:
        return 0.0
    xp = of(x).xp
    kernel = of(x).kernel("square_sum") if order == 2 else None
    if kernel and kernel.accepts(x):
        return math.sqrt(kernel(x))
    wide = x.astype(np.float64)
    if order == 2:
        return math.sqrt(float(xp.sum(wide * wide)))
    if order == math.inf:
        return float(xp.max(xp.abs(wide)))
    return float(xp.sum(xp.abs(wide) ** order)) ** (1.0 / order)


def joined(norms: Iterable[float], order: float = 2.0) -> float:
    """The norm of arrays side by side, of which these are the norms."""
    return norm(np.array([*norms], np.float64), order)
