"""Ranks that run out of data before the others do."""

import ml_dtypes
import numpy as np
import pytest

from collectives import Average, CollectiveError, Max, Min, MismatchError, Product, StallError, Sum
from collectives.joining import neutral

REFERENCE = {
    Average: lambda parts: np.mean(parts, axis=0),
    Sum: lambda parts: np.sum(parts, axis=0),
    Min: lambda parts: np.min(parts, axis=0),
    Max: lambda parts: np.max(parts, axis=0),
    Product: lambda parts: np.prod(parts, axis=0),
}


def own(rank, step, shape=(13,)):
    """Small integers, exact in every dtype, negative ones too; of either sign on one rank alone."""
    return (np.arange(np.prod(shape)).reshape(shape) * (rank + 2) + step) % 7 - 3.0 - 4 * (rank % 2)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("small", [0, 1 << 20], ids=["ring", "gathered"])
@pytest.mark.parametrize("op", REFERENCE, ids=repr)
def test_those_that_are_left_reduce_among_themselves(groups, size, small, op):
    dtypes = ["f4", "f8", "f2", ml_dtypes.bfloat16] + (["i4", "i8"] if op is not Average else [])

    def work(g):
        for step in range(g.rank + 1):
            for dtype in dtypes:
                expected = REFERENCE[op]([own(rank, step) for rank in range(step, size)])
                got = g.allreduce(own(g.rank, step).astype(dtype), op, postscale=1.0)
                assert got.dtype == dtype
                expected = expected if op is Average else expected.astype(dtype).astype("f8")  # rounded once
                bound = 0 if op is not Average else np.finfo("f4").eps if dtype in ("f4", "f8") else 2.0**-8
                assert (abs(got.astype("f8") - expected) <= bound * abs(expected)).all()
        last = g.join()
        assert g.allreduce(np.array(1.0), Sum) == size  # nobody is missing afterwards
        return last

    assert groups(size, work, small=small) == [size - 1] * size


def test_several_arrays_rows_and_listeners(groups):
    def work(g):
        if g.rank == 1:
            return g.join()
        lives = [0, 2]
        xs = [own(g.rank, 0, (3, 2)), own(g.rank, 1, ()).astype("f4"), np.empty((0, 4))]
        got = g.grouped_allreduce(xs, prescale=2.0)
        assert (got[0] == 2 * np.mean([own(rank, 0, (3, 2)) for rank in lives], axis=0)).all()
        assert got[1] == 2 * np.mean([own(rank, 1, ()) for rank in lives]) and got[2].shape == (0, 4)
        y = own(g.rank, 2, (4, 6))[:, ::2]
        assert g.allreduce_async_(y, Sum).wait() is y
        assert (y == sum(own(rank, 2, (4, 6))[:, ::2] for rank in lives)).all()
        assert (
            g.allgather(own(g.rank, 0, (g.rank + 1, 2))) == np.concatenate([own(0, 0, (1, 2)), own(2, 0, (3, 2))])
        ).all()
        assert (g.broadcast(own(g.rank, 0), 2) == own(2, 0)).all()
        g.barrier()
        return g.join()

    assert groups(3, work) == [2, 2, 2]


def test_bool(groups):
    def work(g):
        if g.rank == 0:
            return g.join()
        flags = np.arange(5) % (g.rank + 1) == 0
        for op, reference in ((Min, np.logical_and), (Max, np.logical_or)):
            expected = reference(np.arange(5) % 2 == 0, np.arange(5) % 3 == 0)
            assert (g.allreduce(flags, op) == expected).all()
        return g.join()

    groups(3, work)


def test_the_last_of_several_is_the_highest(groups):
    def work(g):
        if g.rank in (0, 3):
            g.allreduce(np.ones(3))
        two_together = g.join()
        if g.rank == 0:
            g.allreduce(np.ones(3))
        one_alone = g.join()
        return two_together, one_alone, g.join()

    assert groups(4, work) == [(3, 0, 3)] * 4


