"""CuPy arrays in every verb, by NCCL and through the host, with a stand-in for CuPy whose streams are lazy."""

import ml_dtypes
import numpy as np
import pytest

from collectives import Average, Max, Min, Product, Sum, nccl

from . import fake_cupy
from .gpu_ranks import everyone, now, own

pytestmark = pytest.mark.filterwarnings("error")

DTYPES = ["f2", ml_dtypes.bfloat16, "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]


@pytest.fixture(params=[1, 2, 3])
def n(request):
    return request.param


@pytest.mark.parametrize("dtype", DTYPES)
def test_allreduce_of_every_dtype(gpus, cupy, n, dtype):
    ops = {Sum: np.sum, Min: np.min, Max: np.max, Product: np.prod}

    def work(g):
        return [now(g.allreduce(cupy.asarray(own(g.rank, (13,), dtype) % 3), op)) for op in ops]

    exact = np.stack([own(rank, (13,), dtype) % 3 for rank in range(n)]).astype(np.float64)
    for results in gpus(n, work):
        for result, reference in zip(results, ops.values(), strict=True):
            assert result.dtype == np.dtype(dtype) and result.shape == (13,)
            assert (result.astype(np.float64) == reference(exact, axis=0)).all()
    kind, codes = np.dtype(dtype), {code for verb, *_, code, _ in fake_cupy.world.nccl_calls}
    if gpus.way == "nccl" and n > 1 and kind not in (np.int16, np.uint16):
        assert codes == {nccl.TYPES[kind]}
        assert bool(fake_cupy.world.pinned) == (kind in nccl.FLOATS), "only Min and Max of floats go by the host"
    else:
        assert not codes and bool(fake_cupy.world.pinned) == (n > 1)


def test_type_and_operation_codes_are_those_of_nccl():
    """ncclDataType_t and ncclRedOp_t of nccl.h."""
    codes = {"i1": 0, "u1": 1, "i4": 2, "u4": 3, "i8": 4, "u8": 5, "f2": 6, "f4": 7, "f8": 8, "bool": 1}
    assert {np.dtype(k): code for k, code in codes.items()} | {nccl.BFLOAT16: 9} == nccl.TYPES
    assert {Sum: 0, Average: 0, Product: 1, Max: 2, Min: 3} == nccl.OPS


@pytest.mark.parametrize("op, reference", [(Min, np.all), (Max, np.any)])
def test_allreduce_of_bool(gpus, cupy, n, op, reference):
    def flags(rank):
        return np.arange(17) % (rank + 2) == 0

    for result in gpus(n, lambda g: now(g.allreduce(cupy.asarray(flags(g.rank)), op))):
        assert result.dtype == bool and (result == reference([flags(rank) for rank in range(n)], axis=0)).all()


@pytest.mark.parametrize("dtype", ["f2", ml_dtypes.bfloat16, "f4", "f8"])
def test_average_and_scales(gpus, cupy, n, dtype):
    def work(g):
        x = cupy.asarray(own(g.rank, (17,), dtype))
        return [now(g.allreduce(x)), now(g.allreduce(x, Sum, prescale=0.5, postscale=4)), now(x)]

    exact = everyone(n, (17,), np.float64)
    u = float(ml_dtypes.finfo(dtype).eps) / 2
    bound = (n + 2) * u * np.abs(exact).sum(0)
    for rank, (mean, scaled, x) in enumerate(gpus(n, work)):
        assert (np.abs(mean.astype("f8") - exact.mean(0)) <= bound / n).all()
        assert (np.abs(scaled.astype("f8") - exact.sum(0) * 2) <= bound * 2).all()
        assert (x == own(rank, (17,), dtype)).all(), "an argument was changed"


def test_a_16_bit_average_does_not_overflow(gpus, cupy, n):
    for result in gpus(n, lambda g: now(g.allreduce(cupy.asarray(np.full(5, 6e4, np.float16))))):
        assert (np.abs(result.astype("f8") - 6e4) <= 32 * n).all()


def test_nan_wins_in_min_and_max(gpus, cupy):
    def work(g):
        x = np.full(5, float(g.rank))
        x[g.rank] = np.nan
        return [now(g.allreduce(cupy.asarray(x), op)) for op in (Min, Max)]

    for least, greatest in gpus(2, work):
        assert np.isnan(least[:2]).all() and np.isnan(greatest[:2]).all()
        assert (least[2:] == 0).all() and (greatest[2:] == 1).all()


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1,), (13, 17)])
def test_in_place_async_and_any_shape(gpus, cupy, n, shape):
    def work(g):
        x, y, z, sent, later = (cupy.asarray(own(g.rank, shape)) for _ in range(5))
        assert g.allreduce_(x, Sum) is x
        handles = [g.allreduce_async_(y, Sum), g.allreduce_async(z, Sum), g.broadcast_async_(later, n - 1)]
        results = [now(handle.wait()) for handle in reversed(handles)][::-1]
        assert g.broadcast_(sent, n - 1) is sent
        return now(x), *results, now(y), now(sent), now(g.broadcast(cupy.asarray(own(g.rank, shape)), 0))

    for x, y, z, later, y_itself, sent, from_0 in gpus(n, work):
        assert all((result == everyone(n, shape).sum(0)).all() for result in (x, y, z, y_itself))
        assert (sent == own(n - 1, shape)).all() and (later == sent).all() and (from_0 == own(0, shape)).all()
        assert x.shape == from_0.shape == shape


