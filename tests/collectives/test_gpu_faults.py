"""What goes wrong with CuPy arrays, and who is told: with the stand-in for CuPy."""

import subprocess
import sys

import numpy as np
import pytest

from collectives import CollectiveError, MismatchError, StallError, Sum, nccl

from . import fake_cupy
from .gpu_ranks import everyone, now, on_own_gpus, own, total

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(params=[1, 2, 3])
def n(request):
    return request.param


def test_ranks_with_arrays_of_both_kinds_are_told(gpus, cupy):
    def work(g):
        mine = own(g.rank) if g.rank == 0 else cupy.asarray(own(g.rank))
        with pytest.raises(MismatchError, match="in memory") as caught:
            g.allreduce(mine, Sum)
        assert caught.value.by_rank[0] == "allreduce float32[4, 3] op=Sum"
        assert caught.value.by_rank[1] == "allreduce float32[4, 3] of CuPy op=Sum"
        return total(cupy, g)

    for result in gpus(2, work):
        assert (result == everyone(2).sum(0)).all()


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda g, np_, cp: g.grouped_allreduce([np_, cp]), TypeError, "NumPy and CuPy arrays in one call"),
        (lambda g, np_, cp: g.grouped_allreduce([cp, np_]), TypeError, "NumPy and CuPy arrays in one call"),
        (lambda g, np_, cp: g.allgather_into(cp, np_), TypeError, "NumPy and CuPy arrays in one call"),
        (lambda g, np_, cp: g.allgather_into(np_, cp), TypeError, "NumPy and CuPy arrays in one call"),
        (lambda g, np_, cp: g.allreduce(cp, "sum"), TypeError, "'sum' is not an operation"),
        (lambda g, np_, cp: g.allgather(cp[:1, :1].reshape(())), ValueError, "0-d array"),
    ],
)
def test_a_wrong_argument_is_named_and_the_group_stays_usable(gpus, cupy, call, error, message):
    def work(g):
        with pytest.raises(error, match=message):
            call(g, own(g.rank), cupy.asarray(own(g.rank)))
        return total(cupy, g)

    for result in gpus(2, work):
        assert (result == everyone(2).sum(0)).all()


def test_a_group_keeps_to_one_gpu(groups, cupy):
    def work(g):
        first = cupy.asarray(own(g.rank))
        g.allreduce(first)
        with cupy.cuda.Device(7):
            second = cupy.asarray(own(g.rank))
            with pytest.raises(MismatchError, match="lies on GPU 7, and this rank's others in this group on GPU 1"):
                g.allreduce(second)
            with pytest.raises(MismatchError, match=r"the arrays lie on GPUs \[1, 7\]: copy them to one"):
                g.grouped_allreduce([first, second])

    on_own_gpus(groups, cupy, 2, work)


def test_another_librarys_gpu_array_is_refused_with_the_remedy(groups, cupy):
    class Foreign:
        __cuda_array_interface__ = {}  # noqa: RUF012

    def work(g):
        with pytest.raises(TypeError, match=r"a Foreign on a GPU: pass cupy.asarray\(x\)"):
            g.allreduce(Foreign())

    groups(2, work)


def test_joined_ranks_stand_in_through_the_host(gpus, cupy, n):
    def work(g):
        results = [total(cupy, g)]
        if g.rank:
            results.append(now(g.allreduce(cupy.asarray(own(g.rank)))))
            results += [now(x) for x in g.grouped_allreduce([cupy.asarray(own(g.rank))], Sum)]
            results.append(now(g.allgather(cupy.asarray(own(g.rank)))))
            results.append(now(g.broadcast(cupy.asarray(own(g.rank)), n - 1)))
        g.join()
        return results, total(cupy, g)

    live = everyone(n)[1:]
    for (first, *later), last in gpus(n, work):
        assert (first == everyone(n).sum(0)).all() and (last == first).all()
        if later:
            mean, together, rows, sent = later
            assert (np.abs(mean - live.mean(0)) <= 1e-6 * live.mean(0)).all() and (together == live.sum(0)).all()
            assert (rows == live.reshape(-1, 3)).all() and (sent == own(n - 1)).all()


class Status:
    """Knows what a status service would find."""

    def explain(self, agreement):
        return f"rank 1 does not answer (stopped or dead?) in {agreement.label()}", (1,)

    def register(self, agreement):
        pass


@pytest.mark.parametrize("where", ["gone", "stuck"])
def test_a_rank_whose_gpu_does_not_come_is_a_stall_that_names_it(groups, cupy, where, monkeypatch):
    """Kernels that wait, and launches that wait."""
    monkeypatch.setattr(nccl, "WATCH", 0.1)
    getattr(fake_cupy.world, where).update({1} if where == "gone" else {0, 1})

    def work(g):
        g._status = Status()
        with pytest.raises(StallError, match=r"no answer for .* through NCCL: rank 1 does not answer") as caught:
            g.allreduce(cupy.asarray(own(g.rank)), Sum)
        with pytest.raises(CollectiveError, match="cannot communicate any more"):
            g.allreduce(own(g.rank), Sum)
        return caught.value.missing

    assert on_own_gpus(groups, cupy, 2, work, timeout=0.4, strays=True) == [(1,), (1,)]
    assert all(comm.aborted for comm in fake_cupy.world.communicators)


def test_an_error_of_nccl_aborts_and_is_told(groups, cupy, monkeypatch):
    def broken(comm):
        raise fake_cupy.NcclError("NCCL_ERROR_SYSTEM_ERROR: unplugged")

    fake_cupy.world.gone.add(1)
    monkeypatch.setattr(fake_cupy.NcclCommunicator, "check_async_error", broken)

    def work(g):
        with pytest.raises(CollectiveError, match="NCCL: NCCL_ERROR_SYSTEM_ERROR: unplugged"):
            g.allreduce(cupy.asarray(own(g.rank)), Sum)

    on_own_gpus(groups, cupy, 2, work, strays=True)
    assert all(comm.aborted and not comm.destroyed for comm in fake_cupy.world.communicators)


def test_connecting_has_a_deadline(groups, cupy, monkeypatch):
    def never(ndev, unique, rank):
        fake_cupy.time.sleep(2)

    monkeypatch.setattr(cupy.cuda.nccl, "NcclCommunicator", never)

    def work(g):
        with pytest.raises(StallError, match=r"NCCL has not connected the ranks after 0.2 s"):
            g.allreduce(cupy.asarray(own(g.rank)), Sum)

    on_own_gpus(groups, cupy, 2, work, timeout=0.2, strays=True)


def test_nothing_imports_cupy_for_a_program_without_it():
    program = (
        "import sys, numpy as np, collectives as c; c.init(); c.allreduce(np.ones(3));"
        "c.grouped_allreduce([np.ones(3)]); c.alltoall([1.0]);"
        "c.scatter([np.ones(2)], 0); c.shutdown(); sys.exit('cupy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0
