"""Traces and books: what is recorded, on whose clock, and how it is written."""

import json
import threading
import time

import numpy as np
import pytest

import collectives as c
from collectives import Sum
from collectives.timeline import Lane, Span, Timeline, clock_offset, events, timeline, write


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


def test_books(groups):
    def work(g):
        part = g.split(g.rank)
        for _ in range(3):
            g.allreduce(np.ones((5, 2), np.float32))
        g.allgather(np.ones(g.rank + 1))
        g.grouped_allreduce([np.ones(3), np.ones(4, "f2")], Sum)
        part.allreduce(np.ones(7))
        books = g.stats()
        assert (books["allreduce"].calls, books["allreduce"].bytes) == (4, 3 * 40 + 56)
        assert part.stats().keys() == {"allreduce"} and part.stats()["allreduce"].bytes == 56
        assert books["allgather"][:2] == (1, 8 * (g.rank + 1)) and books["grouped_allreduce"][:2] == (1, 32)
        assert books["allreduce"].seconds > part.stats()["allreduce"].seconds > 0
        return books.keys()

    assert groups(3, work)[0] == {"split", "allreduce", "allgather", "grouped_allreduce"}
