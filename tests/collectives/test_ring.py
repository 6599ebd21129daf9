"""The ring: right sums at any size and number of ranks, the fewest bytes, and the same bits everywhere."""

import ml_dtypes
import numpy as np
import pytest

from collectives import exchange, ring
from collectives.link import Link
from collectives.reduce import Op, Reduction, is_wide

SIZES = [0, 1, 13, 17, 1000]
RANKS = [2, 3, 4, 5, 7, 8]
CHUNK = 64  # bytes: many chunks out of little data
ROUNDOFF = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}


def values(rank, count, dtype=np.float32):
    """Numbers of mixed sign and size that differ on every rank."""
    return np.random.default_rng([count, rank]).normal(0, 3, count).astype(dtype)


def assert_sum(result, parts, divisor=1):
    """Within the error that any order of adding may cause, and for 16 bits one rounding on top."""
    n, exact = len(parts), [part.astype(np.longdouble) for part in parts]
    u = ROUNDOFF["float32"] if is_wide(result.dtype) else ROUNDOFF[result.dtype.name]
    total = sum(exact) / divisor
    bound = n * u / (1 - n * u) * sum(map(np.abs, exact)) / divisor
    if is_wide(result.dtype):
        bound = bound * (1 + ROUNDOFF[result.dtype.name]) + ROUNDOFF[result.dtype.name] * np.abs(total)
        bound += float(ml_dtypes.finfo(result.dtype).smallest_subnormal)
    assert (np.abs(result.astype(np.longdouble) - total) <= bound).all()


def allreduce(link, flat, reduction):
    if is_wide(flat.dtype):
        bounds = ring.split_evenly(flat.size, link.size)
        ring.reduce_scatter(link, flat, bounds, reduction, CHUNK)
        ring.allgather(link, flat, bounds, CHUNK)
    else:
        ring.allreduce(link, flat, reduction, CHUNK)
    return flat


@pytest.mark.parametrize("n", RANKS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", ml_dtypes.bfloat16])
def test_allreduce_sums(ranks, n, dtype, late):
    def work(link):
        reduction = Reduction(Op.Sum, n)
        counts = [*SIZES, n - 1, n, n + 1]
        return [allreduce(link, values(link.rank, count, dtype), reduction) for count in counts]

    results, _ = ranks(n, work, late=late)
    for own in results:
        for total, first in zip(own, results[0], strict=True):
            assert total.tobytes() == first.tobytes()
            assert_sum(total, [values(rank, total.size, dtype) for rank in range(n)])


@pytest.mark.parametrize("n", [2, 3])
def test_allreduce_of_many_full_chunks(ranks, n):
    count = 10**6 + 3
    results, _ = ranks(n, lambda link: allreduce_full(link, values(link.rank, count)))
    assert_sum(results[0], [values(rank, count) for rank in range(n)], divisor=n)
    assert all(result.tobytes() == results[0].tobytes() for result in results)


def allreduce_full(link, flat):
    ring.allreduce(link, flat, Reduction(Op.Average, link.size))
    return flat


@pytest.mark.parametrize("n", [2, 5])
def test_the_same_bits_in_every_run(ranks, n):
    def work(link):
        return allreduce(link, values(link.rank, 999), Reduction(Op.Sum, n)).tobytes()

    assert len({bits for _ in range(5) for bits in ranks(n, work)[0]}) == 1


@pytest.mark.parametrize("op, reference", [(Op.Min, np.min), (Op.Max, np.max), (Op.Product, np.prod)])
@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, np.uint64])
def test_integers_are_exact(ranks, op, reference, dtype):
    def own(rank):
        return np.random.default_rng(rank).integers(0, 3 + rank, 101).astype(dtype)

    results, _ = ranks(4, lambda link: allreduce(link, own(link.rank), Reduction(op, 4)))
    expected = reference(np.stack([own(rank) for rank in range(4)]), axis=0).astype(dtype)
    for result in results:
        assert result.dtype == dtype and (result == expected).all()


@pytest.mark.parametrize("n", RANKS)
def test_reduce_scatter_with_bounds_of_any_kind(ranks, n, late):
    bounds = [0, *np.cumsum(np.random.default_rng(n).integers(0, 60, n)).tolist()]
    bounds[1:2] = [0]  # a rank that owns nothing

    def work(link):
        flat = values(link.rank, bounds[-1])
        ring.reduce_scatter(link, flat, bounds, Reduction(Op.Average, n), CHUNK)
        return flat[bounds[link.rank] : bounds[link.rank + 1]]

    results, _ = ranks(n, work, late=late)
    parts = [values(rank, bounds[-1]) for rank in range(n)]
    assert_sum(np.concatenate(results), parts, divisor=n)


