"""A link between ranks of one host, which read and write each other's memory.

Every rank has an arena that the others map (`arena`), and a group has a board there, where its ranks
meet (`shared_board`, `shared_kernels`). The header of a collective is compared at such a meeting, and the payload
rides on it in one of three ways, with n ranks and S bytes:

slots       arrays up to 2 KiB, ordinary ones up to 128 KiB / n, unless tuned: copied to a slot before the meeting,
            after which each rank combines all slots for itself: one barrier, n S bytes read by each
in place    arrays from `collectives.empty` lie in arenas: after the meeting a rank reads its n-th part
            of all arrays and writes the result to all arrays, S bytes read and S written, which is the
            least that the memory has to do: two barriers
by boxes    other arrays: copied through boxes that stay in the host's cache, 3 S bytes read and written
            of which 2 S there, one barrier a window and two to fill and drain the pipeline

A rank waits by spinning, then by yielding its processor, then by sleeping, and gives up at a deadline.
"""

import os
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from ctypes import memmove
from itertools import pairwise
from threading import get_ident
from types import ModuleType
from typing import Any

import numpy as np

from .arena import Arena, Mapping
from .errors import StallError
from .link import COLLECTIVE, EPOCH, STEP, Books, Link, Offer, Request, WholeLink
from .reduce import Reduction
from .shared_plan import (
    DIFFERENT,
    DONE,
    IN_PLACE,
    LAST_BARRIER,
    NOT_YET,
    SLOT,
    STAGED,
    Plan,
    box_of,
    room_of,
)

SPINS = 3000  # looks before yielding, some tens of microseconds, where every rank has a processor
FEW_SPINS = 20  # where a rank that spins keeps another from its work
YIELDS = 4000  # yields of a caller before it sleeps, a few milliseconds
BRIEF = 100  # the same of a background thread, whose program has other work
NAPS = 40  # sleeps before Python looks at deadlines and signals: about 15 milliseconds
FIRST_NAP = 20  # microseconds; naps grow by an eighth
REMEMBERED = 4096  # plans kept; programs repeat their calls
NO_ROOM = "this host has no room for that"

