"""CuPy arrays in every verb, by NCCL and through the host, with a stand-in for CuPy whose streams are lazy."""

import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

from collectives import Average, CollectiveError, Max, Min, MismatchError, Product, StallError, Sum, nccl

from . import fake_cupy

pytestmark = pytest.mark.filterwarnings("error")

DTYPES = ["f2", ml_dtypes.bfloat16, "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]


@pytest.fixture
def cupy(monkeypatch):
    modules = fake_cupy.modules()
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(nccl._Settings, "wanted", True)
    return modules["cupy"]


@pytest.fixture(params=[1, 2, 3])
def n(request):
    return request.param


@pytest.fixture(params=["nccl", "staged"])
def gpus(request, groups, cupy):
    """work(group) on n ranks, with a GPU for each or one for all; at the end the way that data went is checked."""

    def run(n, work, **options):
        def with_gpu(g):
            with cupy.cuda.Device(g.rank if request.param == "nccl" else 0):
                return work(g)

        return groups(n, with_gpu, **options)

    run.way = request.param
    return run


def own(rank, shape=(4, 3), dtype=np.float32):
    return np.asarray(np.arange(np.prod(shape)).reshape(shape) % 11 + 2 * rank, dtype)


def everyone(n, *args, **options):
    return np.stack([own(rank, *args, **options) for rank in range(n)])


def now(array):
    """What is in a CuPy array at this moment, whatever its streams still have to do."""
    assert isinstance(array, fake_cupy.ndarray)
    return array._memory.copy()


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


# -- which way ------------------------------------------------------------------------------------


def total(cupy, g, op=Sum, dtype="f4"):
    return now(g.allreduce(cupy.asarray(own(g.rank, dtype=dtype)), op))


def on_own_gpus(groups, cupy, n, work, **options):
    def with_gpu(g):
        with cupy.cuda.Device(g.rank):
            return work(g)

    return groups(n, with_gpu, **options)


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


# -- what goes wrong ------------------------------------------------------------------------------


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
