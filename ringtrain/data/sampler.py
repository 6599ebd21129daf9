"""Samplers: the order in which a loader reads a data set, and which part of it each rank reads.

Iterating a sampler yields indices and changes nothing: the order is a function of (seed, epoch). The loader
moves a sampler on by one epoch each time it starts a pass, so that orders differ from epoch to epoch even
where nobody calls `set_epoch`; calling it, as PyTorch's users do, names the epoch of the next pass.
"""

import operator
from collections.abc import Iterator, Sized
from dataclasses import dataclass

import numpy as np

from ringtrain.data.shuffle import SAMPLER, permutation, unit


@dataclass
class World:
    """This process's place among the data-parallel ranks."""

    rank: int = 0
    size: int = 1


# What a DistributedSampler goes by that was not told otherwise. A program without ranks is rank 0 of 1;
# ringtrain.distributed, which this package must not import, writes the real place here.
world = World()


class Sampler:
    """Base of samplers: an epoch's number, and its indices as an int64 vector."""

    def __init__(self) -> None:
        self.epoch = 0

    def indices(self) -> np.ndarray:
        """Indices of the current epoch, in order."""
        raise NotImplementedError(f"{type(self).__name__} must define indices")

    def __len__(self) -> int:
        """Number of indices in an epoch, the same in every epoch."""
        raise NotImplementedError(f"{type(self).__name__} must define __len__")

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices().tolist())

    def set_epoch(self, epoch: int) -> None:
        """Name the epoch of the next pass, 0 or more."""
        epoch = operator.index(epoch)
        if epoch < 0:
            raise ValueError(f"epoch must not be negative, got {epoch}")
        self.epoch = epoch


class SequentialSampler(Sampler):
    """0, 1, 2, ... in every epoch."""

    def __init__(self, dataset: Sized):
        super().__init__()
        self.dataset = dataset

    def indices(self) -> np.ndarray:
        return np.arange(len(self.dataset))

    def __len__(self) -> int:
        return len(self.dataset)


class RandomSampler(Sampler):
    """Every sample once an epoch, in an order drawn from (seed, epoch).

    replacement: each index is drawn anew, so that some come often and some not at all.
    num_samples: indices an epoch; None for as many as there are samples, which is the most without replacement.
    """

    def __init__(self, dataset: Sized, seed: int = 0, replacement: bool = False, num_samples: int | None = None):
        super().__init__()
        self.dataset, self.seed, self.replacement, self.num_samples = dataset, seed, replacement, num_samples

    def indices(self) -> np.ndarray:
        total, count = len(self.dataset), len(self)
        if self.replacement:
            return (unit(count, self.seed, SAMPLER, self.epoch) * total).astype(np.int64)
        return permutation(total, self.seed, SAMPLER, self.epoch)[:count]

    def __len__(self) -> int:
        total = len(self.dataset)
        count = total if self.num_samples is None else self.num_samples
        if count < 0 or (count > total and not (self.replacement and total)):
            raise ValueError(
                f"RandomSampler: cannot draw num_samples={count} of {total} samples"
                f"{'' if self.replacement else ' without replacement'}"
            )
        return count


class DistributedSampler(Sampler):
    """The part of each epoch that one rank of several reads.

    All ranks draw the same order and rank r of n reads positions r, r + n, r + 2n, ... of it. So in step i
    n ranks with batch size b together read exactly the samples that one rank with batch size n * b reads.

    dataset: anything with a length; or a Sampler, whose order (of the same epoch) is then dealt out as it is.
    num_replicas, rank: how many ranks share the data and which this is; both or neither. Without them this
        process's place among the ranks is asked when an epoch starts, so that the sampler may be made before
        `rt.init`. Without `rt.init` that is rank 0 of 1.
    shuffle: draw the order from (seed, epoch), as RandomSampler does; else the order of the data set.
    seed: must be the same on every rank.
    drop_last, pad: what happens where n does not divide the N samples.
        drop_last=True      every rank reads N // n; the last N % n of the order are left out
        by default          every rank reads ceil(N / n); the first few of the order are read again
        pad=False           each sample is read by exactly one rank; some ranks read one fewer. For
                            evaluation: sums weighted by samples are then exact. Ranks may differ in their
                            number of batches, so average after the loop, not within it.

    Raises ValueError when used with fewer samples than ranks, unless pad=False (where some then read none).
    """

    def __init__(
        self,
        dataset: Sized,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        pad: bool = True,
    ):
        super().__init__()
        if (num_replicas is None) != (rank is None):
            raise ValueError(
                f"DistributedSampler: give both num_replicas and rank or neither, "
                f"got num_replicas={num_replicas}, rank={rank}"
            )
        if num_replicas is not None and rank is not None and not 0 <= rank < num_replicas:
            raise ValueError(
                f"DistributedSampler: rank must lie in 0..{num_replicas - 1} "
                f"for num_replicas={num_replicas}, got {rank}"
            )
        self.dataset, self.shuffle, self.seed = dataset, shuffle, seed
        self.drop_last, self.pad = drop_last, pad
        self._num_replicas, self._rank = num_replicas, rank

    @property
    def num_replicas(self) -> int:
        return world.size if self._num_replicas is None else self._num_replicas

    @property
    def rank(self) -> int:
        return world.rank if self._rank is None else self._rank

    def indices(self) -> np.ndarray:
        total, ranks = self._sizes()
        order = self._order(total)
        if self.drop_last:
            order = order[: total - total % ranks]
        elif self.pad:
            order = np.concatenate([order, order[: -total % ranks]])
        return order[self.rank :: ranks]

    def __len__(self) -> int:
        total, ranks = self._sizes()
        if self.drop_last:
            return total // ranks
        if self.pad:
            return -(-total // ranks)
        return len(range(self.rank, total, ranks))

    def _order(self, total: int) -> np.ndarray:
        if isinstance(self.dataset, Sampler):
            self.dataset.set_epoch(self.epoch)
            return self.dataset.indices()
        return permutation(total, self.seed, SAMPLER, self.epoch) if self.shuffle else np.arange(total)

    def _sizes(self) -> tuple[int, int]:
        total, ranks = len(self.dataset), self.num_replicas
        if total < ranks and (self.pad or self.drop_last):
            raise ValueError(
                f"DistributedSampler: {total} samples are too few for {ranks} ranks, of which "
                f"each must have at least one: use fewer ranks or more data (for evaluation, "
                f"pad=False lets ranks go without)"
            )
        return total, ranks