_MAIN = threading.main_thread().ident


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
    return "" if arena.take(room_of(size) + size * 128) is not None else NO_ROOM


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
        from . import shared_board, shared_kernels

        self.meeting: ModuleType = shared_board
        self.kernels: ModuleType = shared_kernels
        self.again = direct(shared_kernels.again)
        self.base, self.rank, self.size = base, base.rank, base.size
        self.ranks, self.timeout = base.ranks, base.timeout
        self.arena, self._mappings, self._crowded = arena, mappings, crowded
        self._lines, self.board = lines, lines.ctypes.data
        self._begun: tuple[np.ndarray, int] | None = None  # an array handed over with a header, and what came of it
        self._slots = (rooms, rooms + SLOT)
        self._bases = np.array([mapping.start for mapping in mappings])
        self.tuning = base.tuning
        self.box = box_of(self.size, self.tuning)
        self.rows = np.stack([*self._slots, self._bases, rooms + 2 * SLOT, rooms + 2 * SLOT + 2 * self.box])
        spins = FEW_SPINS if crowded else SPINS
        self.patience = ((spins, YIELDS, NAPS, FIRST_NAP), (spins, BRIEF, NAPS, FIRST_NAP))
        self._plans: dict[tuple, Plan] = {}

    @property
    def books(self) -> Books:  # type: ignore[override]
        return self.base.books

    @property
    def _epoch(self) -> int:
        """Barriers that this rank has arrived at."""
        return self.base.books.view[EPOCH]

    @_epoch.setter
    def _epoch(self, epoch: int) -> None:
        self.base.books.view[EPOCH] = epoch

    # -- messages go over the base link -------------------------------------------------------------

    def isend(self, buffer: np.ndarray, to: int, tag: int = COLLECTIVE) -> Request:
        return self.base.isend(buffer, to, tag)

    def irecv(self, buffer: np.ndarray, source: int, tag: int = COLLECTIVE) -> Request:
        return self.base.irecv(buffer, source, tag)

    def wait(self, requests: Sequence[Request], timeout: float | None = None, peer: int | None = None) -> None:
        self.base.wait(requests, timeout, peer)

    def understood(self, error: BaseException, peer: int | None = None) -> BaseException:
        return self.base.understood(error, peer)

    def check(self, peer: int | None = None) -> None:
        self.base.check(peer)

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
            return self._meet(signed(fingerprint), timeout=timeout)
        flat, reduction = offer
        plan = self.plan(flat.dtype, flat.size, reduction)
        found = self.begin(plan, signed(fingerprint), flat, timeout)
        if found == DIFFERENT:
            return False
        self._begun = flat, found
        return True

    def begin(self, plan: "Plan", fingerprint: int, flat: np.ndarray, timeout: float | None = None) -> int:
        """Meet for an allreduce, and go on as far as that goes: what the kernels have found."""
        found = self.kernels.begin(plan.address, 1, fingerprint, id(flat), int(get_ident() != _MAIN))
        return self.go_on(found, plan, flat, timeout)

    def go_on(self, found: int, plan: "Plan", flat: np.ndarray, timeout: float | None = None) -> int:
        """Wait where the kernel has waited in vain; what is then found, never NOT_YET or LAST_BARRIER."""
        if found == NOT_YET:
            self._await(self._epoch, timeout)
            found = self.kernels.begin(plan.address, 0, 0, id(flat), int(get_ident() != _MAIN))
        if found == LAST_BARRIER:
            self._await(self._epoch)
            found = IN_PLACE
        return found

    def _meet(
        self, fingerprint: int = 0, payload: np.ndarray | None = None, timeout: float | None = None, offset: int = -1
    ) -> bool:
        """A barrier at which every rank hands over a small payload, and whether all said the same.

        offset: where an array of this rank's lies in its arena.
        """
        source, length, slot = 0, 0, 0
        self._epoch = epoch = self._epoch + 1
        if payload is not None:
            source, length = payload.ctypes.data, payload.nbytes
            slot = int(self._slots[epoch & 1][self.rank])
        patience = self.patience[int(get_ident() != _MAIN)]
        place = (self.board, self.rank, self.size, epoch)
        found = self.meeting.meet(*place, 1, fingerprint, offset, source, slot, length, *patience)
        if found == NOT_YET:
            self._await(epoch, timeout)
            found = self.meeting.meet(*place, 0, 0, 0, 0, 0, 0, *patience)
        return found == DONE

    def _await(self, epoch: int, timeout: float | None = None) -> None:
        """Return when every rank has reached the epoch, for which this rank has waited in vain already."""
        started = time.monotonic()
        limit = self.base.timeout if timeout is None else timeout
        while True:
            waited = time.monotonic() - started
            self.base.check()
            if waited > limit:
                reached = self._lines[:: self.meeting.LINE // 8]
                missing = [rank for rank in range(self.size) if reached[rank] < epoch]
                names = ", ".join(str(self.base.ranks[rank]) for rank in missing)
                raise StallError(f"no answer for {waited:.1f} s from rank{'s'[: len(missing) - 1]} {names}", missing)
            nap = min(self.meeting.LONGEST_NAP, FIRST_NAP + int(waited * 1e6 / 8))
            place = (self.board, self.rank, self.size, epoch)
            if self.meeting.meet(*place, 0, 0, 0, 0, 0, 0, 0, 0, max(1, 5000 // nap), nap) != NOT_YET:
                return

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
        self._meet(offset=self.arena.offset(own.ctypes.data, own.nbytes))
        words = self._lines.reshape(self.size, -1)
        offsets = words[:, self.meeting.OFFSET // 8 + (self._epoch & 1)]
        return np.where(offsets < 0, 0, self._bases + offsets)

    def reduce_scatter(self, flat: np.ndarray, bounds: Sequence[int], reduction: Reduction, out: np.ndarray) -> None:
        places = self._seen(flat)
        if places.all():  # everybody reads where the data is, and nobody goes on before all have read
            if out.size:
                plan = self.plan(flat.dtype, out.size, reduction)
                sources = places + bounds[self.rank] * flat.itemsize
                self.kernels.reduce_at(plan.address, sources.ctypes.data, out.ctypes.data)
            self._meet()
            return
        plan = self.plan(flat.dtype, flat.size, reduction)
        self._exchange(flat, np.array(bounds, np.int64), plan, (1, 0), 0, result=out.ctypes.data)

    def gather_segments(self, flat: np.ndarray, bounds: Sequence[int] | np.ndarray, own: np.ndarray) -> None:
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
            self._meet()
            return
        plan = self.plan(flat.dtype, flat.size, None)
        self._exchange(flat, np.array(bounds, np.int64), plan, (0, 1), 1)

    def broadcast(self, buffer: np.ndarray, root: int) -> None:
        if buffer.nbytes <= SLOT:
            self._meet(payload=buffer)
            if self.rank != root:
                slot = int(self._slots[self._epoch & 1][root])
                memmove(buffer.ctypes.data, slot, buffer.nbytes)
            return
        bounds = [0] * (root + 1) + [buffer.size] * (self.size - root)
        self.gather_segments(buffer, bounds, buffer if self.rank == root else buffer[:0])

    def allgather(self, mine: np.ndarray, everyone: np.ndarray, timeout: float | None = None) -> None:
        length = mine.nbytes
        if length > SLOT:
            bounds = [rank * mine.size for rank in range(self.size + 1)]
            self.gather_segments(everyone.reshape(-1), bounds, mine.reshape(-1))
            return
        self._meet(payload=np.ascontiguousarray(mine), timeout=timeout)
        target = everyone.ctypes.data
        for rank, slot in enumerate(self._slots[self._epoch & 1]):
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
        steps, epoch, step = windows + 2, self._epoch - first, max(first, reached)
        self._epoch = epoch + steps - 1
        thread = int(get_ident() != _MAIN)
        while True:
            step = self.kernels.exchange(
                plan.address, epoch, first, step, steps, id(flat), width, *halves, thread, result, bounds
            )
            if step == steps:
                return
            self._await(epoch + step)

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
