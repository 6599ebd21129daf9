"""Real jobs under mpiexec, for tests of what happens when their ranks fail."""

import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from collectives import shared

from ..processes import state, until

BOUND = 20.0  # seconds for a job that fails at once, start and end of MPI on a busy machine included
SIZES = (2, 3, 4)


class Done(NamedTuple):
    """A job that has ended: its exit status, its two outputs, and the seconds it took."""

    status: int
    stdout: str
    stderr: str
    seconds: float


def _version():
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        return None, ""
    return found, subprocess.run([found, "--version"], capture_output=True, text=True, timeout=30).stdout


PATH, VERSION = _version()
OPEN_MPI = bool(re.search(r"Open MPI|OpenRTE|(?i:prte)", VERSION))
MPICH = bool(re.search("HYDRA|MPICH", VERSION)) and not OPEN_MPI
#: whether mpiexec has options with which it does not end a job of which a rank has died
TOLERANT = bool(re.search(r"Open MPI\) ([5-9]|\d\d)", VERSION))
#: the command that starts ranks, or None
COMMAND = [PATH, *(["--allow-run-as-root", "--oversubscribe", "--bind-to", "none"] if OPEN_MPI else [])]
COMMAND = COMMAND if PATH else None
#: for every job; without the second Open MPI sleeps for a second when it starts, see ringtrain/cli/mpiexec.py
SETTINGS = {"OMP_NUM_THREADS": "1", "OMPI_MCA_btl": "^ofi"}
RINGTRAIN = [sys.executable, "-m", "ringtrain", "run"]


def launch(n, *arguments, options=(), **environment):
    """Run Python with these arguments on n ranks."""
    return finished([*COMMAND, *options, "-n", str(n), sys.executable, *arguments], environment)


def finished(command, environment=()):
    started = time.monotonic()
    done = subprocess.run(
        command,
        env=os.environ | SETTINGS | dict(environment),
        capture_output=True,
        text=True,
        timeout=150,
        stdin=subprocess.DEVNULL,
    )
    return Done(done.returncode, done.stdout, done.stderr, time.monotonic() - started)


def at_every_size(job, sizes=SIZES):
    """job(n) for two, three and four ranks at once: pairs of n and what came of it."""
    with ThreadPoolExecutor(len(sizes)) as pool:
        return list(zip(sizes, pool.map(job, sizes), strict=True))


def compile_kernels():
    """Kernels are compiled once on a machine: not while the bound of a test runs."""
    if hasattr(os, "memfd_create"):
        shared.load()
        from collectives import shared_reducers

        for dtype in (np.float32, np.float64):
            shared_reducers.reducer(np.dtype(dtype))


def nobody_left(stdout):
    """Whether the processes that the job has named are gone, or soon."""
    pids = re.search(r"^pids([ \d]+)$", stdout, re.MULTILINE)[1].split()
    return until(lambda: not any(map(state, pids)), BOUND)
