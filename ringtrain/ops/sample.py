"""Images read at places between their pixels: grid_sample, ROI align."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backend import of
from ..backend.meta import MetaArray
from ..dtypes import wide
from ..tensor import Tensor, describe, raw, wrap
from .define import op
from .elementwise import absolute, clip, where
from .geometry import LAYOUTS, check_input, lengths
from .index import scattered
from .interpolate import CUBIC
from .shape import concatenate, moveaxis, reshape, stack, transpose


# --- weighted rows ----------------------------------------------------------------------------------------
def _weigh(xp: Any, rows: Any, weight: Any, *, index: Any) -> Any:
    out = 0.0
    for k in range(index.shape[1]):
        out = out + rows[index[:, k]] * weight[:, k : k + 1]
    return out


def _weigh_rows(xp: Any, g: Any, weight: Any, rows_shape: Any, index: Any) -> Any:
    out: Any = 0.0
    for k in range(index.shape[1]):
        out = out + scattered(xp, g * weight[:, k : k + 1], index[:, k], rows_shape)
    return out


def _weigh_weight(xp: Any, g: Any, rows: Any, index: Any) -> Any:
    return xp.stack([(g * rows[index[:, k]]).sum(axis=1) for k in range(index.shape[1])], axis=1)


_weighed = op(
    "weighed_rows",
    _weigh,
    (_weigh_rows, _weigh_weight),
    shape=lambda rows, weight, *, index: (weight.shape[0], rows.shape[1]),
    doc="For each i the sum over k of weight[i, k] rows[index[i, k]]: (P, C), (M, K) -> (M, C).",
)


def _rows(x: Tensor) -> Tensor:
    """(N, C, ...) as one row of channels for each pixel of each image."""
    return reshape(moveaxis(x, 1, -1), (-1, x.shape[1]))


# --- grid_sample ------------------------------------------------------------------------------------------
def _inside(at: Tensor, n: int, padding_mode: str, align_corners: bool) -> Tensor:
    """Coordinates brought into 0 .. n - 1, or left as they are where beyond the edge there are zeros."""
    if padding_mode == "zeros":
        return at
    if padding_mode == "reflection":
        low, span = (0.0, n - 1.0) if align_corners else (-0.5, float(n))
        if span == 0.0:
            return at * 0.0
        away = absolute(at - low)
        flips = at.backend.xp.floor(raw(away) / span)
        rest = away - wrap(flips * span)
        at = where(wrap(flips % 2 == 0), rest + low, rest * -1.0 + (span + low))
    still = (at.detach() > 0.0) & (at.detach() < n - 1.0)  # at the edge itself nothing moves, as in PyTorch
    return where(still, at, clip(at.detach(), 0.0, n - 1.0))


def _corners(coordinates: list[Tensor], plane: Any) -> tuple[Any, Tensor]:
    """Linear interpolation: indices into the flattened plane, and weights, (..., 2^d); weights beyond it are 0."""
    xp = coordinates[0].backend.xp
    base = [xp.floor(raw(c)) for c in coordinates]
    part = [c - wrap(b) for c, b in zip(coordinates, base, strict=True)]
    indices, weights = [], []
    for corner in itertools.product((0, 1), repeat=len(plane)):
        index: Any = 0
        weight: Any = 1.0
        there: Any = True
        for b, p, n, up in zip(base, part, plane, corner, strict=True):
            at = b + up
            there = there & (at >= 0) & (at <= n - 1)
            index = index * n + xp.nan_to_num(xp.clip(at, 0, n - 1)).astype(np.intp)
            weight = weight * (p if up else 1.0 - p)
        indices.append(index)
        weights.append(where(wrap(there), weight, 0.0))
    return xp.stack(indices, axis=-1), stack(weights, -1)


def _closest(coordinates: list[Tensor], plane: Any) -> tuple[Any, Tensor]:
    """The nearest pixel, halves to even as in PyTorch; weight 0 where there is none."""
    xp = coordinates[0].backend.xp
    index: Any = 0
    there: Any = True
    for c, n in zip(coordinates, plane, strict=True):
        at = xp.rint(raw(c))
        there = there & (at >= 0) & (at <= n - 1)
        index = index * n + xp.nan_to_num(xp.clip(at, 0, n - 1)).astype(np.intp)
    return index[..., None], wrap(there[..., None].astype(coordinates[0].dtype))


def _cubic_weights(t: Tensor) -> list[Tensor]:
    """Of the pixels at -1, 0, 1, 2 for a place t in 0 .. 1 between the middle two (Keys 1981, as `interpolate`)."""

    def near(d: Tensor) -> Tensor:
        return ((d * (CUBIC + 2.0) - (CUBIC + 3.0)) * d) * d + 1.0

    def far(d: Tensor) -> Tensor:
        return ((d * CUBIC - 5.0 * CUBIC) * d + 8.0 * CUBIC) * d - 4.0 * CUBIC

    return [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]


def _sixteen(coordinates: list[Tensor], plane: Any, padding_mode: str, align_corners: bool) -> tuple[Any, Tensor]:
    """Bicubic interpolation: indices into the flattened plane, and weights (..., 16). Each pixel that lies beyond the
    edge is looked for by the padding mode."""
    xp = coordinates[0].backend.xp
    places, weights, there = [], [], []
    for c, n in zip(coordinates, plane, strict=True):
        base = xp.floor(raw(c))
        weights.append(_cubic_weights(c - wrap(base)))
        found = [raw(_inside(wrap(base + k), n, padding_mode, align_corners)) for k in range(-1, 3)]
        there.append([(at >= 0) & (at <= n - 1) for at in found])
        places.append([xp.nan_to_num(xp.clip(xp.rint(at), 0, n - 1)).astype(np.intp) for at in found])
    taps = list(itertools.product(range(4), repeat=2))
    index = xp.stack([places[0][i] * plane[1] + places[1][j] for i, j in taps], axis=-1)
    weight = [where(wrap(there[0][i] & there[1][j]), weights[0][i] * weights[1][j], 0.0) for i, j in taps]
    return index, stack(weight, -1)


def grid_sample(
    x: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool = False,
) -> Tensor:
    """Images, or volumes, read at the places of a grid (Jaderberg et al. 2015, spatial transformers).

    x (N, C, H, W), grid (N, OH, OW, 2) of (x, y) -> (N, C, OH, OW); or x (N, C, D, H, W), grid (N, OD, OH, OW, 3) of
    (x, y, z). -1 and 1 are the outer edges of the image, or with align_corners the centres of its corner pixels.

    mode          "bilinear" (linear along each axis), "nearest", which has no gradient for the grid, or "bicubic",
                  for images only
    padding_mode  beyond the edges: "zeros", "border" (the edge pixel) or "reflection"

    Differentiable to any order, by x and by the grid. 16-bit floats are computed in float32.
    """
    dims = x.ndim - 2
    if dims not in (2, 3):
        raise ValueError(f"grid_sample wants an input {LAYOUTS[2]} or {LAYOUTS[3]}; got {x.shape}")
    check_input("grid_sample", x, dims)
    if mode not in ("bilinear", "nearest", "bicubic") or (mode == "bicubic" and dims != 2):
        known = "'bilinear', 'nearest' or, for images, 'bicubic'"
        raise ValueError(f"grid_sample: mode {mode!r} of {dims} spatial axes is unknown; use {known}")
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(f"grid_sample: padding_mode {padding_mode!r} is unknown; use 'zeros', 'border', 'reflection'")
    if grid.ndim != x.ndim or grid.shape[0] != x.shape[0] or grid.shape[-1] != dims or 0 in x.shape[2:]:
        wanted = f"a grid (N, ..., {dims}) of {x.ndim} axes"
        raise ValueError(f"grid_sample: an input {x.shape} wants {wanted}; got {grid.shape}")
    n, c, *plane = x.shape
    out = grid.shape[1:-1]
    if of(raw(x)).abstract or of(raw(grid)).abstract:
        return wrap(MetaArray((n, c, *out), x.dtype))
    accumulator = wide(x.dtype) or x.dtype
    places = grid.astype(accumulator)
    coordinates = []
    for axis, length in enumerate(plane):
        at = places[..., dims - 1 - axis] + 1.0
        at = at * ((length - 1) / 2.0) if align_corners else (at * float(length) - 1.0) * 0.5
        coordinates.append(at if mode == "bicubic" else _inside(at, length, padding_mode, align_corners))
    if mode == "bicubic":
        index, weight = _sixteen(coordinates, plane, padding_mode, align_corners)
    else:
        index, weight = (_corners if mode == "bilinear" else _closest)(coordinates, plane)
    image = x.backend.xp.arange(n).reshape(-1, *[1] * (dims + 1)) * math.prod(plane)
    terms = index.shape[-1]
    found = _weighed(
        _rows(x.astype(accumulator)), reshape(weight, (-1, terms)), index=(index + image).reshape(-1, terms)
    )
    return moveaxis(reshape(found, (n, *out, c)), -1, 1).astype(x.dtype)


def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool = False) -> Tensor:
    """The grid for `grid_sample` that an affine map of coordinates makes.

    theta (N, 2, 3), size (N, C, H, W) -> (N, H, W, 2); theta (N, 3, 4), size (N, C, D, H, W) -> (N, D, H, W, 3).
    """
    dims = len(size) - 2
    if dims not in (2, 3) or theta.shape != (size[0], dims, dims + 1):
        raise ValueError(
            f"affine_grid: size {tuple(size)} wants theta ({size[0]}, {dims}, {dims + 1}); got {theta.shape}"
        )
    axes = []
    for length in size[2:]:
        ends = np.linspace(-1.0, 1.0, length) if length > 1 else np.zeros(1)
        axes.append(ends if align_corners else ends * ((length - 1) / length))
    grids = np.meshgrid(*axes, indexing="ij")
    points = np.stack([*[g.reshape(-1) for g in reversed(grids)], np.ones(math.prod(size[2:]))], axis=1)
    home = theta.backend.asarray(points.astype(theta.dtype))
    return reshape(wrap(home) @ transpose(theta, (0, 2, 1)), (size[0], *size[2:], dims))


# --- ROI align --------------------------------------------------------------------------------------------
def _with_images(boxes: Any) -> Any:
    """Boxes (K, 5), the image's number first, of such boxes or of a list of boxes (L, 4) for each image."""
    if not isinstance(boxes, (list, tuple)):
        return raw(boxes)
    parts = [raw(b) for b in boxes]
    if any(b.ndim != 2 or b.shape[1] != 4 for b in parts):
        raise ValueError(f"roi_align: a list of boxes holds (L, 4) for each image; got {[b.shape for b in parts]}")
    if any(isinstance(b, MetaArray) for b in parts):
        return MetaArray((sum(b.shape[0] for b in parts), 5), parts[0].dtype)
    xp = of(parts[0]).xp
    return xp.concatenate([xp.concatenate([xp.full_like(b[:, :1], i), b], axis=1) for i, b in enumerate(parts)])


