"""Traces and books: what is recorded, on whose clock, and how it is written."""

import json
import threading
import time
from collections import defaultdict

import numpy as np
import pytest

import collectives as c
from collectives.timeline import Lane, Span, Timeline, bus_share, clock_offset, events, timeline, write

from .jobs import COMMAND, launch


@pytest.fixture
def job():
    c.init()
    yield
    timeline.end()
    c.shutdown()


def read(path):
    return json.loads(path.read_text())["traceEvents"]


@pytest.mark.parametrize("size", [2, 3])
def test_every_rank_learns_how_far_its_clock_is_off(ranks, size):
    def work(link):
        skew = 10**12 * link.rank  # a rank's clock is 1000 s ahead of the one before
        return clock_offset(link, lambda: time.monotonic_ns() + skew)

    offsets, _ = ranks(size, work)
    assert offsets[0] == 0
    for rank in range(1, size):
        assert abs(offsets[rank] + 10**12 * rank) < 10**9


def test_the_shortest_exchange_counts(ranks):
    """Only one exchange is quick; in the others rank 0's answer is long under way."""

    def work(link):
        now = [0]

        def clock():
            if link.rank == 0:
                return 5000
            now[0] += 40 if now[0] == 7000 else 1000
            return now[0]

        return clock_offset(link, clock)

    # Rank 1 asks at 7000 and is told at 7040; it takes rank 0's 5000 to be its own 7020.
    assert ranks(2, work)[0][1] == 5000 - 7020


def test_spans_are_microseconds_of_the_first_ranks_clock():
    lane, other = Lane("collectives of ranks 0, 1", 1), Lane("compute", 2)
    spans = [
        Span(lane, "allreduce w", 10_000, 14_000, "allreduce 'w' float32[1000]", 4000),
        Span(other, "forward", 11_500, 12_000),
        Span(Lane(lane.name, 3), "barrier", 12_000, 12_000, "barrier"),
    ]
    trace = list(events(spans, rank=1, offset=-2_000))
    shown = [event for event in trace if event["ph"] == "X"]
    assert [(event["ts"], event["dur"], event["tid"]) for event in shown] == [(8, 4, 0), (9.5, 0.5, 1), (10, 0, 2)]
    assert shown[0]["args"] == {"call": "allreduce 'w' float32[1000]", "bytes": 4000, "algbw GB/s": 1.0}
    assert shown[1]["args"] == {} and shown[2]["args"] == {"call": "barrier"}
    named = {event["tid"]: event["args"]["name"] for event in trace if event["name"] == "thread_name"}
    assert named == {0: lane.name, 1: "compute", 2: lane.name}
    assert all(event["pid"] == 1 for event in trace) and trace[0]["args"] == {"name": "rank 1"}


def test_nothing_is_kept_when_nothing_is_recorded():
    own = Timeline()
    own.add(Span(Lane("compute", 0), "before", 0, 1))
    own.begin("unused", 0)
    own.add(Span(Lane("compute", 0), "during", 0, 1))
    part = own.part(0)
    assert b"during" in part and b"before" not in part
    own.end()
    own.add(Span(Lane("compute", 0), "after", 0, 1))
    assert b"during" not in own.part(0) and b"after" not in own.part(0)


def test_what_a_rank_can_save_alone(tmp_path):
    own = Timeline()
    own.salvage(2)
    assert not list(tmp_path.iterdir())
    own.begin(str(tmp_path / "trace.json"), 0)
    own.add(Span(Lane("compute", 0), "forward", 0, 1))
    own.salvage(2)
    assert [path.name for path in tmp_path.iterdir()] == ["trace.json.rank2"]
    assert "forward" in [event["name"] for event in read(tmp_path / "trace.json.rank2")]


def test_parts_make_one_file(tmp_path):
    write(str(tmp_path / "t"), [b'{"a": 1},\n{"a": 2}', b'{"a": 3}'])
    assert read(tmp_path / "t") == [{"a": 1}, {"a": 2}, {"a": 3}]
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_a_timeline_of_one_rank(job, tmp_path):
    path = tmp_path / "trace.json"
    with c.timeline_range("too early"):
        c.start_timeline(path)
    with pytest.raises(ValueError, match=r"is being recorded to '.*trace.json' already"):
        c.start_timeline(path)
    with pytest.raises(KeyError), c.timeline_range("forward"):
        c.allreduce(np.ones(13), name="w")
        raise KeyError

    def load():
        with c.timeline_range("load"):
            pass

    thread = threading.Thread(target=load, name="loader")
    thread.start()
    thread.join()
    c.stop_timeline()
    with pytest.raises(ValueError, match=r"call start_timeline\(path\) first"):
        c.stop_timeline()

    trace = read(path)
    shown = {event["name"]: event for event in trace if event["ph"] == "X"}
    lanes = {event["tid"]: event["args"]["name"] for event in trace if event["name"] == "thread_name"}
    assert "too early" not in shown
    assert lanes[shown["forward"]["tid"]] == "compute"
    assert lanes[shown["load"]["tid"]] == "compute (loader)"
    inner, outer = shown["allreduce w"], shown["forward"]
    assert lanes[inner["tid"]] == "collectives of rank 0" and inner["args"]["bytes"] == 13 * 8
    assert outer["ts"] <= inner["ts"] <= inner["ts"] + inner["dur"] <= outer["ts"] + outer["dur"]


