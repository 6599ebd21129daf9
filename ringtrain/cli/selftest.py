"""A job of a few ranks that checks every verb and times an allreduce; ``ringtrain doctor`` runs it on two.

Rank 0 prints one line of JSON: ranks, checks (how many results were compared), wrong (the verbs, with dtype, whose
result was wrong on some rank), bytes, seconds (median of one allreduce in place of an array from `collectives.empty`),
busbw (bytes a second and rank: bytes / seconds * 2 (n - 1) / n), memory_seconds (all ranks at once read and write an
array of that size in place, which is what the memory has to do for that allreduce: a rank reads its n-th part of n
arrays and writes it to the same n), copy_bandwidth (bytes a second and rank when all copy such an array at once).
"""

import json
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np

import collectives as c

DTYPES = (np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int64, np.uint8)
SIZES = (13, 100_003)  # items: through slots, and through the ways of large arrays; both odd
TIMED = 64_000_000  # bytes
REPEATS = 7

Check = tuple[str, Any, Any]  # what was called, the result, and what it must be


def values(count: int, rank: int, dtype: Any) -> np.ndarray:
    """What a rank has: small whole numbers, whose sums and products over the ranks every dtype holds exactly."""
    return (np.arange(count) * (rank + 3) % 7 + 1 + rank % 2).astype(dtype)


def reductions(count: int, dtype: Any) -> Iterator[Check]:
    rank, ranks = c.rank(), c.size()
    everyone = np.stack([values(count, peer, dtype) for peer in range(ranks)]).astype(np.float64)
    mine, total = values(count, rank, dtype), everyone.sum(0)
    yield "allreduce Sum", c.allreduce(mine, c.Sum), total
    yield "allreduce Min", c.allreduce(mine, c.Min), everyone.min(0)
    yield "allreduce Max", c.allreduce(mine, c.Max), everyone.max(0)
    if ranks == 2:  # products of more ranks, and their averages, are not whole numbers of 8 bits
        yield "allreduce Product", c.allreduce(mine, c.Product), everyone.prod(0)
    if np.dtype(dtype).kind != "i" and np.dtype(dtype).kind != "u" and ranks & (ranks - 1) == 0:
        yield "allreduce Average", c.allreduce(mine), total / ranks
    shared = c.empty(count, dtype)
    shared[...] = mine
    yield "allreduce_ of collectives.empty", c.allreduce_(shared, c.Sum), total
    yield "allreduce_async", c.allreduce_async(mine, c.Sum).wait(), total
    first, second = c.grouped_allreduce([mine, mine[: count // 2]], c.Sum)
    yield "grouped_allreduce", np.concatenate([first, second]), np.concatenate([total, total[: count // 2]])
    rows = [count // ranks + (peer < count % ranks) for peer in range(ranks)]
    start = sum(rows[:rank])
    yield "reduce_scatter", c.reduce_scatter(mine, c.Sum), total[start : start + rows[rank]]


def moves(count: int, dtype: Any) -> Iterator[Check]:
    rank, ranks = c.rank(), c.size()
    everyone = [values(count, peer, dtype) for peer in range(ranks)]
    mine, last = everyone[rank], ranks - 1
    yield "broadcast", c.broadcast(mine, last), everyone[last]
    uneven = [theirs[: count - peer] for peer, theirs in enumerate(everyone)]
    yield "allgather", c.allgather(uneven[rank]), np.concatenate(uneven)
    yield "allgather_into", c.allgather_into(np.empty(ranks * count, dtype), mine), np.concatenate(everyone)
    each = count // ranks
    block = slice(rank * each, (rank + 1) * each)
    yield "alltoall", c.alltoall(mine[: each * ranks]), np.concatenate([theirs[block] for theirs in everyone])
    parts = c.gather(uneven[rank], last)
    yield "gather", np.concatenate(parts) if parts is not None else 0, np.concatenate(uneven) if rank == last else 0
    yield "scatter", c.scatter(uneven if rank == last else None, last), uneven[rank]
    if ranks > 1:
        left, right = (rank - 1) % ranks, (rank + 1) % ranks
        if rank == 0:
            c.send(mine, right)
        received = c.recv(mine, left)
        if rank:
            c.send(mine, right)
        yield "send and recv", received, everyone[left]


def objects() -> Iterator[Check]:
    rank, ranks = c.rank(), c.size()
    last = ranks - 1
    yield "broadcast_object", c.broadcast_object({"from": rank}, last), {"from": last}
    yield "allgather_object", c.allgather_object((rank, "x" * rank)), [(peer, "x" * peer) for peer in range(ranks)]


def verify() -> tuple[int, list[str]]:
    """How many results were compared, and what was wrong on any rank, on every rank."""
    count, wrong = 0, []
    plan: list[tuple[str, Callable[[], Iterator[Check]]]] = [("", objects)]
    for dtype in DTYPES:
        for size in SIZES:
            name = f" of {np.dtype(dtype).name}[{size}]"
            plan.append((name, lambda size=size, dtype=dtype: reductions(size, dtype)))  # type: ignore[misc]
            plan.append((name, lambda size=size, dtype=dtype: moves(size, dtype)))  # type: ignore[misc]
    for name, checks in plan:
        for verb, result, expected in checks():
            count += 1
            if not np.array_equal(result, expected):
                wrong.append(verb + name)
    return count, sorted({what for theirs in c.allgather_object(wrong) for what in theirs})


def median_seconds(call: Callable[[], Any]) -> float:
    """Of the rank that takes longest; the first call, which also brings memory in, does not count."""
    seconds = []
    for _ in range(REPEATS + 1):
        c.barrier()
        start = time.perf_counter()
        call()
        seconds.append(c.allreduce(np.array([time.perf_counter() - start]), c.Max).item())
    return statistics.median(seconds[1:])


def main() -> None:
    c.init()
    count, wrong = verify()
    x = c.empty(TIMED // 4, np.float32)
    x[...] = 0
    source, target = np.ones_like(x), np.ones_like(x)  # zeros would be one page of memory, read again and again
    seconds = median_seconds(lambda: c.allreduce_(x, c.Sum))
    memory_seconds = median_seconds(lambda: np.negative(source, out=source))
    copy_seconds = median_seconds(lambda: np.copyto(target, source))
    if c.rank() == 0:
        figures = {
            "ranks": c.size(),
            "checks": count,
            "wrong": wrong,
            "bytes": x.nbytes,
            "seconds": seconds,
            "busbw": x.nbytes / seconds * 2 * (c.size() - 1) / c.size(),
            "memory_seconds": memory_seconds,
            "copy_bandwidth": x.nbytes / copy_seconds,
        }
        print(json.dumps(figures))
    c.shutdown()


if __name__ == "__main__":
    main()
