"""Every verb at once while the last rank does not come; a program for mpiexec, run by test_fault_grid.py.

    fault_grid.py late|exit|kill|raise|thread|wait|interrupt [mpi|hosts] [tolerant]

mpi: where the ranks have no shared memory; hosts: nor see each other's processes, as on several hosts. tolerant: the
launcher does not end the job, and is not waited for as long as it might take to.

Each verb has a group and a thread of its own, so that one deadline passes for all of them. Every rank
that survives checks what it is told and prints "rank R of N: FAULT at K verbs", and for one of the verbs the
error, in one line.
"""

import os
import re
import signal
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
from mpi4py import MPI

import collectives as c
from collectives import farewell, mpi_job
from collectives.topology import Topology

DEADLINE = 2.0  # seconds that a collective waits for the last rank, where it is to be late
PATIENCE = 60.0  # seconds for what must succeed, however busy the machine is
SOON = 45.0  # seconds for an error that is due in one

BIG = 1 << 20  # items: more than MPI sends before the receiver asks for it


def x():
    return np.full((12, 2), ME, np.float32)


def row():
    return np.empty((N * 12, 2), np.float32)


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
    "broadcast big async": lambda g: g.broadcast_async(np.ones(BIG), 0).wait(),
    "grouped_allreduce async": lambda g: g.grouped_allreduce_async([x(), x()]).wait(),
    "alltoall": lambda g: g.alltoall(x()),
    "gather": lambda g: g.gather(x(), 0),
    "scatter": lambda g: g.scatter([x()] * N, 0),
    "broadcast_object": lambda g: g.broadcast_object("a", 0),
    "allgather_object": lambda g: g.allgather_object("a"),
    "barrier": lambda g: g.barrier(),
    "join": lambda g: g.join(),
    "Group": lambda g: c.Group([0], g),
    "split": lambda g: g.split(0),
}
MESSAGES = {
    "send": lambda g: g.send(np.ones(BIG), N - 1),
    "recv": lambda g: g.recv(x(), N - 1),
}
ANSWERS = {"send": lambda g: g.recv(np.ones(BIG), 0), "recv": lambda g: g.send(x(), 0)}  # of the last rank to rank 0


def groups(names, timeout):
    """A group of all ranks for each name, in which a wait ends after `timeout` seconds."""
    formed = [c.Group(range(N)) for _ in names]
    for group in formed:
        getattr(group._link, "base", group._link).timeout = timeout
    return formed


def at_once(calls, formed, do):
    """do(name, call, group) for all of them, each in a thread; raises what the first raises."""
    with ThreadPoolExecutor(len(calls)) as pool:
        jobs = [pool.submit(do, *call, group) for call, group in zip(calls.items(), formed, strict=True)]
        for job in jobs:
            job.result()
    return len(jobs)


def expect(error, text, name, call, group):
    """Every rank but the last is told, by this error and text (of the verb's name)."""
    started = time.monotonic()
    try:
        call(group)
    except error as caught:
        ranks = caught.missing if error is c.StallError else caught.ranks
        assert tuple(ranks) == (N - 1,), (name, ranks)
        assert re.search(text(name), str(caught)), f"{text(name)!r} is not in {caught}"
        assert time.monotonic() - started < SOON, name
        if name == "allreduce":
            print(f"{error.__name__}: {caught}", flush=True)
    else:
        raise AssertionError(f"{name} did not fail")


def told_everywhere(fault, error, text, misbehave):
    """What survivors see while the last rank misbehaves: `error` at every verb. Returns the groups by verb."""
    calls = VERBS | MESSAGES
    formed = groups(calls, DEADLINE if error is c.StallError else PATIENCE)
    c.barrier()
    if ME == N - 1:
        misbehave()
    else:
        report(fault, at_once(calls, formed, lambda *verb: expect(error, text, *verb)))
    return dict(zip(calls, formed, strict=True))


def report(fault, verbs):
    print(f"rank {ME} of {N}: {fault} at {verbs} verbs", flush=True)


# -- a rank that is late --------------------------------------------------------------------------


def load_batch():
    """What the last rank does instead, until the others are done."""
    others = MPI.COMM_WORLD.Ibarrier()
    while not others.Test():
        time.sleep(0.01)


def sleeps():
    text = r"it is at \S*fault_grid.py:\d+ in load_batch$"
    formed = told_everywhere(
        "sleep",
        c.StallError,
        lambda name: (
            rf"{name} \w+ rank {N - 1}: no answer .* {text}"
            if name in MESSAGES
            else rf"rank {N - 1} has not joined {name.split(' ')[0]} #1\b.*; {text}"
        ),
        load_batch,
    )
    if ME < N - 1:
        MPI.COMM_WORLD.Ibarrier().Wait()
    else:
        comes_too_late(formed["barrier"])
    c.barrier()  # the world itself still works


def stops():
    survivors = MPI.COMM_WORLD.Split(ME == N - 1)
    told_everywhere(
        "stop",
        c.StallError,
        lambda name: rf"rank {N - 1}( does not answer|: it does not answer) \(stopped or dead\?\)",
        stop,
    )
    survivors.Barrier()
    if ME == 0:
        os.kill(PIDS[N - 1], signal.SIGCONT)
    c.barrier()


