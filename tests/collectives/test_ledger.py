"""The books: calls, bytes, seconds, what of them the program has waited for, and for whom."""

import json
import re
import time

import numpy as np
import pytest

from collectives import Stats, Sum
from collectives.ledger import slowest

from .jobs import COMMAND, launch


def test_books(groups):
    def work(g):
        part = g.split(g.rank)
        for _ in range(3):
            g.allreduce(np.ones((5, 2), np.float32))
        g.allgather(np.ones(g.rank + 1))
        g.grouped_allreduce([np.ones(3), np.ones(4, "f2")], Sum)
        part.allreduce(np.ones(7))
        books = g.stats()
        assert all(0 < stats.exposed == stats.seconds and stats.slowest is None for stats in books.values())
        assert (books["allreduce"].calls, books["allreduce"].bytes) == (4, 3 * 40 + 56)
        assert part.stats().keys() == {"allreduce"} and part.stats()["allreduce"].bytes == 56
        assert books["allgather"][:2] == (1, 8 * (g.rank + 1)) and books["grouped_allreduce"][:2] == (1, 32)
        assert books["allreduce"].seconds > part.stats()["allreduce"].seconds > 0
        return books.keys()

    assert groups(3, work)[0] == {"split", "allreduce", "allgather", "grouped_allreduce"}


def test_what_is_hidden_behind_computation_is_not_exposed(groups):
    """An async call whose peers are late costs the program only what it waits."""

    def work(g):
        late = g.rank == 1
        if late:
            time.sleep(0.3)
        handle = g.allreduce_async(np.ones(5), name="late")
        while not handle.done():  # the program computes
            time.sleep(0.001)
        handle.wait()
        hidden = g.stats()["allreduce"]
        if late:
            time.sleep(0.3)
        handle = g.allgather_async(np.ones(5))
        handle.wait()
        handle.wait()  # is there already
        g.barrier()
        return hidden, g.stats()["allgather"], g.stats()["barrier"]

    for hidden, waited, blocking in groups(2, work):
        assert hidden.calls == 1 and hidden.exposed == 0 < hidden.seconds
        assert waited.exposed > 0 and blocking.exposed == blocking.seconds > 0
    assert waited.calls == 1


def test_a_blocking_call_behind_queued_ones_is_exposed_from_when_it_is_made(groups):
    def work(g):
        if g.rank == 1:
            time.sleep(0.2)
        g.allreduce_async(np.ones(5))
        g.broadcast(np.ones(5), 0)
        books = g.stats()
        return books["allreduce"], books["broadcast"]

    (queued, blocking), _ = groups(2, work)
    assert queued.exposed == 0 < queued.seconds
    assert blocking.exposed > blocking.seconds > 0


def test_whom_the_others_wait_for():
    def books(**seconds):
        return {verb: Stats(calls, 0, time) for verb, (calls, time) in seconds.items()}

    figures = {
        2: books(allreduce=(10, 5.0), barrier=(1, 1.0), broadcast=(1, 1.0)),
        0: books(allreduce=(5, 0.1), barrier=(1, 0.5)),
        1: books(allreduce=(1, 0.05), barrier=(2, 0.8)),  # 50 ms a call, as against 20
    }
    assert slowest(figures) == {"allreduce": 0, "barrier": 1}
    assert slowest({}) == slowest({0: figures[0]}) == {}


PROGRAM = """
import json, time, numpy as np, collectives as c
c.init()
part = c.Group([1, 2])
x = c.empty(100)
for _ in range(6):
    if c.rank() == 1:
        time.sleep(0.15)
    c.allreduce_(x)  # counted by compiled code where memory is shared
    if part.included:
        part.allreduce(x)
if c.rank() == 2:  # asks alone, while the others are somewhere else
    time.sleep(0.3)
    print(json.dumps([c.stats(), part.stats()]), flush=True)
if c.rank() == 1:
    time.sleep(1)
c.barrier()
"""


@pytest.mark.skipif(COMMAND is None, reason="no mpiexec beside this Python or on PATH")
def test_one_rank_alone_is_told_who_is_slow():
    done = launch(3, "-c", PROGRAM)
    whole, part = json.loads(re.search(r"\[.*\]", done.stdout)[0])
    calls, nbytes, seconds, exposed, last = whole["allreduce"]
    assert (calls, nbytes, last) == (12, 12 * 400, 1) and exposed == pytest.approx(seconds), done.stderr
    assert part["allreduce"][:2] == [6, 6 * 400] and part["allreduce"][4] in (1, 2)
    assert whole["Group"][0] == 1
