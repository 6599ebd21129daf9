"""Which processes have ended, by descriptor and, where there is none, by what /proc says."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from collectives import alive
from collectives.alive import Process, Watch, this_process

pytestmark = pytest.mark.skipif(this_process() is None, reason="no /proc here")


@pytest.fixture(params=["descriptor", "/proc"])
def way(request, monkeypatch):
    if request.param == "/proc":
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    elif not hasattr(os, "pidfd_open"):
        pytest.skip("this Python has no pidfd_open")


@pytest.fixture
def child():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def described(child):
    return this_process()._replace(pid=child.pid, started=alive._started(child.pid))


def test_a_process_that_is_killed_is_dead_before_anybody_asks_how_it_ended(way, child):
    watch = Watch({0: this_process(), 3: described(child), 4: None})
    assert watch.dead() == {}
    child.send_signal(signal.SIGSTOP)
    assert watch.dead() == {}
    child.kill()
    deadline = time.monotonic() + 20
    while watch.dead() != {3: child.pid}:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    watch.close()
    assert watch.dead() == {}
    watch.close()


def test_a_process_that_had_ended_before_it_was_watched_is_dead(way, child):
    before = described(child)
    child.kill()
    child.wait()
    assert Watch({1: before}).dead() == {1: child.pid}


def test_another_process_with_the_same_number_is_another(way, child):
    assert Watch({1: described(child)._replace(started=7)}).dead() == {1: child.pid}


def test_processes_elsewhere_are_not_looked_for(way, child):
    assert Watch({1: Process(child.pid, 7, "another host")}).dead() == {}


def test_watching_leaves_no_descriptor_open(child):
    before = os.listdir("/proc/self/fd")
    Watch({1: described(child)}).close()
    Watch({1: described(child)})
    assert os.listdir("/proc/self/fd") == before


def test_several_threads_may_look_at_once(way, child):
    watch = Watch({1: described(child)})
    with ThreadPoolExecutor(4) as threads:  # poll lets other threads run, and refuses a second caller
        assert not any(threads.map(lambda _: watch.dead(), range(20000)))
    watch.close()
