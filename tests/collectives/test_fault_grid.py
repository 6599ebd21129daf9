"""Every fault at every verb with two, three and four ranks, against the table of collectives/FAULTS.md."""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from .fault_table import ROWS, table
from .jobs import (
    BOUND,
    COMMAND,
    MPICH,
    OPEN_MPI,
    RINGTRAIN,
    SIZES,
    TOLERANT,
    at_every_size,
    compile_kernels,
    finished,
    launch,
    nobody_left,
)

pytestmark = pytest.mark.skipif(COMMAND is None, reason="no mpiexec beside this Python or on PATH")
HERE = Path(__file__).parent
GRID, MISMATCHES = str(HERE / "fault_grid.py"), str(HERE / "mismatch_grid.py")
PAGE = HERE.parents[1] / "collectives" / "FAULTS.md"
EVERY_VERB = 23  # those of fault_grid.py, messages included
WAYS = [pytest.param([], SIZES, id="shared memory"), pytest.param(["mpi"], (3,), id="MPI")]
BOUND_OF_THREE = 2 * BOUND  # seconds for the jobs of all sizes at once


@pytest.fixture(scope="module", autouse=True)
def compiled():
    compile_kernels()


def check_said(done, n, fault, row, verbs=EVERY_VERB, ranks=None):
    """Every rank that survives has seen the row's error at every verb, and nobody is left."""
    said = sorted(re.findall(rf"rank \d of \d: {fault} at \d+ verbs", done.stdout))  # launchers join lines
    survivors = range(n - 1) if ranks is None else ranks
    assert said == [f"rank {rank} of {n}: {fault} at {verbs} verbs" for rank in survivors], done.stderr
    check_told(done, n, row, row.error.partition(" ")[0])
    assert nobody_left(done.stdout)


def check_told(done, n, row, error=""):
    for pattern in row.patterns(n):
        assert re.search(pattern, done.stdout + done.stderr), f"{row.told!r} is not in {done.stdout}{done.stderr}"
    assert error in ("", "none", *re.findall(r"\w+", done.stdout + done.stderr))


@pytest.mark.parametrize("where, sizes", WAYS)
def test_ranks_that_disagree(where, sizes):
    for n, done in at_every_size(lambda n: launch(n, MISMATCHES, *where), sizes):
        said = re.findall(r"rank \d of \d: \d+ disagreements", done.stdout)
        assert sorted(said) == [f"rank {rank} of {n}: 189 disagreements" for rank in range(n)], done.stderr
        assert done.status == 0 and "Traceback" not in done.stderr
        for fault in ("mismatch", "count", "message"):
            check_told(done, n, ROWS[fault], ROWS[fault].error)


@pytest.mark.parametrize("where, sizes", WAYS)
def test_a_rank_that_is_late(where, sizes):
    for n, done in at_every_size(lambda n: launch(n, GRID, "late", *where), sizes):
        check_said(done, n, "sleep", ROWS["sleep"])
        check_said(done, n, "stop", ROWS["stop"])
        check_said(done, n, "pause", ROWS["pause"], ranks=range(n))
        check_told(done, n, ROWS["too late"])
        assert "Traceback" not in done.stderr and done.status != 0


@pytest.mark.parametrize("where, sizes", WAYS)
def test_a_rank_that_ends_early(where, sizes):
    for n, done in at_every_size(lambda n: launch(n, GRID, "exit", *where), sizes):
        check_said(done, n, "exit", ROWS["exit"])
        assert "Traceback" not in done.stderr and done.status != 0


@pytest.mark.parametrize("fault", ["raise", "thread"])
def test_a_rank_that_raises(fault):
    for n, done in at_every_size(lambda n: launch(n, GRID, fault)):
        check_told(done, n, ROWS["raise"])
        assert done.status != 0 and done.seconds < BOUND_OF_THREE
        assert done.stderr.count("Traceback") == 1 and "ValueError: bad batch" in done.stderr
        assert nobody_left(done.stdout)


def test_a_rank_that_is_killed():
    for n, done in at_every_size(lambda n: finished([*RINGTRAIN, "-n", str(n), GRID, "kill"])):
        check_told(done, n, ROWS["kill"] if OPEN_MPI else ROWS["kill"]._replace(told="a rank was ended by signal 9"))
        assert done.status != 0 and done.seconds < BOUND_OF_THREE and nobody_left(done.stdout)


TOLERANTLY = {"ulfm": ["--with-ft", "ulfm"], "continuous": ["--continuous"]}


