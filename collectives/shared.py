"""A link between ranks of one host, which read and write each other's memory.

Every rank has an arena that the others map (`arena`), and a group has a board there, where its ranks
meet (`shared_kernels`). The header of a collective is compared at such a meeting, and the payload
rides on it in one of three ways, with n ranks and S bytes:

small       copied to a slot before the meeting; afterwards each rank combines all slots for itself:
            one barrier, n S bytes read by each rank
in place    arrays from `collectives.empty` lie in arenas: after the meeting a rank reads its n-th part
            of all arrays and writes the result to all arrays, S bytes read and S written, which is the
            least that the memory has to do: two barriers
by boxes    other arrays: copied through boxes that stay in cache, 3 S bytes read and written of
            which 2 S in cache, one barrier a window and two to fill and drain the pipeline

A rank waits by spinning, then by yielding its processor, then by sleeping, and gives up at a deadline.
"""

import os
import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np

from .arena import Arena, Mapping
from .errors import StallError
from .link import COLLECTIVE, Link, Request
from .reduce import BFLOAT16, FLOAT16, Op, Reduction, is_wide

SMALL = 16 * 1024  # bytes: up to here copying n arrays costs less than another barrier
BOX = 512 * 1024  # bytes of an inbox, which together with the outbox should fit a second-level cache
ALIGNED = 32  # items: where segments are cut, so that two ranks rarely write to one cache line
SPINS = 3000  # looks before yielding, some tens of microseconds, where every rank has a processor
YIELDS = 4000  # yields of a caller before it sleeps, a few milliseconds
BRIEF = 100  # the same of a background thread, whose program has other work
NAPS = 40
ROOM = 2 * SMALL + 4 * BOX  # bytes that a rank has for slots and boxes
FIRST_NAP = 20  # microseconds; naps grow by an eighth

OPS = {Op.Sum: 0, Op.Average: 0, Op.Min: 1, Op.Max: 2, Op.Product: 3}
STORED = {FLOAT16: np.dtype(np.uint16), BFLOAT16: np.dtype(np.int16), np.dtype(bool): np.dtype(np.uint8)}
_MAIN = threading.main_thread().ident


