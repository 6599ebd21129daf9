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
    """Base of metrics: totals = (weighted sum, weight)."""

    def __init__(self) -> None:
        self.totals = np.zeros(2)

    def reset(self) -> None:
        """Forgets everything counted."""
        self.totals[...] = 0

    def value(self) -> float:
        """The metric of all samples so far; nan where there are none."""
        total, weight = self.totals
        return float(total / weight) if weight else float("nan")


class Mean(Metric):
    """The mean of a value over samples, such as a loss."""

    def update(self, value: Any, count: float = 1) -> None:
        """Adds the mean `value` of `count` samples; none add nothing, whatever their mean."""
        if count:
            self.totals += (float(_numpy(value)) * count, count)


class Accuracy(Metric):
    """The share of samples whose largest score is that of their class."""

    def update(self, scores: Any, labels: Any) -> None:
        """scores (N, C), labels (N,) integers."""
        scores, labels = _numpy(scores), _numpy(labels)
        if scores.ndim != 2 or labels.shape != scores.shape[:1]:
            raise ValueError(f"Accuracy wants scores (N, C) and labels (N,); got {scores.shape} and {labels.shape}")
        self.totals += (float(np.count_nonzero(scores.argmax(axis=1) == labels)), len(labels))
