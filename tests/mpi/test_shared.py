"""Ranks of one host in shared memory, as processes: `collectives.empty`, and mixes of everything."""

import os
import zlib

import numpy as np
import pytest

import collectives as c
from collectives.shared import SharedLink
from collectives.shared_plan import SLOT
from collectives.tuning import DEFAULT

pytestmark = pytest.mark.mpi


@pytest.fixture(scope="module", autouse=True)
def job():
    c.init(timeout=60)
    if c.size() == 1 or c.local_size() != c.size() or not hasattr(os, "memfd_create"):
        pytest.skip("needs several ranks on one host")
    yield
    c.barrier()


def filled(count, value, dtype=np.float32):
    out = c.empty(count, dtype)
    out[...] = value
    return out


def test_the_path_is_taken_by_the_world_and_by_groups():
    assert isinstance(c.world._link, SharedLink)
    part = c.world.split(0, key=-c.rank())
    assert isinstance(part._link, SharedLink)
    assert (part.allreduce_(filled(100_003, c.rank()), c.Max) == c.size() - 1).all()


def test_arrays_made_in_any_order_and_of_any_size():
    rng = np.random.default_rng(c.rank())
    strays = [c.empty(int(rng.integers(1, 10_000)), np.float64) for _ in range(20 + c.rank())]
    del strays[:: 2 + c.rank()]
    for count in (17, 30_011, 1_000_003):
        x = filled(count, c.rank() + 1, np.float64)
        assert (c.allreduce_(x, c.Sum) == sum(range(1, c.size() + 1))).all()


def test_the_same_bits_from_every_kind_of_memory():
    for count in (DEFAULT.always_copied // 4, DEFAULT.always_copied // 4 + 1, SLOT // 4 + 1, 1_000_003):
        mine = np.random.default_rng(c.rank()).normal(0, 1, count).astype(np.float32)
        ordinary = c.allreduce_(mine.copy())
        shared = c.empty(count)
        shared[...] = mine
        mixed = mine.copy() if c.rank() % 2 else c.empty(count)
        mixed[...] = mine
        assert c.allreduce_(shared).tobytes() == ordinary.tobytes() == c.allreduce_(mixed).tobytes()
        assert len(set(c.allgather_object(zlib.crc32(ordinary)))) == 1


def test_async_and_blocking_calls_keep_their_order():
    buckets = [filled(n, c.rank()) for n in (10, 5_000, 300_007)]
    for turn in range(15):
        handles = [c.allreduce_async_(bucket, c.Max) for bucket in buckets]
        assert c.allreduce(np.float64(turn), c.Sum) == turn * c.size()
        assert all((handle.wait() == c.size() - 1 + turn).all() for handle in reversed(handles))
        for bucket in buckets:
            bucket[...] = c.rank() + turn + 1


def test_arrays_outlive_the_job():
    x = filled(50_000, 1.0)
    c.shutdown()
    assert (x == 1).all()
    c.init(timeout=60)
    assert (c.allreduce_(x, c.Sum) == c.size()).all()  # now an ordinary array
    assert (c.allreduce_(filled(50_000, 1.0), c.Sum) == c.size()).all()
