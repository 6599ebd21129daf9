"""Every verb with one rank that calls it otherwise, or once more, or once less; a program for mpiexec.

Run by test_fault_grid.py. Every rank checks that it gets the named error, with the right rank, what differs and
the line, and that the next collective works; then it prints "rank R of N: K disagreements".
"""

import re
import sys
from functools import partial
from itertools import count

import numpy as np

import collectives as c
from collectives.topology import Topology

PATIENCE = 60.0  # seconds for what must succeed, however busy the machine is

if sys.argv[1:] == ["mpi"]:  # where the ranks have no shared memory
    Topology.link = lambda self, base: base
c.init(timeout=PATIENCE)
N, ME = c.size(), c.rank()
SHOWN = ["allreduce with another dtype", "barrier"]  # errors to print


def x(dtype="f4", shape=(12, 2)):
    return np.full(shape, ME, dtype)


def reduce(verb):
    return lambda g, of=x, **how: finish(getattr(g, verb)(of(), **how))


def grouped(verb):
    return lambda g, of=x, number=2, **how: finish(getattr(g, verb)([of() for _ in range(number)], **how))


def rooted(verb):
    return lambda g, of=x, root=0, **how: finish(getattr(g, verb)(of(), root, **how))


def into(g, of=x, **how):
    return g.allgather_into(np.concatenate([of()] * N), of(), **how)


def scatter(g, root=0, **how):
    return g.scatter([x()] * N, root, **how)


def alltoall(verb):
    return lambda g, of=x, splits=None, **how: finish(getattr(g, verb)(of(), splits, **how))


def object_from(g, root=0, **how):
    return g.broadcast_object("a", root, **how)


def finish(result):
    return result.wait() if isinstance(result, c.Handle) else result


DTYPE = {"dtype": {"of": partial(x, "f8")}}
SHAPE = {"shape": {"of": partial(x, shape=(13, 2))}}
WIDTH = {"shape": {"of": partial(x, shape=(12, 3))}}  # where the first axis may differ
NAME = {"name": {"name": "other"}}
SCALES = {"op": {"op": c.Max}, "prescale": {"prescale": 2.0}, "postscale": {"postscale": 0.5}}
ROOT = {"root": {"root": 1}, "arguments": {"root": N}}
REDUCE = DTYPE | SHAPE | NAME | SCALES
LISTS = {"arrays": {"number": 3}} | NAME | SCALES

# A verb, and by what an error calls it the arguments that differ on one rank.
VERBS = {
    **{f"allreduce{form}": (reduce(f"allreduce{form}"), REDUCE) for form in ("", "_", "_async", "_async_")},
    **{
        f"grouped_allreduce{form}": (grouped(f"grouped_allreduce{form}"), LISTS)
        for form in ("", "_", "_async", "_async_")
    },
    **{f"reduce_scatter{form}": (reduce(f"reduce_scatter{form}"), REDUCE) for form in ("", "_async")},
    **{f"allgather{form}": (reduce(f"allgather{form}"), DTYPE | WIDTH | NAME) for form in ("", "_async")},
    "allgather_into": (into, DTYPE | SHAPE | NAME),
    **{
        f"broadcast{form}": (rooted(f"broadcast{form}"), DTYPE | SHAPE | NAME | ROOT)
        for form in ("", "_", "_async", "_async_")
    },
    **{
        f"alltoall{form}": (
            alltoall(f"alltoall{form}"),
            DTYPE | WIDTH | NAME | {"splits": {"splits": [12] + [0] * (N - 1)}, "arguments": {"splits": [1] * N}},
        )
        for form in ("", "_async")
    },
    "gather": (rooted("gather"), DTYPE | NAME | ROOT),
    "scatter": (scatter, NAME | ROOT),
    "broadcast_object": (object_from, NAME | ROOT),
    "allgather_object": (lambda g, **how: g.allgather_object("a", **how), NAME),
    "barrier": (lambda g: g.barrier(), {}),
    "Group": (lambda g, ranks=(0,): c.Group(ranks, g), {"ranks": {"ranks": (1,)}, "arguments": {"ranks": (0, 0)}}),
    "split": (lambda g: g.split(0), {}),
}


def expect(error, what, culprit, call):
    """The error names the culprit, what it differs in, and this file."""
    try:
        call()
    except c.MismatchError as caught:
        text, by_rank = str(caught), caught.by_rank
    else:
        raise AssertionError(f"{error}: rank {ME} was not told")
    assert sorted(by_rank) == list(range(N)), (error, by_rank)
    odd = by_rank.pop(culprit)
    assert len(set(by_rank.values())) == 1 and odd not in by_rank.values(), (error, odd, by_rank)
    assert re.match(rf"ranks disagree on collective #\d+, in (?:{what}):\n", text), (error, text)
    told = re.search(rf"^  rank {culprit}: (.*), at \S*mismatch_grid.py:\d+ in \S+$", text, re.MULTILINE)
    assert told and told[1] == odd, (error, text)
    if error in SHOWN and ME == 0:
        print(f"MismatchError: {text}", flush=True)


