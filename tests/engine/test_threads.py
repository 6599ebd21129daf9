"""Threads that share a loop: whoever is there takes a range, nobody waits for a sleeper, the process ends well."""

import os
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest

from ringtrain.backend import cpu_matmul, threads

pytest.importorskip("numba")


@pytest.fixture(params=[2, 3])
def several(request, monkeypatch):
    monkeypatch.setattr(threads, "count", lambda: request.param)
    threads._close()
    yield request.param
    threads._close()


def test_ranges_cover_everything_once(several):
    for n in (0, 1, 7, 16, 17):
        for grain in (1, 8):
            seen = []
            threads.shared(n, grain, lambda a, b: seen.append((a, b)))  # noqa: B023
            assert all(a % grain == 0 for a, _ in seen)
            assert sorted(i for a, b in seen for i in range(a, b)) == list(range(n))


def test_helpers_do_take_part_awake_and_after_they_slept(several):
    for _ in range(3):
        names, meet = set(), threading.Barrier(several)

        def task(first, last):
            names.add(threading.current_thread().name)  # noqa: B023
            meet.wait(30)  # noqa: B023

        threads.shared(several, 1, task)
        assert len(names) == several
        deadline = time.monotonic() + 30
        while len(threads._crew().asleep) < several - 1:
            assert time.monotonic() < deadline
            time.sleep(1e-3)


def test_an_error_of_any_thread_reaches_the_caller_and_the_next_loop_runs(several):
    for failing in range(several):

        def task(first, last):
            if first == failing:  # noqa: B023
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            threads.shared(several, 1, task)
        seen = []
        threads.shared(several, 1, lambda a, b: seen.append(a))  # noqa: B023
        assert sorted(seen) == list(range(several))


def test_a_loop_in_a_loop_and_one_beside_it_run_where_they_are(several):
    seen = []

    def inner(first, last):
        seen.append((first, last))

    threads.shared(several, 1, lambda a, b: threads.shared(several, 1, inner))
    beside = [threading.Thread(target=threads.shared, args=(several, 1, inner)) for _ in range(4)]
    for thread in beside:
        thread.start()
    for thread in beside:
        thread.join(30)
    assert len(seen) == several * (several + 4)


def test_nothing_is_kept_of_a_loop(several):
    class Kept:
        pass

    thing = Kept()
    alive = weakref.ref(thing)
    threads.shared(several, 1, lambda a, b, thing=thing: None)
    del thing
    deadline = time.monotonic() + 30
    while alive() is not None:  # a helper may still be on its way out of the loop
        assert time.monotonic() < deadline
        time.sleep(1e-3)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_has_helpers_of_its_own(several):
    threads.shared(several, 1, lambda a, b: None)
    child = os.fork()
    if child == 0:
        seen = []
        threads.shared(several, 1, lambda a, b: seen.append(a))
        os._exit(0 if sorted(seen) == list(range(several)) else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("end", ["", "sys.exit(3)", "raise KeyError"])
def test_a_process_ends_well_right_after_a_loop(end):
    code = f"import sys\nfrom ringtrain.backend import threads\nthreads.shared(9, 1, lambda a, b: None)\n{end}"
    environment = os.environ | {"OMP_NUM_THREADS": "3"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == {"": 0, "sys.exit(3)": 3}.get(end, 1), done.stderr


def test_products_do_not_depend_on_who_computes_them(several, monkeypatch, rng):
    """Among them lengths that are no multiple of a vector's, whose panels end in zeros that are written together."""
    monkeypatch.setattr(cpu_matmul, "SHARED", 0)
    for m, n, k in ((200, 200, 21), (131, 257, 1027), (64, 33, 530)):
        for a in (rng.standard_normal((m, k)), rng.standard_normal((k, m)).T):
            for b in (rng.standard_normal((k, n)), rng.standard_normal((n, k)).T):
                first = cpu_matmul.matmul(a, b)
                np.testing.assert_allclose(first, a @ b, rtol=1e-9, atol=1e-9)
                for _ in range(10):
                    assert cpu_matmul.matmul(a, b).tobytes() == first.tobytes()
