"""Real jobs: exit status, output, environment, and nothing left behind."""

import os
import signal
import subprocess
import sys

import pytest

from ringtrain.cli.worker import cores

from ..processes import state, until
from .conftest import LIMIT, clean_environment

pytestmark = pytest.mark.usefixtures("mpi")


def test_arguments_reach_every_rank_untouched(ringtrain, script):
    path = script("print(rank, sys.argv, flush=True)", "a directory/my script.py")
    done = ringtrain("run", "-n", 3, path, "-n", "7", "--", "--hosts", "", "two words", "$HOME", "*")
    assert done.returncode == 0, done.stderr
    arguments = [str(path), "-n", "7", "--", "--hosts", "", "two words", "$HOME", "*"]
    assert sorted(done.stdout.splitlines()) == [f"{rank} {arguments}" for rank in range(3)]
    assert done.stderr == ""


def test_stderr_is_marked_and_stdout_is_clean(ringtrain, script):
    path = script("print('loss', rank, 0.5)\nprint('warning', rank, file=sys.stderr)\nos.write(2, b'from C\\n')")
    done = ringtrain("run", "-n", 3, path)
    assert sorted(done.stdout.splitlines()) == [f"loss {rank} 0.5" for rank in range(3)]
    assert sorted(done.stderr.splitlines()) == sorted(
        f"[rank {rank}] {text}" for rank in range(3) for text in (f"warning {rank}", "from C")
    )


def test_lines_of_different_ranks_do_not_run_into_each_other(ringtrain, script):
    path = script("for i in range(300):\n    print(rank, i, 'x' * 50)\n")
    done = ringtrain("run", "-n", 3, path)
    assert sorted(done.stdout.splitlines()) == sorted(f"{r} {i} {'x' * 50}" for r in range(3) for i in range(300))


def test_a_module_runs_as_with_python_m(ringtrain, tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "train.py").write_text("import sys\nprint(__name__, __package__, sys.argv[1:])\n")
    done = ringtrain("run", "-n", 2, "-m", "package.train", "-m", "-n")
    assert done.stdout.splitlines() == ["__main__ package ['-m', '-n']"] * 2


def test_the_exit_status_is_that_of_the_failing_rank(ringtrain, script):
    done = ringtrain("run", "-n", 2, script("sys.exit(7 if rank == 1 else 0)"))
    assert done.returncode == 7
    # No rank said anything: the launcher does, and nobody else.
    (line,) = done.stderr.splitlines()
    assert line.startswith("ringtrain run: the job ended with status 7")


def test_a_traceback_is_the_last_thing_on_the_screen(ringtrain, script):
    pytest.importorskip("mpi4py")
    path = script("""
from mpi4py import MPI
MPI.COMM_WORLD.Barrier()
if rank == 1:
    try:
        [][rank]
    except IndexError:
        import traceback
        traceback.print_exc()
    MPI.COMM_WORLD.Abort(3)
time.sleep(60)
""")
    for _ in range(3):  # whether mpiexec reads a dead rank's pipe is a race
        done = ringtrain("run", "-n", 2, path)
        assert done.returncode == 3
        lines = done.stderr.splitlines()
        assert lines[0] == "[rank 1] Traceback (most recent call last):"
        assert lines[-1] == "[rank 1] IndexError: list index out of range"


def test_a_killed_rank_is_named_and_the_others_end(ringtrain, script, tmp_path):
    pytest.importorskip("mpi4py")
    path = script("""
from mpi4py import MPI  # Intel MPI watches over ranks that have initialised MPI, and over no others
open(f'pid{rank}', 'w').write(str(os.getpid()))
while not all(os.path.exists(f'pid{r}') for r in range(3)): time.sleep(0.01)
if rank == 1:
    os.kill(os.getpid(), 9)
time.sleep(60)
""")
    done = ringtrain("run", "-n", 3, path)
    assert done.returncode != 0
    assert "ringtrain run: " in done.stderr.splitlines()[-1]
    pids = [int((tmp_path / f"pid{rank}").read_text()) for rank in range(3)]
    assert until(lambda: not any(map(state, pids)), 10)


def test_threads_are_the_cores_of_the_host_over_its_ranks(ringtrain, script):
    path = script("print([os.environ[f'{lib}_NUM_THREADS'] for lib in ('OMP', 'OPENBLAS', 'MKL', 'NUMBA')])")
    for ranks in (1, 2):
        share = str(max(1, cores() // ranks))
        assert ringtrain("run", "-n", ranks, path).stdout.splitlines() == [str([share] * 4)] * ranks
    assert ringtrain("run", "-n", 2, path, OMP_NUM_THREADS="3").stdout.splitlines() == [str(["3"] * 4)] * 2
    assert ringtrain("run", "-n", 2, "--threads", 5, path).stdout.splitlines() == [str(["5"] * 4)] * 2


def test_variables_and_cores_reach_the_ranks(ringtrain, script):
    path = script("print(os.environ['A'], len(os.sched_getaffinity(0)))")
    done = ringtrain("run", "-n", 2, "--env", "A=b c;d,e=f", path)
    assert done.stdout.splitlines() == [f"b c;d,e=f {len(os.sched_getaffinity(0))}"] * 2


def test_one_rank_is_plain_python(ringtrain, script):
    path = script("print(sys.argv[1:]); print('x', file=sys.stderr); sys.exit(5)")
    done = ringtrain("run", "-n", 1, path, "-n", PATH="")
    assert (done.returncode, done.stdout, done.stderr) == (5, "['-n']\n", "x\n")


def test_a_job_may_start_another(ringtrain, script):
    inner = script("print('inner', rank)", "inner.py")
    outer = script(f"""
import subprocess
if rank == 0:
    subprocess.run([sys.executable, '-m', 'ringtrain', 'run', '-n', '2', {str(inner)!r}], check=True)
""")
    done = ringtrain("run", "-n", 2, outer)
    assert sorted(done.stdout.splitlines()) == ["inner 0", "inner 1"], done.stderr


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_signal_ends_every_rank(number, status, script, tmp_path):
    path = script("open(f'pid{rank}', 'w').write(str(os.getpid()))\ntime.sleep(60)")
    process = subprocess.Popen(
        [sys.executable, "-m", "ringtrain", "run", "-n", "3", str(path)],
        cwd=tmp_path,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    files = [tmp_path / f"pid{rank}" for rank in range(3)]
    assert until(lambda: all(file.exists() and file.read_text() for file in files))
    pids = [int(file.read_text()) for file in files]
    assert all(map(state, pids))
    process.send_signal(number)
    _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == status
    # Even the launcher's own SIGKILL, which it cannot pass on, ends the ranks.
    assert until(lambda: not any(map(state, pids)), 15)
    if number != signal.SIGKILL:
        assert errors.splitlines()[-1] == f"ringtrain run: ended by {number.name}"
        assert "Traceback" not in errors
