"""A link between ranks of one host, which read and write each other's memory.

Every rank has an arena that the others map (`arena`), and a group has a board there, where its ranks
meet (`shared_meeting`). The header of a collective is compared at such a meeting, and the payload
rides on it in one of three ways, with n ranks and S bytes:

slots       arrays up to 2 KiB, ordinary ones up to 128 KiB / n, unless tuned: copied to a slot before the meeting,
            after which each rank combines all slots for itself: one barrier, n S bytes read by each
in place    arrays from `collectives.empty` lie in arenas: after the meeting a rank reads its n-th part
            of all arrays and writes the result to all arrays, S bytes read and S written, which is the
            least that the memory has to do: two barriers
by boxes    other arrays: copied through boxes that stay in the host's cache, 3 S bytes read and written
            of which 2 S there, one barrier a window and two to fill and drain the pipeline

Of reduce-scatter and allgather a rank's AT_MEETING bytes go by slots, too.
"""

import os
import warnings
from collections.abc import Callable, Sequence
from ctypes import memmove
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np

from .arena import Arena, Mapping
from .link import STEP, Link, Offer, WholeLink
from .reduce import Reduction
from .shared_meeting import Meeting, which_thread
from .shared_plan import (
    DIFFERENT,
    IN_PLACE,
    LAST_BARRIER,
    NOT_YET,
    SLOT,
    STAGED,
    Plan,
    box_of,
    room_of,
)

REMEMBERED = 4096  # plans kept; programs repeat their calls
AT_MEETING = 16 << 10  # bytes of a rank that are handed over at a meeting, where nobody needs another to go on
NO_ROOM = "this host has no room for that"


def load() -> None:
    """Load the kernels with which ranks meet, compiling them if this is their first use.

    Called before others wait for this rank, so that nobody's deadline runs meanwhile. Raises
    ImportError where numba cannot be loaded.
    """
    from . import shared_kernels  # noqa: F401


def share(base: Link, arena: Arena, mappings: Sequence[Mapping], crowded: bool) -> Link:
    """A shared link over `base`, whose ranks have mapped each other's arenas; base itself if memory is short.

    Collective over base. mappings: the arenas by rank, this rank's own included. crowded: whether the
    host has more ranks than processors, where spinning keeps others from their work.
    """
    from .shared_board import LINE

    if base.size == 1:
        return base
    board = arena.keep(base.size * LINE) if base.rank == 0 else None
    room = arena.keep(room_of(base.size))
    if board is not None:
        board[...] = 0
    blocks = np.array([_offset(arena, board), _offset(arena, room)], np.int64)
    offsets = np.empty((base.size, 2), np.int64)
    base.allgather(blocks.view(np.uint8), offsets.view(np.uint8).reshape(-1))
    if offsets[0, 0] < 0 or (offsets[:, 1] < 0).any():
        return base
    rooms = np.array([mapping.start for mapping in mappings]) + offsets[:, 1]
    start = int(offsets[0, 0])
    lines = mappings[0].bytes[start : start + base.size * LINE].view(np.int64)
    return SharedLink(base, arena, mappings, lines, rooms, crowded)


def lacking(arena: Arena, size: int) -> str:
    """Why the host has nothing for a group of `size` ranks; '' if it has."""
    from .shared_board import LINE

    return "" if arena.take(room_of(size) + size * LINE) is not None else NO_ROOM


def warn_of_mpi(size: int, reason: str) -> None:
    """Say that `size` ranks of a host cannot share memory, and how much they need."""
    warnings.warn(
        "collectives go through MPI, not through shared memory, of which each rank takes "
        f"{room_of(size) / 2**20:.0f} MiB in a group of {size} on a host, beside arrays from collectives.empty: "
        f"{reason}",
        stacklevel=7,  # the line that calls init
    )


def _offset(arena: Arena, block: np.ndarray | None) -> int:
    return -1 if block is None else arena.offset(block.ctypes.data, block.size)


