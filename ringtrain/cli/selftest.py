"""A job of a few ranks that checks one sum and times it; ``ringtrain doctor`` runs it on two.

Rank 0 prints one line of JSON: ranks, correct (bool), bytes, seconds (median of one allreduce) and
busbw (bytes a second and rank: bytes / seconds * 2 (n - 1) / n).
"""

import json
import statistics
import time

import numpy as np

import collectives as c

ELEMENTS = 1_000_003  # float32; odd, so that ranks get slices of unequal length
REPEATS = 7


def main() -> None:
    c.init()
    rank, ranks = c.rank(), c.size()
    # Small whole numbers: float32 adds them without rounding, so the sum is right to the last bit or wrong.
    base = (np.arange(ELEMENTS) % 1009).astype(np.float32)
    mine = base * np.float32(rank + 1)
    expected = base * np.float32(ranks * (ranks + 1) // 2)
    seconds, correct = [], True
    for _ in range(REPEATS):
        c.barrier()
        start = time.perf_counter()
        total = c.allreduce(mine, op=c.Sum)
        seconds.append(time.perf_counter() - start)
        correct = correct and np.array_equal(total, expected)
    agreed = c.allreduce(np.array([correct], dtype=np.int64), op=c.Min)[0] == 1
    if rank == 0:
        median = statistics.median(seconds)
        print(
            json.dumps(
                {
                    "ranks": ranks,
                    "correct": bool(agreed),
                    "bytes": mine.nbytes,
                    "seconds": median,
                    "busbw": mine.nbytes / median * 2 * (ranks - 1) / ranks,
                }
            )
        )
    c.shutdown()


if __name__ == "__main__":
    main()
