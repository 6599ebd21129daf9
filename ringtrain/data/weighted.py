"""Samplers that draw: a subset, by weights, whole batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any

import numpy as np

from ringtrain.data.dataset import as_indices
from ringtrain.data.sampler import Sampler
from ringtrain.data.shuffle import SAMPLER, permutation, unit


class SubsetRandomSampler(Sampler):
    """The given indices, each once an epoch, in an order drawn from (seed, epoch)."""

    def __init__(self, indices: Sequence[int] | np.ndarray, seed: int = 0):
        super().__init__()
        self.subset, self.seed = as_indices(indices), seed

    def indices(self) -> np.ndarray:
        return self.subset[permutation(len(self.subset), self.seed, SAMPLER, self.epoch)]

    def __len__(self) -> int:
        return len(self.subset)


class WeightedRandomSampler(Sampler):
    """`num_samples` indices an epoch, i with probability proportional to weights[i], drawn from (seed, epoch).

    replacement: whether an index can come again. Without, an epoch has different indices, drawn one after the other
    from those that are left (Efraimidis and Spirakis 2006), so at most as many as have a weight above 0.

    Ranks that share the data: `DistributedSampler(weighted)` deals the order out.
    """

    def __init__(self, weights: Any, num_samples: int, replacement: bool = True, seed: int = 0):
        super().__init__()
        self.weights = np.asarray(weights, np.float64)
        self.num_samples, self.replacement, self.seed = num_samples, replacement, seed
        if self.weights.ndim != 1 or not np.all((self.weights >= 0) & np.isfinite(self.weights)):
            raise ValueError("WeightedRandomSampler: weights are finite numbers >= 0, one a sample")
        if isinstance(num_samples, bool) or not isinstance(num_samples, int | np.integer) or num_samples < 1:
            raise ValueError(f"WeightedRandomSampler: num_samples must be an integer >= 1, got {num_samples!r}")
        positive = np.count_nonzero(self.weights)
        if not positive or (not replacement and num_samples > positive):
            raise ValueError(
                f"WeightedRandomSampler: {positive} samples have a weight above 0, too few "
                f"for {num_samples} {'draws' if replacement else 'different ones'}"
            )

    def indices(self) -> np.ndarray:
        if self.replacement:
            draws = unit(self.num_samples, self.seed, SAMPLER, self.epoch)
            total = np.cumsum(self.weights)
            # The last place with a weight is the end: a draw that rounding takes past it stays within.
            last = np.flatnonzero(self.weights)[-1]
            return np.minimum(np.searchsorted(total, draws * total[-1], side="right"), last)
        draws = 1 - unit(len(self.weights), self.seed, SAMPLER, self.epoch)
        with np.errstate(divide="ignore"):
            arrivals = np.where(self.weights > 0, -np.log(draws) / self.weights, np.inf)
        return np.argsort(arrivals, kind="stable")[: self.num_samples]

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler):
    """Lists of `batch_size` indices from another sampler, for a loader's `batch_sampler`.

    Its epoch is that of the sampler it wraps.
    """

    def __init__(self, sampler: Sampler | Iterable[int], batch_size: int, drop_last: bool = False):
        if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer) or batch_size < 1:
            raise ValueError(f"BatchSampler: batch_size must be an integer >= 1, got {batch_size!r}")
        if not isinstance(sampler, Sized):
            raise TypeError(f"BatchSampler: a sampler needs a length, got {type(sampler).__name__}")
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last
        super().__init__()

    @property
    def epoch(self) -> int:  # type: ignore[override]
        return getattr(self.sampler, "epoch", 0)

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        if isinstance(self.sampler, Sampler):
            self.sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[Any]:
        order = self.sampler.indices() if isinstance(self.sampler, Sampler) else as_indices(list(self.sampler))
        for start in range(0, len(order), self.batch_size):
            if start + self.batch_size <= len(order) or not self.drop_last:
                yield order[start : start + self.batch_size].tolist()

    def __len__(self) -> int:
        count = len(self.sampler)  # type: ignore[arg-type]
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)
