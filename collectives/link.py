"""What the algorithms ask of a network: point-to-point messages between the ranks of one group.

Everything here moves bytes. A link may override the small collectives at the end of `Link` where
it has something better than plain messages (MPI does); the defaults define what they mean.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from .reduce import Reduction
from .tuning import DEFAULT, Tuning

Request = Any  # an operation in flight, as the link that started it represents it

# The tag of collectives. Messages of one pair of ranks with one tag arrive in the order sent, and a
# group runs one collective at a time, so that one tag serves every algorithm.
COLLECTIVE = 0


Offer = tuple[np.ndarray, Reduction]

# The words of a link's books.
HEADERS, SEQUENCE, CALLS, BYTES, NANOSECONDS, EPOCH, STEP, SCRATCH = range(8)


class Books:
    """What is counted on a link, in words that compiled code counts in too: `view[HEADERS]` and so on."""

    def __init__(self) -> None:
        words = np.zeros(SCRATCH + 2, np.int64)
        self.view, self.address = words.data, words.ctypes.data


class Link(ABC):
    """A fully connected group of ranks 0..size-1. Buffers are contiguous arrays of any dtype."""

    rank: int
    size: int
    #: where one way becomes quicker than another; the same on all ranks
    tuning: Tuning = DEFAULT
    #: up to this many bytes, this link's own reductions are taken instead of the pipelined algorithms; not tuned,
    #: because they add in another order
    small: int = 0
    #: whether it has an `allreduce` for small arrays of the dtypes that are combined as they are
    combines: bool = False
    #: the group's ranks in the world, and seconds without an answer after which a wait raises StallError
    ranks: tuple[int, ...]
    timeout: float
    #: where this rank's CuPy arrays are moved, from the first on: a `gpu.Gpu`
    gpu: Any = None

    @property
    def small_moves(self) -> int:
        """The same for data that only moves."""
        return self.small

    @cached_property
    def books(self) -> Books:
        return Books()

    @property
    def headers(self) -> int:
        """Collectives that this rank has taken part in; whoever compares headers counts them."""
        return self.books.view[HEADERS]

    @headers.setter
    def headers(self, count: int) -> None:
        self.books.view[HEADERS] = count

    @abstractmethod
    def isend(self, buffer: np.ndarray, to: int, tag: int = COLLECTIVE) -> Request:
        """Start sending; `buffer` must stay unchanged until the request has been waited for."""

    @abstractmethod
    def irecv(self, buffer: np.ndarray, source: int, tag: int = COLLECTIVE) -> Request:
        """Start receiving exactly `buffer.nbytes` bytes into `buffer`."""

    @abstractmethod
    def wait(self, requests: Sequence[Request], timeout: float | None = None, peer: int | None = None) -> None:
        """Return when all requests are complete.

        `timeout` (seconds) replaces the link's own. Raises `StallError` when it passes without an
        answer, and `PeerFailedError` where the link knows that the answer cannot come. peer: the only
        rank that they concern; None where it takes every rank of the group.
        """

    @abstractmethod
    def sub(self, ranks: Sequence[int] | None) -> "Link | None":
        """A link among `ranks` (of this link, in the new order), which must contain this rank.

        Collective over this link; ranks that pass None take part and get None. Groups formed in
        one call must be disjoint.
        """

    def check(self, peer: int | None = None) -> None:
        """Raise PeerFailedError if a rank is known to have left before the collective that this one is in.

        peer: see `wait`.
        """
        return

    def understood(self, error: BaseException, peer: int | None = None) -> BaseException:
        """What an error on this link comes from, where the link can tell; the error itself otherwise."""
        return error

    def agree(self, fingerprint: int, timeout: float | None = None, offer: Offer | None = None) -> bool:
        """Whether every rank passed the same unsigned 64-bit number. Also a barrier.

        offer: the contiguous array that will be reduced next, and how, if they did; a link may begin
        with it now.
        """
        mine = np.array([fingerprint], np.uint64)
        everyone = np.empty(self.size, np.uint64)
        self.allgather(mine, everyone, timeout)
        return bool((everyone == mine).all())

    def allgather(self, mine: np.ndarray, everyone: np.ndarray, timeout: float | None = None) -> None:
        """Small `mine` of every rank, of equal size, one after another into `everyone`."""
        parts = everyone.reshape(self.size, mine.size)
        parts[self.rank] = mine.reshape(-1)
        peers = [peer for peer in range(self.size) if peer != self.rank]
        requests = [self.irecv(parts[peer], peer) for peer in peers]
        requests += [self.isend(parts[self.rank], peer) for peer in peers]
        self.wait(requests, timeout)

    def broadcast(self, buffer: np.ndarray, root: int) -> None:
        """Small `buffer` of `root` into that of every rank."""
        if self.rank == root:
            self.wait([self.isend(buffer, peer) for peer in range(self.size) if peer != root])
        else:
            self.wait([self.irecv(buffer, root)])

    def allreduce(self, flat: np.ndarray, ufunc: np.ufunc) -> None:
        """Combine small `flat` over the ranks in place, with the same bits everywhere and always."""
        raise NotImplementedError("a link whose `combines` is true has an allreduce of its own")


class WholeLink(Link):
    """A link that carries whole collectives of any size, better than by messages, which go over a base link.

    Arrays are flat and contiguous; bounds are offsets of the ranks' segments, one more than there are ranks.
    """

    def __init__(self, base: Link) -> None:
        self.base, self.rank, self.size = base, base.rank, base.size
        self.ranks, self.timeout, self.tuning = base.ranks, base.timeout, base.tuning

    @property
    def books(self) -> Books:  # type: ignore[override]
        return self.base.books

    def isend(self, buffer: np.ndarray, to: int, tag: int = COLLECTIVE) -> Request:
        return self.base.isend(buffer, to, tag)

    def irecv(self, buffer: np.ndarray, source: int, tag: int = COLLECTIVE) -> Request:
        return self.base.irecv(buffer, source, tag)

    def wait(self, requests: Sequence[Request], timeout: float | None = None, peer: int | None = None) -> None:
        self.base.wait(requests, timeout, peer)

    def check(self, peer: int | None = None) -> None:
        self.base.check(peer)

    def understood(self, error: BaseException, peer: int | None = None) -> BaseException:
        return self.base.understood(error, peer)

    @abstractmethod
    def reduce(self, flat: np.ndarray, reduction: Reduction) -> None:
        """Replace flat by its reduction over the ranks."""

    @abstractmethod
    def reduce_scatter(self, flat: np.ndarray, bounds: Sequence[int], reduction: Reduction, out: np.ndarray) -> None:
        """Reduce flat[bounds[r]:bounds[r+1]] on rank r into out, which may be that very part; the rest is left."""

    @abstractmethod
    def gather_segments(self, flat: np.ndarray, bounds: Sequence[int] | np.ndarray, own: np.ndarray) -> None:
        """Fill flat on every rank, where flat[bounds[r]:bounds[r+1]] is rank r's own, which may lie there already."""


class SoloLink(Link):
    """One rank, which has nobody to talk to: every collective returns before it would."""

    rank, size = 0, 1

    def isend(self, buffer: np.ndarray, to: int, tag: int = COLLECTIVE) -> Request:
        raise AssertionError("a single rank has nobody to send to")

    def irecv(self, buffer: np.ndarray, source: int, tag: int = COLLECTIVE) -> Request:
        raise AssertionError("a single rank has nobody to receive from")

    def wait(self, requests: Sequence[Request], timeout: float | None = None, peer: int | None = None) -> None:
        pass

    def sub(self, ranks: Sequence[int] | None) -> Link | None:
        return None if ranks is None else SoloLink()

    def agree(self, fingerprint: int, timeout: float | None = None, offer: Offer | None = None) -> bool:
        return True
