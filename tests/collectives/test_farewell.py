"""Who is missed when a rank has left: those whose part in the present collective is not done."""

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
