"""Work in the background: in the order in which it was submitted, whatever order it is waited for in."""

import threading

import numpy as np
import pytest

from collectives import CollectiveError, StallError, Sum
from collectives.progress import Progress


def test_many_in_flight_waited_for_backwards(groups):
    def work(g):
        handles = [g.allreduce_async_(np.full(100 + i, float(g.rank + i)), Sum) for i in range(20)]
        results = [handle.wait() for handle in reversed(handles)]
        assert all(handle.done() for handle in handles)
        return [result[0] for result in results]

    for result in groups(3, work):
        assert result == [3 + 3 * i for i in reversed(range(20))]


def test_a_blocking_call_keeps_its_place_in_the_order(groups):
    """Rank 1 queues what rank 0 does at once: the headers agree only if both follow one order."""

    def work(g):
        if g.rank == 0:
            return [float(g.allreduce(np.array(1.0 + i), Sum, name=str(i))) for i in range(6)]
        handles = [g.allreduce_async(np.array(1.0 + i), Sum, name=str(i)) for i in range(5)]
        last = g.allreduce(np.array(6.0), Sum, name="5")
        return [float(handle.wait()) for handle in handles] + [float(last)]

    assert groups(2, work) == [[2.0, 4, 6, 8, 10, 12]] * 2


def test_an_argument_of_an_async_verb_may_be_changed_at_once(groups):
    def work(g):
        x = np.ones((4, 2), np.float32)
        handles = [
            g.allreduce_async(x, Sum),
            g.allgather_async(x),
            g.broadcast_async(x, 0),
            g.reduce_scatter_async(x, Sum),
            g.alltoall_async(x),
            g.grouped_allreduce_async([x], Sum),
        ]
        x[...] = 99
        return [np.max(handle.wait()) for handle in handles]

    assert groups(2, work) == [[2, 1, 1, 2, 1, 2]] * 2


def test_a_wait_that_times_out_names_what_it_waits_for_and_may_be_repeated(groups):
    first_waited = threading.Event()

    def work(g):
        if g.rank == 1:
            first_waited.wait(20)
            return float(g.allreduce(np.array(2.0), Sum, name="late"))
        handle = g.allreduce_async(np.array(1.0), Sum, name="late")
        assert not handle.done()
        with pytest.raises(StallError, match=r"allreduce 'late' float64\[\] op=Sum is not complete after 0.01 s"):
            handle.wait(0.01)
        first_waited.set()
        return float(handle.wait())

    assert groups(2, work) == [3.0, 3.0]


def test_a_rank_that_does_not_come_is_a_stall_and_the_group_says_so_from_then_on(groups):
    def work(g):
        if g.rank == 0:
            return None
        with pytest.raises(StallError, match=r"allreduce 'w' float64\[\] op=Sum: no answer") as caught:
            g.allreduce(np.array(1.0), Sum, name="w")
        assert caught.value.missing == (0,)
        with pytest.raises(CollectiveError, match="barrier: this group cannot communicate any more: allreduce 'w'"):
            g.barrier()
        with pytest.raises(CollectiveError, match="cannot communicate any more"):
            g.allreduce_async(np.array(1.0)).wait()
        return g._failure.reason

    assert groups(2, work, timeout=0.2, strays=True)[1].startswith("allreduce 'w'")


def test_a_barrier_has_a_timeout_of_its_own(groups):
    def work(g):
        if g.rank == 1:
            with pytest.raises(StallError, match="barrier: no answer"):
                g.barrier(timeout=0.05)

    groups(2, work, strays=True)


def test_an_error_reaches_every_wait_and_the_next_work_runs():
    progress = Progress()
    failing = progress.submit("failing", lambda: 1 // 0)
    fine = progress.submit("fine", lambda: 42)
    assert fine.wait(20) == 42
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            failing.wait()
    progress.close()


def test_an_error_that_nobody_waits_for_is_printed_in_the_end(capsys):
    progress = Progress()
    heard, unheard = [progress.submit(name, lambda: 1 // 0) for name in ("heard", "unheard")]
    with pytest.raises(ZeroDivisionError):
        heard.wait()
    progress.close()
    assert capsys.readouterr().err == ("unheard failed and nobody waited for it: integer division or modulo by zero\n")
    assert unheard.done()


def test_work_runs_inline_when_nothing_is_queued_and_in_turn_otherwise():
    progress, me = Progress(), threading.get_ident()
    assert progress.run("inline", threading.get_ident) == me
    release, order = threading.Event(), []
    slow = progress.submit("slow", lambda: release.wait(20) and order.append("slow"))
    threading.Timer(0.05, release.set).start()
    assert progress.run("behind", lambda: order.append("behind") or threading.get_ident()) != me
    assert order == ["slow", "behind"] and slow.done()
    assert progress.run("inline again", threading.get_ident) == me
    progress.close()


def test_background_work_waits_for_a_blocking_call_of_another_thread():
    progress, started, release, order = Progress(), threading.Event(), threading.Event(), []

    def block():
        started.set()
        release.wait(20)
        order.append("blocking")

    thread = threading.Thread(target=progress.run, args=("blocking", block))
    thread.start()
    started.wait(20)
    handle = progress.submit("behind", lambda: order.append("behind"))
    with pytest.raises(StallError, match=r"behind is not complete after 0.1 s"):
        handle.wait(0.1)
    release.set()
    handle.wait(20)
    thread.join()
    assert order == ["blocking", "behind"]
    progress.close()


def test_closing_finishes_what_was_queued_and_ends_the_thread():
    progress, done = Progress(), []
    handles = [progress.submit("work", lambda i=i: done.append(i)) for i in range(10)]
    thread = progress._thread
    progress.close()
    assert done == list(range(10)) and all(handle.done() for handle in handles)
    assert thread is not None and not thread.is_alive()
    with pytest.raises(CollectiveError, match="late: this group has been shut down"):
        progress.submit("late", lambda: None)
