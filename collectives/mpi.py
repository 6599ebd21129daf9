"""A link over MPI.

Payloads travel as bytes, so every dtype does, whether MPI knows it or not. Waiting is done here
and not inside MPI: MPI libraries wait by spinning, which takes the processor from the computation
that the communication is meant to hide behind, and cannot be told to give up.
"""

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

from .errors import CollectiveError, PeerFailedError, StallError
from .farewell import Farewell
from .header import name_ranks
from .link import COLLECTIVE, Link, Offer, Request
from .tuning import DEFAULT, Tuning

SPINS = 20  # polls before the first pause: about the latency of a message inside a host
YIELDING = 2e-3  # seconds a caller gives its processor to whoever wants it before it sleeps
# The same in a background thread, whose program has other work, and for payloads: the kernel goes on moving bytes
# while a rank sleeps, and needs a processor for that where a network is behind it.
BRIEFLY_YIELDING = 1e-4
LONGEST_NAP = 1e-3
SHORTEST_NAP = 20e-6
LOOKING = 2.0  # seconds to find out which rank has ended, when MPI says that something failed


class MpiLink(Link):
    """A link over an mpi4py intracommunicator that nobody else uses.

    ranks: those of the world, by rank of this link. timeout: seconds without an answer after which
    a wait raises StallError.
    """

    small = 128 * 1024
    combines = True

    def __init__(self, comm, ranks: Sequence[int], timeout: float, farewell: Farewell, tuning: Tuning = DEFAULT):
        from mpi4py import MPI

        self.tuning = tuning
        self.comm, self.ranks, self.timeout, self.farewell = comm, tuple(ranks), timeout, farewell
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        self.key = farewell.register(self)
        #: the link of which this is a part, if all ranks of that one are needed here
        self.whole: MpiLink = self
        self._byte, self._undefined = MPI.BYTE, MPI.UNDEFINED
        self._testall = MPI.Request.Testall
        self._ops: dict[np.ufunc, Any] = {
            np.add: MPI.SUM,
            np.multiply: MPI.PROD,
            np.minimum: MPI.MIN,
            np.maximum: MPI.MAX,
        }
        self._in_place = MPI.IN_PLACE
        # [h, ~h] and its minimum over the ranks: one reduction finds the least and the greatest h.
        self._mine, self._least = memoryview(bytearray(16)).cast("Q"), memoryview(bytearray(16)).cast("Q")
        self._agreement = ([self._mine, 2, MPI.UINT64_T], [self._least, 2, MPI.UINT64_T], MPI.MIN)

    @property
    def small_moves(self) -> int:
        return self.tuning.moved_by_mpi

    def isend(self, buffer: np.ndarray, to: int, tag: int = COLLECTIVE) -> Request:
        return self.comm.Isend([buffer.view(np.uint8), self._byte], to, tag)

    def irecv(self, buffer: np.ndarray, source: int, tag: int = COLLECTIVE) -> Request:
        return self.comm.Irecv([buffer.view(np.uint8), self._byte], source, tag)

    def check(self, peer: int | None = None) -> None:
        self.farewell.check(self.whole, None if peer is None else self.ranks[peer])

    def understood(self, error: BaseException, peer: int | None = None) -> BaseException:
        from mpi4py import MPI

        if not isinstance(error, MPI.Exception):
            return error
        looked = time.monotonic() + LOOKING
        while time.monotonic() < looked:
            try:
                self.check(peer)
            except PeerFailedError as known:
                return known
            time.sleep(LONGEST_NAP)
        with suppress(MPI.Exception, NotImplementedError, AttributeError):  # an MPI that knows of no failures
            failed = MPI.Group.Translate_ranks(self.comm.Get_failed(), None, self.comm.Get_group())
            lost = [self.ranks[rank] for rank in failed if peer is None or rank == peer]
            if lost:
                return PeerFailedError(f"MPI says that {name_ranks(lost)} failed", lost)
        return CollectiveError(f"MPI failed: {error}")

    def agree(self, fingerprint: int, timeout: float | None = None, offer: Offer | None = None) -> bool:
        self.headers += 1
        mine, least = self._mine, self._least
        mine[0], mine[1] = fingerprint, fingerprint ^ 0xFFFF_FFFF_FFFF_FFFF
        self._complete(self.comm.Iallreduce(*self._agreement).Test, timeout)
        return least[0] ^ least[1] == 0xFFFF_FFFF_FFFF_FFFF

    def allgather(self, mine: np.ndarray, everyone: np.ndarray, timeout: float | None = None) -> None:
        send = [mine.view(np.uint8), self._byte]
        recv = [everyone.view(np.uint8), mine.nbytes, self._byte]
        self._complete(self.comm.Iallgather(send, recv).Test, timeout)

    def broadcast(self, buffer: np.ndarray, root: int) -> None:
        self._complete(self.comm.Ibcast([buffer.view(np.uint8), self._byte], root).Test)

    def allreduce(self, flat: np.ndarray, ufunc: np.ufunc) -> None:
        if flat.dtype == np.bool_:  # minimum and maximum of the bytes 0 and 1; MPI has none of logicals
            flat = flat.view(np.uint8)
        self._complete(self.comm.Iallreduce(self._in_place, flat, self._ops[ufunc]).Test)

    def wait(self, requests: Sequence[Request], timeout: float | None = None, peer: int | None = None) -> None:
        if len(requests) == 1:
            self._complete(requests[0].Test, timeout, peer, BRIEFLY_YIELDING)
        elif requests:
            self._complete(partial(self._testall, requests), timeout, peer, BRIEFLY_YIELDING)

    def _complete(
        self,
        test: Callable[[], bool],
        timeout: float | None = None,
        peer: int | None = None,
        yielding: float = YIELDING,
    ) -> None:
        for _ in range(SPINS):
            if test():
                return
        started = time.monotonic()
        limit = self.timeout if timeout is None else timeout
        if threading.current_thread() is not threading.main_thread():
            yielding = BRIEFLY_YIELDING
        while not test():
            waited = time.monotonic() - started
            if waited < yielding:
                os.sched_yield()
                continue
            # Naps grow with the wait: a late answer is noticed late by an eighth at most.
            time.sleep(min(LONGEST_NAP, max(SHORTEST_NAP, waited / 8)))
            self.check(peer)
            if waited > limit:
                raise StallError(f"no answer for {waited:.1f} s")

    def sub(self, ranks: Sequence[int] | None) -> "MpiLink | None":
        color = self._undefined if ranks is None else min(ranks)
        comm = self.comm.Split(color, ranks.index(self.rank) if ranks else 0)
        if ranks is None:
            return None
        return MpiLink(comm, [self.ranks[rank] for rank in ranks], self.timeout, self.farewell, self.tuning)
