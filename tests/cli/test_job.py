"""How a job is brought to its end, with a plain process in the place of mpiexec."""

import os
import signal
import sys
import threading
import time

import pytest

from ringtrain.cli import job


@pytest.fixture
def interrupted(tmp_path, monkeypatch):
    """Run a program as a job and send this process SIGINT once it is ready; the job's status.

    The program finds its directory in ``here`` and says that it is ready by making the file ``ready`` there.
    """
    # A step that only this limit would bring about does not come within the test.
    monkeypatch.setattr(job, "GRACE", 10_000.0)

    def run(program, times):
        ready = tmp_path / "ready"
        text = f"import os, pathlib, signal, sys, time\nhere = pathlib.Path({str(tmp_path)!r})\n{program}"

        def interrupt():
            while not ready.exists():
                time.sleep(0.01)
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.5)

        started = job.Job([sys.executable, "-c", text], dict(os.environ))
        thread = threading.Thread(target=interrupt)
        thread.start()
        status = started.wait()
        thread.join()
        return status

    return run


def test_the_first_ctrl_c_lets_the_job_finish_in_order(interrupted, tmp_path, capsys):
    program = """
def save(number, frame):
    (here / 'checkpoint').touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
(here / 'ready').touch()
time.sleep(20)
"""
    assert interrupted(program, times=1) == 130
    assert (tmp_path / "checkpoint").exists()
    assert capsys.readouterr().err == "ringtrain run: ended by SIGINT\n"


def test_the_second_ctrl_c_does_not_wait(interrupted, tmp_path):
    program = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
(here / 'ready').touch()
time.sleep(20)
(here / 'survived').touch()
"""
    assert interrupted(program, times=2) == 130
    assert not (tmp_path / "survived").exists()


def test_the_grace_ends(interrupted, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "GRACE", 0.5)
    program = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
(here / 'ready').touch()
time.sleep(20)
(here / 'survived').touch()
"""
    assert interrupted(program, times=1) == 130
    assert not (tmp_path / "survived").exists()


def test_signals_mean_afterwards_what_they_meant_before(tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert job.Job([sys.executable, "-c", "raise SystemExit(3)"], dict(os.environ)).wait() == 3
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
