"""Where every rank is: what is asked, answered and said, over messages between threads."""

import threading
import time
from collections import deque
from types import SimpleNamespace

import numpy as np
import pytest

from collectives import StallError, status
from collectives.group import Group
from collectives.header import Agreement, Call
from collectives.lines import place
from collectives.link import Books
from collectives.status import Report, StatusService, describe

CALL = Call("allreduce", "grad bucket 3", np.dtype("f4"), (1048576,))
LABEL = "allreduce #814 'grad bucket 3' (float32[1048576])"


def report(begun=814, within=True, abandoned="", elsewhere="", place="train.py:57 in load_batch"):
    return Report(begun, within, abandoned, elsewhere, place)


class Mail:
    """A communicator between threads. Ranks of `deaf` receive nothing, as a stopped process does."""

    def __init__(self, size, deaf=()):
        self.boxes = [deque() for _ in range(size)]
        self.deaf = deaf

    def end(self, rank):
        done = SimpleNamespace(Test=lambda: True)

        def improbe():
            box = self.boxes[rank]
            if rank in self.deaf or not box:
                return None
            message = box.popleft()
            return SimpleNamespace(recv=lambda: message)

        def isend(message, to):
            self.boxes[to].append(message)
            return done

        return SimpleNamespace(
            Get_rank=lambda: rank, improbe=improbe, isend=isend, Ibarrier=lambda: done, Free=lambda: None
        )


@pytest.fixture
def services(monkeypatch):
    """services(size, warn_after=0, deaf=()): each rank's service, with one agreement of all ranks."""
    monkeypatch.setattr(status, "BETWEEN_LOOKS", 0.01)
    started = []

    def start(size, warn_after=0.0, deaf=()):
        mail = Mail(size, deaf)
        for rank in range(size):
            service = StatusService(mail.end(rank), warn_after)
            agreement = Agreement(SimpleNamespace(rank=rank, size=size, books=Books()), range(size))
            service.register(agreement)
            started.append((service, agreement))
        return started

    yield start
    for service, _ in started:
        service.close()


def enter(agreement, sequence=814, call=CALL):
    agreement.sequence, agreement.current = sequence, call


def test_one_rank_that_has_not_joined():
    text, missing = describe(LABEL, 814, [0, 1, 2], {0: report(), 1: report(815, False), 2: report(813, False)})
    assert text == f"rank 2 has not joined {LABEL}; it is at train.py:57 in load_batch"
    assert missing == (2,)


def test_a_rank_that_waits_in_another_group():
    late = report(3, False, elsewhere="barrier #3 of ranks 1, 2")
    text, _ = describe(LABEL, 814, [0, 1], {0: report(), 1: late})
    assert text.endswith("it is at train.py:57 in load_batch, in barrier #3 of ranks 1, 2")


def test_several_missing_ranks_have_a_line_each():
    text, missing = describe(LABEL, 814, range(12), {0: report(), 1: report(814, False, "barrier: no answer")})
    assert missing == tuple(range(2, 12))  # rank 1 came, waited and gave up
    lines = text.split("\n")
    assert lines[1] == f"  rank 1 takes no part in {LABEL} any more: barrier: no answer"
    assert lines[2] == f"  rank 2 does not answer (stopped or dead?) in {LABEL}"
    assert lines[-1] == "  and 3 more ranks" and len(lines) == 10


def test_a_rank_that_gave_up_is_missing_where_nobody_else_is_or_it_never_came():
    gave_up, never_came = (report(begun, False, "barrier: no answer") for begun in (814, 813))
    assert describe(LABEL, 814, [0, 1], {0: report(), 1: gave_up})[1] == (1,)
    assert describe(LABEL, 814, [0, 1, 2], {0: report(), 1: gave_up, 2: never_came})[1] == (2,)


def test_a_rank_that_failed_later_took_its_part():
    _, missing = describe(LABEL, 814, [0, 1], {0: report(), 1: report(815, False, "barrier: no answer")})
    assert missing == ()


def test_nobody_is_missing():
    assert describe(LABEL, 814, [0], {0: report()}) == (
        f"all ranks have joined {LABEL}, and its data does not arrive",
        (),
    )


