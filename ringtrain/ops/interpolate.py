"""Images in other sizes: interpolation, and channels laid out as pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..tensor import Tensor
from .gather import Table, gather_axes
from .geometry import check_input
from .shape import reshape, transpose

_LINEAR = {"linear": 1, "bilinear": 2, "trilinear": 3}
_MODES = ("nearest", "nearest-exact", *_LINEAR, "bicubic", "area")
CUBIC = -0.75  # the cubic's free parameter, as in PyTorch and OpenCV


def _positions(n: int, m: int, scale: float, align_corners: bool) -> np.ndarray:
    """Where in 0 .. n - 1 the centre of each of m results lies."""
    if align_corners:
        return np.arange(m) * ((n - 1) / (m - 1) if m > 1 else 0.0)
    return (np.arange(m) + 0.5) * scale - 0.5


def _nearest(n: int, m: int, scale: float, exact: bool) -> Table:
    index = np.floor((np.arange(m) + (0.5 if exact else 0.0)) * scale)
    return Table(np.clip(index, 0, n - 1).astype(np.intp)[:, None], None, n)


def _linear(n: int, m: int, scale: float, align_corners: bool) -> Table:
    at = np.maximum(_positions(n, m, scale, align_corners), 0.0)
    low = np.minimum(np.floor(at).astype(np.intp), n - 1)
    part = np.minimum(at - low, 1.0)
    high = np.minimum(low + 1, n - 1)
    return Table(np.stack([low, high], 1), np.stack([1.0 - part, part], 1), n)


def _cubic(n: int, m: int, scale: float, align_corners: bool) -> Table:
    """Keys 1981: four neighbours; places beyond the edge see the edge element."""
    at = _positions(n, m, scale, align_corners)
    low = np.floor(at)
    index, weight = [], []
    for k in range(-1, 3):
        d = np.abs(at - (low + k))
        near = ((CUBIC + 2.0) * d - (CUBIC + 3.0)) * d * d + 1.0
        far = ((CUBIC * d - 5.0 * CUBIC) * d + 8.0 * CUBIC) * d - 4.0 * CUBIC
        weight.append(np.where(d <= 1.0, near, far))
        index.append(np.clip(low + k, 0, n - 1).astype(np.intp))
    return Table(np.stack(index, 1), np.stack(weight, 1), n)


def bins(n: int, m: int) -> Table:
    """Means of m bins from floor(i n / m) to ceil((i + 1) n / m): adaptive average pooling along an axis."""
    start = np.arange(m) * n // m
    stop = -(-(np.arange(1, m + 1) * n) // m)
    width = int((stop - start).max(initial=1))
    place = start[:, None] + np.arange(width)
    inside = place < stop[:, None]
    # beyond its bin a row repeats its last element, with weight 0
    return Table(np.minimum(place, stop[:, None] - 1), inside / (stop - start)[:, None], n)


def _sizes(x: Tensor, size: Any, scale_factor: Any) -> tuple[list[int], list[float | None]]:
    """Lengths of the result, and the factors where they were given."""
    dims = x.ndim - 2
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate wants either size or scale_factor")
    given = size if scale_factor is None else scale_factor
    each = [given] * dims if isinstance(given, (int, float, np.number)) else list(given)
    if len(each) != dims or any(v <= 0 for v in each):
        what = "size" if scale_factor is None else "scale_factor"
        raise ValueError(f"interpolate: {what} is one positive number or {dims} of them for {x.shape}; got {given!r}")
    if scale_factor is None:
        return [int(v) for v in each], [None] * dims
    out = [math.floor(n * v) for n, v in zip(x.shape[2:], each, strict=True)]
    if min(out) < 1:
        raise ValueError(f"interpolate: scale_factor {given!r} leaves nothing of {x.shape}")
    return out, [float(v) for v in each]


def interpolate(
    x: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool = False,
) -> Tensor:
    """x (N, C, ...) with one to three spatial axes in another size, as PyTorch computes it.

    size, scale_factor  one of them: lengths, or factors (lengths are rounded down); one number or one for each axis
    mode            "nearest" (floor(i n / m)), "nearest-exact" (the nearest centre), "linear" (N, C, L), "bilinear"
                    (N, C, H, W), "trilinear" (N, C, D, H, W), "bicubic" (N, C, H, W), "area" (adaptive average)
    align_corners   whether centres of the corner elements, rather than their outer edges, fall on each other; for the
                    linear modes and bicubic only. False, as everywhere but in MXNet's UpSampling of old
    recompute_scale_factor  whether positions follow from the lengths rather than from scale_factor

    There is no antialiasing: shrinking by much skips elements, except in "area". Differentiable to any order.
    """
    dims = x.ndim - 2
    if not 1 <= dims <= 3:
        raise ValueError(f"interpolate wants (N, C) and one to three spatial axes; got {x.shape}")
    check_input("interpolate", x, dims)
    if mode not in _MODES:
        raise ValueError(f"interpolate: mode {mode!r} is unknown; use {', '.join(map(repr, _MODES))}")
    wanted = _LINEAR.get(mode, 2 if mode == "bicubic" else dims)
    if wanted != dims:
        raise ValueError(f"interpolate: mode {mode!r} is for {wanted} spatial axes; {x.shape} has {dims}")
    if align_corners is not None and mode not in _LINEAR and mode != "bicubic":
        raise ValueError(f"interpolate: align_corners says nothing about mode {mode!r}")
    if 0 in x.shape[2:]:
        raise ValueError(f"interpolate: there is nothing to interpolate in {x.shape}")
    out, factors = _sizes(x, size, scale_factor)
    tables: list[Table | None] = []
    for n, m, factor in zip(x.shape[2:], out, factors, strict=True):
        scale = n / m if factor is None or recompute_scale_factor else 1.0 / factor
        if mode.startswith("nearest"):
            tables.append(_nearest(n, m, scale, mode == "nearest-exact"))
        elif mode == "area":
            tables.append(bins(n, m))
        else:
            tables.append((_cubic if mode == "bicubic" else _linear)(n, m, scale, bool(align_corners)))
    return gather_axes(x, tables)


def pixel_shuffle(x: Tensor, upscale_factor: int) -> Tensor:
    """(N, C r^2, H, W) -> (N, C, H r, W r): channels become the pixels of r by r blocks (Shi et al. 2016).

    With d spatial axes, one to three, (N, C r^d, ...) likewise (Gluon's PixelShuffle1D and 3D).
    """
    r, d = upscale_factor, x.ndim - 2
    if not 1 <= d <= 3 or r < 1 or x.shape[1] % r**d:
        raise ValueError(f"pixel_shuffle wants (N, C * {r}^d, ...) with d spatial axes, 1 to 3; got {x.shape}")
    n, c, *plane = x.shape
    blocks = reshape(x, (n, c // r**d, *[r] * d, *plane))
    order = [axis for i in range(d) for axis in (2 + d + i, 2 + i)]
    return reshape(transpose(blocks, (0, 1, *order)), (n, c // r**d, *(length * r for length in plane)))


def pixel_unshuffle(x: Tensor, downscale_factor: int) -> Tensor:
    """(N, C, H r, W r) -> (N, C r^2, H, W), or with one to three spatial axes: the inverse of `pixel_shuffle`."""
    r, d = downscale_factor, x.ndim - 2
    if not 1 <= d <= 3 or r < 1 or any(length % r for length in x.shape[2:]):
        raise ValueError(f"pixel_unshuffle wants (N, C, ...) with 1 to 3 lengths that {r} divides; got {x.shape}")
    n, c, *plane = x.shape
    small = [length // r for length in plane]
    blocks = reshape(x, (n, c, *(part for length in small for part in (length, r))))
    inner, outer = [3 + 2 * i for i in range(d)], [2 + 2 * i for i in range(d)]
    return reshape(transpose(blocks, (0, 1, *inner, *outer)), (n, c * r**d, *small))


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Channels of (N, C, ...) dealt out over groups: (g, C / g) read as (C / g, g) (Zhang et al. 2018)."""
    if x.ndim < 2 or groups < 1 or x.shape[1] % groups:
        raise ValueError(f"channel_shuffle: groups={groups} must divide the channels of {x.shape}")
    n, c, *rest = x.shape
    dealt = reshape(x, (n, groups, c // groups, *rest))
    return reshape(transpose(dealt, (0, 2, 1, *range(3, x.ndim + 1))), x.shape)
