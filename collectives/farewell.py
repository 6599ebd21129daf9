"""Ranks that leave say so, and how far they came.

A rank that ends early (`sys.exit`, or a loop with fewer steps than the others') would leave its
peers waiting for ever. When a rank leaves it sends every other rank the number of collectives that it
has taken part in, by group; a rank that has waited for a while looks whether somebody it needs has
left before the collective it is in.
"""

import time
from collections.abc import Hashable
from typing import Any, Protocol

from .errors import PeerFailedError

NAP = 1e-3  # seconds between looks while waiting for the others to leave
BETWEEN_LOOKS = 0.02  # seconds


class Counted(Protocol):
    """A link that counts its headers."""

    ranks: tuple[int, ...]
    key: Hashable
    headers: int
    comm: Any


class Farewell:
    """One rank's view of who has left, over an mpi4py communicator of all ranks that nobody else uses."""

    def __init__(self, comm):
        self._comm = comm
        self._gone: dict[int, dict[Hashable, int]] = {}
        self._links: list[Counted] = []
        self._next_look = 0.0

    def register(self, link: Counted) -> Hashable:
        """A name for the link on which all its ranks agree: groups are formed collectively."""
        earlier = sum(other.ranks == link.ranks for other in self._links)
        self._links.append(link)
        return (link.ranks, earlier)

    def check(self, link: Counted) -> None:
        """Raise PeerFailedError if a rank of the link left before the collective that it is in."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + BETWEEN_LOOKS
        self._look()
        missing = [
            rank for rank in link.ranks if rank in self._gone and self._gone[rank].get(link.key, 0) < link.headers
        ]
        if missing:
            raise PeerFailedError(
                f"{'rank' if len(missing) == 1 else 'ranks'} {', '.join(map(str, missing))} left the job "
                "(by sys.exit, or at the end of the program) before this collective",
                missing,
            )

    def leave(self) -> None:
        """Tell the others, return when all have left, and free the communicators.

        As long as another rank computes this waits, as MPI_Finalize would.
        """
        progress = {link.key: link.headers for link in self._links}
        me = self._comm.Get_rank()
        others = [rank for rank in range(self._comm.Get_size()) if rank != me]
        sends = [self._comm.isend((me, progress), rank) for rank in others]
        while len(self._gone) < len(others):
            self._look()
            time.sleep(NAP)
        for send in sends:
            send.wait()
        for link in self._links:
            link.comm.Free()
        self._comm.Free()

    def _look(self) -> None:
        while (message := self._comm.improbe()) is not None:
            rank, progress = message.recv()
            self._gone[rank] = progress
