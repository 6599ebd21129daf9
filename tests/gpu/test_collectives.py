"""Collectives of CuPy arrays on real GPUs: `make test-gpu`, on as many ranks as it is started with.

Ranks that have a GPU each use NCCL, ranks that share one go through the host; every test holds for both.
"""

import ml_dtypes
import numpy as np
import pytest

import collectives as c
from collectives import nccl

cupy = pytest.importorskip("cupy")

pytestmark = [
    pytest.mark.mpi,
    pytest.mark.skipif(not cupy.cuda.is_available(), reason="needs an NVIDIA GPU"),
]

COUNTS = [0, 1, 13, 1000, 300_007]
DTYPES = ["f2", ml_dtypes.bfloat16, "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]


@pytest.fixture(scope="module", autouse=True)
def job():
    c.init(timeout=60)
    with cupy.cuda.Device(c.local_rank() % cupy.cuda.runtime.getDeviceCount()):
        yield
    c.barrier()


def own(rank, count, dtype="f4"):
    return ((np.arange(count) % 7) + rank).astype(dtype)


def test_the_way_is_nccl_where_every_rank_has_a_gpu():
    c.allreduce(cupy.ones(3, "f4"), c.Sum)
    apart = c.local_size() <= cupy.cuda.runtime.getDeviceCount() and c.size() > 1
    able = cupy.cuda.nccl.available and nccl._Settings.wanted
    assert (c.world._link.gpu._nccl is not None) == (apart and able)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", COUNTS)
def test_allreduce(dtype, count):
    exact = np.stack([own(rank, count, "f8") for rank in range(c.size())])
    for op, reference in [(c.Sum, np.sum), (c.Min, np.min), (c.Max, np.max), (c.Product, np.prod)]:
        if op is c.Product and np.dtype(dtype).itemsize == 1:
            continue  # wraps
        x = cupy.asarray(own(c.rank(), count, dtype))
        total = c.allreduce(x, op)
        assert isinstance(total, cupy.ndarray) and total.dtype == np.dtype(dtype)
        assert (total.get().astype("f8") == reference(exact, axis=0)).all()
        assert c.allreduce_(x, op) is x and (x.get() == total.get()).all()


@pytest.mark.parametrize("dtype", ["f2", ml_dtypes.bfloat16, "f4", "f8"])
def test_average_and_scales_within_their_bound(dtype):
    n, x = c.size(), np.random.default_rng(c.rank()).normal(0, 1, 10_007).astype(dtype)
    exact = np.stack(c.allgather_object(x)).astype("f8")
    u = float(ml_dtypes.finfo(dtype).eps) / 2
    bound = (n + 2) * u / (1 - (n + 2) * u) * np.abs(exact).sum(0)
    mean = c.allreduce(cupy.asarray(x)).get()
    scaled = c.allreduce(cupy.asarray(x), c.Sum, prescale=0.5, postscale=4).get()
    assert (np.abs(mean.astype("f8") - exact.mean(0)) <= bound / n).all()
    assert (np.abs(scaled.astype("f8") - exact.sum(0) * 2) <= bound * 2).all()
    assert len({*c.allgather_object(mean.tobytes())}) == 1, "the same bits on every rank"


def test_nan_and_bool():
    x = cupy.full(5, float(c.rank()))
    x[c.rank() % 5] = cupy.nan
    assert cupy.isnan(c.allreduce(x, c.Min)[: min(c.size(), 5)]).all()
    flags = cupy.arange(17) % (c.rank() + 2) == 0
    assert (c.allreduce(flags, c.Min) == (cupy.arange(17) % np.lcm.reduce(np.arange(c.size()) + 2) == 0)).all()


def test_async_grouped_and_non_contiguous():
    expected = sum(own(rank, 12).reshape(4, 3) for rank in range(c.size()))
    x = cupy.asarray(own(c.rank(), 12)).reshape(4, 3)
    wide = cupy.repeat(x, 2, axis=0)[::2]
    handles = [c.allreduce_async(x, c.Sum), c.allreduce_async_(wide, c.Sum), c.allreduce_async(x.T, c.Sum)]
    grouped = c.grouped_allreduce([x, x.astype("i4"), x[:0]], c.Sum)
    results = [handle.wait().get() for handle in handles]
    assert all((result == expected).all() for result in (results[0], results[1], wide.get(), results[2].T))
    assert (grouped[0].get() == expected).all() and (grouped[1].get() == expected).all() and grouped[2].size == 0


def test_many_calls_behind_kernels_of_a_stream_of_ones_own():
    """Memory is freed and handed out again all the time, on one stream and on another."""
    with cupy.cuda.Stream(non_blocking=True):
        for step in range(50):
            x = cupy.full(200_000, 1.0, "f4")
            for _ in range(10):
                x = x * 2
            handle = c.allreduce_async(x, c.Sum)
            del x
            noise = cupy.random.random(200_000)
            rows = c.allgather(noise[:step])
            assert (handle.wait() == 1024 * c.size()).all() and len(rows) == step * c.size()


@pytest.mark.parametrize("rows", [0, 1, 13])
def test_reduce_scatter_allgather_and_broadcast(rows):
    whole = cupy.asarray(np.stack([own(c.rank(), 3)] * rows).reshape(rows, 3) if rows else np.empty((0, 3), "f4"))
    part = c.reduce_scatter(whole, c.Sum)
    assert (part.get() == sum(own(rank, 3) for rank in range(c.size()))).all()
    together = c.allgather(part)
    assert together.shape == whole.shape and (together == c.allreduce(whole, c.Sum)).all()
    for root in range(c.size()):
        assert (c.broadcast(cupy.asarray(own(c.rank(), rows)), root).get() == own(root, rows)).all()


def test_alltoall_gather_scatter_send_and_recv():
    n, rank = c.size(), c.rank()
    x = cupy.asarray(own(rank, 2 * n))
    expected = np.concatenate([own(peer, 2 * n)[2 * rank : 2 * rank + 2] for peer in range(n)])
    assert (c.alltoall(x).get() == expected).all()
    splits = [1] * (n - 1) + [n + 1]
    ragged, counts = c.alltoall(x, splits)
    assert len(ragged) == counts.sum() == n * splits[rank]
    parts = c.gather(x[: rank + 1], 0)
    assert (c.scatter(parts, 0) == x[: rank + 1]).all()
    if n > 1 and rank < 2:
        if rank == 0:
            c.send(x, 1)
        else:
            assert (c.recv(cupy.empty_like(x), 0).get() == own(0, 2 * n)).all()


def test_numpy_on_one_rank_and_cupy_on_another_is_a_mismatch():
    if c.size() == 1:
        pytest.skip("needs two ranks")
    with pytest.raises(c.MismatchError, match="in memory"):
        c.allreduce(np.ones(3) if c.rank() == 0 else cupy.ones(3))
    assert (c.allreduce(cupy.ones(3), c.Sum) == c.size()).all()
