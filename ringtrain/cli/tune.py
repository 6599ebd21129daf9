"""A job that measures where one way of moving data becomes quicker than another; ``ringtrain bench tune`` runs it.

Each way is a group of all ranks whose link is tuned to take it, and ways take turns at every size, so that the
machine's drift falls on all. What is measured is what the job's link uses: on one host the ways through shared memory,
with several hosts those between them. Rank 0 stores the result for its host, and prints it as a line of JSON: the
machine, the file and whether it is stored there, and the sizes by name, with those of before.
"""

import json
import math
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

import numpy as np

import collectives as c
from collectives import mpi_job, tuning
from collectives.link import Link
from collectives.shared import SharedLink
from collectives.shared_plan import SLOT
from collectives.tuning import DEFAULT, KIB, MIB, RANGES, Tuning

TURN = 0.004  # seconds
REPEATS = 9
WORTH = 0.95  # another value than the default must take less than this share of its time
CHUNKS = [16 * KIB, 30 * KIB, 60 * KIB, 128 * KIB, 256 * KIB, 1 * MIB]
BOXES = [512 * KIB, 1 * MIB, 2 * MIB, 4 * MIB]

Call = Callable[[c.Group], Any]


def tuned(link_tuning: Tuning) -> c.Group:
    """All ranks in a group whose links are tuned like that. Collective."""
    link: Link = c.world._here("tune")
    base = getattr(link, "base", link)
    before, base.tuning = base.tuning, link_tuning
    try:
        group = c.world.split(0, key=c.rank())
    finally:
        base.tuning = before
    assert group is not None
    return group


def compare(groups: Mapping[Any, c.Group], call: Call) -> dict[Any, float]:
    """Median seconds of the call in each group, on the rank that takes longest: the same on every rank."""
    times: dict[Any, list[float]] = {way: [] for way in groups}
    calls = {}
    for way, group in groups.items():
        call(group)
        calls[way] = max(1, min(300, int(TURN / _seconds(group, call, 1))))
    for _ in range(REPEATS):
        for way, group in groups.items():
            times[way].append(_seconds(group, call, calls[way]))
    return {way: statistics.median(seconds) for way, seconds in times.items()}


def _seconds(group: c.Group, call: Call, calls: int) -> float:
    c.barrier()
    start = time.perf_counter()
    for _ in range(calls):
        call(group)
    mine = (time.perf_counter() - start) / calls
    return max(1e-9, c.allreduce(np.array([mine]), c.Max).item())


def crossover(sizes: Sequence[int], low: Sequence[float], high: Sequence[float], default: int) -> int:
    """Up to which size the way `low` should be taken, and above it `high`, so that the sizes together take least.

    low, high: seconds of either way by size. The default stays where nothing else is clearly better.
    """

    def cost(limit: int) -> float:
        return sum(
            math.log(below if size <= limit else above) for size, below, above in zip(sizes, low, high, strict=True)
        )

    best = min([0, *sizes], key=cost)
    changed = sum(min(best, default) < size <= max(best, default) for size in sizes)
    return best if cost(best) < cost(default) + changed * math.log(WORTH) else default


def fastest(times: Mapping[int, float], default: int) -> int:
    """The value that takes least; the default where nothing else is clearly better."""
    best = min(times, key=lambda value: times[value])
    return best if times[best] < WORTH * times[default] else default


def cross_by_size(sizes: Sequence[int], low: Tuning, high: Tuning, call: Callable[[int], Call], default: int) -> int:
    groups = {"low": tuned(low), "high": tuned(high)}
    times = [compare(groups, call(size)) for size in sizes]
    return crossover(sizes, [row["low"] for row in times], [row["high"] for row in times], default)


def reducing(size: int, empty: Callable[..., np.ndarray]) -> Call:
    x = empty(size // 4, np.float32)
    x[...] = 0
    return lambda group: group.allreduce_(x, c.Sum)


def sizes_up_to(most: int) -> list[int]:
    return [1 << power for power in range(9, most.bit_length())]


def inside(found: Tuning) -> Tuning:
    """The ways through shared memory."""
    ranks = c.size()
    copied = cross_by_size(
        sizes_up_to(SLOT),
        replace(found, always_copied=SLOT),
        replace(found, always_copied=0, read_whole=0),
        lambda size: reducing(size, c.empty),
        found.always_copied,
    )
    found = replace(found, always_copied=copied)
    whole = cross_by_size(
        [size for size in sizes_up_to(SLOT) if size > copied],
        replace(found, read_whole=SLOT * ranks),
        replace(found, read_whole=0),
        lambda size: reducing(size, np.empty),
        found.read_whole // ranks,
    )
    kept = found.read_whole if whole == found.read_whole // ranks else whole * ranks
    found = replace(found, read_whole=min(kept, RANGES["read_whole"][1]))
    groups = {boxes: tuned(replace(found, boxes=boxes)) for boxes in {*BOXES, found.boxes}}
    rows = [compare(groups, reducing(size, np.empty)) for size in (1 * MIB, 4 * MIB, 16 * MIB)]
    return replace(found, boxes=fastest({boxes: _mean(row[boxes] for row in rows) for boxes in groups}, found.boxes))


def between(found: Tuning) -> Tuning:
    """The ways by messages, between hosts."""
    groups = {chunk: tuned(replace(found, chunk=chunk)) for chunk in {*CHUNKS, found.chunk}}
    rows = [compare(groups, reducing(size, np.empty)) for size in (4 * MIB, 16 * MIB)]
    found = replace(found, chunk=fastest({chunk: _mean(row[chunk] for row in rows) for chunk in groups}, found.chunk))

    def moving(size: int) -> Call:
        x = np.zeros(size, np.uint8)
        return lambda group: group.broadcast_(x, 0)

    sizes = sizes_up_to(4 * MIB)[3:]
    most = replace(found, moved_by_mpi=sizes[-1])
    moved = cross_by_size(sizes, most, replace(found, moved_by_mpi=0), moving, found.moved_by_mpi)
    return replace(found, moved_by_mpi=moved)


def _mean(seconds: Any) -> float:
    return statistics.geometric_mean(list(seconds))


def main() -> None:
    c.init()
    shared = isinstance(c.world._here("tune"), SharedLink)
    before = c.world._here("tune").tuning
    # The other half, measured on other jobs of this machine, stays.
    kept = ("chunk", "moved_by_mpi") if shared else ("always_copied", "read_whole", "boxes")
    start = replace(DEFAULT, **{name: getattr(before, name) for name in kept})
    found = start if c.size() == 1 else inside(start) if shared else between(start)
    if c.rank() == 0:
        where = tuning.machine(c.local_size(), mpi_job.library())
        stored = tuning.store(where, found)
        report = {"machine": where, "file": str(tuning.path()), "stored": stored}
        print(json.dumps({**report, "before": asdict(before), "tuning": asdict(found)}))
    c.shutdown()


def quiet_warnings() -> None:
    """Warnings as one line each on stderr."""
    warnings.showwarning = lambda message, *_: print(f"ringtrain bench tune: {message}", file=sys.stderr)


if __name__ == "__main__":
    quiet_warnings()
    with suppress(BrokenPipeError):
        main()
