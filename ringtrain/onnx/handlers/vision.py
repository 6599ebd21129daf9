"""Sampling at places of an image, and boxes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ops import boxes, sample
from ...ops.geometry import pad_axes
from ...tensor import Tensor
from ..registry import handler
from ..values import array, ints, made, number

_MODES = {"linear": "bilinear", "cubic": "bicubic"}  # what older versions call bilinear and bicubic


@handler("GridSample")
def grid_sample(
    x: Tensor, grid: Tensor, *, align_corners: int = 0, mode: str = "linear", padding_mode: str = "zeros"
) -> Tensor:
    return sample.grid_sample(x, grid, _MODES.get(mode, mode), padding_mode, bool(align_corners))


@handler("AffineGrid", fixed=(1,))
def affine_grid(theta: Tensor, size: Tensor, *, align_corners: int = 0) -> Tensor:
    return sample.affine_grid(theta, ints(size), bool(align_corners))


@handler("RoiAlign", fixed=(1, 2))
def roi_align(
    x: Tensor, rois: Tensor, images: Tensor, *, coordinate_transformation_mode: str = "half_pixel",
    mode: str = "avg", output_height: int = 1, output_width: int = 1, sampling_ratio: int = 0,
    spatial_scale: float = 1.0, version: int,
) -> Tensor:  # fmt: skip
    if mode != "avg":
        raise NotImplementedError(f"RoiAlign: mode {mode!r} is not here; avg is")
    aligned = version >= 16 and coordinate_transformation_mode == "half_pixel"
    numbered = np.concatenate([array(images)[:, None].astype(rois.dtype), array(rois)], axis=1)
    out = (output_height, output_width)
    return sample.roi_align(x, made(numbered, x), out, spatial_scale, sampling_ratio, aligned)


def _corners(found: np.ndarray, center: int) -> np.ndarray:
    """Boxes (K, 4) as (low, low, high, high), from any two corners (y, x) or from centre (x, y) and size."""
    if center:
        return np.concatenate([found[:, :2] - found[:, 2:] / 2, found[:, :2] + found[:, 2:] / 2], axis=1)
    return np.concatenate([np.minimum(found[:, :2], found[:, 2:]), np.maximum(found[:, :2], found[:, 2:])], axis=1)


@handler("NonMaxSuppression", fixed=(2, 3, 4))
def non_max_suppression(
    found: Tensor, scores: Tensor, most: Tensor | None = None, iou: Tensor | None = None,
    least: Tensor | None = None, *, center_point_box: int = 0,
) -> Tensor:  # fmt: skip
    """(image, class, box) of what is kept of boxes (N, K, 4) and scores (N, classes, K), best first in each class."""
    limit = 0 if most is None else number(most)
    threshold = 0.0 if iou is None else number(iou)
    rows: list[Any] = []
    for i, (corners, classes) in enumerate(zip(array(found), array(scores), strict=True)):
        for c, values in enumerate(classes):
            wanted = np.arange(len(values)) if least is None else np.flatnonzero(values > number(least))
            kept = array(boxes.nms(made(_corners(corners[wanted], center_point_box)), made(values[wanted]), threshold))
            rows += [(i, c, int(k)) for k in wanted[kept[:limit]]]
    return made(np.array(rows, np.int64).reshape(-1, 3), found)


@handler("CenterCropPad", fixed=(1,))
def center_crop_pad(x: Tensor, wanted: Tensor, *, axes: list[int] | None = None) -> Tensor:
    """Cut or filled with zeros on both sides, the odd element behind."""
    widths = [(0, 0)] * x.ndim
    for axis, m in zip(axes or range(x.ndim), ints(wanted), strict=True):
        n = x.shape[axis]
        before = (m - n) // 2 if m > n else -((n - m) // 2)
        widths[axis] = (before, m - n - before)
    return pad_axes(x, widths)