def next_works():
    assert c.allreduce(np.full(3, ME + 1.0), c.Sum, name="next")[0] == N * (N + 1) / 2


def different_arguments(culprits):
    for verb, (call, differing) in VERBS.items():
        call(c.world)
        for what, arguments in differing.items():
            culprit = next(culprits) % N
            known = partial(call, c.world, **(arguments if culprit == ME else {}))
            expect(f"{verb} with another {what}", what, culprit, known)
            yield next_works()


def one_call_too_many_or_too_few(culprits):
    """Where one rank is at the next call already, or still at the one before."""
    for verb, (call, _) in VERBS.items():
        following = partial(c.allreduce, x(), name="following")
        for early in (True, False):
            culprit = next(culprits) % N
            at_following = (culprit == ME) == early
            expect(verb, r"verb\b.*|name", culprit, following if at_following else partial(call, c.world))
            following()
            yield next_works()


def another_order(culprits):
    for verb, (call, differing) in VERBS.items():
        if "name" in differing:
            culprit = next(culprits) % N
            for name in ("b", "a") if culprit == ME else ("a", "b"):
                expect(f"{verb} in another order", "name", culprit, partial(call, c.world, name=name))
            yield next_works()


def messages():
    """The receiver is told, and the message after that arrives."""
    to = (ME + 1) % N
    for wrong in (partial(x, "f8"), partial(x, shape=(13, 2))):
        if ME % 2 == 0 and to:
            c.send(x(), to)
            c.send(x(), to, 1)
        elif ME % 2:
            try:
                c.recv(wrong(), ME - 1)
            except c.MismatchError as error:
                print(f"MismatchError: {error}", flush=True)
                assert error.by_rank == {ME - 1: "float32[12, 2]", ME: f"{wrong().dtype}{list(wrong().shape)}"}
            else:
                raise AssertionError("another array was received")
            assert c.recv(x(), ME - 1, 1)[0, 0] == ME - 1
        yield next_works()


def load_batch(verb):
    return finish(getattr(c, verb)(x(), name="wrong"))


def step(verb, culprit):
    return load_batch(verb) if culprit == ME else finish(getattr(c, verb)(x(), name="right"))


def from_another_line(culprits):
    """Each rank's line is its own, be the call blocking or in the background."""
    for verb in ("allreduce", "allreduce_async"):
        culprit = next(culprits) % N
        try:
            step(verb, culprit)
        except c.MismatchError as error:
            functions = dict.fromkeys(range(N), "step") | {culprit: "load_batch"}
            told = re.findall(r"^  ranks? ([\d, ]+): .* in (\w+)$", str(error), re.MULTILINE)
            assert {int(rank): name for ranks, name in told for rank in ranks.split(",")} == functions, error
        else:
            raise AssertionError("nobody was told")
        yield next_works()


def in_flight(culprits):
    """The second of four that are under way at once fails; the others bring their results."""
    culprit = next(culprits) % N
    handles = [
        c.allreduce_async(np.full(1000 + (step == 1 and culprit == ME), ME), c.Sum, name=f"step {step}")
        for step in range(4)
    ]
    for step in (3, 0, 2):
        assert handles[step].wait()[0] == N * (N - 1) / 2
    expect("in flight", "shape", culprit, handles[1].wait)
    yield next_works()


def on_a_part(culprits):
    """In a group of some ranks they alone are told, by their numbers in the world; the others go on."""
    pair = c.Group([N - 1, 0])
    handle = c.allreduce_async(x())  # of all ranks, while two of them disagree elsewhere
    if pair.included:
        try:
            pair.allreduce(x(shape=(1 + pair.rank,)))
        except c.MismatchError as error:
            assert list(error.by_rank) == [N - 1, 0] and "float32[2]" in error.by_rank[0], error
        else:
            raise AssertionError("a mismatch in a part was not told")
        assert pair.allreduce(x(), c.Sum)[0, 0] == N - 1
    assert handle.wait()[0, 0] == (N - 1) / 2
    yield next_works()


def main():
    parts = (different_arguments, one_call_too_many_or_too_few, another_order, from_another_line, in_flight, on_a_part)
    culprits = count(N - 1)
    found = sum(len(list(part(culprits))) for part in parts) + len(list(messages()))
    print(f"rank {ME} of {N}: {found} disagreements", flush=True)


main()