@pytest.mark.skipif(not TOLERANT, reason="this mpiexec ends every job of which a rank has died")
@pytest.mark.parametrize(
    "fault, row, way, where",
    [
        ("kill", "kill, tolerant", "ulfm", []),
        ("kill", "kill, tolerant", "continuous", ["mpi"]),
        ("kill", "kill, hosts", "ulfm", ["hosts"]),
        ("raise", "raise, tolerant", "continuous", []),
        ("thread", "raise, tolerant", "ulfm", ["hosts"]),
    ],
)
def test_a_rank_that_ends_where_the_launcher_lets_the_others_live(fault, row, way, where):
    # Open MPI ends a job of two when one exits with a status, whatever it has been told.
    sizes = SIZES if fault == "kill" else SIZES[1:]
    for n, done in at_every_size(lambda n: launch(n, GRID, fault, *where, "tolerant", options=TOLERANTLY[way]), sizes):
        check_said(done, n, fault, ROWS[row])
        assert done.status != 0


@pytest.mark.parametrize("whom", ["the launcher", "one rank"])
def test_ctrl_c(whom):
    for n, (status, stdout, stderr) in at_every_size(lambda n: interrupted(n, whom)):
        row = ROWS["Ctrl-C" if whom == "the launcher" else "SIGINT"]
        assert all(re.search(pattern, stderr) for pattern in row.patterns(n)), stderr
        assert status == 130 and nobody_left(stdout)
        assert stderr.count("Traceback") == (whom == "one rank"), stderr


def interrupted(n, whom):
    """A job that is in every verb when SIGINT comes: its status and outputs."""
    with subprocess.Popen(
        [*RINGTRAIN, "-n", str(n), GRID, "wait"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as job:
        timer = threading.Timer(120, job.kill)
        timer.start()
        said = ""
        while "all are waiting" not in said:
            line = job.stdout.readline()
            assert line, job.stderr.read()
            said += line
        last = int(re.search(r"^pids.* (\d+)$", said, re.MULTILINE)[1])
        os.kill(job.pid if whom == "the launcher" else last, signal.SIGINT)
        stdout, stderr = job.communicate()
        timer.cancel()
        return job.returncode, said + stdout, stderr


def test_every_verb_can_be_interrupted():
    for n, done in at_every_size(lambda n: launch(n, GRID, "interrupt"), sizes=(3,)):
        check_said(done, n, "interrupt", ROWS["SIGINT"], verbs=19, ranks=range(n))
        assert "Traceback" not in done.stderr


NO_MEMORY = """
import errno, os, sys
import numpy as np, collectives as c
if sys.argv[1] == "fallocate":
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")
    if int(os.environ.get("OMPI_COMM_WORLD_RANK") or os.environ.get("PMI_RANK")) == 1:
        os.posix_fallocate = full
    c.init()
elif sys.argv[1] == "memfd":
    def none(*args):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")
    os.memfd_create = none
    c.init()
else:
    c.init()
    c.world._link.arena._reserve = lambda count: None
part = c.world.split(0)
print(type(part._link).__name__, part.allreduce(np.full(100_000, 1.0), c.Sum)[-1], c.empty(3).shape, flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="no memfd here")
@pytest.mark.parametrize("how", ["fallocate", "memfd", "group"])
def test_a_host_without_memory_to_share(how):
    for n, done in at_every_size(lambda n: launch(n, "-c", NO_MEMORY, how), SIZES if how == "group" else (3,)):
        assert re.findall(r"MpiLink \S+ \(3,\)", done.stdout) == [f"MpiLink {n}.0 (3,)"] * n, done.stderr
        check_told(done, n, ROWS["no memory"], "UserWarning")
        reason = "Cannot allocate memory" if how == "memfd" else "this host has no room for that"
        assert done.stderr.count("go through MPI") == 1 and reason in done.stderr


def may_mount():
    return (
        subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0 if os.geteuid() == 0 else False
    )


@pytest.mark.skipif(not may_mount(), reason="mounting takes root")
def test_a_tiny_dev_shm():
    mounted = 'mount -t tmpfs -o size=64k none /dev/shm && exec "$@"'
    code = "import numpy as np, collectives as c; c.init(); print(c.allreduce_(c.empty(10 ** 6) * 0 + 1, c.Sum)[-1])"
    done = finished(["unshare", "-m", "sh", "-c", mounted, "sh", *COMMAND, "-n", "3", sys.executable, "-c", code])
    if OPEN_MPI:
        assert (done.status, re.findall(r"3\.0", done.stdout)) == (0, ["3.0"] * 3), done.stderr
    if MPICH:
        assert done.status != 0 and "Bus error" in done.stderr + done.stdout


# -- the page -------------------------------------------------------------------------------------


def test_the_page_says_what_these_tests_expect():
    assert table() in PAGE.read_text(), f"{PAGE.name} must hold this table:\n{table()}"
    assert f"{EVERY_VERB} calls" in PAGE.read_text() and str(SIZES)[1:-1] in PAGE.read_text()
