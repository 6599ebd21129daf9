"""Ranks that fail under a real mpiexec: the job ends soon, with a non-zero status, and says why last."""

import json
import re

import pytest

from ..processes import state, until
from .jobs import BOUND, COMMAND, compile_kernels, launch

pytestmark = pytest.mark.skipif(COMMAND is None, reason="no mpiexec beside this Python or on PATH")


@pytest.fixture(scope="module", autouse=True)
def compiled():
    compile_kernels()


def run(code, n=3):
    """Run a program on n ranks."""
    return launch(n, "-c", f"import sys, time, threading\nimport numpy as np\nimport collectives as c\n{code}")


def test_a_rank_that_raises_ends_the_job_with_its_traceback_last():
    status, _, stderr, seconds = run(
        """
c.init()
c.barrier()
if c.rank() == 1:
    raise ValueError("bad batch on rank 1")
c.allreduce(np.ones(10))
"""
    )
    assert status != 0 and seconds < BOUND
    lines = stderr.splitlines()
    assert "rank 1 of 3 raised; the job ends:" in lines
    assert lines[lines.index("rank 1 of 3 raised; the job ends:") + 1] == "Traceback (most recent call last):"
    assert "ValueError: bad batch on rank 1" in lines
    # What the launcher itself adds is framed by dashes; nothing of ours follows the traceback.
    after = lines[lines.index("ValueError: bad batch on rank 1") + 1 :]
    assert not after or set(after[0]) <= {"-", "="}
    assert stderr.count("Traceback") == 1


@pytest.mark.parametrize("leave", ["sys.exit(3)", "raise SystemExit", "sys.exit('no data')"])
def test_a_rank_that_exits_early_is_missed_by_name(leave):
    status, _, stderr, seconds = run(
        f"""
c.init()
c.allreduce(np.ones(3))
if c.rank() == 1:
    {leave}
c.allreduce(np.ones(10), name="later")
"""
    )
    assert status != 0 and seconds < BOUND
    assert "PeerFailedError: allreduce 'later' float64[10] op=Average: rank 1 left the job" in stderr


def test_a_rank_that_exits_with_an_error_fails_the_job_even_if_nobody_misses_it():
    status, stdout, _, seconds = run("c.init()\nprint('done', flush=True)\nsys.exit(c.rank())")
    assert status != 0 and seconds < BOUND and stdout.count("done") == 3


def test_a_rank_that_left_after_its_part_is_not_missed():
    status, stdout, stderr, _ = run(
        """
c.init()
part = c.world.split(0 if c.rank() else None)
if c.rank():
    time.sleep(0.3)
    total = part.allreduce(np.ones(300_000), c.Sum)
    if c.rank() == 1:
        time.sleep(0.3)
    print(c.rank(), total[0], flush=True)
"""
    )
    assert (status, sorted(stdout.splitlines())) == (0, ["1 2.0", "2 2.0"]), stderr


def test_a_rank_that_does_not_come_is_a_stall_that_ends_the_job():
    status, _, stderr, seconds = run(
        """
c.init(timeout=1)
if c.rank() == 0:
    time.sleep(60)
c.broadcast(np.ones(3), 0, name="weights")
"""
    )
    assert status != 0 and seconds < BOUND
    assert "rank 0 has not joined broadcast #1 'weights' (float64[3]); it is at <string>:7 in <module>" in stderr


def test_a_stall_that_is_caught_still_fails_the_job_at_its_end():
    status, stdout, stderr, seconds = run(
        """
c.init(timeout=0.5)
if c.rank() == 0:
    time.sleep(2)
else:
    try:
        c.barrier()
    except c.StallError:
        pass
    time.sleep(0.5)
    print("saved", flush=True)
"""
    )
    assert status != 0 and seconds < BOUND
    assert "saved" in stdout
    assert re.search(r"ends the job: no answer for 0\.5 s.*: rank 0 has not joined barrier #1;", stderr), stderr


def test_the_lowest_rank_that_waits_says_for_whom():
    code = """
import time, numpy as np, collectives as c
c.init()
def load_batch():
    while not done.Test():
        time.sleep(0.01)
from mpi4py import MPI
if c.rank() == 1:
    done = MPI.COMM_WORLD.Ibarrier()
    load_batch()
else:
    handle = c.allreduce_async(np.ones(4), name="grads")
    time.sleep(3)
    MPI.COMM_WORLD.Ibarrier().Wait()
c.allreduce(np.ones(4), name="grads") if c.rank() == 1 else handle.wait()
"""
    status, _, stderr, _ = launch(3, "-c", code, RINGTRAIN_STALL_WARN="0.5")
    assert status == 0 and stderr.count("\n") == 1, stderr
    waits = r"rank 0 has waited for [01] s: rank 1 has not joined allreduce #1 'grads' \(float64\[4\]\); it is at "
    assert re.match(waits + r"<string>:\d+ in load_batch", stderr), stderr


