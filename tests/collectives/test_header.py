"""Ranks that disagree: the same error on every rank, which names each rank's call, and then life goes on."""

import numpy as np
import pytest

from collectives import Average, Max, MismatchError, Sum
from collectives.header import Agreement, Call

X = np.ones((2, 3), np.float32)

DISAGREEMENTS = {
    "dtype": (lambda g: g.allreduce(X), lambda g: g.allreduce(X.astype(np.float64)), "in dtype:"),
    "shape": (lambda g: g.allreduce(X), lambda g: g.allreduce(X.T), "in shape:"),
    "op": (lambda g: g.allreduce(X, Sum), lambda g: g.allreduce(X, Max), "in op:"),
    "name": (lambda g: g.allreduce(X, name="a"), lambda g: g.allreduce(X, name="b"), "in name:"),
    "prescale": (lambda g: g.allreduce(X), lambda g: g.allreduce(X, prescale=2), "in prescale:"),
    "postscale": (lambda g: g.allreduce(X), lambda g: g.allreduce(X, postscale=0.5), "in postscale:"),
    "root": (lambda g: g.broadcast(X, 0), lambda g: g.broadcast(X, 1), "in root:"),
    "verb": (lambda g: g.barrier(), lambda g: g.allreduce(X), "in verb, "),
    "verb of objects": (
        lambda g: g.allgather_object(1),
        lambda g: g.broadcast_object(1, 0),
        "in verb, root:",
    ),
    "columns": (lambda g: g.allgather(X), lambda g: g.allgather(X[:, :2]), "in shape:"),
    "fused shapes": (lambda g: g.grouped_allreduce([X, X]), lambda g: g.grouped_allreduce([X]), "in arrays:"),
    "splits": (lambda g: g.alltoall(X[:0]), lambda g: g.alltoall(X[:0], [0] * g.size), "in splits:"),
    "bad argument": (lambda g: g.allreduce(X), lambda g: g.allreduce(X.astype(int)), "Average of int64"),
    "bad root": (lambda g: g.broadcast(X, 0), lambda g: g.broadcast(X, 9), "root=9 is not a rank"),
    "async": (lambda g: g.allreduce_async(X).wait(), lambda g: g.allreduce_async(X[0]).wait(), "in shape:"),
    "split": (lambda g: g.split(0), lambda g: g.barrier(), "in verb:"),
}


@pytest.mark.parametrize("case", DISAGREEMENTS)
@pytest.mark.parametrize("n", [2, 3])
def test_every_rank_hears_who_said_what(groups, case, n):
    usual, other, message = DISAGREEMENTS[case]

    def work(g):
        with pytest.raises(MismatchError, match="ranks disagree on collective #1, ") as caught:
            (other if g.rank == 1 else usual)(g)
        after = g.allreduce(np.array(float(g.rank)), Sum)
        return str(caught.value), caught.value.by_rank, float(after)

    results = groups(n, work)
    text, by_rank, _ = results[0]
    assert message in text
    assert sorted(by_rank) == list(range(n)) and len(set(by_rank.values())) == 2
    assert all(by_rank[rank] == by_rank[0] for rank in range(n) if rank != 1)
    assert ("rank 0:" if n == 2 else "ranks 0, 2:") in text and "rank 1:" in text
    assert all(result == (text, by_rank, sum(range(n))) for result in results)


def test_the_description_of_a_call():
    def work_of(**fields):
        return str(Call("allreduce", **fields))

    assert work_of(name="w", dtype=np.dtype("f4"), shape=(3, None), op=Average) == (
        "allreduce 'w' float32[3, any] op=Average"
    )
    assert work_of(prescale=2.0, root=1, detail="x") == "allreduce prescale=2.0 postscale=1.0 root=1 (x)"


def test_two_arrays_swapped(groups):
    a, b = np.zeros(3), np.zeros(4)

    def work(g):
        with pytest.raises(MismatchError, match=r"(?s)rank 0: .*\[3\].*rank 1: .*\[4\]"):
            for x in (a, b) if g.rank == 0 else (b, a):
                g.allreduce(x)

    groups(2, work)


def test_ranks_of_a_smaller_group_are_those_of_the_world(groups):
    def work(g):
        part = g.split(0 if g.rank else None)
        if part is not None:
            with pytest.raises(MismatchError) as caught:
                part.allreduce(np.zeros(part.rank))
            return sorted(caught.value.by_rank)
        return None

    assert groups(3, work)[1:] == [[1, 2], [1, 2]]


def test_fingerprints_are_remembered_but_not_for_ever(ranks):
    def work(link):
        agreement = Agreement(link, range(2))
        for step in range(5000):
            agreement.check(Call("barrier", name=f"step {step}"))
        return len(agreement._fingerprints)

    assert max(ranks(2, work)[0]) < 5000
