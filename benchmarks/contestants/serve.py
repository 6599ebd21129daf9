"""One rank's side of allreduce.py: does what the driver asks for, and waits, blocked, in between.

Runs under the Python of the library it measures, so it imports nothing but the standard library and NumPy. A contestant
is a function make(verb, count, dtype) -> Case; it raises NotImplementedError for what the library does not have. Sizes
follow the convention of NCCL's benchmarks: `count` is that of the longer of the arrays that go in and come out.
"""

import time
from typing import Any, Callable, NamedTuple  # noqa: UP035  (peers may run under an older Python)

import numpy as np
from answers import answer

PERIOD = 8191  # items: a prime, so that data which ends up a power of two away from its place is found out


class Case(NamedTuple):
    """One collective, ready to be called again and again. fill(x) writes what this rank puts in, call() communicates,
    result() is what came out as a NumPy array."""

    fill: Callable[[np.ndarray], Any]
    call: Callable[[], Any]
    result: Callable[[], np.ndarray]


def pattern(count, rank, size):
    """What a rank has: whole numbers, other ones on every rank and at every place, whose sum every dtype holds."""
    most = max(2, min(61, 256 // size))
    return np.resize(np.random.default_rng(rank).integers(0, most, PERIOD, np.uint8), count)


def put_in(verb, count, rank, size):
    """What rank `rank` contributes."""
    return pattern(count // size if verb == "allgather" else count, rank, size)


def expected(verb, count, rank, size):
    """What must come out on rank `rank`."""
    part = count // size
    own = slice(rank * part, (rank + 1) * part)
    if verb == "broadcast":
        return pattern(count, 0, size)
    if verb == "allgather":
        return np.concatenate([pattern(part, peer, size) for peer in range(size)])
    if verb == "alltoall":
        return np.concatenate([pattern(count, peer, size)[own] for peer in range(size)])
    total = np.zeros(count, np.uint32)
    for peer in range(size):
        total += pattern(count, peer, size)
    return total if verb == "allreduce" else total[own]


def serve(version, contestants, rank, size, barrier):
    """Answer the driver until it hangs up. contestants: name -> make."""
    cases = {}

    def handle(do, contestant, **more):
        if do == "prepare":
            cases.pop(contestant, None)
            try:
                cases[contestant] = contestants[contestant](**more), more
            except (KeyError, TypeError, ValueError, RuntimeError) as error:
                raise NotImplementedError(f"{type(error).__name__}: {error}") from error
            return {}
        case, what = cases[contestant]
        if do == "drop":
            del cases[contestant]
            return {}
        if do == "check":
            case.fill(put_in(what["verb"], what["count"], rank, size))
            barrier()
            case.call()
            wanted = expected(what["verb"], what["count"], rank, size)
            return {"right": bool(np.array_equal(np.asarray(case.result()).reshape(-1), wanted))}
        case.fill(np.zeros(1, np.float32))  # sums of sums would overflow, and take longer
        case.call()
        barrier()
        start = time.perf_counter()
        for _ in range(more["calls"]):
            case.call()
        return {"seconds": (time.perf_counter() - start) / more["calls"]}

    answer({"rank": rank, "version": version, "contestants": list(contestants)}, handle)
