"""Ranks that leave say so, and how far they came; of those that could not, the host knows.

A rank that ends early (`sys.exit`, or a loop with fewer steps than the others') would leave its
peers waiting for ever. When a rank leaves it sends every other rank the number of collectives that it
has taken part in, by group; a rank that has waited for a while looks whether somebody it needs has
left before the collective it is in. A rank that fails sends why; one that is killed can send nothing,
but the ranks of its host see its process end (see `alive`).
"""

import time
from collections.abc import Hashable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from .alive import Watch
from .errors import PeerFailedError

NAP = 1e-3  # seconds between looks while waiting for the others to leave
BETWEEN_LOOKS = 0.02  # seconds
LAST_WORDS = 0.3  # seconds that what a rank sent before its process ended may take to be received
LAUNCHER = 5.0  # seconds for the launcher to end a job of which a rank has failed, before others say so too


class Counted(Protocol):
    """A link that counts its headers."""

    ranks: tuple[int, ...]
    key: Hashable
    headers: int
    comm: Any


class Left(NamedTuple):
    """What a rank that left said: the collectives it took part in, by link; and when that was received."""

    progress: dict[Hashable, int]
    since: float


class End(NamedTuple):
    """What became of a rank that did not leave, as a clause, and when to raise an error about it."""

    text: str
    due: float


class Farewell:
    """One rank's view of who has left, over an mpi4py communicator of all ranks that nobody else uses.

    watch: the processes of the ranks of this host.
    """

    def __init__(self, comm: Any, watch: Watch | None = None):
        self._comm, self._watch = comm, watch
        self._gone: dict[int, Left] = {}
        self._ended: dict[int, End] = {}
        self._links: list[Counted] = []
        self._next_look = 0.0

    def register(self, link: Counted) -> Hashable:
        """A name for the link on which all its ranks agree: groups are formed collectively."""
        earlier = sum(other.ranks == link.ranks for other in self._links)
        self._links.append(link)
        return (link.ranks, earlier)

    def check(self, link: Counted, peer: int | None = None) -> None:
        """Raise PeerFailedError if a rank of the link left before the collective that it is in, or has ended.

        peer: the one rank, of the world, that a message comes from or goes to.
        """
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + BETWEEN_LOOKS
            self._look(now)
        if not self._gone and not self._ended:
            return
        needed = link.ranks if peer is None else (peer,)
        self._raise_for_ended(needed, now)
        if peer is None:
            missing = [rank for rank in needed if self._left_before(rank, link)]
        else:  # what it sent before it left has arrived by now, or never will
            missing = [rank for rank in needed if rank in self._gone and now > self._gone[rank].since + LAST_WORDS]
        if missing:
            who = f"{'rank' if len(missing) == 1 else 'ranks'} {', '.join(map(str, missing))}"
            what = "collective" if peer is None else "message"
            raise PeerFailedError(
                f"{who} left the job (by sys.exit, or at the end of the program) before this {what}", missing
            )

    def check_all(self) -> None:
        """Raise PeerFailedError if any rank has ended without having left."""
        now = time.monotonic()
        self._look(now)
        self._raise_for_ended(range(self._comm.Get_size()), now)

    def fail(self, reason: str) -> None:
        """Tell the others that this rank ends the job, and why; as far as that can still be done."""
        with suppress(Exception):
            me = self._comm.Get_rank()
            sends = [self._comm.isend((me, reason), rank) for rank in range(self._comm.Get_size()) if rank != me]
            for send in sends:
                send.Test()

    def leave(self) -> None:
        """Tell the others, and return when all have left.

        As long as another rank computes this waits, as MPI_Finalize would. Raises PeerFailedError if
        one has ended instead.
        """
        progress = {link.key: link.headers for link in self._links}
        me = self._comm.Get_rank()
        others = [rank for rank in range(self._comm.Get_size()) if rank != me]
        sends = [self._comm.isend((me, progress), rank) for rank in others]
        while len(self._gone) < len(others):
            self.check_all()
            time.sleep(NAP)
        for send in sends:
            send.wait()

    def close(self) -> None:
        """Free the communicators, when nobody uses them any more; collective."""
        for link in self._links:
            link.comm.Free()
        self._comm.Free()
        if self._watch is not None:
            self._watch.close()

    def _left_before(self, rank: int, link: Counted) -> bool:
        return rank in self._gone and self._gone[rank].progress.get(link.key, 0) < link.headers

    def _raise_for_ended(self, ranks: Sequence[int], now: float) -> None:
        lost = {rank: self._ended[rank] for rank in ranks if rank in self._ended and now >= self._ended[rank].due}
        if lost:
            raise PeerFailedError("; ".join(f"rank {rank} {end.text}" for rank, end in lost.items()), lost)

    def _look(self, now: float) -> None:
        while (message := next_message(self._comm)) is not None:
            rank, said = message
            if isinstance(said, str):
                self._ended[rank] = End(said, now + LAUNCHER)
            else:
                self._gone[rank] = Left(said, now)
        for rank, pid in self._watch.dead().items() if self._watch is not None else ():
            if rank not in self._ended:
                self._ended[rank] = End(f"(pid {pid} on this host) has died", now + LAST_WORDS)


def next_message(comm: Any) -> Any:
    """A pickled message that has arrived on a communicator of mpi4py; None if there is none.

    An MPI that tolerates failures raises an error here, once, for each that it notices.
    """
    try:
        message = comm.improbe()
        return None if message is None else message.recv()
    except RuntimeError:  # mpi4py's own kind of error is one
        with suppress(RuntimeError, NotImplementedError, AttributeError):
            comm.Ack_failed()
        return None
