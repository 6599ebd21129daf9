"""Programs with worker processes that are interrupted, killed, or written without a guard: nothing is left of them."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
HANG = 60  # seconds after which what should have ended has not

PROGRAM = """
import os, sys, time
sys.path.insert(0, {here!r})
import numpy as np
from workers_helpers import Facts, Acting, sleep
from ringtrain.data import DataLoader
if __name__ == "__main__":
    loader = DataLoader(Facts(), 1, num_workers=2)
    for batch in loader:
        print(batch[3].numpy()[0], flush=True)
        if {stop!r} == "kill, busy":
            batches = iter(DataLoader(Acting(sleep, 1), 1, num_workers=2))
            next(batches)
        if {stop!r} != "none":
            print("ready", flush=True)
            time.sleep(1000)
    print("done")
"""


def start(tmp_path, stop, **options):
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(PROGRAM.format(here=str(HERE), stop=stop)))
    return subprocess.Popen(
        [sys.executable, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        **options,
    )


def group(pgid):
    """Processes of a group that live, by /proc."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == pgid and fields[0] not in "ZX":
            found.append(int(entry.name))
    return found


@pytest.mark.parametrize("stop", ["interrupt", "kill", "kill, busy", "none"])
def test_a_program_that_ends_in_any_way_leaves_no_process(tmp_path, stop):
    program = start(tmp_path, stop)
    if stop != "none":
        while (line := program.stdout.readline()) and "ready" not in line:
            pass
        assert len(group(program.pid)) >= 4, "itself, the fork server and two workers"
        if stop == "interrupt":
            os.killpg(program.pid, signal.SIGINT)  # as a terminal does: all of them
        else:
            program.kill()
    out, err = program.communicate(timeout=HANG)
    if stop == "none":
        assert "done" in out and program.returncode == 0, err
    if stop == "interrupt":
        assert err.count("KeyboardInterrupt") == 1, err
    deadline = time.monotonic() + HANG
    while group(program.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not group(program.pid)


def test_a_program_without_a_guard_is_told_so(tmp_path):
    path = tmp_path / "program.py"
    path.write_text("from ringtrain.data import DataLoader\nprint(list(DataLoader([1, 2], num_workers=1)))\n")
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=HANG)
    assert done.returncode and "if __name__ == '__main__':" in done.stderr.splitlines()[-1], done.stderr


def test_workers_have_one_thread_where_the_fork_server_has_more(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(
        f"import sys; sys.path.insert(0, {str(HERE)!r})\n"
        "from multiprocessing import forkserver\n"
        "from workers_helpers import Facts\n"
        "from ringtrain.data import DataLoader\n"
        "if __name__ == '__main__':\n"
        "    forkserver.ensure_running()\n"
        "    print(max(int(b[2].numpy().max()) for b in DataLoader(Facts(), 4, num_workers=1)))\n"
    )
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=HANG, env=environment)
    assert done.stdout.strip() == "1", done.stderr
