"""Resize and Upsample: interpolation along each axis by itself, as a table of weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...dtypes import is_float
from ...ops import elementwise as e
from ...ops import gather
from ...tensor import Tensor
from ..registry import handler
from ..values import array, ints, made


def _positions(mode: str, n: int, out: int, scale: float, roi: tuple[float, float]) -> np.ndarray:
    """Where each of `out` results lies among n elements, element i being at i."""
    at = np.arange(out, dtype=np.float64)
    length = scale * n  # which `out` is rounded down from
    if mode == "align_corners":
        return at * 0.0 if length == 1 else at * (n - 1) / (length - 1)
    if mode == "asymmetric":
        return at / scale
    if mode == "tf_crop_and_resize":
        start, span = roi[0] * (n - 1), (roi[1] - roi[0]) * (n - 1)
        return start + (at * 0.0 + span / 2 if length == 1 else at * span / (length - 1))
    if mode == "pytorch_half_pixel" and length == 1:
        return at * 0.0 - 0.5
    if mode in ("half_pixel", "pytorch_half_pixel"):
        return (at + 0.5) / scale - 0.5
    if mode == "half_pixel_symmetric":
        return n / 2 * (1 - out / length) + (at + 0.5) / scale - 0.5
    raise ValueError(f"Resize: coordinate_transformation_mode {mode!r} is unknown")


def _nearest(at: np.ndarray, mode: str) -> np.ndarray:
    low = np.floor(at)
    rest = at - low
    up = {"round_prefer_floor": rest > 0.5, "round_prefer_ceil": rest >= 0.5, "floor": rest < 0, "ceil": rest > 0}
    if mode not in up:
        raise ValueError(f"Resize: nearest_mode {mode!r} is unknown")
    return (low + up[mode]).astype(np.intp)


def _triangle(t: np.ndarray, _: float) -> np.ndarray:
    return np.clip(1.0 - np.abs(t), 0.0, 1.0)


def _cubic(t: np.ndarray, a: float) -> np.ndarray:
    """Keys' kernel (1981), with the slope a at 1."""
    t = np.abs(t)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


def _table(
    mode: str, at: np.ndarray, n: int, scale: float, nearest_mode: str, a: float, exclude_outside: int, antialias: int
) -> gather.Table:
    """The map from n elements to those positions. Elements beyond the edges are the edge's own, or left out."""
    if mode == "nearest":
        return gather.Table(np.clip(_nearest(at, nearest_mode), 0, n - 1)[:, None], None, n)
    kernel, radius = (_triangle, 1) if mode == "linear" else (_cubic, 2)
    shrink = min(scale, 1.0) if antialias else 1.0
    first = math.floor(-radius / shrink) + 1
    low = np.ceil(at) - 1  # a position on an element is its own upper neighbour
    places = low[:, None] + np.arange(first, 2 - first)
    weight = kernel((places - at[:, None]) * shrink, a)
    if exclude_outside:
        weight = weight * ((places >= 0) & (places < n))
    weight = weight / weight.sum(axis=1, keepdims=True)
    return gather.Table(np.clip(places, 0, n - 1).astype(np.intp), weight, n)


def _sizes(x: Tensor, along: list[int], scales: Any, sizes: Any, policy: str) -> tuple[list[int], list[float]]:
    """Lengths of the result along those axes, and by how much each is larger."""
    lengths = [x.shape[a] for a in along]
    if scales is not None:
        factors = [float(s) for s in scales]
        return [math.floor(n * s) for n, s in zip(lengths, factors, strict=True)], factors
    if policy == "stretch":
        return list(sizes), [m / n for m, n in zip(sizes, lengths, strict=True)]
    pick = {"not_larger": min, "not_smaller": max}[policy]
    factor = pick(m / n for m, n in zip(sizes, lengths, strict=True))
    return [math.floor(n * factor + 0.5) for n in lengths], [factor] * len(lengths)


@handler("Resize", since=11, fixed=(1, 2, 3))
def resize(
    x: Tensor, roi: Tensor | None = None, scales: Tensor | None = None, sizes: Tensor | None = None, *,
    antialias: int = 0, axes: list[int] | None = None, coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75, exclude_outside: int = 0, extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch", mode: str = "nearest", nearest_mode: str = "round_prefer_floor",
) -> Tensor:  # fmt: skip
    if mode not in ("nearest", "linear", "cubic"):
        raise ValueError(f"Resize: mode {mode!r} is unknown")
    along = [a % x.ndim for a in axes] if axes else list(range(x.ndim))
    given = array(scales).tolist() if scales is not None and scales.size else None
    out, factors = _sizes(x, along, given, None if sizes is None else ints(sizes), keep_aspect_ratio_policy)
    crop = coordinate_transformation_mode == "tf_crop_and_resize"
    corners: Sequence[float] = array(roi).tolist() if crop and roi is not None else [0.0] * len(out) + [1.0] * len(out)
    tables: list[gather.Table | None] = [None] * x.ndim
    outside: Any = np.zeros([1] * x.ndim, bool)
    for i, (axis, m, factor) in enumerate(zip(along, out, factors, strict=True)):
        n = x.shape[axis]
        if m == n and factor == 1.0 and not crop:
            continue
        at = _positions(coordinate_transformation_mode, n, m, factor, (corners[i], corners[i + len(out)]))
        tables[axis] = _table(mode, at, n, factor, nearest_mode, cubic_coeff_a, exclude_outside, antialias)
        beyond = (at < 0) | (at > n - 1)
        outside = outside | beyond.reshape([-1 if a == axis else 1 for a in range(x.ndim)])
    source = x if mode == "nearest" or is_float(x.dtype) else x.astype(np.float32)
    made_ = gather.gather_axes(source, tables, 0).astype(x.dtype)
    return e.where(made(outside, x), extrapolation_value, made_) if crop else made_


@handler("Resize", since=10, fixed=(1,))
@handler("Upsample", since=9, fixed=(1,))
def upsample(x: Tensor, scales: Tensor, *, mode: str = "nearest") -> Tensor:
    return resize(x, None, scales, mode=mode, coordinate_transformation_mode="asymmetric", nearest_mode="floor")


@handler("Upsample", since=7)
def upsample_7(x: Tensor, *, scales: list[float], mode: str = "nearest") -> Tensor:
    return upsample(x, made(np.array(scales)), mode=mode)
