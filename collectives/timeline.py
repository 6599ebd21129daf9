"""What every rank did when: a trace of all ranks on one clock, for Perfetto or chrome://tracing.

Each rank keeps its spans in memory, with the times of its own clock, and knows by how much that differs
from rank 0's. In the end rank 0 writes one file: a process for each rank; in it a lane for the collectives
of each group, which do one thing at a time, and one for the ranges that each thread has marked.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .link import Link

ROUNDS = 32  # exchanges with rank 0; the quickest of them tells the time best


class Lane(NamedTuple):
    """A line of the picture, where one thing happens at a time."""

    name: str
    #: tells lanes of one name apart
    key: int


class Span(NamedTuple):
    """Something that took from `start` to `end`, nanoseconds of this rank's clock."""

    lane: Lane
    name: str
    start: int
    end: int
    #: what it was about, and how many bytes of this rank it moved
    about: str = ""
    nbytes: int = 0
    #: what a rank's share of the network carries of them at least, as a fraction; 0 where that is not defined
    bus: float = 0.0


class Timeline:
    """One process's spans; nothing is kept unless it is `active`."""

    def __init__(self) -> None:
        self.active = False
        self.path = ""
        self._spans: list[Span] = []
        self._offset = 0

    def begin(self, path: str, offset: int) -> None:
        """Keep spans from now on. offset: rank 0's clock less this rank's, in nanoseconds."""
        self.path, self._offset, self._spans = path, offset, []
        self.active = True

    def add(self, span: Span) -> None:
        if self.active:
            self._spans.append(span)

    def part(self, rank: int) -> bytes:
        """This rank's part of the file."""
        return ",\n".join(json.dumps(event) for event in events(self._spans, rank, self._offset)).encode()

    def end(self) -> None:
        """Keep nothing any more."""
        self.active, self._spans = False, []

    def salvage(self, rank: int) -> None:
        """Write what this rank has where there is no way to bring the ranks' parts together."""
        if self.active:
            self.active = False
            write(f"{self.path}.rank{rank}", [self.part(rank)])


#: this process's; a trace shows processes, so there is one
timeline = Timeline()


@contextmanager
def timeline_range(name: str) -> Iterator[None]:
    """Show what happens inside as `name` in the lane of this thread; costs nothing without a timeline."""
    if not timeline.active:
        yield
        return
    start = time.monotonic_ns()
    try:
        yield
    finally:
        timeline.add(Span(thread_lane(), name, start, time.monotonic_ns()))


def thread_lane() -> Lane:
    """The lane of the thread that asks: what its program does, and what it waits for."""
    thread = threading.current_thread()
    name = "compute" if thread is threading.main_thread() else f"compute ({thread.name})"
    return Lane(name, threading.get_ident())


def bus_share(verb: str, size: int) -> float:
    """busbw / algbw of a verb, as the OSU and NCCL benchmarks define it; 0 where they do not."""
    if verb in ("allreduce", "grouped_allreduce"):
        return 2 * (size - 1) / size
    if verb in ("reduce_scatter", "alltoall"):
        return (size - 1) / size
    if verb in ("allgather", "allgather_into"):  # their bytes are those of one rank, the result has size times as many
        return float(size - 1)
    return float(verb == "broadcast" and size > 1)


def clock_offset(link: Link, clock: Callable[[], int] = time.monotonic_ns) -> int:
    """Rank 0's clock less this rank's, in nanoseconds. Collective.

    A rank asks rank 0 for its time and takes it to be that of the middle of the exchange, which is
    wrong by half of the exchange's duration at most; the shortest of several exchanges counts.
    """
    if link.rank == 0:
        for peer in range(1, link.size):
            for _ in range(ROUNDS):
                link.wait([link.irecv(np.empty(1, np.int64), peer)])
                link.wait([link.isend(np.array([clock()], np.int64), peer)])
        return 0
    exchanges = []
    for _ in range(ROUNDS):
        theirs = np.empty(1, np.int64)
        asked = clock()
        request = link.irecv(theirs, 0)
        link.wait([link.isend(np.zeros(1, np.int64), 0)])
        link.wait([request])
        told = clock()
        exchanges.append((told - asked, int(theirs[0]) - (asked + told) // 2))
    return min(exchanges)[1]


def events(spans: Iterable[Span], rank: int, offset: int) -> Iterator[dict]:
    """Spans as events of the Trace Event Format: microseconds of rank 0's clock."""
    lanes: dict[Lane, int] = {}
    yield {"ph": "M", "name": "process_name", "pid": rank, "args": {"name": f"rank {rank}"}}
    yield {"ph": "M", "name": "process_sort_index", "pid": rank, "args": {"sort_index": rank}}
    for span in spans:
        if span.lane not in lanes:
            lanes[span.lane] = len(lanes)
            named = {"pid": rank, "tid": lanes[span.lane], "args": {"name": span.lane.name}}
            yield {"ph": "M", "name": "thread_name"} | named
        yield {
            "ph": "X",
            "name": span.name,
            "pid": rank,
            "tid": lanes[span.lane],
            "ts": (span.start + offset) / 1e3,
            "dur": (span.end - span.start) / 1e3,
            "args": _details(span),
        }


def _details(span: Span) -> dict[str, str | int | float]:
    details: dict[str, str | int | float] = {"call": span.about} if span.about else {}
    if span.nbytes:
        bandwidth = span.nbytes / max(span.end - span.start, 1)  # bytes a nanosecond are GB/s
        details |= {"bytes": span.nbytes, "algbw GB/s": round(bandwidth, 3)}
        if span.bus:
            details["busbw GB/s"] = round(bandwidth * span.bus, 3)
    return details


def write(path: str, parts: Sequence[bytes]) -> None:
    """The file of some ranks' parts, in place at once and whole."""
    beside = Path(f"{path}.part")
    beside.write_bytes(b'{"displayTimeUnit": "ms", "traceEvents": [\n' + b",\n".join(parts) + b"\n]}\n")
    os.replace(beside, path)