def stops_for_a_while():
    """Inside the deadline, that only takes longer."""
    calls = VERBS | {name: (lambda g: None) for name in MESSAGES} if 0 < ME < N - 1 else VERBS | MESSAGES
    calls |= ANSWERS if ME == N - 1 else {}
    formed = groups(calls, PATIENCE)
    c.barrier()
    if ME == N - 1:
        stop()
    if ME == 0:
        resume = threading.Timer(0.5, os.kill, (PIDS[N - 1], signal.SIGCONT))
        resume.start()
    report("pause", at_once(calls, formed, lambda name, call, group: call(group)))
    c.barrier()


def stop():
    os.kill(os.getpid(), signal.SIGSTOP)


def comes_too_late(group):
    """A rank that comes when the others have given up is told so."""
    try:
        for _ in range(2):
            group.barrier()
    except c.StallError as error:
        assert error.missing == tuple(range(N - 1)), error.missing
        assert "takes no part in barrier #2 any more: no answer for" in str(error), error
        print(f"StallError: {error}", flush=True)
    else:
        raise AssertionError("nobody was there, and nothing was said")


# -- a rank that ends -----------------------------------------------------------------------------


def ends(how, text):
    """Survivors are told, and a group of their own goes on."""
    part = c.world.split(ME == N - 1)

    def misbehave():
        time.sleep(0.3)  # by then the others are in their verbs
        how()

    told_everywhere(FAULT, c.PeerFailedError, text, misbehave)
    assert part.allreduce(x(), c.Sum)[0, 0] == sum(range(N - 1))
    try:
        c.Group([0])
    except c.PeerFailedError as error:
        assert error.ranks == (N - 1,)
    else:
        raise AssertionError("a group was formed without one of its makers")
    part.barrier()


def fail():
    raise ValueError("bad batch")


def fail_in_a_thread():
    threading.Thread(target=fail, name="loader").start()
    time.sleep(PATIENCE)


def of_a_verb(text):
    def told(name):
        label = rf"{name} \w+ rank {N - 1}" if name in MESSAGES else name.split(" ")[0] + r"\b.*"
        return f"^{label}: {text}"

    return told


# -- Ctrl-C ---------------------------------------------------------------------------------------


def waits():
    """Until somebody ends the job, while the last rank is in no collective."""
    formed = groups(VERBS, PATIENCE)
    c.barrier()
    if ME == N - 1:
        print("all are waiting", flush=True)
        time.sleep(PATIENCE)
    at_once(VERBS, formed, lambda name, call, group: call(group))


def is_interrupted():
    """In each verb that waits here, while the last rank does not come."""
    calls = {name: call for name, call in (VERBS | MESSAGES).items() if "async" not in name}
    formed = groups(calls, PATIENCE)
    for (name, call), group in zip(calls.items(), formed, strict=True) if ME < N - 1 else ():
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            call(group)
        except KeyboardInterrupt:
            pass
        else:
            raise AssertionError(f"{name} was not interrupted")
        try:
            group.barrier()
        except c.CollectiveError as error:
            assert "this group cannot communicate any more: " in str(error), error
    report("interrupt", len(calls))
    c.barrier()  # the world itself still works


def files():
    """Files in /dev/shm and of temporary directories that this process has open or mapped.

    Less those of MPI, and of the program and its environment, which may themselves lie in such a directory.
    """
    with open("/proc/self/maps") as maps:
        paths = {line.split(maxsplit=5)[-1].strip() for line in maps if "/" in line}
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            paths.add(os.readlink(f"/proc/self/fd/{name}"))
    of_mpi = re.compile("ompi|open_mpi|prte|pmix|sm_segment|vader|mpich|hydra|ucx|psm")
    ours = (sys.prefix, str(Path(__file__).resolve().parents[2]))
    shared = {path for path in paths if path.startswith(("/dev/shm/", tempfile.gettempdir()))}
    return {path for path in shared if not path.startswith(ours) and not of_mpi.search(path)}


FAULT, *WHERE = sys.argv[1:]
if "tolerant" in WHERE:
    WHERE.remove("tolerant")
    farewell.LAUNCHER = 1.0
if WHERE:
    Topology.link = lambda self, base: base
if WHERE == ["hosts"]:
    mpi_job.this_process = lambda: None
BEFORE = files()
c.init(timeout=PATIENCE)
N, ME = c.size(), c.rank()
PIDS = c.allgather_object(os.getpid())
if ME == 0:
    print("pids", *PIDS, flush=True)

assert files() == BEFORE, files()

if FAULT == "late":
    sleeps()
    stops()
    stops_for_a_while()
elif FAULT == "wait":
    waits()
elif FAULT == "interrupt":
    is_interrupted()
elif FAULT == "exit":
    ends(sys.exit, of_a_verb(rf"rank {N - 1} left the job \(by sys.exit, or at the end of the program\) before this "))
elif FAULT == "kill":
    died = rf"rank {N - 1} \(pid {PIDS[N - 1]} on this host\) has died$"
    if WHERE == ["hosts"]:
        died = f"MPI says that rank {N - 1} failed$"
    ends(lambda: os.kill(os.getpid(), signal.SIGKILL), of_a_verb(died))
else:
    raised = of_a_verb(rf"rank {N - 1} raised ValueError: bad batch and ended the job$")
    ends({"raise": fail, "thread": fail_in_a_thread}[FAULT], raised)
