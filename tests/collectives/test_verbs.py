"""Every verb of a group, on one to five ranks that are threads, through every route."""

import threading
from array import array

import ml_dtypes
import numpy as np
import pytest

from collectives import Average, Group, Max, Min, MismatchError, Product, Sum, verbs

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(params=[1, 2, 3, 5])
def n(request):
    return request.param


@pytest.fixture(params=[0, 1 << 20], ids=["pipelined", "small"])
def small(request):
    return request.param


def own(rank, shape=(4, 3), dtype=np.float32):
    return np.asarray(np.arange(np.prod(shape)).reshape(shape) % 11 + 2 * rank, dtype)


def everyone(n, *args, **options):
    return np.stack([own(rank, *args, **options) for rank in range(n)])


@pytest.mark.parametrize(
    "dtype", ["f2", ml_dtypes.bfloat16, "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]
)
def test_allreduce_of_every_dtype(groups, n, small, dtype):
    for op, reference in [(Sum, np.sum), (Min, np.min), (Max, np.max), (Product, np.prod)]:
        results = groups(n, lambda g, op=op: g.allreduce(own(g.rank, (13,), dtype) % 3, op), small=small)
        exact = np.stack([own(rank, (13,), dtype) % 3 for rank in range(n)]).astype(np.float64)
        for result in results:
            assert result.dtype == np.dtype(dtype) and result.shape == (13,)
            assert (result.astype(np.float64) == reference(exact, axis=0)).all()


@pytest.mark.parametrize("op, reference", [(Min, np.all), (Max, np.any)])
def test_allreduce_of_bool(groups, n, small, op, reference):
    def flags(rank):
        return np.arange(17) % (rank + 2) == 0

    for result in groups(n, lambda g: g.allreduce(flags(g.rank), op), small=small):
        assert result.dtype == bool
        assert (result == reference([flags(rank) for rank in range(n)], axis=0)).all()


def test_average_is_the_default_and_divides_once(groups, n, small):
    for result in groups(n, lambda g: g.allreduce(own(g.rank)), small=small):
        assert (result == everyone(n).sum(0) / np.float32(n)).all()


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_scales_apply_before_and_after(groups, n, small, dtype):
    def work(g):
        x = own(g.rank, (17,), dtype)
        return [g.allreduce(x, op, prescale=0.5, postscale=4) for op in (Sum, Max, Product)]

    halves = everyone(n, (17,), np.float64) / 2
    for total, greatest, product in groups(n, work, small=small):
        assert (total == halves.sum(0) * 4).all() and (greatest == halves.max(0) * 4).all()
        if dtype == "f8":
            assert (product == halves.prod(0) * 4).all()


def test_nan_wins_in_min_and_max_on_every_rank(groups, n, small):
    def work(g):
        x = np.full(5, float(g.rank))
        x[g.rank % 5] = np.nan
        return [g.allreduce(x, op) for op in (Min, Max)]

    results = groups(n, work, small=small)
    for least, greatest in results:
        assert np.isnan(least[: min(n, 5)]).all() and np.isnan(greatest[: min(n, 5)]).all()
        assert (least[n:] == 0).all() and (greatest[n:] == n - 1).all()


LAYOUTS = {
    "C": lambda x: x,
    "Fortran": np.asfortranarray,
    "strided": lambda x: np.repeat(x, 2, axis=0)[::2],
    "reversed": lambda x: x[::-1].copy()[::-1],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_in_place_and_not(groups, n, layout):
    def work(g):
        x = LAYOUTS[layout](own(g.rank))
        before = x.copy()
        total = g.allreduce(x, Sum)
        assert (x == before).all(), "an argument was changed"
        assert g.allreduce_(x, Sum) is x
        y = LAYOUTS[layout](own(g.rank))
        assert g.broadcast_(y, n - 1) is y
        return total, x, y

    for total, in_place, sent in groups(n, work):
        assert (total == everyone(n).sum(0)).all() and (in_place == total).all() and (sent == own(n - 1)).all()


def test_ranks_may_differ_in_layout(groups):
    def work(g):
        return g.allreduce_(np.asfortranarray(own(g.rank)) if g.rank else own(g.rank), Sum)

    for result in groups(2, work):
        assert (result == everyone(2).sum(0)).all()


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0), (1,)])
def test_arrays_with_no_axis_or_no_items(groups, n, small, shape):
    def work(g):
        x = own(g.rank, shape)
        return [g.allreduce(x, Sum), g.broadcast(x, 0), g.allreduce_async_(x.copy(), Sum).wait()]

    for total, sent, later in groups(n, work, small=small):
        assert total.shape == sent.shape == later.shape == shape
        assert (total == everyone(n, shape).sum(0)).all() and (sent == own(0, shape)).all()
        assert (later == total).all()


