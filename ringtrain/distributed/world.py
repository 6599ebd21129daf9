"""This process among the ranks: joining them, and what data and randomness need to know of them."""

from __future__ import annotations

import os
from typing import Any

import collectives

from .. import random
from ..backend import threads
from ..data.sampler import world as data_world


def init(comm: Any = None, timeout: float = 300.0) -> None:
    """Joins the ranks of this job; call it once, before anything that communicates.

    comm     an mpi4py communicator; None: all processes that mpirun or `ringtrain run` started, or this one alone
    timeout  seconds that a collective waits for a rank that does not come

    Also tells samplers which part of the data is this rank's, dropout which rows of the global batch, and BLAS and
    compiled loops how many threads are this rank's share of the host's cores, unless OMP_NUM_THREADS is set.
    """
    collectives.init(comm, timeout)
    data_world.rank, data_world.size = collectives.rank(), collectives.size()
    random.state.offset, random.state.stride = collectives.rank(), collectives.size()
    if collectives.local_size() > 1 and "OMP_NUM_THREADS" not in os.environ:
        set_threads(max(1, len(os.sched_getaffinity(0)) // collectives.local_size()))


def shutdown() -> None:
    """Leaves the ranks. The process may call `init` again."""
    collectives.shutdown()
    data_world.rank, data_world.size = 0, 1
    random.state.offset, random.state.stride = 0, 1


def set_threads(count: int) -> None:
    """Gives BLAS, compiled loops and numba that many threads in this process."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(count)
    threads.limit(count)
    os.environ.setdefault("NUMBA_NUM_THREADS", str(count))
