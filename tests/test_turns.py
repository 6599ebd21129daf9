"""Jobs that take turns, and what counts as a right result: without MPI, with ranks of a few lines."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from .processes import state, until

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
RANK = """
import os, sys, time
from answers import answer
def handle(do, **more):
    if do == "wait" and rank == 1:
        time.sleep(60)
    if do == "exit" and rank == 1:
        os._exit(5)
    if do == "lack":
        raise NotImplementedError("no such verb")
    return {"rank": rank, "twice": 2 * more.get("number", 0)}
rank = int(os.environ["NUMBER"])
print("hello from", rank, flush=True)
answer({"rank": rank, "version": "1"}, handle)
"""


@pytest.fixture
def module(monkeypatch):
    """Import a module of the benchmarks."""
    for folder in ("contestants", ""):
        monkeypatch.syspath_prepend(str(BENCHMARKS / folder))
    return importlib.import_module


@pytest.fixture
def job(module):
    """Start a job of some ranks, in a different order than their numbers, and end it with the test."""
    jobs = []

    def start(ranks=3, program=RANK, **more):
        command = [sys.executable, "-c", program]
        commands = [(command, {"NUMBER": str(rank)}) for rank in reversed(range(ranks))]
        jobs.append(module("turns").Job("sample", ranks, lambda folder: commands, **more))
        return jobs[-1]

    yield start
    for one in jobs:
        one.close()


def becomes(pid, wanted):
    """Whether a process gets into that state, which takes it a moment."""
    return until(lambda: state(pid) == wanted)


def test_answers_come_in_rank_order(job):
    assert job().ask(do="add", number=21) == [{"rank": rank, "twice": 42} for rank in range(3)]


def test_what_a_library_lacks_is_an_answer(job):
    sample = job()
    assert sample.ask(do="lack") == [{"cannot": "no such verb"}] * 3
    assert len(sample.ask(do="add")) == 3


@pytest.mark.parametrize(
    "order, limit, said",
    [
        ({"do": "exit"}, 60, "sample: rank 1 has ended when asked for {'do': 'exit'}"),
        ({"do": "wait"}, 0.5, "sample: no answer within 0.5 s"),
        ({"do": "add", "number": None}, 60, "TypeError"),
    ],
    ids=["ends", "hangs", "raises"],
)
def test_a_job_that_fails_is_ended_for_good(order, limit, said, job, module):
    sample = job()
    pids = [process.pid for process in sample._processes]
    with pytest.raises(module("turns").JobEnded) as caught:
        sample.ask(limit=limit, **order)
    assert said in str(caught.value) and "hello from" in str(caught.value)
    assert [state(pid) for pid in pids] == [None] * 3
    with pytest.raises(module("turns").JobEnded):
        sample.ask(do="add")


def test_a_job_that_does_not_start_says_what_it_printed(job, module):
    with pytest.raises(module("turns").JobEnded, match=r"ended with status 7(.|\n)*no library"):
        job(program="import sys; print('no library'); sys.exit(7)")


def test_a_job_without_a_turn_rests(job):
    quiet, restless = job(2), job(2, restless=True)
    for _ in range(2):
        assert len(restless.ask(do="add")) == 2
        assert all(becomes(process.pid, "T") for process in restless._processes)
        assert all(becomes(process.pid, "S") for process in quiet._processes)


def test_closing_leaves_no_process(job):
    for sample in (job(2), job(2, restless=True)):
        pids = [process.pid for process in sample._processes]
        sample.close()
        assert [state(pid) for pid in pids] == [None] * 2


@pytest.mark.parametrize("size", [2, 3, 4])
def test_expected_results_are_those_of_the_verbs(size, module):
    serve = module("serve")
    count = 17 * 512 * size
    given = np.stack([serve.pattern(count, rank, size) for rank in range(size)]).astype(np.int64)
    parts = given.reshape(size, size, -1)
    shorter = np.concatenate([serve.put_in("allgather", count, rank, size) for rank in range(size)])
    for rank in range(size):
        for verb, wanted in [
            ("allreduce", given.sum(0)),
            ("reduce_scatter", parts.sum(0)[rank]),
            ("broadcast", given[0]),
            ("alltoall", parts[:, rank].reshape(-1)),
            ("allgather", shorter),
        ]:
            assert np.array_equal(serve.expected(verb, count, rank, size), wanted), verb
    assert given.sum(0).max() <= 256, "bfloat16 holds whole numbers exactly up to 256"
    assert len({row.tobytes() for row in parts.reshape(size * size, -1)}) == size * size