def test_a_group_counts_its_own_ranks(groups):
    def work(g):
        part = g.split(0 if g.rank else None)
        if g.rank == 0:
            return None
        if part.rank == 0:
            assert part.allreduce(np.array(5.0)) == 5
        return part.join()

    assert groups(3, work) == [None, 0, 0]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda g: g.reduce_scatter(np.ones(3)),
            r"rank 2 joined, having no more data, and reduce_scatter .* needs every rank",
        ),
        (lambda g: g.alltoall(np.ones(3)), r"alltoall .* needs every rank: those that joined take part in allreduce,"),
        (lambda g: g.broadcast(np.ones(3), 2), r"broadcast .* root=2 has a root that joined: take one that has not"),
        (lambda g: g.allreduce(np.ones(3), Product, prescale=2.0), r"no value is neutral to Product: scale the array"),
    ],
)
def test_what_cannot_be_stood_in_for_is_an_error_on_every_rank(groups, call, text):
    def work(g):
        with pytest.raises(MismatchError, match=text) as caught:
            g.join() if g.rank == 2 else call(g)
        assert caught.value.by_rank[2] == "join" and caught.value.by_rank[0] == caught.value.by_rank[1]
        assert g.allreduce(np.array(1.0), Sum) == 3
        return str(caught.value)

    assert len(set(groups(3, work))) == 1


def test_those_that_are_left_must_agree(groups):
    def work(g):
        with pytest.raises(MismatchError, match="ranks disagree on collective #1") as caught:
            g.join() if g.rank == 1 else g.allreduce(np.ones(3 + g.rank))
        assert caught.value.by_rank[1] == "join" and g.allreduce(np.array(1.0), Sum) == 3

    groups(3, work)


def test_arguments_that_are_wrong_on_those_that_are_left(groups):
    def work(g):
        if g.rank:
            with pytest.raises(TypeError, match="Average of int64 would have to round"):
                g.allreduce(np.ones(3, int))
            with pytest.raises(TypeError, match="Average of int64 would have to round"):
                g.reduce_scatter(np.ones(3, int))
        return g.join()

    assert groups(3, work) == [2, 2, 2]


@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "i8", "u8", "f2", ml_dtypes.bfloat16, "f4", "f8"])
def test_neutral_elements(dtype):
    dtype = np.dtype(dtype)
    values = np.array([0, 1], dtype)
    assert (np.minimum(values, neutral(dtype, (2,), Min)) == values).all()
    assert (np.maximum(values, neutral(dtype, (2,), Max)) == values).all()
    if dtype.kind != "b":
        assert (values * neutral(dtype, (2,), Product) == values).all()
        assert (values + neutral(dtype, (2,), Sum) == values).all() and neutral(dtype, (2,), Sum).dtype == dtype


def test_joining_while_calls_of_the_others_are_under_way(groups):
    def work(g):
        mine = np.full(1000, g.rank + 1.0)
        before = [g.allreduce_async(mine, name=f"before {i}") for i in range(3)]
        if g.rank:
            alone = [g.allreduce_async(mine, name=f"after {i}") for i in range(3)]
            alone.append(g.grouped_allreduce_async([mine, mine], Sum))
        last = g.join()  # behind what is under way
        assert all(handle.wait()[0] == 2.0 for handle in before)
        if g.rank:
            assert [handle.wait()[0] for handle in alone[:3]] == [2.5] * 3 and alone[3].wait()[1][0] == 5.0
        assert g.allreduce_async(mine).wait()[0] == 2.0  # nobody is joined any more
        return last

    assert groups(3, work) == [2, 2, 2]


def test_joining_a_part_leaves_the_whole_as_it_is(groups):
    def work(g):
        part = g.split(0 if g.rank else None)
        whole = [g.allreduce_async(np.full(300, float(g.rank)), Sum) for _ in range(4)]
        last = None
        if part is not None:
            if part.rank == 1:
                assert part.allreduce_async(np.array(5.0)).wait() == 5.0
            last = part.join()
        assert [handle.wait()[0] for handle in whole] == [3.0] * 4
        return last

    assert groups(3, work) == [None, 1, 1]


def test_a_stall_in_a_part_leaves_the_whole_as_it_is(groups):
    """Rank 2 does not come to the part, neither for what is queued there nor for what follows."""

    def work(g):
        part = g.split(0 if g.rank else None)
        whole = [g.allreduce_async(np.full(300, float(g.rank)), Sum) for _ in range(2)]
        if g.rank == 1:
            part._link.timeout = 0.2
            stalled, following = part.allreduce_async(np.ones(3), name="w"), part.allreduce_async(np.ones(3))
            with pytest.raises(StallError) as caught:
                stalled.wait()
            assert caught.value.missing == (2,)
            with pytest.raises(CollectiveError, match="cannot communicate any more: allreduce 'w'"):
                following.wait()
        g.barrier()
        return [handle.wait()[0] for handle in [*whole, g.allreduce_async(np.full(3, 1.0), Sum)]]

    assert groups(3, work, strays=True) == [[3.0, 3.0, 3.0]] * 3
