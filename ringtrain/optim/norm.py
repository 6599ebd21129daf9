"""Norms of flat arrays, accumulated in float64 whatever their dtype."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..backend import of

__all__ = ["joined", "norm", "norms"]


def norm(x: Any, order: float = 2.0) -> float:
    """The vector norm (sum |x|^order)^(1/order) of a flat array; order inf is the largest |x|. 0 for no elements."""
    return norms([x], order)[0]


def norms(arrays: Sequence[Any], order: float = 2.0) -> list[float]:
    """The norm of each flat array; for those on a GPU the host waits once."""
    reduced = [_reduced(x, order) for x in arrays]
    waiting = [i for i, x in enumerate(arrays) if of(x).waits and x.size]
    if waiting:
        for i, value in zip(waiting, of(arrays[waiting[0]]).read(*(reduced[i] for i in waiting)), strict=True):
            reduced[i] = value
    if order == math.inf:
        return [float(value) for value in reduced]
    return [math.sqrt(value) if order == 2 else float(value) ** (1.0 / order) for value in reduced]


def _reduced(x: Any, order: float) -> Any:
    """The sum of powers, or the largest magnitude: a number, or an array of one on a GPU."""
    if not x.size:
        return 0.0
    xp = of(x).xp
    kernel = of(x).kernel("square_sum") if order == 2 else None
    if kernel and kernel.accepts(x):
        return kernel(x)
    wide = x.astype(np.float64)
    if order == 2:
        return xp.sum(wide * wide)
    return xp.max(xp.abs(wide)) if order == math.inf else xp.sum(xp.abs(wide) ** order)


def joined(norms: Iterable[float], order: float = 2.0) -> float:
    """The norm of arrays side by side, of which these are the norms."""
    return norm(np.array([*norms], np.float64), order)
