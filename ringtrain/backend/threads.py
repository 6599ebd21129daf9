"""Sharing a compiled loop among threads: as many as OMP_NUM_THREADS says, or else as the process has processors.

Loops that numba compiles here let go of the interpreter's lock, so Python's own threads do. To wake a sleeping thread
takes as long as many a loop, so a thread that has nothing to do waits awake for a while, in compiled code, as those of
OpenMP do. Nobody waits for a thread that has not begun: whoever is there takes the next range.
"""

from __future__ import annotations

import atexit
import itertools
import os
import threading
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import numpy as np

from .layout import LINE

__all__ = ["count", "limit", "shared", "together"]

AWAKE = 1 << 14  # turns of waiting, of 20 to 50 ns, until a thread goes to sleep
AFTER_CALL = 200  # turns that the caller may need to let go of the interpreter's lock
_LINE = LINE // 8  # numbers in a line of the cache

_limit: list[int] = []  # what `limit` has said
_crews: list[_Crew] = []  # the one there is, from its first use


def limit(n: int) -> None:
    """From now on loops are shared among n threads in this process."""
    count.cache_clear()
    _close()
    _limit[:] = [n]


@cache
def count() -> int:
    """How many threads share a loop. `ringtrain run` divides a host's processors among its ranks by OMP_NUM_THREADS."""
    if _limit:
        return _limit[0]
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Work:
    """A loop's ranges, to be taken by whoever comes; taking one is one step of the interpreter."""

    def __init__(self, task: Callable[[int, int], None], ranges: Iterable[tuple[int, int]]) -> None:
        self.task, self.ranges = task, iter(ranges)
        self.helpers: list[None] = []  # one for each helper that may have taken a range
        self.left = np.zeros(_LINE, np.int64)  # how many of them are done
        self.error: BaseException | None = None

    def take(self) -> None:
        for first, last in self.ranges:
            self.task(first, last)


class _Crew:
    """Threads that help whoever calls `share`: helpers."""

    def __init__(self, helpers: int) -> None:
        from . import spin

        self.spin, self.state = spin, np.zeros(6 * _LINE, np.int64)
        self.work: _Work | None = None
        self.busy = threading.Lock()
        self.asleep: list[Any] = []  # a lock for each helper that sleeps
        self.over = False
        names = [f"ringtrain-loop-{i}" for i in range(helpers)]
        self.helpers = [threading.Thread(target=self._help, name=name, daemon=True) for name in names]
        for helper in self.helpers:
            helper.start()

    def _wake(self) -> None:
        while self.asleep:
            self.asleep.pop().release()

    def _call(self) -> None:
        self.spin.tell(self.state)
        self._wake()

    def close(self) -> None:
        """Its threads end: one that woke up in compiled code as the interpreter goes would end the process badly."""
        self.over = True
        while any(helper.is_alive() for helper in self.helpers):
            self._call()
            self.helpers[-1].join(1e-3)

    def lead(self, task: int, given: np.ndarray) -> None:
        self._wake()
        self.spin.lead(self.state, task, given.ctypes.data)

    def share(self, work: _Work) -> None:
        self.work = work
        try:
            self._call()
            work.take()
        finally:  # nobody writes to the result any more when this returns
            self.work = None
            for _ in work.ranges:
                pass
            while not self.spin.reached(work.left, len(work.helpers), AWAKE):
                pass
        if work.error is not None:
            raise work.error

    def _help(self) -> None:
        wake, nothing = threading.Lock(), np.zeros(_LINE, np.int64)
        wake.acquire()
        seen, left = 0, nothing
        while not self.over:
            seen, called = self.spin.help_until_called(left, self.state, seen, AWAKE, AFTER_CALL)
            if not called:
                self.asleep.append(wake)
                wake.acquire()
            left, work = nothing, self.work
            if work is not None:
                work.helpers.append(None)
                left = work.left
                try:
                    work.take()
                except BaseException as error:  # the caller raises it
                    work.error = error
            del work  # with all arrays that its task knows


def _crew() -> _Crew:
    if not _crews:
        _crews.append(_Crew(count() - 1))
    return _crews[0]


@atexit.register
def _close() -> None:
    while _crews:
        _crews.pop().close()


# a forked child has none of its parent's threads
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_crews.clear)


def shared(n: int, grain: int, task: Callable[[int, int], None]) -> None:
    """task(start, stop) over 0..n, in as many ranges as there are threads; starts are multiples of `grain`.

    The same ranges at every call with these arguments. No more of them: threads that end at the same time get into
    each other's way, as only one at a time is let into the interpreter.
    """
    blocks = -(-n // grain)
    if blocks <= 1 or count() == 1:
        task(0, n)
        return
    parts = min(blocks, count())
    ends = [min(n, (i * blocks // parts) * grain) for i in range(parts + 1)]
    crew, work = _crew(), _Work(task, list(itertools.pairwise(ends)))
    if crew.busy.acquire(blocking=False):
        try:
            crew.share(work)
        finally:
            crew.busy.release()
    else:  # they help another thread
        work.take()


def together(task: Any, given: np.ndarray) -> None:
    """A compiled task, called by every thread with the address of some int64; it takes what others leave.

    What the numbers point to stays where it is until this returns. For short loops: no helper needs the interpreter.
    """
    crew = _crew()
    if crew.busy.acquire(blocking=False):
        try:
            crew.lead(task.address, given)
        finally:
            crew.busy.release()
    else:
        task.ctypes(given.ctypes.data)