def test_grouped_allreduce(groups, n):
    cases = [((3,), "f4"), ((2, 5), "f8"), ((), "f4"), ((0,), "f4"), ((7,), "i4")]

    def arrays(rank):
        return [np.asarray(own(rank, shape, dtype) + 10 * i, dtype) for i, (shape, dtype) in enumerate(cases)]

    def work(g):
        xs = arrays(g.rank)
        sums = g.grouped_allreduce(xs, Sum)
        assert all((x == before).all() for x, before in zip(xs, arrays(g.rank), strict=True))
        later = g.grouped_allreduce_async(xs, Sum).wait()
        in_place = g.grouped_allreduce_(xs, Sum)
        assert all(a is b for a, b in zip(in_place, xs, strict=True))
        ys = arrays(g.rank)
        g.grouped_allreduce_async_(ys, Sum).wait()
        return sums, later, xs, ys

    expected = [np.sum(parts, axis=0) for parts in zip(*map(arrays, range(n)), strict=True)]
    for results in groups(n, work):
        for result in results:
            for total, reference, (shape, dtype) in zip(result, expected, cases, strict=True):
                assert total.dtype == dtype and total.shape == shape and (total == reference).all()


def test_a_group_of_arrays_costs_the_messages_of_one(ranks):
    def count(arrays):
        def work(link):
            g = Group._unattached()
            g._attach(link, range(2))
            g.grouped_allreduce([np.ones(2, np.float32)] * arrays)

        return ranks(2, work)[1].messages

    assert count(1) == count(50)


def test_overflow_is_no_warning(groups, n, small):
    """As in MPI: floats become infinite, integers wrap."""

    def work(g):
        return [
            g.allreduce(np.full(9, 2e38, np.float32), Sum),
            g.allreduce(np.full(9, 2e38, np.float32), Sum, prescale=3),
            g.allreduce(np.full(9, 6e4, np.float16), Sum, postscale=3),
            g.allreduce(np.full(9, 100, np.uint8), Sum),
        ]

    for single, scaled, half, wrapped in groups(n, work, small=small):
        assert (single == (np.inf if n > 1 else np.float32(2e38))).all()
        assert np.isinf(scaled).all() and np.isinf(half).all() and (wrapped == 100 * n % 256).all()


def test_allgather_of_different_lengths(groups, n, small):
    def work(g):
        x = own(g.rank, (g.rank * 2 % 5, 3))
        later = g.allgather_async(x)
        x = x.copy()
        return g.allgather(x), later.wait()

    expected = np.concatenate([own(rank, (rank * 2 % 5, 3)) for rank in range(n)])
    for result, later in groups(n, work, small=small):
        assert result.shape == expected.shape and (result == expected).all() and (later == expected).all()


def test_allgather_into(groups, n, small):
    def work(g):
        whole, strided = np.empty((4 * n, 3), np.float32), np.empty((8 * n, 3), np.float32)[::2]
        assert g.allgather_into(whole, own(g.rank)) is whole
        return whole, g.allgather_into(strided, own(g.rank))

    for whole, strided in groups(n, work, small=small):
        assert (whole == everyone(n).reshape(-1, 3)).all() and (strided == whole).all()


def test_rows_may_be_gathered_from_where_those_of_others_go(groups, n, small):
    def work(g):
        whole = np.empty((4 * n, 3), np.float32)
        part = whole[(g.rank + 1) % n * 4 :][:4]
        part[...] = own(g.rank)
        return g.allgather_into(whole, part)

    for whole in groups(n, work, small=small):
        assert (whole == everyone(n).reshape(-1, 3)).all()


def test_what_works_in_place_returns_what_it_was_given(groups, n, small):
    def work(g):
        x, y = np.ones((4, 3)).view(np.matrix), np.ones((4 * n, 3)).view(np.recarray)
        assert g.allreduce_(x) is x and g.allreduce_async_(x).wait() is x
        assert g.broadcast_(x, 0) is x and g.broadcast_async_(x, 0).wait() is x
        assert g.allgather_into(y, x) is y
        assert all(out is given for out, given in zip(g.grouped_allreduce_((x, y)), (x, y), strict=True))

    groups(n, work, small=small)


@pytest.mark.parametrize("given", [np.ones(3), array("f", [1, 2, 3]), memoryview(bytearray(b"abc"))])
def test_async_work_copies_whatever_memory_it_is_given(given):
    assert not np.shares_memory(verbs.snapshot(given), np.asarray(given))


