"""Threads that share a loop: whoever is there takes a range, nobody waits for a sleeper, the process ends well."""

import os
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest

import ringtrain as rt
from ringtrain import nn
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


def _results(rng):
    """What the loops that threads share give, on arrays large enough for it."""
    shapes = ((1100, 515), (515,), (515,))
    x, w, b = (rt.from_numpy(rng.standard_normal(s).astype("f")).requires_grad_() for s in shapes)
    heads = [rt.from_numpy(rng.standard_normal((3, 2, 200, 32)).astype("f")).requires_grad_() for _ in range(3)]
    out = nn.gelu(nn.layer_norm(x, (515,), w, b) + b)
    looked = [nn.scaled_dot_product_attention(*heads, is_causal=causal, scale=0.2) for causal in (True, False)]
    leaves = [x, w, b, *heads]
    gradients = rt.grad((out * out).sum() + (looked[0] * looked[1]).sum(), leaves)
    p = nn.Parameter(x.detach().numpy().copy())
    p.grad = gradients[0]
    rt.optim.AdamW([p], lr=0.1).step()
    return [t.detach().numpy() for t in (out, *looked, *gradients, p)]


def test_shared_loops_give_what_one_thread_gives(several, monkeypatch):
    shared = _results(np.random.default_rng(5))
    assert threads._crews, "nobody helped"
    monkeypatch.setattr(threads, "count", lambda: 1)
    for many, one in zip(shared, _results(np.random.default_rng(5)), strict=True):
        np.testing.assert_allclose(many, one, rtol=2e-5, atol=2e-5 * abs(one).max())


def test_a_gradient_of_another_dtype_is_converted_before_loops_that_go_by_addresses(several, rng):
    from ringtrain.backend.cpu_attention import KERNEL

    q, g = (rng.standard_normal((2, 2, 1, 40, 16)) for _ in range(2))
    q = q.astype("f")
    arrays, options = (q, q[:, :, 0], q[:, :, 0], None), {"causal": False, "scale": 0.25}
    results = [KERNEL.backward(head, [1, 1, 1, 0], None, *arrays, **options) for head in (g, g.astype("f"))]
    for wide, single in zip(*results, strict=True):
        assert wide is single is None or wide.tobytes() == single.tobytes()
