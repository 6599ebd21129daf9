"""Moving data without computing: broadcast, gather, scatter and all-to-all over any link.

Sizes are the callers' to agree on. Pieces are at most `PIECE` bytes so that no count nears 2^31,
which is all that some MPI libraries take.
"""

from collections.abc import Sequence

import numpy as np

from .link import COLLECTIVE, Link, Request
from .ring import chunks

PIECE = 1 << 30  # bytes


def send_all(link: Link, flat: np.ndarray, to: int, tag: int = COLLECTIVE) -> list[Request]:
    return [link.isend(piece, to, tag) for piece in chunks(flat, PIECE)]


def recv_all(link: Link, flat: np.ndarray, source: int, tag: int = COLLECTIVE) -> list[Request]:
    return [link.irecv(piece, source, tag) for piece in chunks(flat, PIECE)]


def broadcast(link: Link, flat: np.ndarray, root: int, chunk: int | None = None) -> None:
    """Root's flat into everyone's, along a chain in which every rank passes chunks on as they come.

    With bandwidth B this takes S/B + (n-2)c/B seconds, independent of n for a large S, and each
    rank but the last sends S bytes.
    """
    place = (link.rank - root) % link.size
    before, after = (link.rank - 1) % link.size, (link.rank + 1) % link.size
    pieces = chunks(flat, chunk or link.tuning.chunk)
    incoming = [link.irecv(piece, before) for piece in pieces] if place > 0 else []
    outgoing = []
    for i, piece in enumerate(pieces):
        if incoming:
            link.wait([incoming[i]])
        if place + 1 < link.size:
            outgoing.append(link.isend(piece, after))
    link.wait(outgoing)


def alltoall(link: Link, send: Sequence[np.ndarray], recv: Sequence[np.ndarray]) -> None:
    """send[p] to each peer p, recv[p] from it: (n-1)/n S bytes out of each rank for equal parts.

    Every rank starts with another peer, so that no rank is everyone's target at once.
    """
    n, rank = link.size, link.rank
    recv[rank][...] = send[rank]
    requests: list[Request] = []
    for offset in range(1, n):
        requests += recv_all(link, recv[(rank - offset) % n], (rank - offset) % n)
    for offset in range(1, n):
        requests += send_all(link, send[(rank + offset) % n], (rank + offset) % n)
    link.wait(requests)


def gather(link: Link, own: np.ndarray, parts: Sequence[np.ndarray], root: int) -> None:
    """Own of each rank into parts[rank] on the root; `parts` is ignored elsewhere."""
    if link.rank != root:
        link.wait(send_all(link, own, root))
        return
    parts[root][...] = own
    requests: list[Request] = []
    for peer in range(link.size):
        if peer != root:
            requests += recv_all(link, parts[peer], peer)
    link.wait(requests)


def scatter(link: Link, parts: Sequence[np.ndarray], own: np.ndarray, root: int) -> None:
    """parts[rank] of the root into own on each rank; `parts` is ignored elsewhere."""
    if link.rank != root:
        link.wait(recv_all(link, own, root))
        return
    own[...] = parts[root]
    requests: list[Request] = []
    for peer in range(link.size):
        if peer != root:
            requests += send_all(link, parts[peer], peer)
    link.wait(requests)