def load() -> None:
    """Load the kernels with which ranks meet, compiling them if this is their first use.

    Called before others wait for this rank, so that nobody's deadline runs meanwhile. Raises
    ImportError where numba cannot be loaded.
    """
    from . import shared_kernels as kernels

    board = np.zeros(kernels.LINE // 8 + 1, np.int64)
    kernels.arrive_and_meet(board.ctypes.data, 0, 1, 1, 0, -1, 0, 0, 0, 1, 0, 0, 0)


def share(base: Link, arena: Arena, mappings: Sequence[Mapping], crowded: bool) -> Link:
    """A shared link over `base`, whose ranks have mapped each other's arenas; base itself if memory is short.

    Collective over base. mappings: the arenas by rank, this rank's own included. crowded: whether the
    host has more ranks than processors, where spinning keeps others from their work.
    """
    from . import shared_kernels as kernels

    if base.size == 1:
        return base
    board = arena.take(base.size * kernels.LINE) if base.rank == 0 else None
    room = arena.take(ROOM)
    if board is not None:
        board[...] = 0
    blocks = np.array([_offset(arena, board), _offset(arena, room)], np.int64)
    offsets = np.empty((base.size, 2), np.int64)
    base.allgather(blocks.view(np.uint8), offsets.view(np.uint8).reshape(-1))
    if offsets[0, 0] < 0 or (offsets[:, 1] < 0).any():
        return base
    rooms = np.array([mapping.start for mapping in mappings]) + offsets[:, 1]
    return SharedLink(base, arena, mappings, mappings[0].start + int(offsets[0, 0]), rooms, crowded, (board, room))


def _offset(arena: Arena, block: np.ndarray | None) -> int:
    return -1 if block is None else arena.offset(block.ctypes.data, block.size)


class SharedLink(Link):
    """Built by `share`. board: its address here; rooms: addresses of the ranks' slots and boxes."""

    def __init__(
        self,
        base: Link,
        arena: Arena,
        mappings: Sequence[Mapping],
        board: int,
        rooms: np.ndarray,
        crowded: bool,
        owned: Any,
    ):
        from . import shared_kernels

        self.kernels: ModuleType = shared_kernels
        self.base, self.rank, self.size = base, base.rank, base.size
        self._arena, self._mappings, self._board, self._owned = arena, mappings, board, owned
        self._crowded = crowded
        self._epoch = 0  # barriers that this rank has arrived at
        self._payload: np.ndarray | None = None  # what the last meeting was told of, until something else moves
        self._slots = (rooms, rooms + SMALL)
        self._boxes = np.stack([rooms + 2 * SMALL, rooms + 2 * SMALL + 2 * BOX])
        self._bases = np.array([mapping.start for mapping in mappings])
        self._places = np.empty(self.size, np.int64)
        self._target = np.empty(1, np.int64)
        self._work: dict[np.dtype, tuple[np.ndarray, np.ndarray]] = {}
        spins = 20 if crowded else SPINS
        self._patience = {True: (spins, YIELDS, NAPS, FIRST_NAP), False: (spins, BRIEF, NAPS, FIRST_NAP)}

    # -- messages go over the base link -------------------------------------------------------------

    def isend(self, buffer: np.ndarray, to: int, tag: int = COLLECTIVE) -> Request:
        return self.base.isend(buffer, to, tag)

    def irecv(self, buffer: np.ndarray, source: int, tag: int = COLLECTIVE) -> Request:
        return self.base.irecv(buffer, source, tag)

    def wait(self, requests: Sequence[Request], timeout: float | None = None) -> None:
        self.base.wait(requests, timeout)

    def sub(self, ranks: Sequence[int] | None) -> Link | None:
        base = self.base.sub(ranks)
        if base is None or ranks is None:
            return None
        return share(base, self._arena, [self._mappings[rank] for rank in ranks], self._crowded)

    # -- meeting --------------------------------------------------------------------------------------

    def agree(self, fingerprint: int, timeout: float | None = None, payload: np.ndarray | None = None) -> bool:
        self.base.headers += 1
        return self._meet(fingerprint - (1 << 63), payload, timeout)

    def _meet(self, fingerprint: int = 0, payload: np.ndarray | None = None, timeout: float | None = None) -> bool:
        """A barrier at which every rank says where its payload lies, or hands it over if it is small."""
        address, length, offset = 0, 0, -1
        if payload is not None:
            address, length = payload.__array_interface__["data"][0], payload.nbytes
            if length > SMALL:
                offset, length = self._arena.offset(address, length), 0
        self._payload = payload
        self._epoch = epoch = self._epoch + 1
        board, size, patience = self._board, self.size, self._patience[threading.get_ident() == _MAIN]
        slot = int(self._slots[epoch & 1][self.rank]) if length else 0
        said = self.kernels.arrive_and_meet(
            board, self.rank, size, epoch, fingerprint, offset, address, slot, length, *patience
        )
        if said == 0:
            self._await(epoch, timeout)
            said = self.kernels.meet(board, size, epoch, 1, 0, 0, 0)
        return said > 0

    def _await(self, epoch: int, timeout: float | None = None) -> None:
        """Return when every rank has reached the epoch, for which this rank has waited in vain already."""
        started = time.monotonic()
        limit = self.base.timeout if timeout is None else timeout
        while True:
            waited = time.monotonic() - started
            self.base.check()
            if waited > limit:
                missing = self._missing(epoch)
                names = ", ".join(str(self.base.ranks[rank]) for rank in missing)
                raise StallError(f"no answer for {waited:.1f} s from rank{'s'[: len(missing) - 1]} {names}", missing)
            nap = min(self.kernels.LONGEST_NAP, FIRST_NAP + int(waited * 1e6 / 8))
            if self.kernels.all_at(self._board, self.size, epoch, 0, 0, max(1, 5000 // nap), nap):
                return

    def _missing(self, epoch: int) -> list[int]:
        lines = self.kernels.epochs(self._board, self.size)
        return [rank for rank in range(self.size) if lines[rank] < epoch]

    # -- moving -----------------------------------------------------------------------------------------

    def reduce(self, flat: np.ndarray, reduction: Reduction) -> None:
        """Replace contiguous flat by its reduction over the ranks."""
        fresh, self._payload = self._payload is flat, None
        if not fresh:
            self._meet(payload=flat)
            self._payload = None
        kernels, op = self.kernels, OPS[reduction.op]
        total, like = self._working(flat.dtype)
        scales = (reduction.prescale, reduction.postscale, self._divisor(reduction))
        if flat.nbytes <= SMALL:
            self._target[0] = flat.__array_interface__["data"][0]
            kernels.reduce_all(self._slots[self._epoch & 1], self._target, 0, flat.size, total, like, op, scales)
        elif kernels.locate(self._board, self.size, self._epoch, self._bases, self._places):
            start, stop = self._cut(flat.size)[self.rank : self.rank + 2]
            offset, count = int(start) * flat.itemsize, int(stop - start)
            kernels.reduce_all(self._places, self._places, offset, count, total, like, op, scales)
            self._meet()
        else:
            self._exchange(flat, self._cut(flat.size), (True, True), reduction)

    def reduce_scatter(self, flat: np.ndarray, bounds: Sequence[int], reduction: Reduction) -> None:
        """Leave flat[bounds[r]:bounds[r+1]] reduced on rank r, and the rest as it was."""
        self._exchange(flat, np.array(bounds, np.int64), (True, False), reduction)

    def gather_segments(self, flat: np.ndarray, bounds: Sequence[int]) -> None:
        """Fill flat on every rank, where rank r holds flat[bounds[r]:bounds[r+1]]."""
        self._exchange(flat, np.array(bounds, np.int64), (False, True), None)

    def broadcast(self, buffer: np.ndarray, root: int) -> None:
        if buffer.nbytes <= SMALL:
            if self._payload is not buffer:
                self._meet(payload=buffer)
            if self.rank != root:
                slot = int(self._slots[self._epoch & 1][root])
                self.kernels.copy(buffer.ctypes.data, slot, buffer.nbytes)
            self._payload = None
            return
        bounds = np.where(np.arange(self.size + 1) > root, buffer.size, 0)
        self._exchange(buffer, bounds, (False, True), None)

    def allgather(self, mine: np.ndarray, everyone: np.ndarray, timeout: float | None = None) -> None:
        length = mine.nbytes
        if length > SMALL:
            parts = everyone.reshape(self.size, mine.size)
            parts[self.rank] = mine.reshape(-1)
            self.gather_segments(parts.reshape(-1), [rank * mine.size for rank in range(self.size + 1)])
            return
        self._meet(payload=np.ascontiguousarray(mine), timeout=timeout)
        target = everyone.ctypes.data
        for rank, slot in enumerate(self._slots[self._epoch & 1]):
            self.kernels.copy(target + rank * length, int(slot), length)

    def _exchange(
        self, flat: np.ndarray, bounds: np.ndarray, halves: tuple[bool, bool], reduction: Reduction | None
    ) -> None:
        """Run the pipeline of boxes; halves: whether to reduce-scatter, whether to allgather."""
        self._meet()
        width = max(1, BOX // (flat.itemsize * (self.size if halves[0] else 1)))
        windows = -(-max(stop - start for start, stop in pairwise(bounds.tolist())) // width)
        if windows == 0:
            return
        total, like = self._working(flat.dtype)
        op, scales = 0, (1.0, 1.0, 1.0)
        if reduction:
            op = OPS[reduction.op]
            scales = (reduction.prescale, reduction.postscale, self._divisor(reduction))
        first, steps = (0 if halves[0] else 1), windows + 2
        epoch, address = self._epoch - first, flat.ctypes.data

        patience = self._patience[threading.get_ident() == _MAIN]
        self._epoch = epoch + steps - 1
        step = first
        while True:
            step = self.kernels.exchange(
                self._board, self.rank, epoch, first, step, steps, address, bounds, width,
                self._boxes, total, like, op, scales, halves, patience,
            )  # fmt: skip
            if step == steps:
                return
            self._await(epoch + step)

    def _cut(self, count: int) -> np.ndarray:
        """Where the segments of the ranks begin, int64[size + 1]; equal but for alignment."""
        each = -(-count // (self.size * ALIGNED)) * ALIGNED
        return np.minimum(np.arange(self.size + 1) * each, count)

    @staticmethod
    def _divisor(reduction: Reduction) -> float:
        return float(reduction.size) if reduction.op is Op.Average else 1.0

    def _working(self, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
        """What tells kernels the dtypes: memory for what is accumulated, and an array like the data."""
        found = self._work.get(dtype)
        if found is None:
            stored = STORED.get(dtype, dtype)
            combined = np.dtype(np.float32) if is_wide(dtype) else stored
            found = np.empty(self.kernels.BLOCK, combined), np.empty(1, stored)
            self._work[dtype] = found
        return found


def processors() -> set[int]:
    """The processors that this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
