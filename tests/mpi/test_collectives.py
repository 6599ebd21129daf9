"""The collectives over a real MPI, on as many ranks as there are."""

import json
import tempfile
import threading
import time
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import collectives as c

pytestmark = pytest.mark.mpi

# Below and above the size at which MPI's own collectives hand over to the pipelined ring.
COUNTS = [0, 1, 13, 1000, 70_001, 300_007]
DTYPES = ["f2", ml_dtypes.bfloat16, "f4", "f8", "i1", "i8", "u2", "u4"]


@pytest.fixture(scope="module", autouse=True)
def job():
    c.init(timeout=60)
    yield
    c.barrier()


def own(rank, count, dtype="f4"):
    return ((np.arange(count) % 7) + rank).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", COUNTS)
def test_allreduce(dtype, count):
    exact = np.stack([own(rank, count, "f8") for rank in range(c.size())])
    for op, reference in [(c.Sum, np.sum), (c.Min, np.min), (c.Max, np.max)]:
        total = c.allreduce(own(c.rank(), count, dtype), op)
        assert total.dtype == np.dtype(dtype) and (total.astype("f8") == reference(exact, axis=0)).all()
        x = own(c.rank(), count, dtype)
        assert c.allreduce_(x, op) is x and (x == total).all()


@pytest.mark.parametrize("count", COUNTS)
def test_every_rank_has_the_same_bits(count):
    x = np.random.default_rng(c.rank()).normal(0, 1, count).astype(np.float32)
    mean = c.allreduce(x)
    again = c.allreduce(x)
    assert len({*c.allgather_object(mean.tobytes()), again.tobytes()}) == 1
    parts = c.allgather(x.reshape(1, -1)).astype(np.float64)
    n = c.size()
    u = n * 2.0**-24
    assert (np.abs(mean - parts.mean(0)) <= u / (1 - u) * np.abs(parts).sum(0) / n).all()


@pytest.mark.parametrize("count", [5, 300_007])
def test_nan_in_min_is_nan_everywhere(count):
    x = np.full(count, float(c.rank()))
    if c.rank() == c.size() - 1:
        x[-1] = np.nan
    least = c.allreduce(x, c.Min)
    assert np.isnan(least[-1]) and (least[:-1] == 0).all()


def test_bool():
    flags = np.arange(9) % (c.rank() + 2) == 0
    expected = [np.arange(9) % (rank + 2) == 0 for rank in range(c.size())]
    assert (c.allreduce(flags, c.Max) == np.any(expected, axis=0)).all()
    assert (c.allreduce(flags, c.Min) == np.all(expected, axis=0)).all()


@pytest.mark.parametrize("rows", [0, 3, 50_000])
def test_moving_rows(rows):
    n, me = c.size(), c.rank()
    mine = np.full((rows + me, 3), me, np.int32)
    expected = np.repeat(np.arange(n), [rows + rank for rank in range(n)])
    gathered = c.allgather(mine)
    assert gathered.shape == (expected.size, 3) and (gathered == expected[:, None]).all()
    out = np.empty((n * rows, 3), np.int32)
    assert (c.allgather_into(out, mine[:rows]) == np.repeat(np.arange(n), rows)[:, None]).all()

    x = own(me, rows * 3).reshape(rows, 3)
    assert (c.reduce_scatter(x, c.Sum) == np.array_split(c.allreduce(x, c.Sum), n)[me]).all()

    received, counts = c.alltoall(np.full(n * rows, me), [rows] * n)
    assert (received == np.repeat(np.arange(n), rows)).all() and counts.tolist() == [rows] * n
    for root in range(n):
        assert (c.broadcast(own(me, rows * 3), root) == own(root, rows * 3)).all()
        assert (c.scatter(c.gather(mine, root), root) == mine).all()


def test_objects_and_messages():
    n, me = c.size(), c.rank()
    assert c.broadcast_object({"from": me}, n - 1) == {"from": n - 1}
    assert c.allgather_object("x" * me) == ["x" * rank for rank in range(n)]
    if n > 1:
        handle = c.allreduce_async(np.ones(200_000))  # messages do not wait for collectives
        if me == 0:
            c.send(np.arange(100_000), 1, tag=3)
        elif me == 1:
            assert (c.recv(np.empty(100_000, int), 0, tag=3) == np.arange(100_000)).all()
        assert (handle.wait() == 1).all()


