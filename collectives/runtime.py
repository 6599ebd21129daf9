"""Joining and leaving the job: `init`, `shutdown` and where this process stands among the others.

Started by an MPI launcher, `init` loads MPI and every process becomes a rank. Started as a plain
program it loads no MPI, and there need not be one: the process is rank 0 of 1. A launcher is
recognised by the environment it gives its processes: OMPI_COMM_WORLD_SIZE (Open MPI), PMI_SIZE
(MPICH, Intel MPI, Slurm's PMI plugins), SLURM_STEP_NUM_TASKS with PMIX_RANK (Slurm's PMIx plugin).
"""

import atexit
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from . import memory, nccl
from .errors import CollectiveError, PeerFailedError
from .group import world
from .header import Call
from .link import SoloLink
from .membership import Failure
from .mpi_job import MpiJob, Place, launched_size, launched_world
from .timeline import clock_offset, timeline, write
from .verbs import Work


class _Process:
    """What this process is part of. One object, because a process is in one job at a time."""

    def __init__(self) -> None:
        self.place: Place | None = None
        self.mpi: MpiJob | None = None
        #: jobs that failed and were left nevertheless, and why they failed; what they hold must be kept
        self.wrecks: list[tuple[MpiJob, Failure]] = []

    def join(self, comm: Any, timeout: float) -> None:
        expected = launched_size() if comm is None else None
        if comm is None and expected is None:
            world._attach(SoloLink(), [0])
            self.place = Place()
            return
        self.mpi = MpiJob(launched_world(expected) if expected is not None else comm, timeout)
        self.place = self.mpi.place
        world._attach(self.mpi.link, range(self.place.size), self.mpi.status)

    def leave(self) -> None:
        if timeline.active and self.place is not None:
            _last_of_timeline(self.place.rank)
        failure = world._close()
        mpi, self.mpi, self.place = self.mpi, None, None
        if mpi is None:
            return
        if failure is None:
            try:
                mpi.leave()
            except PeerFailedError as error:
                self.wrecks.append((mpi, Failure(str(error), error)))
                raise
        else:  # messages are under way that nobody will receive: MPI cannot be finalised
            self.wrecks.append((mpi, failure))

    def forget(self) -> None:
        """In a process forked from a rank, which is no rank itself and must not say farewell as one."""
        self.place = self.mpi = None
        self.wrecks.clear()
        timeline.active = False
        world._forget()


_process = _Process()
os.register_at_fork(after_in_child=_process.forget)


def init(comm: Any = None, timeout: float = 300.0) -> None:
    """Join the job; collective over its ranks.

    comm: an mpi4py intracommunicator whose ranks are the world; None takes all that the launcher
    started, or one rank without a launcher. timeout: seconds that a collective may go without an
    answer before it raises StallError. Does nothing in a process that has joined already. With
    RINGTRAIN_NCCL=0 CuPy arrays go through host memory everywhere.

    Raises CollectiveError where a launcher started processes that cannot find each other. From now
    on, with MPI, an exception that nothing catches ends all ranks.
    """
    if timeout <= 0:
        raise ValueError(f"timeout={timeout} must be a positive number of seconds")
    if _process.place is None:
        nccl.configure()
        _process.join(comm, timeout)
        atexit.unregister(_at_exit)  # one call at exit, however often the job is joined
        atexit.register(_at_exit)
        if path := os.environ.get("RINGTRAIN_TIMELINE"):
            start_timeline(path)


def shutdown() -> None:
    """Leave the job when queued work is done and every rank leaves; `init` may follow.

    Called at exit by itself. While an exception is being handled it does nothing, so that a
    `finally: shutdown()` on a rank that fails does not wait for the others but lets the exception
    out, which ends the job.
    """
    if _process.place is not None and sys.exc_info()[0] is None:
        _process.leave()


def start_timeline(path: str | os.PathLike[str]) -> None:
    """Record what every rank does until `stop_timeline` or the end of the job. Collective.

    path: where rank 0 will write the trace, JSON that https://ui.perfetto.dev opens: a process for each
    rank, all on rank 0's clock, with the collectives of each group and what `timeline_range` marks.
    RINGTRAIN_TIMELINE=path does this in `init`. A rank that fails writes its own part to path.rankN.
    """
    where = os.fspath(path)

    def build() -> Work:
        if timeline.active:
            raise ValueError(f"start_timeline({where!r}): a timeline is being recorded to {timeline.path!r} already")
        return Work(Call("start_timeline", detail=where), lambda link: timeline.begin(where, clock_offset(link)))

    world._run("start_timeline", build)


def stop_timeline() -> None:
    """Write the timeline that is being recorded; collective, and when it returns the file is there.

    Raises CollectiveError, on every rank, where rank 0 cannot write it.
    """
    if not timeline.active:
        raise ValueError("stop_timeline: none is being recorded; call start_timeline(path) first")
    part = np.frombuffer(timeline.part(rank()), np.uint8)
    parts = world.gather(part, 0, name="timeline")
    timeline.end()
    problem = ""
    if parts is not None:
        try:
            write(timeline.path, [part.tobytes() for part in parts])
        except OSError as error:
            problem = str(error)
    if problem := world.broadcast_object(problem, 0, name="timeline"):
        raise CollectiveError(f"rank 0 cannot write the timeline: {problem}")


def _last_of_timeline(rank: int) -> None:
    """Write the timeline as the job is left, whole if the ranks can still bring it together."""
    try:
        try:
            stop_timeline()
        except CollectiveError:
            if not timeline.active:
                raise
            timeline.salvage(rank)
    except (CollectiveError, OSError) as error:
        print(f"rank {rank}: {error}", file=sys.stderr)


def empty(shape: int | Sequence[int], dtype: DTypeLike = np.float32) -> np.ndarray:
    """An uninitialised array, contiguous and aligned to a cache line, for data that is communicated often.

    Where all ranks are on one host it lies in memory that all of them map, and reducing it copies
    nothing; anywhere else, and before `init`, it is the process's own. Ranks may call this in any
    order and with any shapes. A forked process shares the array with its parent.
    """
    return memory.empty(shape, dtype, _process.mpi.arena if _process.mpi is not None else None)


def is_initialized() -> bool:
    """Whether `init` has been called, and `shutdown` not since."""
    return _process.place is not None


def rank() -> int:
    """This process's number in the job, 0..size()-1."""
    return _place("rank").rank


def size() -> int:
    """How many processes the job has."""
    return _place("size").size


def local_rank() -> int:
    """This process's number on its host, 0..local_size()-1."""
    return _place("local_rank").local_rank


def local_size() -> int:
    """How many processes of the job are on this host."""
    return _place("local_size").local_size


def cross_rank() -> int:
    """This host's number among the hosts that have a process with this local rank."""
    return _place("cross_rank").cross_rank


def cross_size() -> int:
    """How many hosts have a process with this local rank."""
    return _place("cross_size").cross_size


def _place(asked: str) -> Place:
    if _process.place is None:
        raise CollectiveError(f"{asked}: call ringtrain.init() first, or collectives.init() without ringtrain")
    return _process.place


def _at_exit() -> None:
    with suppress(PeerFailedError):  # a wreck, then
        shutdown()
    if _process.wrecks:
        mpi, failure = _process.wrecks[0]
        print(f"{mpi.who} ends the job: {failure.reason}", file=sys.stderr)
        mpi.end(1, f"ended the job: {failure.reason}")
