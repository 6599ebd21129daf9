"""Which way CuPy arrays go: by NCCL or through page-locked host memory, with the stand-in for CuPy."""

import pytest

from collectives import CollectiveError, Max, Sum, nccl

from . import fake_cupy
from .gpu_ranks import everyone, now, on_own_gpus, own, total

pytestmark = pytest.mark.filterwarnings("error")


def went_through_the_host(groups, cupy, n=2, **options):
    for result in on_own_gpus(groups, cupy, n, lambda g: [total(cupy, g), total(cupy, g)][1], **options):
        assert (result == everyone(n).sum(0)).all()
    return not fake_cupy.world.nccl_calls and fake_cupy.world.pinned > 0


def test_one_gpu_a_rank_takes_nccl_and_one_communicator(groups, cupy):
    assert not went_through_the_host(groups, cupy, 3)
    assert fake_cupy.world.pinned == 0 and len(fake_cupy.world.communicators) == 3
    assert all(comm.destroyed for comm in fake_cupy.world.communicators), "the group has closed"


def test_two_of_three_ranks_on_one_gpu_stage(groups, cupy):
    def work(g):
        with cupy.cuda.Device(g.rank // 2):
            return total(cupy, g)

    for result in groups(3, work):
        assert (result == everyone(3).sum(0)).all()
    assert not fake_cupy.world.communicators and fake_cupy.world.pinned


def test_a_setting_forces_staging_without_a_warning(groups, cupy, monkeypatch):
    monkeypatch.setenv("RINGTRAIN_NCCL", "0")
    nccl.configure()
    assert went_through_the_host(groups, cupy)


def test_the_setting_is_0_or_1(monkeypatch):
    monkeypatch.setenv("RINGTRAIN_NCCL", "off")
    with pytest.raises(CollectiveError, match="RINGTRAIN_NCCL='off' must be 1"):
        nccl.configure()


@pytest.mark.parametrize(
    "absent, message",
    [
        (lambda cupy: setattr(cupy.cuda.nccl, "available", False), "rank 0: CuPy finds no NCCL library: pip install"),
        (lambda cupy: setattr(fake_cupy.world, "version", 20903), "rank 0: NCCL 20903 is older than 21000"),
        (lambda cupy: setattr(fake_cupy.world, "refused", "Duplicate GPU"), "rank 0: Duplicate GPU"),
    ],
)
def test_without_nccl_rank_0_says_so_once(groups, cupy, absent, message):
    absent(cupy)
    with pytest.warns(UserWarning, match=message) as told:
        assert went_through_the_host(groups, cupy)
    assert len(told) == 1


def test_nccl_of_one_rank_only_is_no_nccl(groups, cupy, monkeypatch):
    place = nccl._place
    monkeypatch.setattr(nccl, "_place", lambda gpu: place(gpu) if gpu == 0 else 1 / 0)
    with pytest.warns(UserWarning, match="not through NCCL: rank 1: division by zero"):
        assert went_through_the_host(groups, cupy)


def test_what_nccl_lacks_goes_through_the_host(groups, cupy):
    def work(g):
        results = [total(cupy, g, Sum, "i2"), total(cupy, g, Max, "f8"), total(cupy, g, Max, "i4")]
        return results, fake_cupy.world.pinned

    for (short, floats, integers), _ in on_own_gpus(groups, cupy, 2, work):
        assert (short == everyone(2).sum(0)).all() and (floats == own(1)).all() and (integers == own(1)).all()
    assert {verb for verb, *_ in fake_cupy.world.nccl_calls} == {"allReduce"}
    assert len(fake_cupy.world.nccl_calls) == 2 and fake_cupy.world.pinned == 8  # to the host and back, 2 ranks


def test_every_group_has_a_communicator_of_its_own(groups, cupy):
    def work(g):
        part = g.split(g.rank % 2)
        return total(cupy, g), now(part.allreduce(cupy.asarray(own(g.rank)), Sum))

    for rank, (everything, part) in enumerate(on_own_gpus(groups, cupy, 3, work)):
        assert (everything == everyone(3).sum(0)).all()
        assert (part == (own(0) + own(2) if rank % 2 == 0 else own(1))).all()
    assert len(fake_cupy.world.communicators) == 3 + 2
