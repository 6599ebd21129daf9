"""Ranks that are threads of one process, so that any number of them can be tested anywhere."""

import sys
import threading
import time
from collections import defaultdict, deque

import numpy as np
import pytest

from collectives import nccl, shared
from collectives.arena import Arena
from collectives.errors import StallError
from collectives.group import Group
from collectives.link import Link

from . import fake_cupy

CAPACITY = 64 << 20  # bytes of an arena
PATIENCE = 30.0  # seconds before a test that hangs fails instead


class Transfer:
    """One end of a message. It is `done` when it could be, and `waited` for when its rank knows."""

    def __init__(self, buffer, peer, receiving):
        self.buffer, self.peer, self.receiving = buffer.reshape(-1).view(np.uint8), peer, receiving
        self.done = self.waited = False


class Fabric:
    """Carries messages between threads without buffering, and counts the bytes.

    `late` copies a message when its receiver first waits, and otherwise it is copied as soon as
    both ends are there: the two extremes of what a network may do. A sender that reuses a buffer
    early fails with the first, a receiver that still needs one fails with the second. As in MPI, what
    is being received must not overlap anything else under way, and every message must be waited for.
    """

    def __init__(self, size, late):
        self.late = late
        self.changed = threading.Condition()
        self.unmatched = defaultdict(lambda: (deque(), deque()))  # channel -> sends, receives
        self.ready = [[] for _ in range(size)]  # rank -> matched messages to copy
        self.open = [[] for _ in range(size)]  # rank -> what it has not waited for
        self.sent = [0] * size
        self.messages = [0] * size
        self.dead = False

    def post(self, channel, transfer, rank, receiver):
        with self.changed:
            self.open[rank] = [other for other in self.open[rank] if not other.waited]
            for other in self.open[rank]:
                if transfer.receiving or other.receiving:
                    assert not np.may_share_memory(transfer.buffer, other.buffer), "a buffer is still in use"
            self.open[rank].append(transfer)
            ends = self.unmatched[channel]
            ends[transfer.receiving].append(transfer)
            if ends[0] and ends[1]:
                self.ready[receiver].append((ends[0].popleft(), ends[1].popleft()))
                if not self.late:
                    self.copy(receiver)
                self.changed.notify_all()
        return transfer

    def copy(self, receiver):
        for send, receive in self.ready[receiver]:
            assert send.buffer.size == receive.buffer.size, "message and buffer differ in size"
            receive.buffer[...] = send.buffer
            send.done = receive.done = True
        self.ready[receiver].clear()

    def wait(self, rank, requests, timeout):
        end = time.monotonic() + timeout
        with self.changed:
            while True:
                if self.ready[rank]:
                    self.copy(rank)
                    self.changed.notify_all()
                if all(request.done for request in requests):
                    for request in requests:
                        request.waited = True
                    return
                if self.dead or not self.changed.wait(end - time.monotonic()):
                    raise StallError("no answer", {request.peer for request in requests if not request.done})


class ThreadLink(Link):
    def __init__(self, fabric, members, me, small=0, timeout=PATIENCE, key=()):
        self.fabric, self.members, self.me, self.small = fabric, members, me, small
        self.timeout, self.key, self.formed = timeout, key, 0
        self.rank, self.size, self.ranks = members.index(me), len(members), tuple(members)

    def isend(self, buffer, to, tag=0):
        self.fabric.sent[self.me] += buffer.nbytes
        self.fabric.messages[self.me] += 1
        return self._post(buffer, to, self.me, self.members[to], tag, receiving=False)

    def irecv(self, buffer, source, tag=0):
        return self._post(buffer, source, self.members[source], self.me, tag, receiving=True)

    def _post(self, buffer, peer, source, to, tag, receiving):
        return self.fabric.post((self.key, source, to, tag), Transfer(buffer, peer, receiving), self.me, to)

    def wait(self, requests, timeout=None, peer=None):
        self.fabric.wait(self.me, requests, self.timeout if timeout is None else timeout)

    def sub(self, ranks):
        self.formed += 1
        if ranks is None:
            return None
        members = [self.members[rank] for rank in ranks]
        key = (*self.key, self.formed, min(members))
        return ThreadLink(self.fabric, members, self.me, self.small, self.timeout, key)


def run_ranks(size, work, *, late=True, small=0, timeout=PATIENCE, strays=False):
    """work(link) on `size` ranks at once: the list of results, and the fabric.

    strays: whether the work may leave messages under way, as it must when a rank does not come.
    """
    fabric = Fabric(size, late)
    results, errors = [None] * size, {}

    def run(rank):
        try:
            results[rank] = work(ThreadLink(fabric, list(range(size)), rank, small, timeout))
            forgotten = [transfer for transfer in fabric.open[rank] if not transfer.waited]
            assert strays or not forgotten, "a message was not waited for"
        except BaseException as error:
            errors[rank] = error
            with fabric.changed:  # the others cannot succeed any more
                fabric.dead = True
                fabric.changed.notify_all()

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE)
        assert not thread.is_alive(), "a rank hangs"
    # A stall is what the others see of a rank that failed: that rank's error is the interesting one.
    for error in sorted(errors.values(), key=lambda error: isinstance(error, StallError)):
        raise error
    return results, fabric


def run_groups(size, work, **options):
    """work(group) on `size` ranks, each with its own end of one group: the list of results."""

    def with_group(link):
        group = Group._unattached()
        group._attach(link, range(size))
        try:
            return work(group)
        finally:
            group._close()

    return run_ranks(size, with_group, **options)[0]


@pytest.fixture
def ranks():
    return run_ranks


@pytest.fixture
def groups():
    return run_groups


@pytest.fixture
def shared_groups(ranks):
    """work(group, arena) on n ranks that share memory: the list of results."""

    def run(size, work, **options):
        arenas = [Arena(CAPACITY) for _ in range(size)]

        def with_group(link):
            group, arena = Group._unattached(), arenas[link.rank]
            group._attach(shared.share(link, arena, arenas, crowded=True), range(size))
            try:
                return work(group, arena)
            finally:
                group._close()

        return ranks(size, with_group, **options)[0]

    return run


@pytest.fixture(params=[True, False], ids=["late", "early"])
def late(request):
    return request.param


@pytest.fixture
def cupy(monkeypatch):
    """The stand-in for CuPy, imported by its name."""
    modules = fake_cupy.modules()
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(nccl._Settings, "wanted", True)
    return modules["cupy"]


@pytest.fixture(params=["nccl", "staged"])
def gpus(request, groups, cupy):
    """work(group) on n ranks, with a GPU for each or one for all; at the end the way that data went is checked."""

    def run(n, work, **options):
        def with_gpu(g):
            with cupy.cuda.Device(g.rank if request.param == "nccl" else 0):
                return work(g)

        return groups(n, with_gpu, **options)

    run.way = request.param
    return run
