"""A link between several hosts, whose ranks share memory inside each.

Inside a host data moves through shared memory, between hosts over rings: ring l joins the l-th ranks of
all hosts, for every l that each host has, and carries one slice of the data. A collective of S bytes on H
hosts then sends from each host, which is what no algorithm can better,

    allreduce                     2(H-1)/H S    in time  2(H-1)/H S/B + 2(H-1)a
    reduce_scatter, allgather      (H-1)/H S              (H-1)/H S/B +  (H-1)a
    broadcast                      S (the last host of the chain: none)

where B is the bandwidth of a host's link and a the latency of a message; a ring of all ranks would send
the same from a host with one rank and R times a slice from a host with R ranks that are not neighbours in
rank order. Before and after come the halves of the shared-memory path, at the memory's speed; an allreduce
of several windows does them while another window is between the hosts, so that only those of one show.

Sixteen-bit floats cross as sixteen bits: the ranks of a host are combined in float32 and rounded, hosts
are combined in float32 and rounded once more. The sum of a host is scaled down, by a power of two, before
it is rounded for an Average, so that it overflows no earlier than the result would.

What every rank says before a payload is compared inside each host first, then between the hosts' first
ranks, whose finding is handed to the others of their host.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from . import exchange, ring
from .link import Link, Offer, WholeLink
from .overlap import Overlap
from .reduce import Op, Reduction, is_wide

SMALL = 8 * 1024  # bytes: up to here MPI's own collectives of all ranks, of fewer steps, are quicker
WINDOW = 4 * 1024 * 1024  # bytes of an array that are inside hosts while others are between them
DISAGREEMENT = 0x5D1F_F3A7_0E2B_4C69  # what a host says whose own ranks say different things


class HierarchicalLink(WholeLink):
    """Several links of one group of ranks, made by `topology.Topology`.

    base: messages between all; local: this host's ranks, through shared memory where they are several;
    across: this rank's ring, if it is in one. hosts: for each host the ranks (of base) on it. fit: makes a
    link like this of a base link, for groups formed from this one.
    """

    small = SMALL

    def __init__(
        self,
        base: Link,
        hosts: Sequence[Sequence[int]],
        local: Link,
        across: Link | None,
        fit: Callable[[Any], Link],
    ):
        super().__init__(base)
        self.local, self.across, self._fit = local, across, fit
        self.combines = base.combines
        self._hosts = [list(ranks) for ranks in hosts]
        self._host = next(number for number, ranks in enumerate(hosts) if base.rank in ranks)
        self._rings = min(len(ranks) for ranks in hosts)
        self._order = [rank for ranks in hosts for rank in ranks]
        self._in_order = self._order == list(range(self.size))
        self._largest = max(len(ranks) for ranks in hosts)

    # -- what is small goes over the base link -------------------------------------------------------

    def sub(self, ranks: Sequence[int] | None) -> Link | None:
        base = self.base.sub(ranks)
        return None if base is None else self._fit(base)

    def allgather(self, mine: np.ndarray, everyone: np.ndarray, timeout: float | None = None) -> None:
        self.base.allgather(mine, everyone, timeout)

    def allreduce(self, flat: np.ndarray, ufunc: np.ufunc) -> None:
        self.base.allreduce(flat, ufunc)

    def agree(self, fingerprint: int, timeout: float | None = None, offer: Offer | None = None) -> bool:
        self.headers += 1
        same = self.local.agree(fingerprint, timeout)
        if self.local.rank == 0:
            assert self.across is not None
            same &= self.across.agree(fingerprint if same else DISAGREEMENT, timeout)
        # A second meeting: who has not been between the hosts takes what is said there by who has.
        return self.local.agree(fingerprint if same else DISAGREEMENT, timeout) and same

    # -- payloads -----------------------------------------------------------------------------------

    def reduce(self, flat: np.ndarray, reduction: Reduction) -> None:
        inside, between = self._halves(flat.dtype, reduction)
        message_for_each = self._rings * len(self._hosts) * self.tuning.chunk
        windows = ring.chunks(flat, max(WINDOW, message_for_each))
        if len(windows) == 1:
            self._reduce_inside(flat, self._slices(flat.size), inside)
            self._cross(flat, between)
            self._gather_inside(flat, self._slices(flat.size))
            return
        with Overlap() as network:
            crossing: deque[Future[None]] = deque()
            for landing, window in pairwise([None, *windows, None]):
                if window is not None:
                    self._reduce_inside(window, self._slices(window.size), inside)
                    crossing.append(network.start(self._cross, window, between))
                if landing is not None:
                    crossing.popleft().result()
                    self._gather_inside(landing, self._slices(landing.size))

    def _cross(self, flat: np.ndarray, reduction: Reduction) -> None:
        """Reduce this rank's slice between the hosts."""
        bounds = self._slices(flat.size)
        part = flat[bounds[self.local.rank] : bounds[self.local.rank + 1]]
        if self.across is not None and part.size:
            ring.allreduce(self.across, part, reduction)

    def reduce_scatter(self, flat: np.ndarray, bounds: Sequence[int], reduction: Reduction, out: np.ndarray) -> None:
        inside, between = self._halves(flat.dtype, reduction)
        by_host, packed = self._packed(flat.copy(), bounds)
        mine = self._mine(packed, by_host)
        for block in _blocks(packed, by_host):
            self._reduce_inside(block, self._slices(block.size), inside)
        if self.across is not None:
            self._copy(packed, by_host, mine, into=mine)
            ring.reduce_scatter(self.across, mine, self._edges(by_host), between)
            self._copy(packed, by_host, mine, into=packed, hosts=[self._host])
        own = packed[by_host[self._host] : by_host[self._host + 1]]
        self._gather_inside(own, self._slices(own.size))
        start = self._places(bounds)[self.rank]
        out[...] = packed[start : start + out.size]

    def gather_segments(self, flat: np.ndarray, bounds: Sequence[int] | np.ndarray, own: np.ndarray) -> None:
        flat[bounds[self.rank] : bounds[self.rank + 1]] = own
        by_host, packed = self._packed(flat, bounds)
        places = self._places(bounds)
        block = packed[by_host[self._host] : by_host[self._host + 1]]
        here = [places[rank] - by_host[self._host] for rank in self._hosts[self._host]]
        self._gather_inside(block, [*here, block.size])
        if self.across is not None:
            mine = self._mine(packed, by_host)
            self._copy(packed, by_host, mine, into=mine, hosts=[self._host])
            ring.allgather(self.across, mine, self._edges(by_host))
            self._copy(packed, by_host, mine, into=packed)
        for host, block in enumerate(_blocks(packed, by_host)):
            if host != self._host:
                self._gather_inside(block, self._slices(block.size))
        if packed is not flat:
            for rank, start in enumerate(places):
                flat[bounds[rank] : bounds[rank + 1]] = packed[start : start + bounds[rank + 1] - bounds[rank]]

    def broadcast(self, buffer: np.ndarray, root: int) -> None:
        if buffer.nbytes <= SMALL:
            self.base.broadcast(buffer, root)
            return
        source = next(number for number, ranks in enumerate(self._hosts) if root in ranks)
        if source == self._host and self.local.size > 1:
            self.local.broadcast(buffer, self._hosts[source].index(root))
        bounds = self._slices(buffer.size)
        if self.across is not None:
            exchange.broadcast(self.across, buffer[bounds[self.local.rank] : bounds[self.local.rank + 1]], source)
        if source != self._host:
            self._gather_inside(buffer, bounds)

    # -- slices: what each ring carries of a block; blocks: what each host has of a buffer ----------

    def _halves(self, dtype: np.dtype, reduction: Reduction) -> tuple[Reduction, Reduction]:
        """What is done inside a host, and what between hosts."""
        op = Op.Sum if reduction.op is Op.Average else reduction.op
        divisor = reduction.size if reduction.op is Op.Average else 1
        scale = 1.0
        if reduction.op is Op.Average and is_wide(dtype):
            scale = float(1 << (self._largest - 1).bit_length())
        inside = Reduction(op, self.local.size, reduction.prescale, 1 / scale)
        if divisor == 1 or scale != 1:
            return inside, Reduction(op, 1, 1.0, reduction.postscale * scale / divisor)
        return inside, Reduction(Op.Average, divisor, 1.0, reduction.postscale)

    def _slices(self, count: int) -> list[int]:
        """Bounds, by local rank, of the slice that its ring carries; empty where it is in none."""
        bounds = ring.split_evenly(count, self._rings)
        return bounds + [count] * (self.local.size - self._rings)

    def _places(self, bounds: Sequence[int] | np.ndarray) -> list[int]:
        """Where the segment of each rank lies when those of a host lie together."""
        lengths = [int(bounds[rank + 1] - bounds[rank]) for rank in self._order]
        starts = dict(zip(self._order, accumulate([0, *lengths[:-1]]), strict=True))
        return [starts[rank] for rank in range(self.size)]

    def _packed(self, flat: np.ndarray, bounds: Sequence[int] | np.ndarray) -> tuple[list[int], np.ndarray]:
        """Bounds of the hosts' blocks, and the segments in that order: flat itself if they are."""
        sizes = [sum(int(bounds[rank + 1] - bounds[rank]) for rank in ranks) for ranks in self._hosts]
        by_host = [0, *accumulate(sizes)]
        if self._in_order:
            return by_host, flat
        return by_host, np.concatenate([flat[bounds[rank] : bounds[rank + 1]] for rank in self._order])

    def _edges(self, by_host: Sequence[int]) -> list[int]:
        """Bounds, by host, of what this rank's ring carries of each block."""
        return [0, *accumulate(stop - start for start, stop in self._carried(by_host))]

    def _carried(self, by_host: Sequence[int]) -> Iterator[tuple[int, int]]:
        """For each host the range of the packed buffer that this rank's ring carries."""
        for start, stop in pairwise(by_host):
            bounds = self._slices(stop - start)
            yield start + bounds[self.local.rank], start + bounds[self.local.rank + 1]

    def _mine(self, packed: np.ndarray, by_host: Sequence[int]) -> np.ndarray:
        return np.empty(self._edges(by_host)[-1], packed.dtype)

    def _copy(
        self,
        packed: np.ndarray,
        by_host: Sequence[int],
        mine: np.ndarray,
        into: np.ndarray,
        hosts: Sequence[int] | None = None,
    ) -> None:
        """Between the packed buffer and what this rank's ring carries, for these hosts or all."""
        edges = self._edges(by_host)
        for host, (start, stop) in enumerate(self._carried(by_host)):
            if hosts is None or host in hosts:
                there, here = packed[start:stop], mine[edges[host] : edges[host + 1]]
                if into is packed:
                    there[...] = here
                else:
                    here[...] = there

    def _reduce_inside(self, flat: np.ndarray, bounds: list[int], reduction: Reduction) -> None:
        if flat.size == 0:
            return
        if isinstance(self.local, WholeLink):
            out = flat[bounds[self.local.rank] : bounds[self.local.rank + 1]]
            self.local.reduce_scatter(flat, bounds, reduction, out)
        elif is_wide(flat.dtype):
            reduction.narrow(reduction.widen(flat), flat)
        else:
            reduction.prepare(flat)
            reduction.finish(flat)

    def _gather_inside(self, flat: np.ndarray, bounds: list[int]) -> None:
        if flat.size and isinstance(self.local, WholeLink):
            self.local.gather_segments(flat, bounds, flat[bounds[self.local.rank] : bounds[self.local.rank + 1]])


def _blocks(packed: np.ndarray, by_host: Sequence[int]) -> Iterator[np.ndarray]:
    for start, stop in pairwise(by_host):
        yield packed[start:stop]