def test_broadcast_from_every_root(groups, n, small):
    def work(g):
        return [g.broadcast(own(g.rank, (1001,)), root) for root in range(n)]

    for results in groups(n, work, small=small):
        assert all((result == own(root, (1001,))).all() for root, result in enumerate(results))


@pytest.mark.parametrize("rows", [0, 1, 4, 13])
@pytest.mark.parametrize("dtype", ["f2", "f4", "i8"])
def test_reduce_scatter_gives_the_first_ranks_one_more(groups, n, rows, dtype):
    def work(g):
        x = own(g.rank, (rows, 3), dtype)
        return g.reduce_scatter(x, Sum), g.reduce_scatter_async(x, Sum).wait()

    expected = np.array_split(everyone(n, (rows, 3), dtype).sum(0), n)
    for (result, later), rows_here in zip(groups(n, work), expected, strict=True):
        assert result.shape == rows_here.shape and (result == rows_here).all() and (later == result).all()


def test_alltoall_even_and_with_splits(groups, n):
    def splits(rank):
        return [(rank + peer) % 3 for peer in range(n)]

    def work(g):
        even = g.alltoall(own(g.rank, (2 * n, 3)))
        x = own(g.rank, (sum(splits(g.rank)), 3))
        return even, g.alltoall(x, splits(g.rank)), g.alltoall_async(x, splits(g.rank)).wait()

    for rank, (even, (ragged, counts), later) in enumerate(groups(n, work)):
        assert (even == np.concatenate([own(p, (2 * n, 3))[2 * rank : 2 * rank + 2] for p in range(n)])).all()
        assert counts.tolist() == [splits(peer)[rank] for peer in range(n)]
        parts = [np.split(own(p, (sum(splits(p)), 3)), np.cumsum(splits(p))[:-1])[rank] for p in range(n)]
        assert (ragged == np.concatenate(parts)).all() and (later[0] == ragged).all()


def test_gather_and_scatter_are_inverse(groups, n):
    def shape(rank):
        return [(), (2, 3), (0,), (4,), (1, 1, 1)][rank]

    def work(g):
        results = []
        for root in range(n):
            parts = g.gather(own(g.rank, shape(g.rank)), root)
            assert (parts is not None) == (g.rank == root)
            results.append(g.scatter(parts, root))
        return results

    for rank, results in enumerate(groups(n, work)):
        assert all(part.shape == shape(rank) and (part == own(rank, shape(rank))).all() for part in results)


def test_objects(groups, n, small):
    def work(g):
        mine = {"rank": g.rank, "long": "x" * 1000 * g.rank}
        return g.broadcast_object(mine if g.rank == n - 1 else None, n - 1), g.allgather_object(mine)

    for sent, gathered in groups(n, work, small=small):
        assert sent["rank"] == n - 1 and [part["rank"] for part in gathered] == list(range(n))
        assert [len(part["long"]) for part in gathered] == [1000 * rank for rank in range(n)]


def test_send_and_recv_of_any_array(groups):
    def work(g):
        if g.rank == 0:
            received = [g.recv(np.empty(3), 1, tag=7), g.recv(np.empty((), np.int64), 2)]
            return [*received, g.recv(np.empty((2, 0)), 1, tag=8)]
        if g.rank == 1:
            g.send(np.arange(6.0)[::2], 0, tag=7)
            g.send(np.empty((2, 0)), 0, tag=8)
        else:
            g.send(5, 0)
        return None

    strided, scalar, empty = groups(3, work)[0]
    assert strided.tolist() == [0, 2, 4] and scalar.shape == () and scalar == 5 and empty.shape == (2, 0)


def test_messages_are_told_apart_by_their_tags(groups):
    def work(g):
        if g.rank == 0:
            second = g.recv(0, 1, tag=2)
            return int(g.recv(0, 1, tag=1)), int(second)
        first = threading.Thread(target=g.send, args=(1, 0, 1))
        first.start()
        g.send(2, 0, tag=2)
        first.join()
        return None

    assert groups(2, work)[0] == (1, 2)