def test_a_timeline_that_cannot_be_written(job, tmp_path):
    c.start_timeline(tmp_path / "missing" / "trace.json")
    with pytest.raises(c.CollectiveError, match=r"rank 0 cannot write the timeline: .*No such file or directory"):
        c.stop_timeline()
    c.start_timeline(tmp_path / "trace.json")  # that one is over
    c.stop_timeline()


def test_the_bus_carries_what_benchmarks_say_it_does():
    def busbw(verb, size, nbytes):
        span = Span(Lane("x", 0), verb, 0, 1000, verb, nbytes, bus_share(verb, size))
        return next(e for e in events([span], 0, 0) if e["ph"] == "X")["args"].get("busbw GB/s")

    assert busbw("allreduce", 4, 4000) == busbw("grouped_allreduce", 4, 4000) == 6.0  # 2 (n-1) / n of 4 GB/s
    assert busbw("reduce_scatter", 4, 4000) == busbw("alltoall", 4, 4000) == 3.0
    assert busbw("allgather", 4, 1000) == busbw("allgather_into", 4, 1000) == 3.0  # of the result's 4000 bytes
    assert busbw("broadcast", 4, 4000) == 4.0
    assert busbw("gather", 4, 4000) is busbw("broadcast", 1, 4000) is busbw("allreduce", 1, 4000) is None


PROGRAM = """
import sys, time, numpy as np, collectives as c
c.init()
c.start_timeline(sys.argv[1])
part = c.Group([2, 0])
with c.timeline_range("forward"):
    handles = [c.allreduce_async(np.ones(1000), name=f"bucket {i}") for i in range(3)]
    if c.rank() == 1:
        time.sleep(0.2)
with c.timeline_range("backward"):
    if part.included:
        part.broadcast(np.ones(3), 0, name="weights")
    for handle in handles:
        handle.wait()
    c.allreduce_(np.ones(10), name="loss")
c.stop_timeline()
"""


@pytest.mark.skipif(COMMAND is None, reason="no mpiexec beside this Python or on PATH")
def test_a_timeline_of_three_ranks(tmp_path):
    path = tmp_path / "trace.json"
    done = launch(3, "-c", PROGRAM, str(path))
    assert done.status == 0, done.stderr
    whole = json.loads(path.read_text())
    assert whole.keys() == {"traceEvents", "displayTimeUnit"} and whole["displayTimeUnit"] in ("ms", "ns")
    trace = whole["traceEvents"]
    lanes = check_format(trace)
    spans = [event for event in trace if event["ph"] == "X"]

    def named(name, rank):
        return next(event for event in spans if event["name"] == name and event["pid"] == rank)

    for rank in range(3):
        assert lanes[rank, named("forward", rank)["tid"]] == "compute"
        for i in range(3):  # done in the background, in a lane of their own
            bucket = named(f"allreduce bucket {i}", rank)
            assert lanes[rank, bucket["tid"]] == "collectives of ranks 0, 1, 2"
            assert (
                bucket["args"].keys() == {"call", "bytes", "algbw GB/s", "busbw GB/s"}
                and bucket["args"]["bytes"] == 8000
            )
        loss, backward = named("wait for allreduce loss", rank), named("backward", rank)
        assert lanes[rank, loss["tid"]] == "compute" and "bytes" not in loss["args"]
        assert backward["ts"] <= loss["ts"] and loss["ts"] + loss["dur"] <= backward["ts"] + backward["dur"]
    assert lanes[2, named("broadcast weights", 2)["tid"]] == "collectives of ranks 2, 0"
    # Nobody is through a collective before all have begun it: so it is on one clock.
    apart = 0.1e6  # microseconds; a thread may lose the processor between looking at the clock and anything else
    for i in range(3):
        buckets = [named(f"allreduce bucket {i}", rank) for rank in range(3)]
        assert max(b["ts"] for b in buckets) < min(b["ts"] + b["dur"] for b in buckets) + apart


def check_format(trace):
    """What the Trace Event Format asks for, and the names of lanes by process and thread."""
    lanes, tree = {}, defaultdict(list)
    for event in trace:
        assert isinstance(event["name"], str) and type(event["pid"]) is int and isinstance(event["args"], dict)
        if event["ph"] == "M":
            key = {"process_name": "name", "thread_name": "name", "process_sort_index": "sort_index"}[event["name"]]
            assert event["args"].keys() == {key}
            if event["name"] == "thread_name":
                lanes[event["pid"], event["tid"]] = event["args"]["name"]
        else:
            assert event["ph"] == "X" and type(event["tid"]) is int
            assert all(type(event[key]) in (int, float) and event[key] >= 0 for key in ("ts", "dur"))
            tree[event["pid"], event["tid"]].append((event["ts"], -event["dur"]))
    assert tree.keys() == lanes.keys()
    for spans in tree.values():  # those of one lane lie inside each other or apart
        ends = []
        for start, dur in sorted(spans):
            while ends and ends[-1] <= start:
                ends.pop()
            assert not ends or start - dur <= ends[-1] + 1e-3
            ends.append(start - dur)
    return lanes
