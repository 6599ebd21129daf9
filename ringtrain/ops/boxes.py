"""Boxes (x1, y1, x2, y2): their overlap, and which of many to keep."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import of
from ..backend.meta import MetaArray
from ..dtypes import wide
from ..tensor import Tensor, raw, wrap
from .elementwise import clip, maximum, minimum, where


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of all pairs of boxes (x1, y1, x2, y2): (M, 4), (K, 4) -> (M, K).

    Differentiable; 0 where both boxes are empty.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != 4 or b.shape[1] != 4:
        raise ValueError(f"box_iou wants boxes (M, 4) and (K, 4); got {a.shape} and {b.shape}")
    accumulator = wide(a.dtype)
    if accumulator is not None:
        return box_iou(a.astype(accumulator), b.astype(accumulator)).astype(a.dtype)
    low = maximum(a[:, None, :2], b[None, :, :2])
    high = minimum(a[:, None, 2:], b[None, :, 2:])
    sides = clip(high - low, 0.0)
    shared = sides[..., 0] * sides[..., 1]
    union = _areas(a)[:, None] + _areas(b)[None] - shared
    empty = union == 0.0
    return shared / where(empty, 1.0, union)


def nms(boxes: Any, scores: Any, iou_threshold: float) -> Tensor:
    """Non-maximum suppression: which boxes to keep, best first.

    Takes the box of the highest score, drops all that overlap it by more than iou_threshold, and goes on with what is
    left. Of equal scores the first counts as higher.

    boxes (K, 4) of x1 <= x2, y1 <= y2, scores (K,) -> indices (kept,), int64, on the boxes' device. It has no
    gradient, and no shape rule: how many are kept hangs on values, so a meta tensor raises. The loop runs on the host.
    """
    corners, values = raw(boxes), raw(scores)
    if len(corners.shape) != 2 or corners.shape[1] != 4 or values.shape != corners.shape[:1]:
        raise ValueError(f"nms wants boxes (K, 4) and scores (K,); got {corners.shape} and {values.shape}")
    if isinstance(corners, MetaArray) or isinstance(values, MetaArray):
        raise RuntimeError("nms: how many boxes are kept hangs on their values, and meta tensors have none")
    corners = of(corners).to_numpy(corners).astype(np.float64)
    values = of(values).to_numpy(values).astype(np.float64)
    x1, y1, x2, y2 = corners.T
    areas = (x2 - x1) * (y2 - y1)
    left = np.argsort(-values, kind="stable")
    kept = []
    while left.size:
        best, left = left[0], left[1:]
        kept.append(best)
        width = np.minimum(x2[left], x2[best]) - np.maximum(x1[left], x1[best])
        height = np.minimum(y2[left], y2[best]) - np.maximum(y1[left], y1[best])
        shared = np.maximum(width, 0.0) * np.maximum(height, 0.0)
        left = left[~(shared > iou_threshold * (areas[left] + areas[best] - shared))]
    return wrap(of(raw(boxes)).asarray(np.array(kept, np.int64)))


def batched_nms(boxes: Any, scores: Any, classes: Any, iou_threshold: float) -> Tensor:
    """`nms` within each class: boxes of different classes (K,) never drop each other. Indices, best first."""
    corners, labels = raw(boxes), raw(classes)
    if labels.shape != corners.shape[:1]:
        raise ValueError(f"batched_nms wants one class for each of the boxes {corners.shape}; got {labels.shape}")
    if isinstance(corners, MetaArray) or not labels.size:
        return nms(boxes, scores, iou_threshold)
    xp = of(corners).xp
    apart = corners.astype(np.float64)
    apart = apart - apart.min()
    # classes far from each other cannot overlap
    moved = apart + (labels.astype(np.float64) * (apart.max() + 1.0))[:, None]
    return nms(wrap(xp.asarray(moved)), scores, iou_threshold)
