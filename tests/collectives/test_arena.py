"""Memory that other processes map: it is given back, it has no name, and nothing of it outlives its processes."""

import gc
import os
import subprocess
import sys
import weakref

import numpy as np
import pytest

from collectives import arena as arena_module
from collectives.arena import GRAIN, Arena, map_peer
from collectives.memory import empty

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="arenas need memfd_create")
MIB = 1 << 20


def place(array):
    return array.ctypes.data


def test_blocks_are_aligned_and_apart():
    arena = Arena(MIB)
    blocks = [arena.take(count) for count in (1, 13, 128, 4097)]
    assert all((place(block) - arena.start) % GRAIN == 0 for block in blocks)
    for i, block in enumerate(blocks):
        block[...] = i
    assert [int(block.min()) for block in blocks] == [int(block.max()) for block in blocks] == [0, 1, 2, 3]


def test_memory_comes_back_when_the_last_view_goes():
    arena = Arena(MIB)
    first, second, third = (arena.take(MIB // 4) for _ in range(3))
    view = second[10:20].view(np.int16)
    where = place(second)
    del second
    assert arena.take(MIB // 2) is None  # a view still holds what lies between
    del view
    again = arena.take(MIB // 4)
    assert place(again) == where
    del first, again, third
    assert arena.take(MIB).size == MIB  # neighbours have become one


def test_what_is_given_back_takes_no_memory():
    arena = Arena(64 * MIB)

    def pages():
        return os.fstat(arena.address.fd).st_blocks * 512

    before = pages()
    block = arena.take(32 * MIB)
    block[...] = 1
    assert pages() - before >= 32 * MIB
    del block
    assert pages() == before


def test_a_full_arena_says_so():
    arena = Arena(MIB)
    assert arena.take(MIB + 1) is None
    whole = arena.take(MIB)
    assert arena.take(1) is None and whole.size == MIB


def test_an_array_that_finds_no_room_is_the_processes_own():
    arena = Arena(MIB)
    inside, outside = empty((3, 5), "f8", arena), empty(MIB, "f8", arena)
    assert inside.shape == (3, 5) and inside.dtype == np.float64 and inside.flags.carray
    assert arena.offset(place(inside), inside.nbytes) >= 0 and arena.offset(place(outside), outside.nbytes) == -1
    with pytest.raises(TypeError, match="hold Python objects"):
        empty(3, object, arena)


def test_another_process_sees_the_same_bytes():
    arena = Arena(MIB)
    block = arena.take(1000)
    block[...] = 7
    code = """
import sys
import weakref
from collectives.arena import map_peer
pid, fd, dev, ino, capacity, offset = map(int, sys.argv[1:])
peer = map_peer((pid, fd, (dev, ino), capacity))
assert (peer.bytes[offset:offset + 1000] == 7).all()
peer.bytes[offset:offset + 1000] = 9
"""
    pid, fd, file, capacity = arena.address
    values = map(str, (pid, fd, *file, capacity, place(block) - arena.start))
    subprocess.run([sys.executable, "-c", code, *values], check=True, timeout=60)
    assert (block == 9).all()


def test_a_file_that_is_not_the_arena_is_refused():
    arena, other = Arena(MIB), Arena(MIB)
    with pytest.raises(OSError, match="the ranks do not see the same processes"):
        map_peer(arena.address._replace(fd=other.address.fd))


def test_it_has_no_name_that_could_outlive_the_process():
    arena = Arena(MIB)
    assert arena.take(10) is not None
    with open("/proc/self/maps") as maps:
        lines = [line.split(maxsplit=5)[5].strip() for line in maps if line.startswith(f"{arena.start:x}-")]
    assert lines == ["/memfd:collectives (deleted)"]


def test_it_ends_with_its_last_array():
    arena = Arena(MIB)
    fd, block = arena.address.fd, arena.take(10)
    block[...] = 3
    del arena
    gc.collect()
    assert (block == 3).all() and os.fstat(fd)
    del block
    gc.collect()
    with pytest.raises(OSError):
        os.fstat(fd)


def test_a_forked_child_that_ends_leaves_the_arrays_of_its_parent():
    code = """
import os, sys
from collectives.arena import Arena
arena = Arena(1 << 24)
block = arena.take(1 << 22)
block[...] = 5
child = os.fork()
if child == 0:
    del block
    sys.exit(0)
os.waitpid(child, 0)
assert (block == 5).all()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="mounting needs root")
def test_the_size_of_dev_shm_does_not_matter():
    code = """
from collectives.arena import Arena
block = Arena().take(32 << 20)
block[...] = 1
assert block.sum() == 32 << 20
"""
    script = f"mount -t tmpfs -o size=64k tmpfs /dev/shm && exec {sys.executable} -c '{code}'"
    probe = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"], capture_output=True)
    if probe.returncode:
        pytest.skip("this host lets nobody mount")
    subprocess.run(["unshare", "-m", "sh", "-c", script], check=True, timeout=60)


def test_more_than_the_host_has_is_refused_before_it_is_tried(monkeypatch):
    monkeypatch.setattr(arena_module, "available", lambda: 4 * MIB)
    arena = Arena(64 * MIB)
    assert arena.take(5 * MIB) is None and arena.keep(5 * MIB) is None
    assert arena.take(3 * MIB).size == 3 * MIB


def test_the_host_has_some_memory():
    assert MIB < arena_module.available() < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_what_is_kept_stays_until_the_arena_is_closed_and_does_not_keep_the_arena():
    arena = Arena(MIB)
    kept = arena.keep(MIB)
    kept[...] = 3
    del kept
    assert arena.take(1) is None
    arena.close()
    assert (arena.take(MIB) == 0).all()
    gone = weakref.ref(arena)
    del arena
    assert gone() is None
