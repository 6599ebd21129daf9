"""Metrics of numbers against numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .base import Metric, as_numpy, weights_of

__all__ = ["MAE", "MSE", "RMSE", "Pearson", "Spearman"]


class _Error(Metric):
    """A mean over all elements; a weight is that of a sample, a row of the first axis."""

    def update(self, predictions: Any, targets: Any, weights: Any = None) -> None:
        """predictions and targets of one shape (N, ...), weights (N,)."""
        name = type(self).__name__
        a, b = (as_numpy(x).astype(np.float64) for x in (predictions, targets))
        if a.shape != b.shape or not a.ndim:
            raise ValueError(f"{name} wants predictions and targets of one shape (N, ...); got {a.shape} and {b.shape}")
        weights = weights_of(weights, len(a), name)
        errors = self._error(a - b).reshape(len(a), math.prod(a.shape[1:]))
        self._count(((errors.sum(axis=1) * weights).sum(), weights.sum() * errors.shape[1]))

    def _error(self, difference: np.ndarray) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} has no error")


class MAE(_Error):
    """The mean absolute error."""

    def _error(self, difference: np.ndarray) -> np.ndarray:
        return np.abs(difference)


class MSE(_Error):
    """The mean squared error."""

    def _error(self, difference: np.ndarray) -> np.ndarray:
        return difference * difference


class RMSE(MSE):
    """The root of the mean squared error."""

    def value(self) -> float:
        return float(super().value() ** 0.5)


class Pearson(Metric):
    """Pearson's correlation of predictions and targets. Keeps every sample, so that nothing cancels."""

    columns = 3

    def update(self, predictions: Any, targets: Any, weights: Any = None) -> None:
        """predictions and targets of one shape, taken as pairs; weights (N,)."""
        a, b = (as_numpy(x).astype(np.float64) for x in (predictions, targets))
        if a.shape != b.shape:
            raise ValueError(f"{type(self).__name__} wants pairs; got shapes {a.shape} and {b.shape}")
        weights = weights_of(weights, a.size, type(self).__name__)
        self._keep(np.stack([a.reshape(-1), b.reshape(-1), weights], axis=1))

    def value(self) -> float:
        """In [-1, 1]; nan where either side does not vary."""
        return _correlation(*self.samples.T)


class Spearman(Pearson):
    """Spearman's correlation: Pearson's of ranks. Equal values share the mean of their ranks, weights are copies."""

    def value(self) -> float:
        x, y, weight = self.samples.T
        return _correlation(_ranks(x, weight), _ranks(y, weight), weight)


def _ranks(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    _, place = np.unique(x, return_inverse=True)
    mass = np.bincount(place, weight)
    return (np.cumsum(mass) - 0.5 * mass)[place]


def _correlation(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> float:
    if not weight.sum():
        return float("nan")
    x, y = x - np.average(x, weights=weight), y - np.average(y, weights=weight)
    spread = (weight * x * x).sum() * (weight * y * y).sum()
    return float(np.clip((weight * x * y).sum() / spread**0.5, -1.0, 1.0)) if spread > 0 else float("nan")