class SharedLink(WholeLink):
    """Built by `share`. lines: the words of the board; rooms: addresses of the ranks' slots and boxes."""

    def __init__(
        self,
        base: Link,
        arena: Arena,
        mappings: Sequence[Mapping],
        lines: np.ndarray,
        rooms: np.ndarray,
        crowded: bool,
    ):
        from . import shared_kernels

        super().__init__(base)
        self.kernels: ModuleType = shared_kernels
        self.again = direct(shared_kernels.again)
        self.arena, self._mappings, self._crowded = arena, mappings, crowded
        self._begun: tuple[np.ndarray, int] | None = None  # an array handed over with a header, and what came of it
        self.meeting = Meeting(base, lines, rooms, crowded)
        self._bases = np.array([mapping.start for mapping in mappings])
        self.box = box_of(self.size, self.tuning)
        self.rows = np.stack([rooms, rooms + SLOT, self._bases, rooms + 2 * SLOT, rooms + 2 * SLOT + 2 * self.box])
        self._plans: dict[tuple, Plan] = {}

    def sub(self, ranks: Sequence[int] | None) -> Link | None:
        base = self.base.sub(ranks)
        if base is None or ranks is None:
            return None
        joined = share(base, self.arena, [self._mappings[rank] for rank in ranks], self._crowded)
        if joined is base and base.size > 1 and base.rank == 0:
            warn_of_mpi(base.size, NO_ROOM)
        return joined

    # -- meeting --------------------------------------------------------------------------------------

    def agree(self, fingerprint: int, timeout: float | None = None, offer: Offer | None = None) -> bool:
        self.headers += 1
        if offer is None:
            return self.meeting.meet(signed(fingerprint), timeout=timeout)
        flat, reduction = offer
        plan = self.plan(flat.dtype, flat.size, reduction)
        found = self.begin(plan, signed(fingerprint), flat, timeout)
        if found == DIFFERENT:
            return False
        self._begun = flat, found
        return True

    def begin(self, plan: "Plan", fingerprint: int, flat: np.ndarray, timeout: float | None = None) -> int:
        """Meet for an allreduce, and go on as far as that goes: what the kernels have found."""
        found = self.kernels.begin(plan.address, 1, fingerprint, id(flat), which_thread())
        return self.go_on(found, plan, flat, timeout)

    def go_on(self, found: int, plan: "Plan", flat: np.ndarray, timeout: float | None = None) -> int:
        """Wait where the kernel has waited in vain; what is then found, never NOT_YET or LAST_BARRIER."""
        if found == NOT_YET:
            self.meeting.wait(self.meeting.epoch, timeout)
            found = self.kernels.begin(plan.address, 0, 0, id(flat), which_thread())
        if found == LAST_BARRIER:
            self.meeting.wait(self.meeting.epoch)
            found = IN_PLACE
        return found

    # -- moving -----------------------------------------------------------------------------------------

    def reduce(self, flat: np.ndarray, reduction: Reduction) -> None:
        begun, self._begun = self._begun, None
        plan = self.plan(flat.dtype, flat.size, reduction)
        found = begun[1] if begun is not None and begun[0] is flat else self.begin(plan, 0, flat)
        self.complete(found, plan, flat)

    def complete(self, found: int, plan: "Plan", flat: np.ndarray) -> None:
        """Do what `begin`, or a kernel that goes further, left to do."""
        if found > IN_PLACE:
            self._exchange(flat, plan.bounds, plan, (1, 1), int(found == STAGED), self.books.view[STEP])

    def _seen(self, own: np.ndarray) -> np.ndarray:
        """Meet, and tell where the flat arrays of all ranks are mapped here; 0 for those outside of arenas."""
        self.meeting.meet(offset=self.arena.offset(own.ctypes.data, own.nbytes))
        offsets = self.meeting.offsets()
        return np.where(offsets < 0, 0, self._bases + offsets)

    def reduce_scatter(self, flat: np.ndarray, bounds: Sequence[int], reduction: Reduction, out: np.ndarray) -> None:
        if flat.nbytes <= AT_MEETING:
            self.meeting.meet(payload=flat)
            if out.size:
                plan = self.plan(flat.dtype, out.size, reduction)
                sources = self.meeting.slots() + bounds[self.rank] * flat.itemsize
                self.kernels.reduce_at(plan.address, sources.ctypes.data, out.ctypes.data)
            return
        places = self._seen(flat)
        if places.all():  # everybody reads where the data is, and nobody goes on before all have read
            if out.size:
                plan = self.plan(flat.dtype, out.size, reduction)
                sources = places + bounds[self.rank] * flat.itemsize
                self.kernels.reduce_at(plan.address, sources.ctypes.data, out.ctypes.data)
            self.meeting.meet()
            return
        plan = self.plan(flat.dtype, flat.size, reduction)
        self._exchange(flat, np.array(bounds, np.int64), plan, (1, 0), 0, result=out.ctypes.data)

    def gather_segments(self, flat: np.ndarray, bounds: Sequence[int] | np.ndarray, own: np.ndarray) -> None:
        if max(stop - start for start, stop in pairwise(bounds)) * flat.itemsize <= AT_MEETING:
            self.meeting.meet(payload=own)
            target, size = flat.ctypes.data, flat.itemsize
            for slot, (start, stop) in zip(self.meeting.slots().tolist(), pairwise(bounds), strict=True):
                memmove(target + int(start) * size, slot, int(stop - start) * size)
            return
        segments = [flat[start:stop] for start, stop in pairwise(bounds)]
        mine = segments[self.rank]
        if mine.size and mine.ctypes.data != own.ctypes.data:
            mine[...] = own
        # Where own lies in flat at another rank's place it is overwritten here while others still read.
        places = self._seen(mine if np.may_share_memory(own, flat) else own)
        if all(places[rank] or not segment.size for rank, segment in enumerate(segments)):
            for turn in range(1, self.size):
                rank = (self.rank + turn) % self.size
                segment, mapping = segments[rank].view(np.uint8), self._mappings[rank]
                start = int(places[rank]) - mapping.start
                segment[...] = mapping.bytes[start : start + segment.size] if segment.size else 0
            self.meeting.meet()
            return
        plan = self.plan(flat.dtype, flat.size, None)
        self._exchange(flat, np.array(bounds, np.int64), plan, (0, 1), 1)

    def broadcast(self, buffer: np.ndarray, root: int) -> None:
        if buffer.nbytes <= SLOT:
            self.meeting.meet(payload=buffer)
            if self.rank != root:
                memmove(buffer.ctypes.data, int(self.meeting.slots()[root]), buffer.nbytes)
            return
        bounds = [0] * (root + 1) + [buffer.size] * (self.size - root)
        self.gather_segments(buffer, bounds, buffer if self.rank == root else buffer[:0])

    def allgather(self, mine: np.ndarray, everyone: np.ndarray, timeout: float | None = None) -> None:
        length = mine.nbytes
        if length > SLOT:
            bounds = [rank * mine.size for rank in range(self.size + 1)]
            self.gather_segments(everyone.reshape(-1), bounds, mine.reshape(-1))
            return
        self.meeting.meet(payload=np.ascontiguousarray(mine), timeout=timeout)
        target = everyone.ctypes.data
        for rank, slot in enumerate(self.meeting.slots()):
            memmove(target + rank * length, int(slot), length)

    def _exchange(
        self,
        flat: np.ndarray,
        bounds: np.ndarray,
        plan: "Plan",
        halves: tuple[int, int],
        first: int,
        reached: int = 0,
        result: int = 0,
    ) -> None:
        """Run the pipeline of boxes from step `first` on; halves: whether to reduce-scatter, to allgather.

        reached: a later step, which could not begin when it was tried. result: the address where the segment
        reduced here goes, if not to its place in flat.
        """
        width = plan.width if halves[0] else self.box // flat.itemsize
        windows = -(-max(stop - start for start, stop in pairwise(bounds.tolist())) // width)
        if windows == 0:
            return
        steps, epoch, step = windows + 2, self.meeting.epoch - first, max(first, reached)
        self.meeting.epoch = epoch + steps - 1
        thread = which_thread()
        while True:
            step = self.kernels.exchange(
                plan.address, epoch, first, step, steps, id(flat), width, *halves, thread, result, bounds
            )
            if step == steps:
                return
            self.meeting.wait(epoch + step)

    def plan(self, dtype: np.dtype, count: int, reduction: Reduction | None) -> "Plan":
        """What the kernels need to know of a reduction, or of data that only moves."""
        key = (dtype, count, reduction and (reduction.op, reduction.size, reduction.prescale, reduction.postscale))
        known = self._plans.get(key)
        if known is None:
            if len(self._plans) >= REMEMBERED:
                self._plans.clear()
            known = self._plans[key] = Plan(self, dtype, count, reduction)
        return known


def direct(compiled: Any) -> Callable[..., int]:
    """A compiled function of one signature, called without looking up the types of its arguments."""
    (only,) = compiled.overloads.values()
    return only.entry_point


def signed(fingerprint: int) -> int:
    """An unsigned 64-bit number as the signed one of the same bits."""
    return fingerprint - ((fingerprint >> 63) << 64)


def processors() -> set[int]:
    """The processors that this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
