"""Metrics: sums over samples, so that ragged batches and any number of ranks give the same figure.

`update` adds a batch, `value` divides. What has been counted is in `totals`, a float64 vector that can be added over
ranks (`rt.merge_metrics`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .backend import of
from .tensor import Tensor, raw

__all__ = ["Accuracy", "Mean", "Metric"]


def _numpy(x: Any) -> np.ndarray:
    """A tensor's values, or numbers in any form, as a NumPy array."""
    return of(raw(x)).to_numpy(raw(x)) if isinstance(x, Tensor) else np.asarray(x)


class Metric:
    """Base of metrics: totals = (weighted sum, weight); merged: whether they are those of all ranks."""

    def __init__(self) -> None:
        self.totals = np.zeros(2)
        self.merged = False

    def reset(self) -> None:
        """Forgets everything counted."""
        self.totals[...] = 0
        self.merged = False

    def _count(self, total: float, weight: float) -> None:
        if self.merged:
            raise RuntimeError(
                f"{type(self).__name__} holds what all ranks have counted, and one rank's part cannot be added "
                "to that; reset() it first, or merge once, at the end"
            )
        self.totals += (total, weight)

    def value(self) -> float:
        """The metric of all samples so far; nan where there are none."""
        total, weight = self.totals
        return float(total / weight) if weight else float("nan")


class Mean(Metric):
    """The mean of a value over samples, such as a loss."""

    def update(self, value: Any, count: float = 1) -> None:
        """Adds the mean `value` of `count` samples; none add nothing, whatever their mean."""
        if count:
            self._count(float(_numpy(value)) * count, count)


class Accuracy(Metric):
    """The share of samples whose largest score is that of their class."""

    def update(self, scores: Any, labels: Any) -> None:
        """scores (N, C), labels (N,) integers."""
        scores, labels = _numpy(scores), _numpy(labels)
        if scores.ndim != 2 or labels.shape != scores.shape[:1]:
            raise ValueError(f"Accuracy wants scores (N, C) and labels (N,); got {scores.shape} and {labels.shape}")
        # argmax takes a nan for the largest: a network that has diverged would be right about class 0
        right = (scores.argmax(axis=1) == labels) & ~np.isnan(scores).any(axis=1)
        self._count(float(np.count_nonzero(right)), len(labels))
