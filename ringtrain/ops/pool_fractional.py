"""Max pooling over windows at random places (Graham 2014)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import random
from ..backend.meta import MetaArray
from ..tensor import Tensor, raw, wrap
from .geometry import check_input, lengths, or_one
from .index import take_along_axis
from .reduce import ordered
from .shape import reshape


def _starts(samples: np.ndarray, n: int, out: int, window: int) -> np.ndarray:
    """Where windows begin along an axis, (..., out): about as far apart, the last one at the end (as PyTorch's)."""
    if out == 1:
        return np.full((*samples.shape, 1), n - window)
    step = (n - window) / (out - 1)
    places = (np.arange(out) + samples[..., None]) * step
    starts = places.astype(np.int64) - (samples * step).astype(np.int64)[..., None]
    starts[..., -1] = n - window
    return starts


def _sizes(name: str, x: Tensor, window: Sequence[int], size: Any, ratio: Any) -> tuple[int, ...]:
    dims = len(window)
    if (size is None) == (ratio is None):
        raise ValueError(f"{name} wants either output_size or output_ratio")
    if size is not None:
        out = lengths(size, dims, "output_size")
    else:
        ratios = [ratio] * dims if isinstance(ratio, (int, float)) else list(ratio)
        if len(ratios) != dims or not all(0 < r < 1 for r in ratios):
            raise ValueError(f"{name}: output_ratio is one number, or {dims}, between 0 and 1; got {ratio!r}")
        out = tuple(int(n * r) for n, r in zip(x.shape[2:], ratios, strict=True))
    if any(o < 1 or o + k - 1 > n for n, o, k in zip(x.shape[2:], out, window, strict=True)):
        raise ValueError(f"{name}: windows {tuple(window)} and an output of {out} do not fit {x.shape}")
    return out


def _pool(
    name: str, dims: int, x: Tensor, kernel_size: Any, output_size: Any, output_ratio: Any, samples: Any, where: str
) -> tuple[Tensor, Tensor]:
    check_input(name, x, dims)
    window = lengths(kernel_size, dims, "kernel_size")
    out = _sizes(name, x, window, output_size, output_ratio)
    lead, plane = x.shape[:2], x.shape[2:]
    if x.backend.abstract:
        return wrap(MetaArray((*lead, *out), x.dtype)), wrap(MetaArray((*lead, *out), np.int64))
    if samples is None:
        draws = random.uniform((*lead, dims), 0.0, 1.0, where, random.state.step, np.float64, rows=True)
    else:
        draws = np.asarray(raw(samples), np.float64)
    if draws.shape != (*lead, dims):
        raise ValueError(f"{name}: samples are ({lead[0]}, {lead[1]}, {dims}); got {draws.shape}")
    flat: Any = np.zeros((1,) * (2 + 2 * dims), np.int64)
    for a in range(dims):  # of images PyTorch draws the last axis first
        axis = a if dims == 3 else dims - 1 - a
        starts = _starts(draws[..., a], plane[axis], out[axis], window[axis])
        places = starts[..., None] + np.arange(window[axis])
        shape = [1] * (2 * dims)
        shape[axis], shape[dims + axis] = out[axis], window[axis]
        flat = flat + places.reshape(*lead, *shape) * math.prod(plane[axis + 1 :])
    index = x.backend.asarray(flat.reshape(*lead, math.prod(out), math.prod(window)))
    pixels = reshape(x, (*lead, -1))
    xp = x.backend.xp
    seen = xp.take_along_axis(raw(pixels)[:, :, None, :], index, axis=3)
    best = xp.take_along_axis(index, ordered(seen).argmax(axis=3)[..., None], axis=3)[..., 0]
    return reshape(take_along_axis(pixels, best, 2), (*lead, *out)), wrap(best.reshape(*lead, *out))


@or_one(4)
def fractional_max_pool2d(
    x: Tensor,
    kernel_size: int | Sequence[int],
    output_size: int | Sequence[int] | None = None,
    output_ratio: float | Sequence[float] | None = None,
    return_indices: bool = False,
    samples: Any = None,
    name: str | None = None,
) -> Any:
    """The maxima of windows at random places of x (N, C, H, W), in an output of any smaller size (Graham 2014).

    output_size, output_ratio  one of them: lengths, or their part of x's, between 0 and 1
    return_indices  also give the places in the flattened plane, int64
    samples         (N, C, 2) in 0 .. 1, which decide where windows lie; None: drawn by the seed, the step, the name
                    (None: the next in this step) and the sample's place in the global batch
    The gradient goes to the first of the largest.
    """
    where = name or random.next_draw("fractional_max_pool2d")
    out, places = _pool("fractional_max_pool2d", 2, x, kernel_size, output_size, output_ratio, samples, where)
    return (out, places) if return_indices else out


@or_one(5)
def fractional_max_pool3d(
    x: Tensor,
    kernel_size: int | Sequence[int],
    output_size: int | Sequence[int] | None = None,
    output_ratio: float | Sequence[float] | None = None,
    return_indices: bool = False,
    samples: Any = None,
    name: str | None = None,
) -> Any:
    """`fractional_max_pool2d` of (N, C, D, H, W), with samples (N, C, 3)."""
    where = name or random.next_draw("fractional_max_pool3d")
    out, places = _pool("fractional_max_pool3d", 3, x, kernel_size, output_size, output_ratio, samples, where)
    return (out, places) if return_indices else out