@pytest.mark.parametrize("layout", ["Fortran", "strided"])
def test_non_contiguous_arrays(gpus, cupy, n, layout):
    def other(rank):
        x = cupy.empty((8, 3), np.float32)
        x = x[::2] if layout == "strided" else x._view(x._memory[:4].reshape(3, 4).T)
        x[...] = cupy.asarray(own(rank))
        assert not x.flags.c_contiguous
        return x

    def work(g):
        x, y = other(g.rank), other(g.rank)
        total = g.allreduce(x, Sum)
        g.allreduce_(x, Sum)
        g.broadcast_(y, n - 1)
        rows = g.allgather(other(g.rank))
        part = g.reduce_scatter(other(g.rank), Sum)
        return now(total), now(x), now(y), now(rows), now(part)

    total = everyone(n).sum(0)
    for rank, (new, x, y, rows, part) in enumerate(gpus(n, work)):
        assert (new == total).all() and (x == total).all() and (y == own(n - 1)).all()
        assert (rows == everyone(n).reshape(-1, 3)).all()
        assert (part == np.array_split(total, n)[rank]).all()


def test_grouped_allreduce(gpus, cupy, n):
    cases = [((3,), "f4"), ((2, 5), "f8"), ((), "f4"), ((0,), "f4"), ((7,), "i4")]

    def arrays(rank):
        return [cupy.asarray(own(rank, shape, dtype)) for shape, dtype in cases]

    def work(g):
        xs = arrays(g.rank)
        results = [
            g.grouped_allreduce(xs, Sum),
            g.grouped_allreduce_async(xs, Sum).wait(),
            g.grouped_allreduce_(xs, Sum),
        ]
        assert all(a is b for a, b in zip(results[-1], xs, strict=True))
        ys = arrays(g.rank)
        g.grouped_allreduce_async_(ys, Sum).wait()
        return [[now(x) for x in result] for result in (*results, xs, ys)]

    for results in gpus(n, work):
        for result in results:
            for total, (shape, dtype) in zip(result, cases, strict=True):
                assert total.dtype == dtype and (total == everyone(n, shape, dtype).sum(0)).all()


@pytest.mark.parametrize("rows", [0, 1, 6, 13])
@pytest.mark.parametrize("dtype", ["f2", "f4", "i2", "i8"])
def test_reduce_scatter(gpus, cupy, n, rows, dtype):
    def work(g):
        x = cupy.asarray(own(g.rank, (rows, 3), dtype))
        handle = g.reduce_scatter_async(x, Sum)
        first = now(g.reduce_scatter(x, Sum))
        scaled = now(g.reduce_scatter(x, Sum, prescale=0.5, postscale=4)) if dtype == "f4" else None
        return first, now(handle.wait()), scaled, now(x)

    expected = np.array_split(everyone(n, (rows, 3), dtype).sum(0), n)
    for rank, (result, later, scaled, x) in enumerate(gpus(n, work)):
        assert result.shape == expected[rank].shape and (result == expected[rank]).all() and (later == result).all()
        assert scaled is None or (scaled == expected[rank] * 2).all()
        assert (x == own(rank, (rows, 3), dtype)).all(), "an argument was changed"


def test_allgather_of_equal_and_different_lengths(gpus, cupy, n):
    def work(g):
        x = cupy.asarray(own(g.rank, (g.rank * 2 % 5, 3), "i2"))
        even, strided = cupy.empty((4 * n, 3), "f4"), cupy.empty((8 * n, 3), "f4")[::2]
        y = cupy.asarray(own(g.rank))
        assert g.allgather_into(even, y) is even and g.allgather_into(strided, y) is strided
        return now(g.allgather(x)), now(g.allgather_async(x).wait()), now(even), now(strided), now(g.allgather(y))

    different = np.concatenate([own(rank, (rank * 2 % 5, 3), "i2") for rank in range(n)])
    for result, later, *equal in gpus(n, work):
        assert result.shape == different.shape and (result == different).all() and (later == different).all()
        assert all((rows == everyone(n).reshape(-1, 3)).all() for rows in equal)


