"""What metrics share: sums and samples, and that they can be added up."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import of
from ..tensor import Tensor, raw

__all__ = ["Mean", "Metric", "as_numpy", "ratio", "weights_of"]


def as_numpy(x: Any) -> np.ndarray:
    """A tensor's values, or numbers in any form, as a NumPy array."""
    return of(raw(x)).to_numpy(raw(x)) if isinstance(x, Tensor) else np.asarray(x)


def weights_of(weights: Any, count: int, name: str) -> np.ndarray:
    """Weights of samples as float64 (count,); None is 1 for each. Raises ValueError for another shape, or below 0."""
    if weights is None:
        return np.ones(count)
    array = np.asarray(as_numpy(weights), np.float64)
    if array.shape != (count,) or not (array >= 0).all():
        raise ValueError(f"{name}: weights are {count} numbers >= 0, one a sample; got shape {array.shape}")
    return array


def ratio(total: float, weight: float) -> float:
    """total / weight; nan where nothing has been counted."""
    return float(total / weight) if weight else float("nan")


class Metric:
    """Base of metrics.

    totals   float64 sums, (weighted sum, weight) unless the metric says otherwise
    merged   whether what is held is that of all ranks
    columns  how many numbers a kept sample has; 0 where sums are enough
    """

    columns = 0

    def __init__(self, size: int = 2) -> None:
        self.totals = np.zeros(size)
        self.merged = False
        self._rows: list[np.ndarray] = []

    def reset(self) -> None:
        """Forgets everything counted."""
        self.totals[...] = 0
        self._rows.clear()
        self.merged = False

    @property
    def samples(self) -> np.ndarray:
        """The kept samples (N, columns), sorted, so that their order never matters."""
        rows = np.concatenate([np.zeros((0, self.columns)), *self._rows])
        return rows[np.lexsort(rows.T[::-1])] if len(rows) and self.columns else rows

    def merge(self, *others: Metric) -> None:
        """Adds what metrics of the same kind and options have counted."""
        for other in others:
            if type(other) is not type(self) or other.totals.shape != self.totals.shape:
                raise ValueError(f"{self!r} and {other!r} do not count the same")
            self._count(other.totals)
            self._keep(other.samples)

    def take(self, totals: np.ndarray, samples: np.ndarray) -> None:
        """Replaces what has been counted by that of all ranks."""
        self.totals[...] = totals
        self._rows = [samples] if self.columns else []
        self.merged = True

    def _count(self, sums: Any) -> None:
        self._open()
        self.totals += sums

    def _keep(self, rows: np.ndarray) -> None:
        self._open()
        if self.columns and len(rows):
            self._rows.append(np.array(rows, np.float64))

    def _open(self) -> None:
        if self.merged:
            raise RuntimeError(
                f"{type(self).__name__} holds what all ranks have counted, and one rank's part cannot be added "
                "to that; reset() it first, or merge once, at the end"
            )

    def value(self) -> Any:
        """The metric of all samples so far; nan where there are none."""
        return ratio(*self.totals)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.totals.size})"


class Mean(Metric):
    """The mean of a value over samples, such as a loss."""

    def update(self, value: Any, count: float = 1) -> None:
        """Adds the mean `value` of `count` samples; none add nothing, whatever their mean."""
        if count:
            self._count((float(as_numpy(value)) * count, count))