@pytest.mark.parametrize("n", RANKS)
def test_allgather_with_bounds_of_any_kind(ranks, n, late):
    bounds = [0, *np.cumsum([(rank * 7) % 40 for rank in range(n)]).tolist()]

    def work(link):
        flat = np.full(bounds[-1], -1, np.int16)
        flat[bounds[link.rank] : bounds[link.rank + 1]] = link.rank
        ring.allgather(link, flat, bounds, CHUNK)
        return flat

    expected = np.repeat(np.arange(n), np.diff(bounds))
    for result in ranks(n, work, late=late)[0]:
        assert (result == expected).all()


@pytest.mark.parametrize("n", RANKS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_rank_sends_no_more_than_it_must(ranks, n, dtype):
    count = 840 * 8  # divisible by every n
    _, fabric = ranks(n, lambda link: allreduce(link, values(link.rank, count, dtype), Reduction(Op.Sum, n)))
    size = count * np.dtype(dtype).itemsize
    assert fabric.sent == [2 * (n - 1) * size // n] * n


def test_counts_stay_small_however_large_the_data(ranks):
    """No message is longer than a chunk, so no count comes near 2**31."""
    _, fabric = ranks(2, lambda link: ring.allreduce(link, values(link.rank, 4096), Reduction(Op.Sum, 2), 1024))
    assert fabric.messages == [16, 16] and fabric.sent == [16 * 1024] * 2


class Void(Link):
    """A link that loses what it is given, and counts it: for data that no machine here could hold."""

    rank, timeout = 1, 1.0

    def __init__(self, size):
        self.size, self.ranks = size, tuple(range(size))
        self.sent, self.received, self.longest = 0, 0, 0

    def isend(self, buffer, to, tag=0):
        self.sent += buffer.nbytes
        self.longest = max(self.longest, buffer.nbytes)

    def irecv(self, buffer, source, tag=0):
        self.received += buffer.nbytes
        self.longest = max(self.longest, buffer.nbytes)

    def wait(self, requests, timeout=None, peer=None):
        pass

    def sub(self, ranks):
        raise AssertionError


class Nothing(Reduction):
    """Arithmetic that does not touch memory, so that no page of a large array need exist."""

    def prepare(self, own):
        pass

    def accumulate(self, into, other):
        assert into.size == other.size

    def finish(self, total):
        pass


@pytest.mark.parametrize("n", [2, 3])
def test_more_than_two_to_the_31_items(n):
    """Every item goes round, in messages whose counts MPI can hold."""
    count = 2**31 + 17
    flat = np.empty(count, np.uint8)  # address space only
    for call, least in [
        (lambda link: ring.allreduce(link, flat, Nothing(Op.Sum, n)), 2 * (n - 1) / n * count),
        (lambda link: exchange.broadcast(link, flat, root=0), count),
        (lambda link: exchange.gather(link, flat, [], root=0), count),
    ]:
        link = Void(n)
        call(link)
        assert abs(max(link.sent, link.received) - least) <= 2 * n
        assert 0 < link.longest < 2**31


def test_sixteen_bits_are_rounded_once(ranks):
    """2048 + 1 + 1 + 1 is 2051 in float32 and rounds to 2052; rounding every sum would stay at 2048."""

    def work(link):
        return allreduce(link, np.array([2048 if link.rank == 0 else 1] * 8, np.float16), Reduction(Op.Sum, 4))

    for result in ranks(4, work)[0]:
        assert (result == 2052).all()


def test_an_average_of_sixteen_bits_does_not_overflow(ranks):
    def work(link):
        return allreduce(link, np.full(5, 60000, np.float16), Reduction(Op.Average, 3))

    for result in ranks(3, work)[0]:
        assert (result == np.float16(60000)).all()


@pytest.mark.parametrize("count, parts", [(0, 3), (2, 3), (7, 3), (9, 3)])
def test_split_evenly_gives_the_first_parts_one_more(count, parts):
    sizes = np.diff(ring.split_evenly(count, parts))
    assert sizes.sum() == count and sizes.max() - sizes.min() <= 1 and (np.diff(sizes) <= 0).all()
