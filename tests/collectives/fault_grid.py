"""Every verb at once while one rank does not come; a program for mpiexec, run by test_faults.py.

    fault_grid.py sleep|stop|kill|extra

Each verb has a group and a thread of its own, so that one deadline passes for all of them. Every rank
that survives checks what it is told and prints "rank R of N saw K verbs fail".
"""

import os
import re
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from mpi4py import MPI

import collectives as c

DEADLINE = 1.0  # seconds that a collective waits
PATIENCE = 60.0  # seconds for what must succeed, however busy the machine is

BIG = 1 << 20  # items: more than MPI sends before the receiver asks for it


def x():
    return np.full((6, 2), c.rank(), np.float32)


def row():
    return np.empty((c.size() * 6, 2), np.float32)


VERBS = {
    "allreduce": lambda g: g.allreduce(x()),
    "allreduce in place": lambda g: g.allreduce_(x()),
    "allreduce big": lambda g: g.allreduce(np.ones(BIG)),
    "allreduce async": lambda g: g.allreduce_async(x()).wait(),
    "grouped_allreduce": lambda g: g.grouped_allreduce([x(), x()]),
    "reduce_scatter": lambda g: g.reduce_scatter(x()),
    "allgather": lambda g: g.allgather(x()),
    "allgather async": lambda g: g.allgather_async(x()).wait(),
    "allgather_into": lambda g: g.allgather_into(row(), x()),
    "broadcast": lambda g: g.broadcast(x(), 0),
    "alltoall": lambda g: g.alltoall(x()),
    "gather": lambda g: g.gather(x(), 0),
    "scatter": lambda g: g.scatter([x()] * c.size(), 0),
    "broadcast_object": lambda g: g.broadcast_object("a", 0),
    "allgather_object": lambda g: g.allgather_object("a"),
    "barrier": lambda g: g.barrier(),
    "Group": lambda g: c.Group([0], g),
    "split": lambda g: g.split(0),
}
MESSAGES = {
    "send": lambda g: g.send(np.ones(BIG), culprit()),
    "recv": lambda g: g.recv(x(), culprit()),
}


def culprit():
    return c.size() - 1


def load_batch():
    """What the culprit does instead, until the others have seen enough."""
    others = MPI.COMM_WORLD.Ibarrier()
    while not others.Test():
        time.sleep(0.01)


def expect(error, call, group, text):
    """Every rank but the culprit is told, by this error and text."""
    try:
        call(group)
    except error as caught:
        assert caught.missing == (culprit(),), caught.missing
        assert re.search(text, str(caught)), f"{text!r} is not in {caught}"
        return 1
    raise AssertionError(f"{text} did not fail")


def nobody_comes(told):
    """Each verb fails with `told` (of the verb's name), all at the same time."""
    calls = VERBS | MESSAGES
    groups = [c.Group(range(c.size())) for _ in calls]
    survivors = MPI.COMM_WORLD.Split(c.rank() == culprit())
    everyone_ready(PATIENCE)
    if c.rank() == culprit():
        misbehave()
    else:
        with ThreadPoolExecutor(len(calls)) as pool:
            failed = [
                pool.submit(expect, c.StallError, call, group, told(name))
                for (name, call), group in zip(calls.items(), groups, strict=True)
            ]
            print(f"rank {c.rank()} of {c.size()} saw {sum(f.result() for f in failed)} verbs fail", flush=True)
        survivors.Barrier()
        if FAULT == "stop":
            os.kill(PIDS[culprit()], signal.SIGCONT)
        MPI.COMM_WORLD.Ibarrier().Wait()
    everyone_ready(PATIENCE)  # the world itself still works


def everyone_ready(patience):
    c.barrier(timeout=patience)


def misbehave():
    if FAULT == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if FAULT == "kill":
        time.sleep(DEADLINE / 4)  # the others are in their verbs
        os.kill(os.getpid(), signal.SIGKILL)
    load_batch()


def one_call_too_many():
    """The culprit calls each verb once more than the others, who are at the next call."""
    count = 0
    for name, call in VERBS.items():
        following = (lambda g: g.allreduce(np.ones(3), name="next")) if name == "barrier" else (lambda g: g.barrier())
        try:
            (call if c.rank() == culprit() else following)(c.world)
        except c.MismatchError as error:
            odd = error.by_rank.pop(culprit())
            assert odd.split(" ")[0] == name.split(" ")[0] and len(set(error.by_rank.values())) == 1, error
            count += 1
        following(c.world)
    print(f"rank {c.rank()} of {c.size()} saw {count} verbs fail", flush=True)


FAULT = sys.argv[1]
c.init(timeout=PATIENCE if FAULT in ("extra", "kill") else DEADLINE)
PIDS = c.allgather_object(os.getpid())
if c.rank() == 0:
    print("pids", *PIDS, flush=True)

if FAULT == "extra":
    one_call_too_many()
elif FAULT == "stop":
    nobody_comes(lambda name: rf"rank {culprit()}( does not answer|: it does not answer) \(stopped or dead\?\)")
else:
    PLACE = r"it is at \S*fault_grid.py:\d+ in load_batch$"
    nobody_comes(
        lambda name: (
            rf"{name} \w+ rank {culprit()}: no answer .* {PLACE}"
            if name in MESSAGES
            else rf"rank {culprit()} has not joined {name.split(' ')[0]} #1\b.*; {PLACE}"
        )
    )