def test_broadcast_from_every_root(gpus, cupy, n):
    def work(g):
        return [now(g.broadcast(cupy.asarray(own(g.rank, (1001,), "u2")), root)) for root in range(n)]

    for results in gpus(n, work):
        assert all((result == own(root, (1001,), "u2")).all() for root, result in enumerate(results))


def test_alltoall(gpus, cupy, n):
    def splits(rank):
        return [(rank + peer) % 3 for peer in range(n)]

    def work(g):
        x = cupy.asarray(own(g.rank, (sum(splits(g.rank)), 3)))
        ragged, counts = g.alltoall(x, np.array(splits(g.rank)))
        even = g.alltoall(cupy.asarray(own(g.rank, (2 * n, 3))))
        return now(even), now(ragged), counts, now(g.alltoall_async(x, splits(g.rank)).wait()[0])

    for rank, (even, ragged, counts, later) in enumerate(gpus(n, work)):
        assert (even == np.concatenate([own(p, (2 * n, 3))[2 * rank : 2 * rank + 2] for p in range(n)])).all()
        assert counts.tolist() == [splits(peer)[rank] for peer in range(n)]
        parts = [np.split(own(p, (sum(splits(p)), 3)), np.cumsum(splits(p))[:-1])[rank] for p in range(n)]
        assert (ragged == np.concatenate(parts)).all() and (later == ragged).all()


def test_gather_and_scatter(gpus, cupy, n):
    def shape(rank):
        return [(), (2, 3), (0,)][rank]

    def work(g):
        results = []
        for root in range(n):
            parts = g.gather(cupy.asarray(own(g.rank, shape(g.rank))), root)
            assert (parts is not None) == (g.rank == root)
            if parts is not None:
                assert [now(part).tolist() for part in parts] == [own(p, shape(p)).tolist() for p in range(n)]
            results.append(g.scatter(parts, root))
        return [(now(x), x.device.id) for x in results], g.rank if gpus.way == "nccl" else 0

    for rank, (results, device) in enumerate(gpus(n, work)):
        assert all(x.shape == shape(rank) and (x == own(rank, shape(rank))).all() for x, _ in results)
        assert all(its_device == device for _, its_device in results)


def test_send_and_recv_may_differ_in_kind(gpus, cupy):
    def work(g):
        if g.rank == 0:
            g.send(cupy.asarray(np.arange(8.0))[::2], 1, tag=3)
            return g.recv(np.empty((2, 0)), 1), now(g.recv(cupy.asarray(np.empty(3, "i4")), 1, tag=4))
        received = g.recv(cupy.asarray(np.empty(4)), 0, tag=3)
        g.send(cupy.empty((2, 0)), 0)
        g.send(np.arange(3, dtype="i4"), 0, tag=4)
        return now(received), received.device.id

    (empty, integers), (floats, device) = gpus(2, work)
    assert type(empty) is np.ndarray and empty.shape == (2, 0) and integers.tolist() == [0, 1, 2]
    assert floats.tolist() == [0, 2, 4, 6] and device == (gpus.way == "nccl")


def test_what_the_callers_stream_has_to_do_comes_first(gpus, cupy, n):
    """In background work, too, and where another GPU is current than the array's."""

    def work(g):
        with cupy.cuda.Stream(non_blocking=True):
            x = cupy.asarray(own(g.rank))
            y = x.copy()
            y *= 3
            handle = g.allreduce_async(y, Sum)
            y *= 0  # behind the copy that the call has made
            total = now(handle.wait())
            rows = g.allgather(x)
        with cupy.cuda.Device(5):
            return total, now(g.allreduce(rows, Sum))

    for total, doubled in gpus(n, work):
        assert (total == 3 * everyone(n).sum(0)).all() and (doubled == n * everyone(n).reshape(-1, 3)).all()


def test_a_copy_from_pinned_memory_is_complete_before_the_memory_serves_again(gpus, cupy):
    def work(g):
        return [now(g.allreduce(cupy.asarray(own(g.rank) + i), Sum)) for i in range(5)]

    for results in gpus(2, work):
        assert all((result == everyone(2).sum(0) + 2 * i).all() for i, result in enumerate(results))
