"""Work beside its caller's: its order, its failures, and the end of a program."""

import subprocess
import sys
import threading
import time

import pytest

from collectives.overlap import Overlap


@pytest.fixture(params=[True, False], ids=["thread", "none to be had"])
def threads(request, monkeypatch):
    if not request.param:

        def refuse(thread):
            raise RuntimeError("can't create new thread at interpreter shutdown")

        monkeypatch.setattr(threading.Thread, "start", refuse)
    return request.param


def test_pieces_are_done_in_order_and_before_the_block_is_left(threads):
    done = []
    with Overlap() as beside:
        futures = [beside.start(done.append, number) for number in range(5)]
        futures[2].result()
        assert done[:3] == [0, 1, 2]
        beside.start(lambda: done.append(threading.current_thread() is threading.main_thread()))
    assert done == [0, 1, 2, 3, 4, not threads]


def test_after_a_failure_nothing_begins(threads):
    done = []
    with Overlap() as beside:
        failing = beside.start(lambda: 1 / 0)
        beside.start(done.append, 1)
        with pytest.raises(ZeroDivisionError):
            failing.result()
    assert not done


def test_after_a_failure_of_the_block_nothing_begins():
    done = []

    def held(beside):
        while not beside._failed:
            time.sleep(1e-3)

    with pytest.raises(KeyError), Overlap() as beside:
        beside.start(held, beside)
        beside.start(done.append, 1)
        raise KeyError
    assert not done


def test_work_is_taken_at_the_end_of_a_program():
    program = """
import atexit
from collectives.overlap import Overlap
def end():
    with Overlap() as beside:
        beside.start(print, "done").result()
atexit.register(end)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (ended.stdout, ended.stderr) == ("done\n", "")
