"""One rank's side of allreduce.py: does what the driver asks for, and waits, blocked, in between.

Runs under the Python of the library it measures, so it imports nothing but the standard library and NumPy. A contestant
is a function make(verb, count, dtype) -> Case; it raises NotImplementedError for what the library does not have. Sizes
follow the convention of NCCL's benchmarks: `count` is that of the longer of the arrays that go in and come out.
"""

import json
import os
import socket
import time
from typing import Any, Callable, NamedTuple  # noqa: UP035  (peers may run under an older Python)

import numpy as np

DTYPES = ("float32", "float64", "float16", "bfloat16")


class Case(NamedTuple):
    """One collective, ready to be called again and again. fill(x) writes what this rank puts in, call() communicates,
    result() is what came out as a NumPy array."""

    fill: Callable[[np.ndarray], Any]
    call: Callable[[], Any]
    result: Callable[[], np.ndarray]


def pattern(count, rank):
    """Small whole numbers, which every dtype adds exactly, other ones on every rank."""
    return (np.arange(count, dtype=np.float32) % 5) + rank


def put_in(verb, count, rank, size):
    """What rank `rank` contributes."""
    return pattern(count // size if verb == "allgather" else count, rank)


def expected(verb, count, rank, size):
    """What must come out on rank `rank`."""
    part = count // size
    if verb == "broadcast":
        return pattern(count, 0)
    if verb == "allgather":
        return np.concatenate([pattern(part, peer) for peer in range(size)])
    if verb == "alltoall":
        return np.concatenate([pattern(count, peer)[rank * part : (rank + 1) * part] for peer in range(size)])
    total = pattern(count, 0) * size + size * (size - 1) // 2
    return total if verb == "allreduce" else total[rank * part : (rank + 1) * part]


def serve(version, contestants, rank, size, barrier):
    """Answer the driver until it hangs up. contestants: name -> make."""
    line = socket.socket(socket.AF_UNIX)
    line.connect(os.environ["BENCHMARK_SOCKET"])
    stream = line.makefile("rw")

    def say(**answer):
        stream.write(json.dumps(answer) + "\n")
        stream.flush()

    say(job=os.environ["BENCHMARK_JOB"], rank=rank, pid=os.getpid(), version=version, contestants=list(contestants))
    cases, requests = {}, {}
    for text in stream:
        order = json.loads(text)
        name = order["contestant"]
        case, request = cases.get(name), requests.get(name)
        if order["do"] == "prepare":
            cases.pop(name, None)
            requests[name] = order
            try:
                cases[name] = contestants[name](order["verb"], order["count"], order["dtype"])
                say(ready=True)
            except (NotImplementedError, KeyError, TypeError, ValueError, RuntimeError) as error:
                say(ready=False, why=f"{type(error).__name__}: {error}")
        elif order["do"] == "drop":
            cases.pop(name, None)
            case = None
            say(dropped=True)
        elif order["do"] == "check":
            case.fill(put_in(request["verb"], request["count"], rank, size))
            barrier()
            case.call()
            wanted = expected(request["verb"], request["count"], rank, size)
            say(right=bool(np.array_equal(np.asarray(case.result()).astype(np.float32).reshape(-1), wanted)))
        elif order["do"] == "turn":
            case.fill(np.zeros(1, np.float32))  # sums of sums would overflow, and take longer
            case.call()
            barrier()
            start = time.perf_counter()
            for _ in range(order["calls"]):
                case.call()
            say(seconds=(time.perf_counter() - start) / order["calls"])