def _bilinear(xp: Any, at: Any, n: int) -> tuple[Any, Any]:
    """Two indices and weights along an axis for each place; one more than a pixel outside has weights of 0."""
    there = (at >= -1.0) & (at <= n)
    at = xp.clip(at, 0.0, n - 1.0)
    low = xp.floor(at).astype(np.intp)
    part = at - low
    index = xp.stack([low, xp.minimum(low + 1, n - 1)], axis=-1)
    return index, xp.stack([(1.0 - part) * there, part * there], axis=-1)


def _axis_samples(xp: Any, start: Any, length: Any, n: int, out: int, samples: int) -> tuple[Any, Any]:
    """Along an axis for each box and bin the indices and weights of its samples: (K, out, 2 samples)."""
    offsets = (xp.arange(out)[:, None] + (xp.arange(samples) + 0.5) / samples) / out
    at = start[:, None, None] + length[:, None, None] * offsets
    index, weight = _bilinear(xp, at, n)
    shape = (len(start), out, 2 * samples)
    return index.reshape(shape), weight.reshape(shape) / samples


def _pooled(rows: Tensor, boxes: Any, plane: Any, out: Any, samples: tuple[int, int]) -> Tensor:
    """(K OH OW, C): boxes (K, 5) of (image, top, left, height, width), all with the same number of samples."""
    xp = of(boxes).xp
    (iy, wy), (ix, wx) = (
        _axis_samples(xp, boxes[:, 1 + a], boxes[:, 3 + a], plane[a], out[a], samples[a]) for a in (0, 1)
    )
    image = boxes[:, 0].astype(np.intp)[:, None, None, None, None] * math.prod(plane)
    index = image + iy[:, :, None, :, None] * plane[1] + ix[:, None, :, None, :]
    weight = wy[:, :, None, :, None] * wx[:, None, :, None, :]
    terms = 4 * samples[0] * samples[1]
    return _weighed(rows, wrap(weight.reshape(-1, terms).astype(rows.dtype)), index=index.reshape(-1, terms))


