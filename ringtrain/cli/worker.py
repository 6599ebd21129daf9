"""What every rank runs first: ``python worker.py COMMAND...`` becomes COMMAND, with its output in order.

Three things happen on the host where the rank runs, and then this process *is* the command (``exec``), so
that a script sees what plain ``python script.py`` would have shown it, and the child of mpiexec is the rank
itself:

1. Threads: OMP_NUM_THREADS and its kin become max(1, cores of this host // ranks on this host), unless set.
2. A relay process (relay.py) takes over the rank's stdout and stderr.
3. ``exec``.

Run by path with ``python -I -S``, and imports the standard library alone: it costs about 20 ms a rank.
"""

import os
import re
import signal
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores this process may use: its affinity mask, cut down to the CPU quota of its control group."""
    available = len(os.sched_getaffinity(0))
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:  # control groups version 1
            quota = (cgroup / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return available
    if quota in ("max", "-1"):
        return available
    return max(1, min(available, int(quota) // int(period)))


def first_integer(environment: Mapping[str, str], *names: str) -> int | None:
    """The leading integer of the first of these variables that has one ("4,2" is 4)."""
    for name in names:
        found = re.match(r"\s*(\d+)", environment.get(name, ""))
        if found:
            return int(found[1])
    return None


def rank_of(environment: Mapping[str, str]) -> int | None:
    """This process's rank as its MPI launcher announces it, None where there is no launcher."""
    return first_integer(environment, "OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK")


def ranks_on_host(environment: Mapping[str, str]) -> int:
    """How many ranks of the job run on this host; 1 where no launcher says."""
    return first_integer(environment, "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS") or 1


def set_threads(environment: MutableMapping[str, str], cores_of_host: int) -> None:
    """Fill in the thread counts that are not set. OMP_NUM_THREADS, where set, speaks for the others."""
    threads = first_integer(environment, "OMP_NUM_THREADS")
    if threads is None:
        threads = max(1, cores_of_host // ranks_on_host(environment))
    for name in THREAD_VARIABLES:
        environment.setdefault(name, str(threads))


def main() -> None:
    command = sys.argv[1:]
    set_threads(os.environ, cores())
    rank = rank_of(os.environ)
    socket_name = os.environ.pop("RINGTRAIN_RELAY", "")
    if rank is not None:
        sys.path.insert(0, str(Path(__file__).parent))  # python -I leaves the script's own directory out
        from relay import start_relay

        start_relay(rank, socket_name)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and exec would hand that on
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"ringtrain run: cannot start {command[0]!r}: {error.strerror}")


if __name__ == "__main__":
    main()
