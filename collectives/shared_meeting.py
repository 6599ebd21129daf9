"""How long the ranks of a host wait for each other at a board, and what they say there.

A rank waits by spinning, then by yielding its processor, then by sleeping, and gives up at a deadline.
"""

import threading
import time
from types import ModuleType

import numpy as np

from .errors import StallError
from .link import EPOCH, Link
from .shared_plan import DONE, NOT_YET, SLOT

SPINS = 3000  # looks before yielding, some tens of microseconds, where every rank has a processor
FEW_SPINS = 20  # where a rank that spins keeps another from its work
YIELDS = 4000  # yields of a caller before it sleeps, a few milliseconds
BRIEF = 100  # the same of a background thread, whose program has other work
NAPS = 40  # sleeps before Python looks at deadlines and signals: about 15 milliseconds
FIRST_NAP = 20  # microseconds; naps grow by an eighth

_MAIN = threading.main_thread().ident


def which_thread() -> int:
    """The row of `Meeting.patience` for this thread: 0 for the main thread, 1 for others."""
    return int(threading.get_ident() != _MAIN)


class Meeting:
    """The board of `base`'s ranks. words: those of the board; rooms: addresses of what holds the ranks' slots.

    crowded: whether the host has more ranks than processors.
    """

    def __init__(self, base: Link, words: np.ndarray, rooms: np.ndarray, crowded: bool):
        from . import shared_board

        self._compiled: ModuleType = shared_board
        self._base, self._words, self._slots = base, words, (rooms, rooms + SLOT)
        self._counts = base.books.view
        #: the address of the board
        self.board = words.ctypes.data
        spins = FEW_SPINS if crowded else SPINS
        self.patience = ((spins, YIELDS, NAPS, FIRST_NAP), (spins, BRIEF, NAPS, FIRST_NAP))

    @property
    def epoch(self) -> int:
        """Barriers that this rank has arrived at."""
        return self._counts[EPOCH]

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._counts[EPOCH] = epoch

    def meet(
        self, fingerprint: int = 0, payload: np.ndarray | None = None, timeout: float | None = None, offset: int = -1
    ) -> bool:
        """A barrier at which every rank hands over a small payload, and whether all said the same.

        offset: where an array of this rank's lies in its arena.
        """
        source, length, slot = 0, 0, 0
        self.epoch = epoch = self.epoch + 1
        if payload is not None:
            source, length = payload.ctypes.data, payload.nbytes
            slot = int(self.slots()[self._base.rank])
        patience = self.patience[which_thread()]
        place = (self.board, self._base.rank, self._base.size, epoch)
        found = self._compiled.meet(*place, 1, fingerprint, offset, source, slot, length, *patience)
        if found == NOT_YET:
            self.wait(epoch, timeout)
            found = self._compiled.meet(*place, 0, 0, 0, 0, 0, 0, *patience)
        return found == DONE

    def wait(self, epoch: int, timeout: float | None = None) -> None:
        """Return when every rank has reached the epoch, for which this rank has waited in vain already."""
        base, started = self._base, time.monotonic()
        limit = base.timeout if timeout is None else timeout
        while True:
            waited = time.monotonic() - started
            base.check()
            if waited > limit:
                reached = self._words[:: self._compiled.LINE // 8]
                missing = [rank for rank in range(base.size) if reached[rank] < epoch]
                names = ", ".join(str(base.ranks[rank]) for rank in missing)
                raise StallError(f"no answer for {waited:.1f} s from rank{'s'[: len(missing) - 1]} {names}", missing)
            nap = min(self._compiled.LONGEST_NAP, FIRST_NAP + int(waited * 1e6 / 8))
            place = (self.board, base.rank, base.size, epoch)
            if self._compiled.meet(*place, 0, 0, 0, 0, 0, 0, 0, 0, max(1, 5000 // nap), nap) != NOT_YET:
                return

    def slots(self) -> np.ndarray:
        """The addresses of what the ranks have handed over at this meeting."""
        return self._slots[self.epoch & 1]

    def offsets(self) -> np.ndarray:
        """What the ranks have said at this meeting of where their arrays lie; negative outside of arenas."""
        return self._words.reshape(self._base.size, -1)[:, self._compiled.OFFSET // 8 + (self.epoch & 1)]