def _sample_counts(length: Any, out: Any, sampling_ratio: int) -> list[tuple[int, int]]:
    """How many samples a bin of each box takes along each axis; boxes without extent may take none."""
    if sampling_ratio > 0:
        return [(sampling_ratio, sampling_ratio)] * len(length)
    counts = np.maximum(np.ceil(of(length).to_numpy(length) / np.asarray(out)), 0.0).astype(int)
    return [(int(a), int(b)) for a, b in counts]


def roi_align(
    x: Tensor,
    boxes: Any,
    output_size: int | Sequence[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Tensor:
    """Each box of an image as (OH, OW) means of bilinear samples (He et al. 2017), as in torchvision.

    x               (N, C, H, W)
    boxes           (K, 5): the image's number, then x1, y1, x2, y2; or a list of (L, 4) for each image. No gradient
    spatial_scale   from the boxes' coordinates to those of x
    sampling_ratio  samples along each axis of a bin; 0 or less: ceil(box / output) of each box
    aligned         whether pixel centres lie at halves (then boxes are shifted by half a pixel, and may be smaller
                    than one); False is the older rule

    -> (K, C, OH, OW). Raises ValueError for boxes of images that do not exist.
    """
    check_input("roi_align", x, 2)
    out = lengths(output_size, 2, "output_size")
    data = _with_images(boxes)
    data = data if isinstance(data, MetaArray) or x.backend.abstract else x.backend.asarray(data)
    if data.ndim != 2 or data.shape[1] != 5 or min(out) < 1 or 0 in x.shape[2:]:
        got = f"{data.shape}, output_size {out} and an input {x.shape}"
        raise ValueError(f"roi_align wants boxes (K, 5) and lengths >= 1; got {got}")
    n, c, *plane = x.shape
    if isinstance(data, MetaArray) or of(raw(x)).abstract:
        return wrap(MetaArray((data.shape[0], c, *out), x.dtype))
    xp = of(data).xp
    accumulator = wide(x.dtype) or x.dtype
    data = data.astype(np.float64)
    if not data.size:
        return (x.sum() * 0.0 + wrap(x.backend.xp.zeros((0, c, *out), x.dtype))).astype(x.dtype)
    if not bool(((data[:, 0] >= 0) & (data[:, 0] < n)).all()):
        raise ValueError(f"roi_align: a box is of an image outside 0 .. {n - 1}, the batch {describe(x)}")
    start = data[:, [2, 1]] * spatial_scale - (0.5 if aligned else 0.0)
    length = data[:, [4, 3]] * spatial_scale - (0.5 if aligned else 0.0) - start
    if not aligned:
        length = xp.maximum(length, 1.0)
    placed = xp.concatenate([data[:, :1], start, length], axis=1)
    counts = _sample_counts(length, out, sampling_ratio)
    rows = _rows(x.astype(accumulator))
    parts, members = [], []
    for samples in sorted(set(counts)):  # boxes that take as many samples go together
        mine = [i for i, count in enumerate(counts) if count == samples]
        members += mine
        if 0 in samples:
            parts.append(wrap(rows.backend.xp.zeros((len(mine) * math.prod(out), c), accumulator)))
        else:
            parts.append(_pooled(rows, placed[xp.asarray(mine)], plane, out, samples))
    every = reshape(concatenate(parts), (len(counts), *out, c))
    if members != sorted(members):
        every = every[xp.asarray(np.argsort(members))]
    return moveaxis(every, -1, 1).astype(x.dtype)
