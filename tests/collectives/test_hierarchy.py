"""Shared memory inside hosts and rings between them, with threads as ranks on hosts that are made up."""

import time

import ml_dtypes
import numpy as np
import pytest

from collectives import hierarchy, ring, shared
from collectives.arena import Arena
from collectives.errors import MismatchError, StallError
from collectives.group import Group
from collectives.hierarchy import SMALL, HierarchicalLink
from collectives.link import Link
from collectives.reduce import Op
from collectives.tuning import Tuning

pytest.importorskip("numba")
BF16 = ml_dtypes.bfloat16
#: the ranks on each host: even, uneven, interleaved, one rank on a host, three hosts
HOSTS = {
    "2+2": [[0, 1], [2, 3]],
    "2+1": [[0, 1], [2]],
    "1+3": [[0], [1, 2, 3]],
    "interleaved": [[0, 2], [1, 3]],
    "2+2+2": [[0, 1], [2, 3], [4, 5]],
    "uneven, mixed": [[0, 3, 4], [1, 5], [2, 6]],
}
COUNTS = [0, 1, 13, SMALL // 4 + 17, 100_003]
PARTS = pytest.mark.parametrize("hosts", HOSTS.values(), ids=HOSTS.keys())


def size(hosts):
    return sum(map(len, hosts))


@pytest.fixture
def jobs(ranks):
    """work(group) on the ranks of these hosts: the list of results, and the bytes that each host has sent others."""

    def run(hosts, work, **options):
        arenas = [Arena(64 << 20) for _ in range(size(hosts))]
        crossed = [0] * len(hosts)

        def fit(base):
            here = [[n for n, rank in enumerate(base.ranks) if rank in host] for host in hosts]
            here = [host for host in here if host]
            own = next(host for host in here if base.rank in host)
            place, rings = own.index(base.rank), min(map(len, here))
            local, across = base.sub(own), base.sub([host[place] for host in here] if place < rings else None)
            if len(here) > 1:
                joined = shared.share(local, arenas[base.ranks[base.rank]], [arenas[r] for r in local.ranks], True)
                return HierarchicalLink(base, here, joined, across, fit)
            return shared.share(base, arenas[base.ranks[base.rank]], [arenas[r] for r in base.ranks], True)

        def with_group(link):
            mine = next(number for number, host in enumerate(hosts) if link.rank in host)
            watch(link, hosts, mine, crossed)
            group = Group._unattached()
            group._attach(fit(link), range(link.size))
            try:
                return work(group)
            finally:
                group._close()

        return ranks(size(hosts), with_group, **options)[0], crossed

    return run


def watch(link, hosts, mine, crossed):
    """Count the bytes that leave this host, on this link and on those made from it."""
    send, form = link.isend, link.sub

    def isend(buffer, to, tag=0):
        if link.members[to] not in hosts[mine]:
            crossed[mine] += buffer.nbytes
        return send(buffer, to, tag)

    def sub(ranks):
        made = form(ranks)
        if made is not None:
            watch(made, hosts, mine, crossed)
        return made

    link.isend, link.sub = isend, sub


def values(rank, count, dtype="f8"):
    return np.random.default_rng(rank).normal(0, 1, count).astype(dtype)


@PARTS
@pytest.mark.parametrize("count", COUNTS)
def test_allreduce(jobs, hosts, count):
    n = size(hosts)

    def work(group):
        return group.allreduce(values(group.rank, count), Op.Average, prescale=2.0, postscale=0.5)

    found, _ = jobs(hosts, work)
    own = [values(rank, count) for rank in range(n)]
    bound = 2 * n * np.finfo("f8").eps * sum(map(np.abs, own), np.zeros(count))
    assert (np.abs(found[0] - sum(own, np.zeros(count)) / n) <= bound).all()
    assert all(theirs.tobytes() == found[0].tobytes() for theirs in found)


@pytest.fixture
def windows(monkeypatch):
    """Windows of little data; and the number of those that each allreduce of a rank has begun to reduce inside."""
    monkeypatch.setattr(hierarchy, "WINDOW", 1)
    monkeypatch.setattr(Link, "tuning", Tuning(chunk=4096))
    begun = []
    inside = HierarchicalLink._reduce_inside

    def counted(link, flat, bounds, reduction):
        begun.append(link.rank)
        inside(link, flat, bounds, reduction)

    monkeypatch.setattr(HierarchicalLink, "_reduce_inside", counted)
    return begun


@PARTS
@pytest.mark.parametrize("dtype", ["f4", "i8", BF16])
def test_windows_of_an_allreduce_come_together(jobs, windows, hosts, dtype):
    """Small integers, whose sums every dtype holds exactly; and the bytes that cross are no more for it."""
    n, count = size(hosts), 100_000

    def own(rank):
        return (np.arange(count) * (rank + 3) % 5).astype(dtype)

    def work(group):
        group.allreduce_(x := own(group.rank), Op.Sum)
        return x

    found, crossed = jobs(hosts, work)
    expected = sum(own(rank).astype("f8") for rank in range(n))
    assert all((x.astype("f8") == expected).all() for x in found)
    assert windows.count(0) > 5
    h = len(hosts)
    least = 2 * (h - 1) / h * count * np.dtype(dtype).itemsize
    slack = windows.count(0) * n * 2 * h * np.dtype(dtype).itemsize + 1000  # uneven segments, headers
    assert all(abs(sent - least) <= slack for sent in crossed)


def test_a_network_that_fails_under_one_window_fails_the_call(jobs, windows, monkeypatch):
    """At once: the windows behind it are not tried, each with a deadline of its own."""
    tried, allreduce = [], ring.allreduce

    def failing(link, flat, reduction):
        tried.append(link.rank)
        if tried.count(link.rank) > 2:
            raise StallError("no answer for 1.0 s", [])
        allreduce(link, flat, reduction)

    monkeypatch.setattr(ring, "allreduce", failing)

    def work(group):
        with pytest.raises(StallError, match=r"allreduce float32\[50000\]"):
            group.allreduce(np.ones(50_000, "f4"))

    jobs([[0], [1]], work, timeout=5.0, strays=True)
    assert len(tried) == 6


@PARTS
@pytest.mark.parametrize(("op", "combine"), [(Op.Min, np.minimum), (Op.Max, np.maximum), (Op.Product, np.multiply)])
@pytest.mark.parametrize("dtype", ["i8", "u1", "f4"])
def test_other_operations(jobs, hosts, op, combine, dtype):
    def own(rank):
        return (np.arange(5_003) * (rank + 3) % 3 + 1).astype(dtype)

    found, _ = jobs(hosts, lambda group: group.allreduce(own(group.rank), op))
    expected = combine.reduce([own(rank) for rank in range(size(hosts))], dtype=dtype)
    assert all((theirs == expected).all() for theirs in found)


@PARTS
@pytest.mark.parametrize("dtype", ["f2", BF16])
@pytest.mark.parametrize("op", [Op.Sum, Op.Average])
def test_sixteen_bits_are_rounded_once_a_host_and_once_between(jobs, hosts, dtype, op):
    n, count = size(hosts), 9_001
    own = [values(rank, count, dtype) for rank in range(n)]
    found, _ = jobs(hosts, lambda group: group.allreduce(own[group.rank], op))
    exact = sum(x.astype("f8") for x in own) / (n if op is Op.Average else 1)
    of_hosts = sum(abs(sum(own[rank].astype("f8") for rank in host)) for host in hosts)
    rounding = float(ml_dtypes.finfo(dtype).eps) / 2
    bound = rounding * (of_hosts / (n if op is Op.Average else 1) + abs(exact)) * 1.01 + 1e-6
    assert (np.abs(found[0].astype("f8") - exact) <= bound).all()
    assert all(theirs.tobytes() == found[0].tobytes() for theirs in found)


def test_an_average_of_float16_overflows_no_earlier_than_it_must(jobs):
    """Two values of 60,000 on a host have no sum in sixteen bits, but an average."""
    hosts = HOSTS["uneven, mixed"]
    found, _ = jobs(hosts, lambda group: group.allreduce(np.full(9_001, 60_000, "f2"), Op.Average))
    assert all((theirs == np.float16(60_000)).all() for theirs in found)


@PARTS
@pytest.mark.parametrize("rows", [0, 1, 5, 1000])
@pytest.mark.parametrize("dtype", ["f8", BF16])
def test_reduce_scatter(jobs, hosts, rows, dtype):
    n = size(hosts)
    own = [np.round(values(rank, rows * 7, "f8") * 8).astype(dtype).reshape(rows, 7) for rank in range(n)]
    found, _ = jobs(hosts, lambda group: group.reduce_scatter(own[group.rank], Op.Sum))
    expected = np.array_split(sum(x.astype("f8") for x in own), n)  # small integers: exact in every dtype
    for theirs, wanted in zip(found, expected, strict=True):
        assert theirs.shape == wanted.shape and (theirs.astype("f8") == wanted).all()


@PARTS
@pytest.mark.parametrize("rows", [0, 1, 700])
def test_gathers_of_any_lengths(jobs, hosts, rows):
    n = size(hosts)

    def work(group):
        uneven = group.allgather(np.full((rows + group.rank, 5), group.rank, "f4"))
        out = np.empty((n * rows, 5), "f4")
        group.allgather_into(out, np.full((rows, 5), group.rank, "f4"))
        return uneven, out

    for uneven, out in jobs(hosts, work)[0]:
        assert (uneven == np.repeat(np.arange(n), [rows + rank for rank in range(n)])[:, None]).all()
        assert (out == np.repeat(np.arange(n), rows)[:, None]).all()


@PARTS
@pytest.mark.parametrize("count", [1, 13, 50_003])
def test_broadcast_and_the_verbs_of_messages(jobs, hosts, count):
    n = size(hosts)

    def work(group):
        r = group.rank
        roots = [group.broadcast(values(r, count, "f4"), root) for root in range(n)]
        rows = group.alltoall(np.arange(n * 3).reshape(n * 3, 1) + 100 * r)
        parts = group.gather(np.full(r + 1, r), root=n - 1)
        own = group.scatter([np.full(rank, 7) for rank in range(n)] if r == 1 else None, root=1)
        objects = group.allgather_object({"rank": r})
        group.barrier()
        return roots, rows, parts, own, objects, group.broadcast_object("word", 0)

    for r, (roots, rows, parts, own, objects, word) in enumerate(jobs(hosts, work)[0]):
        assert all((found == values(root, count, "f4")).all() for root, found in enumerate(roots))
        assert (rows[:, 0] == np.concatenate([np.arange(3) + 3 * r + 100 * peer for peer in range(n)])).all()
        assert (parts is None) == (r != n - 1) and (parts is None or [p.size for p in parts] == list(range(1, n + 1)))
        assert own.size == r and objects == [{"rank": rank} for rank in range(n)] and word == "word"


@PARTS
def test_hosts_send_each_other_what_no_algorithm_can_better(jobs, hosts):
    """Beside a fixed number of small messages: headers and counts."""
    h, n, rows = len(hosts), size(hosts), 60_000
    nbytes = n * rows * 4

    def sent(call):
        return np.array(jobs(hosts, call)[1]) - np.array(jobs(hosts, lambda group: group.barrier())[1])

    x = np.zeros(n * rows, "f4")
    few = 64 * n  # bytes: counts that go round before data
    allreduce = sent(lambda group: group.allreduce(x))
    assert (np.abs(allreduce - 2 * (h - 1) / h * nbytes) <= few + 4 * h).all()
    in_sixteen = sent(lambda group: group.allreduce(x.astype(BF16)))
    assert (np.abs(in_sixteen - (h - 1) / h * nbytes) <= few + 4 * h).all()
    scattered = sent(lambda group: group.reduce_scatter(x))
    to_others = [sum(len(theirs) for theirs in hosts if theirs is not host) for host in hosts]
    assert scattered.sum() <= sum(to_others) * rows * 4 * (1 if h == 2 else h / 2) + few * h
    gathered = sent(lambda group: group.allgather(x[:rows]))
    assert abs(gathered.sum() - (h - 1) * nbytes) <= few * n * h
    root = sent(lambda group: group.broadcast(x, 0))
    assert abs(root.sum() - (h - 1) * nbytes) <= few * h


@PARTS
def test_ranks_that_disagree_are_told_so_wherever_they_are(jobs, hosts):
    n = size(hosts)

    def work(group):
        texts = []
        for odd in range(n):
            with pytest.raises(MismatchError) as caught:
                group.allreduce(np.zeros(5 if group.rank == odd else 4, "f4"))
            texts.append((caught.value.by_rank[odd], str(caught.value)))
            group.allreduce(np.zeros(10_000, "f4"))  # and the next collective works
        return texts

    found, _ = jobs(hosts, work)
    assert all(texts == found[0] for texts in found)
    assert all(text.startswith("allreduce float32[5]") for text, _ in found[0])


@PARTS
def test_groups_of_some_ranks(jobs, hosts):
    n = size(hosts)

    def work(group):
        odd = group.split(group.rank % 2, key=-group.rank)
        part = Group([0, n - 1], group)
        results = [odd.allreduce(np.full(5_000, group.rank, "f8"), Op.Sum)[0]]
        if part.included:
            results.append(part.allreduce(np.full(5_000, group.rank, "f8"), Op.Sum)[0])
        return results

    for rank, results in enumerate(jobs(hosts, work)[0]):
        assert results[0] == sum(range(rank % 2, n, 2))
        assert len(results) == 1 + (rank in (0, n - 1)) and results[1:] in ([], [n - 1])


def test_a_barrier_gives_up_when_it_was_told_to_on_ranks_that_wait_for_their_host_too(jobs):
    """Not at the group's own deadline, which is that of every other wait."""

    def work(group):
        if group.rank != 3:
            start = time.monotonic()
            with pytest.raises(StallError):
                group.barrier(timeout=0.3)
            assert time.monotonic() - start < 10

    jobs(HOSTS["2+2"], work, timeout=25.0, strays=True)