def test_the_place_is_a_line_of_the_program_and_not_of_a_library():
    seen = []
    thread = threading.Thread(target=lambda: (time.sleep(0.05), seen.append(place())))
    thread.start()
    thread.join()  # the main thread is inside threading.py
    assert seen[0].endswith(" in test_the_place_is_a_line_of_the_program_and_not_of_a_library")
    assert seen[0].startswith("tests/collectives/test_status.py:") or "/test_status.py:" in seen[0]


def test_a_stall_names_the_missing_rank_and_the_one_that_is_stopped(services, monkeypatch):
    monkeypatch.setattr(status, "PATIENCE", 0.3)
    (zero, waiting), (_, late), _ = services(3, deaf=[2])
    enter(waiting)
    late.sequence = 813
    text, missing = zero.explain(waiting)
    assert missing == (1, 2)
    assert f"rank 1 has not joined {LABEL}; it is at " in text and "test_status.py:" in text
    assert f"rank 2 does not answer (stopped or dead?) in {LABEL}" in text
    assert zero.where(2) == "it does not answer (stopped or dead?)"
    assert zero.where(1).startswith("it is at ")


def test_an_answer_that_comes_late_is_not_taken_for_another(services, monkeypatch):
    monkeypatch.setattr(status, "PATIENCE", 0.1)
    deaf = [0]
    (zero, waiting), (_, late) = services(2, deaf=deaf)
    enter(waiting, 5)
    late.sequence = 4
    assert zero.explain(waiting)[1] == (0, 1)  # the answers are there, unread
    late.sequence = 5
    deaf.clear()
    monkeypatch.setattr(status, "PATIENCE", 5.0)
    assert zero.explain(waiting)[1] == ()


def test_groups_of_the_same_ranks_are_told_apart(services):
    (zero, first), (one, _) = services(2)
    others = [Agreement(SimpleNamespace(rank=rank, size=2, books=Books()), range(2)) for rank in range(2)]
    zero.register(others[0])
    one.register(others[1])
    enter(others[0], 2)
    others[1].sequence = 1
    assert zero.explain(others[0])[1] == (1,)
    enter(others[1], 2)
    assert zero.explain(others[0])[1] == ()
    enter(first, 2)
    assert zero.explain(first)[1] == (1,)


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def test_the_lowest_waiting_rank_warns_once(services, capsys):
    (_, late), (one, first), (two, second) = services(3, warn_after=0.1)
    late.sequence = 813
    enter(first)
    enter(second)
    for service in (one, two):
        until(lambda service=service: [seen.look for seen in service._waiting.values()] == [float("inf")])
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"rank 1 has waited for 0 s: rank 0 has not joined {LABEL}; it is at " in said


def test_a_long_transfer_that_all_have_joined_is_no_stall(services, capsys):
    pairs = services(2, warn_after=0.05)
    for _, agreement in pairs:
        enter(agreement)
    looks = []

    def looked_often():
        looks.append(tuple(seen.look for service, _ in pairs for seen in service._waiting.values()))
        return len(set(looks)) > 5

    until(looked_often)
    assert capsys.readouterr().err == ""


def test_no_warning_where_it_is_turned_off(services, capsys):
    (zero, waiting), _ = services(2, warn_after=0.0)
    enter(waiting)
    time.sleep(0.1)
    assert zero._waiting == {} and capsys.readouterr().err == ""


def test_a_collective_says_whom_it_waits_for(ranks, services):
    pairs = services(2)

    def work(link):
        group = Group._unattached()
        group._attach(link, range(2), pairs[link.rank][0])
        if link.rank == 1:
            return None
        with pytest.raises(StallError) as caught:
            group.allreduce(np.ones(3), name="w")
        return str(caught.value), caught.value.missing, group._agreement.abandoned

    text, missing, abandoned = ranks(2, work, timeout=0.2, strays=True)[0][0]
    assert text == abandoned and missing == (1,)
    assert text.startswith("no answer: rank 1 has not joined allreduce #1 'w' (float64[3]); it is at ")
