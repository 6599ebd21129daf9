"""Metrics of the order that scores give."""

from __future__ import annotations

from typing import Any

import numpy as np

from .base import Metric, as_numpy, weights_of

__all__ = ["AUC"]


class AUC(Metric):
    """The area under the ROC curve, exactly: the chance that a positive scores above a negative, half for equal scores.

    Keeps every sample; ranks' samples are gathered when merged.
    """

    columns = 3

    def update(self, scores: Any, labels: Any, weights: Any = None) -> None:
        """scores (N,), higher for positives; labels (N,) of 0 and 1; weights (N,)."""
        scores, labels = as_numpy(scores), as_numpy(labels)
        if scores.ndim != 1 or scores.shape != labels.shape:
            raise ValueError(f"AUC wants scores (N,) and labels (N,); got {scores.shape} and {labels.shape}")
        if not ((labels == 0) | (labels == 1)).all() or np.isnan(scores.astype(np.float64)).any():
            raise ValueError("AUC wants labels of 0 and 1, and scores that are not nan")
        weights = weights_of(weights, len(labels), "AUC")
        self._keep(np.stack([scores.astype(np.float64), labels.astype(np.float64), weights], axis=1))

    def value(self) -> float:
        """In [0, 1]; nan without a positive or without a negative."""
        score, label, weight = self.samples.T
        _, place = np.unique(score, return_inverse=True)  # equal scores share a place
        up, down = (np.bincount(place, weight * part) for part in (label, 1.0 - label))
        pairs = up.sum() * down.sum()
        won = (up * (np.cumsum(down) - 0.5 * down)).sum()
        return float(won / pairs) if pairs else float("nan")