def test_a_timeline_is_written_at_the_end_and_in_parts_when_the_job_fails(tmp_path):
    code = """
import sys, numpy as np, collectives as c
c.init()
c.allreduce(np.ones(3), name="w")
c.barrier()
if c.rank() == 1 and "fail" in sys.argv:
    raise ValueError
c.shutdown()
"""
    for arguments, name in ([], "trace"), (["fail"], "parts"):
        launch(2, "-c", code, *arguments, RINGTRAIN_TIMELINE=str(tmp_path / name))
    whole, part = (json.loads((tmp_path / name).read_text())["traceEvents"] for name in ("trace", "parts.rank1"))
    assert not (tmp_path / "parts").exists()
    assert {event["pid"] for event in whole if event["name"] == "allreduce w"} == {0, 1}
    assert {event["pid"] for event in part if event["name"] == "allreduce w"} == {1}


def test_a_stall_warning_that_is_no_number():
    status, _, stderr, _ = launch(2, "-c", "import collectives as c; c.init()", RINGTRAIN_STALL_WARN="soon")
    assert status != 0
    assert "RINGTRAIN_STALL_WARN='soon' must be a number of seconds, or 0 for no warning" in stderr


def test_a_forked_process_is_no_rank_in_any_group():
    status, stdout, stderr, _ = run(
        """
import os
c.init()
group = c.Group(range(3))
x = np.ones(2)
for _ in range(3): group.allreduce_(x)
pid = os.fork()
if pid == 0:
    for verb in (c.barrier, group.barrier, lambda: group.allreduce_(x)):
        try:
            verb()
        except c.CollectiveError as error:
            print("init() first" in str(error), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
print(c.allreduce(np.array(1.0), c.Sum))
"""
    )
    assert (status, sorted(stdout.splitlines())) == (0, ["3.0"] * 3 + ["True"] * 9), stderr


def test_work_that_nobody_waited_for_is_done_before_the_end():
    status, _, stderr, seconds = run("c.init()\nfor i in range(20): c.allreduce_async(np.ones(10_000))")
    assert (status, stderr) == (0, "") and seconds < BOUND


def test_work_that_one_rank_alone_submitted_does_not_hang_the_end():
    status, _, stderr, seconds = run("c.init()\nif c.rank() == 1: c.allreduce_async(np.ones(3), name='lonely')")
    assert status != 0 and seconds < BOUND
    assert "allreduce 'lonely'" in stderr and "ranks 0, 2 left the job" in stderr


def test_an_error_passes_a_shutdown_in_a_finally_clause():
    status, _, stderr, seconds = run(
        """
c.init()
try:
    if c.rank() == 0:
        raise ValueError("seen")
    c.barrier()
finally:
    c.shutdown()
"""
    )
    assert status != 0 and seconds < BOUND and "ValueError: seen" in stderr


def test_a_communicator_of_the_callers_is_the_world():
    status, stdout, stderr, _ = run(
        """
from mpi4py import MPI
comm = MPI.COMM_WORLD.Split(MPI.COMM_WORLD.rank // 2)
c.init(comm)
print(c.size(), c.allreduce(np.array(1.0), c.Sum))
c.shutdown()
comm.Barrier()
"""
    )
    assert (status, stderr) == (0, "")
    assert sorted(stdout.splitlines()) == ["1 1.0", "2 2.0", "2 2.0"]


def test_a_rank_that_is_killed_ends_the_job_and_leaves_no_memory():
    status, stdout, _, seconds = run(
        """
import os, signal
c.init()
x = c.empty(1 << 20)
x[...] = 1
if c.rank() == 0:
    print(*[line.split()[-1] for line in open("/proc/self/maps") if "collectives" in line and "memfd" not in line])
    print(*c.allgather_object(os.getpid()), flush=True)
else:
    c.allgather_object(os.getpid())
for step in range(1_000_000):
    c.allreduce_(x, c.Sum, name="step")
    if c.rank() == 1 and step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    assert status != 0 and seconds < BOUND
    named, pids = stdout.splitlines()
    assert "/dev/shm" not in named
    assert until(lambda: not any(map(state, pids.split())), BOUND), "a rank is still there"


@pytest.mark.parametrize("count", [3, 500_000])
def test_the_rank_that_a_stall_waits_for_is_named(count):
    status, _, stderr, seconds = run(
        f"""
c.init(timeout=30)
x = c.empty({count})
c.allreduce_(x, c.Max)
c.world._link.base.timeout = 1.0
if c.rank() == 2:
    time.sleep(60)
c.allreduce_(x, c.Max, name="late")
"""
    )
    assert status != 0 and seconds < BOUND
    assert re.search(r"StallError: no answer for 1\.\d s from rank 2: rank 2 has not joined", stderr)
    assert "allreduce #2 'late'" in stderr
    assert f"(float32[{count}]); it is at <string>:" in stderr


def test_a_rank_without_shared_memory_sends_all_over_mpi_with_one_warning():
    status, stdout, stderr, _ = run(
        """
from mpi4py import MPI
from collectives import topology
def none_left():
    raise OSError("memory is used up here")
if MPI.COMM_WORLD.rank == 1:
    topology.Arena = none_left
c.init()
print(type(c.world._link).__name__, c.allreduce_(c.empty(3) * 0 + 1, c.Sum)[0])
"""
    )
    assert status == 0 and stdout.splitlines() == ["MpiLink 3.0"] * 3
    assert stderr.count("collectives go through MPI, not through shared memory, of which each rank takes ") == 1
    assert ": memory is used up here" in stderr
