"""The pipelined ring: reduce-scatter, allgather and allreduce over any link.

The data is cut into n segments, and a segment into chunks. In step k rank r receives segment
(r - k - 2) mod n from its left neighbour; in the first n-1 steps it adds its own values and passes
the sum on, in the n-1 steps after that it passes the finished segment on. Rank r ends the first
half with segment r complete, which makes the halves reduce-scatter and allgather in their own right.

A rank sends 2(n-1)/n S bytes in an allreduce of S bytes and (n-1)/n S in either half, which no
algorithm can better. With a latency of a a message, bandwidth B, reduction rate R and chunks of c
bytes an allreduce takes about 2(n-1)a + 2(n-1)/n S/B + (n-1)c/R seconds: because chunk k+1
is received while chunk k is reduced and passed on, only one chunk of each step's arithmetic shows.

Every segment is summed along one fixed path and then copied, so all ranks hold the same bits, and
another run gives them again.
"""

from collections import deque
from collections.abc import Sequence

import numpy as np

from .link import Link, Request
from .reduce import Reduction, is_wide

AHEAD = 2  # receives in flight: one arriving while another is being reduced


def split_evenly(count: int, parts: int) -> list[int]:
    """Offsets of `parts` consecutive pieces of `count` items; the first pieces get one more."""
    least, more = divmod(count, parts)
    return [part * least + min(part, more) for part in range(parts + 1)]


def chunks(flat: np.ndarray, chunk: int) -> list[np.ndarray]:
    """Consecutive views of at most `chunk` bytes; none of an empty array."""
    items = max(1, chunk // flat.itemsize)
    return [flat[start : start + items] for start in range(0, flat.size, items)]


def allreduce(link: Link, flat: np.ndarray, reduction: Reduction, chunk: int | None = None) -> None:
    """Replace flat (any count) by its reduction over the ranks, in place. chunk: bytes, if not as the link is tuned."""
    bounds = split_evenly(flat.size, link.size)
    if is_wide(flat.dtype):
        _wide_reduce_scatter(link, flat, bounds, reduction, chunk)
        allgather(link, flat, bounds, chunk)
        return
    reduction.prepare(flat)
    _turn(link, flat, bounds, range(2 * link.size - 2), reduction, chunk)


def reduce_scatter(
    link: Link, flat: np.ndarray, bounds: Sequence[int], reduction: Reduction, chunk: int | None = None
) -> None:
    """Reduce flat[bounds[r]:bounds[r+1]] on rank r, in place; the rest of flat is left undefined."""
    if is_wide(flat.dtype):
        _wide_reduce_scatter(link, flat, bounds, reduction, chunk)
        return
    reduction.prepare(flat)
    _turn(link, flat, bounds, range(link.size - 1), reduction, chunk)


def allgather(link: Link, flat: np.ndarray, bounds: Sequence[int], chunk: int | None = None) -> None:
    """Fill flat on every rank, where rank r holds flat[bounds[r]:bounds[r+1]]."""
    _turn(link, flat, bounds, range(link.size - 1, 2 * link.size - 2), None, chunk)


def _turn(
    link: Link,
    flat: np.ndarray,
    bounds: Sequence[int],
    steps: range,
    reduction: Reduction | None,
    chunk: int | None,
) -> None:
    """Run some steps of the schedule above; without a reduction only those that copy."""
    chunk = chunk or link.tuning.chunk
    n, rank = link.size, link.rank
    left, right = (rank - 1) % n, (rank + 1) % n
    pieces = [chunks(flat[bounds[s] : bounds[s + 1]], chunk) for s in range(n)]
    order = [(step, (rank - step - 2) % n) for step in steps]
    events = [(step, segment, i) for step, segment in order for i in range(len(pieces[segment]))]
    scratch = [np.empty(max(1, chunk // flat.itemsize), flat.dtype) for _ in range(AHEAD if reduction else 0)]
    sends: dict[tuple[int, int], Request] = {}
    arriving: deque[tuple[Request, np.ndarray]] = deque()

    def post(number: int) -> bool:
        """Start receiving an event; False while the memory it goes to is still needed."""
        step, segment, i = events[number]
        piece = pieces[segment][i]
        if step < n - 1:
            piece = scratch[number % AHEAD][: piece.size]
        elif reduction:
            if (segment, i) not in sends:  # our own contribution has not left yet
                return False
            link.wait([sends.pop((segment, i))])
        arriving.append((link.irecv(piece, left), piece))
        return True

    posted = 0
    first = (rank - steps.start - 1) % n
    for i, piece in enumerate(pieces[first]):
        sends[first, i] = link.isend(piece, right)
    for number, (step, segment, i) in enumerate(events):
        while posted < min(number + AHEAD, len(events)) and post(posted):
            posted += 1
        request, received = arriving.popleft()
        link.wait([request])
        piece = pieces[segment][i]
        if reduction and step < n - 1:
            reduction.accumulate(piece, received)
            if step == n - 2:
                reduction.finish(piece)
        if step + 1 < steps.stop:
            sends[segment, i] = link.isend(piece, right)
    link.wait(list(sends.values()))


def _wide_reduce_scatter(
    link: Link, flat: np.ndarray, bounds: Sequence[int], reduction: Reduction, chunk: int | None
) -> None:
    """`reduce_scatter` of 16-bit floats, which rounds once.

    A ring would round every partial sum to 16 bits in order to pass it on. Here every rank sends
    its peers their segments directly, which are the same (n-1)/n S bytes, and the owner combines
    what arrives in float32, in a fixed order.
    """
    chunk = chunk or link.tuning.chunk
    n, rank = link.size, link.rank
    own = flat[bounds[rank] : bounds[rank + 1]]
    total = reduction.widen(own)
    arriving: deque[tuple[Request, np.ndarray, np.ndarray]] = deque()
    leaving: deque[Request] = deque()

    def absorb() -> None:
        request, received, into = arriving.popleft()
        link.wait([request])
        reduction.accumulate(into, reduction.widen(received))

    for offset in range(1, n):
        to, source = (rank + offset) % n, (rank - offset) % n
        for piece in chunks(flat[bounds[to] : bounds[to + 1]], chunk):
            leaving.append(link.isend(piece, to))
        # Chunks of the total hold as many items as those of the 16-bit data that they take in.
        for into in chunks(total, chunk * 2):
            received = np.empty(into.size, flat.dtype)
            arriving.append((link.irecv(received, source), received, into))
            if len(arriving) >= AHEAD:
                absorb()
    while arriving:
        absorb()
    link.wait(list(leaving))
    reduction.narrow(total, own)
