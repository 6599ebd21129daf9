"""Who is missed when a rank has left: those whose part in the present collective is not done."""

import time
from collections import deque
from types import SimpleNamespace

import pytest

from collectives import PeerFailedError, farewell
from collectives.farewell import Farewell


class Inbox:
    """A communicator on which these ranks have said these farewells."""

    def __init__(self, *farewells):
        self.messages = deque(farewells)

    def improbe(self):
        if not self.messages:
            return None
        message = self.messages.popleft()
        return SimpleNamespace(recv=lambda: message)


def link(ranks, headers):
    return SimpleNamespace(ranks=ranks, headers=headers, key=None)


@pytest.fixture(autouse=True)
def look_always(monkeypatch):
    monkeypatch.setattr(farewell, "BETWEEN_LOOKS", 0.0)


def test_a_rank_that_left_before_this_collective_is_missed():
    mine = link((0, 4, 6), headers=3)
    key = Farewell(Inbox()).register(mine)
    with pytest.raises(PeerFailedError, match="ranks 4, 6 left the job") as caught:
        Farewell(Inbox((4, {key: 2}), (6, {}), (5, {}))).check(with_key(mine, key))
    assert caught.value.ranks == (4, 6)


def test_a_rank_that_did_its_part_is_not():
    mine = link((0, 4), headers=3)
    key = Farewell(Inbox()).register(mine)
    Farewell(Inbox((4, {key: 3}))).check(with_key(mine, key))


def test_groups_of_the_same_ranks_are_told_apart_and_alike_on_every_rank():
    here, there = Farewell(Inbox()), Farewell(Inbox())
    keys = [here.register(link(ranks, 0)) for ranks in [(0, 1), (0, 2), (0, 1)]]
    assert len(set(keys)) == 3
    assert [there.register(link((0, 1), 0)) for _ in range(2)] == [keys[0], keys[2]]


def with_key(mine, key):
    mine.key = key
    return mine


def test_a_message_fails_when_its_other_end_has_left_for_a_while(monkeypatch):
    """Not at once: what that rank sent before it left may still arrive."""
    mine = link((0, 4, 6), headers=3)
    own = Farewell(Inbox((4, {}), (6, {})))
    own.check(mine, peer=4)
    monkeypatch.setattr(farewell, "LAST_WORDS", 0.0)
    time.sleep(0.001)
    with pytest.raises(PeerFailedError, match=r"^rank 4 left the job .* before this message$") as caught:
        own.check(mine, peer=4)
    assert caught.value.ranks == (4,)
    own.check(mine, peer=0)


def test_a_rank_that_failed_is_named_when_the_launcher_has_had_time_to_end_the_job(monkeypatch):
    mine = link((0, 4, 6), headers=3)
    Farewell(Inbox((6, "raised KeyError: 'x' and ended the job"))).check(mine)
    monkeypatch.setattr(farewell, "LAUNCHER", 0.0)
    late = Farewell(Inbox((6, "raised KeyError: 'x' and ended the job")))
    with pytest.raises(PeerFailedError, match=r"^rank 6 raised KeyError: 'x' and ended the job$") as caught:
        late.check(mine)
    assert caught.value.ranks == (6,)
    late.check(link((0, 4), headers=3))  # a group without it goes on
    late.check(mine, peer=4)


def test_a_process_of_this_host_that_ended_is_dead_unless_it_said_more(monkeypatch):
    monkeypatch.setattr(farewell, "LAST_WORDS", 0.0)
    watch = SimpleNamespace(dead=lambda: {4: 123, 6: 124})
    with pytest.raises(PeerFailedError, match=r"^rank 4 \(pid 123 on this host\) has died$") as caught:
        Farewell(Inbox((6, "raised KeyError and ended the job")), watch).check(link((0, 4, 6), headers=3))
    assert caught.value.ranks == (4,)


def test_what_a_failing_rank_says_and_when_nothing_can_be_said():
    said = []
    sends = SimpleNamespace(
        Get_rank=lambda: 1,
        Get_size=lambda: 3,
        isend=lambda message, to: said.append((message, to)) or SimpleNamespace(Test=lambda: False),
    )
    Farewell(sends).fail("raised KeyError")
    assert said == [((1, "raised KeyError"), 0), ((1, "raised KeyError"), 2)]
    Farewell(SimpleNamespace()).fail("MPI is finalised")  # raises nothing
