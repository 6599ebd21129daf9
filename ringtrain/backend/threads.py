"""Sharing a compiled loop among threads: as many as OMP_NUM_THREADS says, or else as the process has processors.

Loops that numba compiles here let go of the interpreter's lock, so Python's own threads do.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

__all__ = ["count", "limit", "shared"]

_limit: list[int] = []  # what `limit` has said


def limit(n: int) -> None:
    """From now on loops are shared among n threads in this process."""
    count.cache_clear()
    _others.cache_clear()
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


@cache
def _others() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count() - 1, "ringtrain-loop")


# a forked child has none of its parent's threads
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_others.cache_clear)


def shared(n: int, grain: int, task: Callable[[int, int], None]) -> None:
    """task(start, stop) over 0..n, in as many ranges at once as there are threads; starts are multiples of `grain`."""
    blocks = -(-n // grain)
    parts = min(count(), blocks)
    if parts <= 1:
        task(0, n)
        return
    ends = [min(n, (i * blocks // parts) * grain) for i in range(parts + 1)]
    waiting = [_others().submit(task, a, b) for a, b in itertools.pairwise(ends[1:])]
    try:
        task(ends[0], ends[1])
    finally:  # nobody writes to the result any more when this returns
        for other in waiting:
            other.result()
