"""What image transforms have in common: shapes, dtypes, how they show themselves."""

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np


class ImageTransform:
    """Base: `apply` gets a batch (N, C, H, W) and returns one; a single image (C, H, W) is a batch of one.

    A subclass keeps its arguments as attributes of the same names, which is what its repr shows.
    """

    def apply(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} must define apply")

    def __call__(self, x: np.ndarray) -> np.ndarray:
        if x.ndim not in (3, 4):
            raise ValueError(f"{type(self).__name__} takes images (N, C, H, W) or (C, H, W), got shape {x.shape}")
        return self.apply(x) if x.ndim == 4 else self.apply(x[None])[0]

    def __repr__(self) -> str:
        names = inspect.signature(type(self)).parameters
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"


def size_pair(who: str, size: Any) -> tuple[int, int]:
    """(height, width) of a number (a square) or a pair."""
    pair = (size, size) if isinstance(size, int | np.integer) else tuple(size)
    if len(pair) != 2 or not all(isinstance(n, int | np.integer) and n > 0 for n in pair):
        raise ValueError(f"{who}: a size is a positive integer or (height, width), got {size!r}")
    return int(pair[0]), int(pair[1])


def interval(who: str, value: float | Sequence[float], centre: float, least: float = -np.inf) -> tuple[float, float]:
    """A number v as (centre - v, centre + v), not below `least`; a pair as it is."""
    if isinstance(value, Sequence):
        low, high = value
    else:
        low, high = max(centre - value, least), centre + value
    if not least <= low <= high:
        raise ValueError(f"{who}: needs a number >= 0 or an interval (low, high) from {least:g} up, got {value!r}")
    return float(low), float(high)


def within(unit: np.ndarray, low: float, high: float) -> np.ndarray:
    """Uniform draws from [0, 1) moved to [low, high)."""
    return low + (high - low) * unit


def like(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Computed values in the dtype of the images they came from: integers rounded and held within their range."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)
    return values.astype(dtype, copy=False)


def working(dtype: np.dtype) -> Any:
    """The floating-point type to compute in."""
    return np.float64 if dtype.itemsize > 4 else np.float32