def test_many_in_flight():
    handles = [c.allreduce_async(own(c.rank() + i, 10 ** (i % 6)), c.Sum) for i in range(30)]
    blocking = c.allreduce(np.array(float(c.rank())), c.Sum)
    assert blocking == sum(range(c.size()))
    for i in reversed(range(30)):
        expected = sum(own(rank + i, 10 ** (i % 6), "f8") for rank in range(c.size()))
        assert (handles[i].wait() == expected).all()


def test_groups_work_side_by_side():
    me, n = c.rank(), c.size()
    part = c.world.split(me % 2, key=-me)
    assert part.ranks == tuple(rank for rank in reversed(range(n)) if rank % 2 == me % 2)
    inner = part.allreduce_async(np.full(100_000, float(me)), c.Sum)
    outer = c.allreduce(np.full(100_000, float(me)), c.Sum)
    assert (inner.wait() == sum(part.ranks)).all() and (outer == sum(range(n))).all()
    last = c.Group([n - 1])
    assert last.included == (me == n - 1) and last.size == 1


def test_places():
    places = c.allgather_object((c.rank(), c.local_rank(), c.cross_rank()))
    assert [place[0] for place in places] == list(range(c.size()))
    assert 0 <= c.local_rank() < c.local_size() <= c.size() and 0 <= c.cross_rank() < c.cross_size()


def test_disagreement_is_the_same_error_on_every_rank():
    if c.size() == 1:
        pytest.skip("needs two ranks to disagree")
    x = np.ones(3, np.float64 if c.rank() == 1 else np.float32)
    for call in (c.allreduce, lambda x: c.allreduce_async(x).wait()):
        with pytest.raises(c.MismatchError, match=r"in dtype:") as caught:
            call(x)
        assert "float64" in caught.value.by_rank[1] and "float32" in caught.value.by_rank[0]
        assert len(set(c.allgather_object(str(caught.value)))) == 1
    assert c.allreduce(np.ones(3), c.Sum)[0] == c.size()


def test_collectives_from_another_thread():
    results = []
    thread = threading.Thread(target=lambda: results.append(c.allreduce(np.ones(1000), c.Sum)))
    thread.start()
    thread.join(60)
    assert not thread.is_alive() and (results[0] == c.size()).all()


def test_init_may_follow_shutdown():
    c.shutdown()
    assert not c.is_initialized()
    with pytest.raises(c.CollectiveError, match=r"call ringtrain.init\(\) first, or collectives.init"):
        c.barrier()
    c.init(timeout=60)
    assert c.allreduce(np.array(1.0), c.Sum) == c.size()


def test_ranks_that_run_out_of_data():
    n, me = c.size(), c.rank()
    for _ in range(2):
        for step in range(n - me):  # the last rank has one step, the first has n
            for count in (3, 300_007):
                x, expected = (
                    own(me, count, "f8"),
                    np.mean([own(rank, count, "f8") for rank in range(n - step)], axis=0),
                )
                assert np.allclose(c.allreduce(x), expected, rtol=1e-12, atol=0)
                assert np.allclose(c.allreduce_(x), expected, rtol=1e-12, atol=0)
        assert c.join() == 0
        assert c.allreduce(np.array(1.0), c.Sum) == n


def test_a_timeline_of_all_ranks():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(c.broadcast_object(folder, 0), "trace.json")
        record(path)
        text = c.broadcast_object(path.read_text() if c.rank() == 0 else "", 0)  # others may not see rank 0's files
    trace = json.loads(text)["traceEvents"]
    late = {event["pid"]: event for event in trace if event["name"] == "allreduce late"}
    assert sorted(late) == list(range(c.size()))
    # On one clock nobody ends before the last has begun; that clock is good to half a message.
    last = max(event["ts"] for event in late.values())
    assert all(event["ts"] + event["dur"] > last - 100_000 for event in late.values())
    assert c.size() == 1 or late[0]["dur"] > 100_000
    assert {f"compute on {rank}" for rank in range(c.size())} <= {event["name"] for event in trace}


def record(path):
    c.start_timeline(path)
    if c.rank() == c.size() - 1:
        time.sleep(0.2)
    with c.timeline_range(f"compute on {c.rank()}"):
        c.allreduce(np.ones(1000), name="late")
    c.stop_timeline()
