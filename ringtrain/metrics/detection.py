"""Metrics of detected boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .base import Metric, as_numpy

__all__ = ["MeanAveragePrecision", "box_iou"]

_COCO = tuple(float(t) for t in np.linspace(0.5, 0.95, 10))


def box_iou(a: Any, b: Any) -> np.ndarray:
    """Intersection over union of boxes (N, 4) and (M, 4) as (x0, y0, x1, y1): (N, M), 0 where both are empty."""
    a, b = (as_numpy(x).astype(np.float64).reshape(-1, 4) for x in (a, b))
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = (high - low).clip(0).prod(axis=2)
    areas = [(x[:, 2:] - x[:, :2]).clip(0).prod(axis=1) for x in (a, b)]
    union = areas[0][:, None] + areas[1][None, :] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


class MeanAveragePrecision(Metric):
    """The mean over classes, and IoU thresholds, of the area under the curve of precision against recall.

    style            "coco": precision read off at 101 recalls; a detection takes the free truth that it overlaps most;
                     thresholds 0.5, 0.55, ... 0.95. "voc": the whole area (VOC 2010), "voc07": 11 recalls; a detection
                     whose best truth is taken already is wrong; threshold 0.5
    thresholds       IoUs from which a detection is right, if not those of the style
    max_detections   the best-scored for each class and image that count; None for all. 100 for COCO if not given

    Precision never falls with lower recall (its running maximum is taken). Classes without a truth do not count. Equal
    scores make one point of the curve, so that no order of images matters. Keeps a row for each detection.
    """

    def __init__(
        self,
        num_classes: int,
        style: str = "coco",
        thresholds: Sequence[float] | None = None,
        max_detections: int | None = 100,
    ) -> None:
        if style not in ("coco", "voc", "voc07"):
            raise ValueError(f"MeanAveragePrecision: style is 'coco', 'voc' or 'voc07'; got {style!r}")
        super().__init__(num_classes)
        self.num_classes, self.style = num_classes, style
        self.thresholds = tuple(thresholds) if thresholds is not None else (_COCO if style == "coco" else (0.5,))
        self.max_detections = max_detections if style == "coco" else None
        self.columns = 2 + len(self.thresholds)

    def update(
        self, boxes: Any, scores: Any, classes: Any, true_boxes: Any, true_classes: Any, ignore: Any = None
    ) -> None:
        """One image: boxes (D, 4), scores (D,), classes (D,); the truth's boxes (G, 4) and classes (G,).

        Boxes are (x0, y0, x1, y1). ignore (G,) marks truths, such as VOC's difficult ones, that need not be found: a
        detection that takes one counts neither way.
        """
        boxes, true_boxes = (as_numpy(x).reshape(-1, 4) for x in (boxes, true_boxes))
        scores, classes, truth = as_numpy(scores), as_numpy(classes), as_numpy(true_classes)
        skip = np.zeros(len(truth), bool) if ignore is None else as_numpy(ignore).astype(bool)
        if not len(boxes) == len(scores) == len(classes) or not len(true_boxes) == len(truth) == len(skip):
            raise ValueError(
                f"MeanAveragePrecision: {len(boxes)} boxes, {len(scores)} scores, {len(classes)} classes; truth: "
                f"{len(true_boxes)} boxes, {len(truth)} classes, {len(skip)} ignore"
            )
        for found in (classes, truth):
            if found.size and not (found.min() >= 0 and found.max() < self.num_classes):
                raise ValueError(f"MeanAveragePrecision: classes lie in [0, {self.num_classes})")
        self._count(np.bincount(truth[~skip].astype(np.int64), minlength=self.num_classes))
        for c in np.unique(classes):
            mine = np.flatnonzero(classes == c)
            mine = mine[np.argsort(-scores[mine], kind="stable")][: self.max_detections]
            theirs = np.flatnonzero(truth == c)
            theirs = theirs[np.argsort(skip[theirs], kind="stable")]  # those to be ignored last
            overlaps = box_iou(boxes[mine], true_boxes[theirs])
            flags = [self._match(overlaps, skip[theirs], t) for t in self.thresholds]
            self._keep(np.stack([np.full(len(mine), c), scores[mine], *flags], axis=1))

    def _match(self, overlaps: np.ndarray, skip: np.ndarray, threshold: float) -> np.ndarray:
        """For each detection, best first: 1 right, 0 wrong, -1 does not count."""
        taken = np.zeros(len(skip), bool)
        flags = np.zeros(len(overlaps))
        for i, row in enumerate(overlaps):
            best = self._best(row, taken, skip, threshold)
            if best is None:
                continue
            if skip[best]:
                flags[i] = -1
            elif not taken[best]:
                flags[i] = 1
            taken[best] = True
        return flags

    def _best(self, row: np.ndarray, taken: np.ndarray, skip: np.ndarray, threshold: float) -> int | None:
        if self.style != "coco":
            best = int(row.argmax()) if len(row) else -1
            return best if best >= 0 and row[best] >= threshold else None
        for group in (~skip, skip):  # one to be ignored is taken only where no other will do
            open_ = np.where(group & ~taken & (row >= threshold), row, -1.0)
            if len(row) and open_.max() >= 0:
                return int(open_.argmax())
        return None

    def table(self) -> np.ndarray:
        """Average precisions (thresholds, classes); nan for a class without a truth."""
        out = np.full((len(self.thresholds), self.num_classes), np.nan)
        samples = self.samples
        for c in np.flatnonzero(self.totals):
            rows = samples[samples[:, 0] == c]
            for i in range(len(self.thresholds)):
                out[i, c] = self._area(rows[:, 1], rows[:, 2 + i], self.totals[c])
        return out

    def value(self) -> float:
        """The mean of `table`; nan where there is no truth."""
        table = self.table()[:, self.totals > 0]
        return float(table.mean()) if table.size else float("nan")

    def _area(self, scores: np.ndarray, flags: np.ndarray, truths: float) -> float:
        scores, flags = scores[flags >= 0], flags[flags >= 0]
        # samples are sorted: of equal scores the wrong come first, which the running maximum makes one point
        right = np.cumsum(flags[np.argsort(-scores, kind="stable")])
        recall, precision = right / truths, right / np.arange(1, len(right) + 1)
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        if self.style == "voc":
            return float((np.diff(recall, prepend=0.0) * precision).sum())
        points = np.linspace(0, 1, 101) if self.style == "coco" else np.arange(11) / 10
        place = np.searchsorted(recall, points, side="left")
        return float(np.append(precision, 0.0)[place].mean())
