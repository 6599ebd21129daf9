"""How the ranks of a host share a piece of work: sizes, and what a kernel is told of a reduction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .reduce import Op, Reduction
from .tuning import DEFAULT, Tuning

if TYPE_CHECKING:
    from .shared import SharedLink

SLOT = 64 * 1024  # bytes of a slot, of which a rank has two
LEAST_BOX = 64 * 1024
ALIGNED = 32  # items: where segments are cut, so that two ranks rarely write to one cache line

# What a kernel found, and the ways of arrays by their size.
DIFFERENT, NOT_YET, DONE, IN_PLACE, LAST_BARRIER, BOXED, STAGED = range(-1, 6)
SMALL, MEDIUM, LARGE = range(3)


def room_of(size: int) -> int:
    """Bytes that each of `size` ranks has for slots and boxes, however they are tuned: whether there is room for
    another group must not depend on that, because the other ways add in another order."""
    return 2 * SLOT + 4 * box_of(size, DEFAULT)


def box_of(size: int, tuning: Tuning) -> int:
    """Bytes of half an inbox.

    Small windows would be read while they are still in the cache of the processor that wrote them, which is
    several times slower than reading them from a cache that processors share.
    """
    return max(LEAST_BOX, tuning.boxes // size)


class Plan:
    """One kind of allreduce as the kernels read it: `address` is that of its words."""

    def __init__(self, link: SharedLink, dtype: np.dtype, count: int, reduction: Reduction | None):
        from . import shared_reducers as reducers

        size = link.size
        self.length = count * dtype.itemsize
        whole = self.length <= min(SLOT, link.tuning.read_whole // size)
        self.way = SMALL if self.length <= min(SLOT, link.tuning.always_copied) else MEDIUM if whole else LARGE
        self.each = -(-count // (size * ALIGNED)) * ALIGNED
        self.bounds = np.minimum(np.arange(size + 1) * self.each, count)
        self.width = max(1, link.box // (dtype.itemsize * size))
        reducer, op, scales = 0, 0, (1.0, 1.0, 1.0)
        if reduction is not None:
            reducer, op = reducers.reducer(dtype), reducers.CODES[reduction.op]
            divisor = reduction.size if reduction.op is Op.Average else 1
            scales = (reduction.prescale, reduction.postscale, float(divisor))
        bits = np.array(scales).view(np.int64)
        layout = (count, dtype.itemsize, self.each, self.width, self.way)
        place = (link.meeting.board, link.rank, size, link.books.address, link.arena.capacity)
        rows = (*np.ravel(link.meeting.patience), *link.rows.ravel())
        self._words = np.array([*place, reducer, op, *bits, *layout, *rows], np.int64)
        self.address = self._words.ctypes.data