def test_recv_of_something_else_says_what_came_and_takes_it_off_the_wire(groups):
    def work(g):
        if g.rank == 1:
            g.send(np.arange(4, dtype=np.int16), 0)
            g.send(np.arange(3.0), 0)
            return None
        with pytest.raises(MismatchError, match=r"rank 1 sent int16\[4\] .* expected float64\[3\]") as caught:
            g.recv(np.empty(3), 1)
        assert caught.value.by_rank == {1: "int16[4]", 0: "float64[3]"}
        return g.recv(np.empty(3), 1)

    assert groups(2, work)[0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("color", [[], "red", 1.5])
def test_a_split_by_what_is_no_integer_is_refused_and_the_group_goes_on(groups, color):
    def work(g):
        with pytest.raises((TypeError, MismatchError), match="both are integers"):
            g.split(color if g.rank == 1 else 0)
        return g.allreduce(np.ones(3), Sum)[0]

    assert groups(3, work) == [3, 3, 3]


def test_split_orders_by_key_and_groups_nest(groups):
    def work(g):
        part = g.split(g.rank % 2, key=-g.rank)
        inner = part.split(0 if part.rank == 0 else None)
        total = part.allreduce(np.array(10.0**g.rank), Sum)
        return part.ranks, part.rank, float(total), inner and inner.ranks

    results = groups(5, work)
    assert [result[0] for result in results] == [(4, 2, 0), (3, 1)] * 2 + [(4, 2, 0)]
    assert [result[1] for result in results] == [2, 1, 1, 0, 0]
    assert [result[2] for result in results] == [10101, 1010] * 2 + [10101]
    assert [result[3] for result in results] == [None, None, None, (3,), (4,)]


def test_a_group_of_some_ranks(groups):
    def work(g):
        part = Group([3, 1], parent=g)
        if not part.included:
            with pytest.raises(Exception, match="this rank is not in the group of ranks 3, 1"):
                part.barrier()
            return part.size
        return part.rank, part.size, float(part.broadcast(np.array(float(g.rank)), 0))

    assert groups(4, work) == [2, (1, 2, 3.0), 2, (0, 2, 3.0)]


def test_average_of_integers_names_the_remedy(groups):
    def work(g):
        with pytest.raises(TypeError, match=r"Average of int32 would have to round: use op=Sum"):
            g.allreduce(np.arange(3, dtype=np.int32), Average)

    groups(2, work)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda g: g.allreduce(np.zeros(2, bool), Sum), TypeError, "Sum of bool is not defined"),
        (lambda g: g.allreduce(np.zeros(2, complex), Sum), TypeError, "complex128 cannot be reduced"),
        (lambda g: g.allreduce(np.zeros(2, ">f4"), Sum), TypeError, "not in this machine's byte order"),
        (lambda g: g.allreduce(np.zeros(2, ">i4"), Sum), TypeError, "not in this machine's byte order"),
        (lambda g: g.allreduce(np.zeros(2), "sum"), TypeError, "'sum' is not an operation: pass Average"),
        (lambda g: g.allreduce(np.zeros(2, int), Sum, prescale=2), ValueError, "scales need a float dtype"),
        (lambda g: g.allreduce_([1.0]), TypeError, "in place, not to list"),
        (lambda g: g.allreduce_(np.zeros(2), name=["grad"]), TypeError, r"name=\['grad'\] must be a text"),
        (lambda g: g.allgather(np.zeros(2, "V0")), TypeError, "have no bytes"),
        (lambda g: g.allreduce_(np.broadcast_to(1.0, 3)), ValueError, "read-only: use the verb without"),
        (lambda g: g.broadcast(np.zeros(2), 2), ValueError, "root=2 is not a rank of this group of 2"),
        (lambda g: g.broadcast(np.array([{}]), 0), TypeError, "use broadcast_object"),
        (lambda g: g.allgather(np.float32(1)), ValueError, "0-d array: pass x.reshape"),
        (lambda g: g.allgather_into(np.zeros(3), np.zeros(2)), ValueError, r"need float64\[4\]"),
        (
            lambda g: g.alltoall(np.zeros(3)),
            ValueError,
            "cannot divide 3 rows evenly among 2 ranks: pass splits",
        ),
        (lambda g: g.alltoall(np.zeros(3), [1, 1]), ValueError, r"splits=\[1, 1\] must be 2 counts"),
        (
            lambda g: g.scatter([1], 0),
            ValueError,
            "one array a rank from its root: 2, and was given 1 arrays",
        ),
        (lambda g: g.send(1.0, 5), ValueError, "of 2 cannot exchange messages with rank 5"),
        (lambda g: g.recv(1.0, g.rank), ValueError, "cannot exchange messages with rank"),
        (lambda g: g.send(1.0, 1 - g.rank, tag=-1), ValueError, "tag=-1 must be in 0"),
        (lambda g: g.send([{}], 1 - g.rank), TypeError, "use broadcast_object"),
        (lambda g: Group([0, 0], parent=g), ValueError, "must be distinct ranks of a group of 2"),
        (lambda g: g.broadcast_object(lambda: 0, 0), Exception, "pickle|disagree"),
    ],
)
def test_a_wrong_argument_is_named_and_the_group_stays_usable(groups, call, error, message):
    def work(g):
        with pytest.raises((error, MismatchError), match=message):
            call(g)
        return float(g.allreduce(np.array(float(g.rank))))

    assert groups(2, work) == [0.5, 0.5]
