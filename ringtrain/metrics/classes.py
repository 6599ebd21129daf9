"""Metrics of classes: how often, and which for which."""

from __future__ import annotations

from typing import Any

import numpy as np

from .base import Metric, as_numpy, ratio, weights_of

__all__ = ["F1", "MCC", "Accuracy", "ConfusionMatrix", "MeanIoU", "Precision", "Recall", "TopKAccuracy"]


def _scored(name: str, scores: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    scores, labels = as_numpy(scores), as_numpy(labels)
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise ValueError(f"{name} wants scores (N, C) and labels (N,); got {scores.shape} and {labels.shape}")
    return scores, labels


class Accuracy(Metric):
    """The share of samples whose largest score is that of their class."""

    def update(self, scores: Any, labels: Any, weights: Any = None) -> None:
        """scores (N, C), labels (N,) integers, weights (N,)."""
        scores, labels = _scored("Accuracy", scores, labels)
        # argmax takes a nan for the largest: a network that has diverged would be right about class 0
        right = (scores.argmax(axis=1) == labels) & ~np.isnan(scores).any(axis=1)
        weights = weights_of(weights, len(labels), "Accuracy")
        self._count((weights[right].sum(), weights.sum()))


class TopKAccuracy(Metric):
    """The share of samples whose class is among the k with the largest scores; of equal scores the first class wins."""

    def __init__(self, k: int = 5) -> None:
        if not k >= 1:
            raise ValueError(f"TopKAccuracy: k must be >= 1; got {k}")
        super().__init__()
        self.k = k

    def update(self, scores: Any, labels: Any, weights: Any = None) -> None:
        """scores (N, C), labels (N,) integers, weights (N,)."""
        scores, labels = _scored("TopKAccuracy", scores, labels)
        weights = weights_of(weights, len(labels), "TopKAccuracy")
        if not len(labels):
            return
        possible = (labels >= 0) & (labels < scores.shape[1]) & ~np.isnan(scores).any(axis=1)
        label = np.where(possible, labels, 0)[:, None].astype(np.intp)
        own = np.take_along_axis(scores, label, 1)
        before = (scores > own) | ((scores == own) & (np.arange(scores.shape[1]) < label))
        right = possible & (before.sum(axis=1) < self.k)
        self._count((weights[right].sum(), weights.sum()))


class ConfusionMatrix(Metric):
    """How many samples (or how much weight) of class i were taken for class j: value()[i, j].

    num_classes   labels and predictions are 0 ... num_classes - 1
    ignore_index  a label whose samples do not count
    """

    def __init__(self, num_classes: int, ignore_index: int | None = None) -> None:
        if not num_classes >= 2:
            raise ValueError(f"{type(self).__name__}: num_classes must be >= 2; got {num_classes}")
        super().__init__(num_classes * num_classes)
        self.num_classes, self.ignore_index = num_classes, ignore_index

    def update(self, predictions: Any, labels: Any, weights: Any = None) -> None:
        """labels of any shape; predictions integers of that shape, or scores with an axis of classes behind it.

        weights are one for each label. Raises ValueError for labels out of range. Scores with a nan are an error too:
        there is no class they stand for.
        """
        name = type(self).__name__
        predictions, labels = as_numpy(predictions), as_numpy(labels)
        if predictions.shape == (*labels.shape, self.num_classes) and predictions.dtype.kind not in "iub":
            if np.isnan(predictions).any():
                raise ValueError(f"{name}: scores are nan")
            predictions = predictions.argmax(axis=-1)
        if predictions.shape != labels.shape or "f" in (predictions.dtype.kind, labels.dtype.kind):
            raise ValueError(
                f"{name} wants integer labels (...) and predictions (...) or scores (..., {self.num_classes}); got "
                f"{labels.dtype}{labels.shape} and {predictions.dtype}{predictions.shape}"
            )
        weights = as_numpy(weights).reshape(-1) if weights is not None else None
        weights = weights_of(weights, labels.size, name)
        predictions, labels = predictions.reshape(-1).astype(np.int64), labels.reshape(-1).astype(np.int64)
        counted = labels != self.ignore_index if self.ignore_index is not None else np.ones(labels.size, bool)
        predictions, labels, weights = predictions[counted], labels[counted], weights[counted]
        for what, found in (("label", labels), ("prediction", predictions)):
            if found.size and not (found.min() >= 0 and found.max() < self.num_classes):
                wrong = found[(found < 0) | (found >= self.num_classes)][0]
                raise ValueError(f"{name}: {what} {wrong} is not in [0, {self.num_classes})")
        cells = labels * self.num_classes + predictions
        self._count(np.bincount(cells, weights, minlength=self.totals.size))

    @property
    def matrix(self) -> np.ndarray:
        return self.totals.reshape(self.num_classes, self.num_classes)

    def value(self) -> Any:
        """The matrix (num_classes, num_classes): rows are labels, columns predictions."""
        return self.matrix.copy()


class _PerClass(ConfusionMatrix):
    """A figure for each class, averaged.

    average  "binary": that of class 1, for two classes; "micro": of all decisions together; "macro": the plain mean of
             the classes that occur in labels or predictions; "weighted": their mean by labels; None: an array
    A class without what divides has 0, as in scikit-learn.
    """

    def __init__(self, num_classes: int = 2, average: str | None = "binary", ignore_index: int | None = None) -> None:
        name = type(self).__name__
        if average not in ("binary", "micro", "macro", "weighted", None):
            raise ValueError(f"{name}: average is binary, micro, macro, weighted or None; got {average!r}")
        if average == "binary" and num_classes != 2:
            raise ValueError(f"{name}: average 'binary' is for two classes; take 'macro', say, for {num_classes}")
        super().__init__(num_classes, ignore_index)
        self.average = average

    def _figure(self, right: Any, predicted: Any, labelled: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no figure")

    def value(self) -> Any:
        """The figure of all samples so far; nan where there are none."""
        right, predicted, labelled = self.matrix.diagonal(), self.matrix.sum(axis=0), self.matrix.sum(axis=1)
        if not labelled.sum():
            return float("nan") if self.average else np.full(self.num_classes, np.nan)
        if self.average == "micro":
            return float(self._figure(right.sum(), predicted.sum(), labelled.sum()))
        figures = self._figure(right, predicted, labelled)
        if self.average is None:
            return figures
        if self.average == "binary":
            return float(figures[1])
        weights = labelled if self.average == "weighted" else (labelled + predicted > 0).astype(np.float64)
        return float((figures * weights).sum() / weights.sum())


def _over(a: Any, b: Any) -> Any:
    """a / b, 0 where b is."""
    return np.divide(a, b, out=np.zeros(np.shape(a)), where=np.asarray(b) > 0)


class Precision(_PerClass):
    """The share of what was taken for a class that belongs to it."""

    def _figure(self, right: Any, predicted: Any, labelled: Any) -> Any:
        return _over(right, predicted)


class Recall(_PerClass):
    """The share of what belongs to a class that was taken for it."""

    def _figure(self, right: Any, predicted: Any, labelled: Any) -> Any:
        return _over(right, labelled)


class F1(_PerClass):
    """The harmonic mean of precision and recall."""

    def _figure(self, right: Any, predicted: Any, labelled: Any) -> Any:
        return _over(2.0 * right, predicted + labelled)


class MeanIoU(_PerClass):
    """Intersection over union of each class's samples, such as the pixels of a segmentation (Jaccard's index)."""

    def __init__(self, num_classes: int, average: str | None = "macro", ignore_index: int | None = None) -> None:
        super().__init__(num_classes, average, ignore_index)

    def _figure(self, right: Any, predicted: Any, labelled: Any) -> Any:
        return _over(right, predicted + labelled - right)


class MCC(ConfusionMatrix):
    """Matthews' correlation of labels and predictions, for any number of classes (Gorodkin 2004); 0 where undefined."""

    def __init__(self, num_classes: int = 2, ignore_index: int | None = None) -> None:
        super().__init__(num_classes, ignore_index)

    def value(self) -> float:
        """In [-1, 1]; nan where nothing has been counted."""
        count, predicted, labelled = self.totals.sum(), self.matrix.sum(axis=0), self.matrix.sum(axis=1)
        if not count:
            return float("nan")
        both = self.matrix.trace() * count - predicted @ labelled
        spread = (count**2 - predicted @ predicted) * (count**2 - labelled @ labelled)
        return ratio(both, spread**0.5) if spread > 0 else 0.0
