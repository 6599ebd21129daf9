"""Memory of one rank that the other ranks of its host have mapped.

An arena is an anonymous file in memory (memfd): it has no name, so that nothing of it can outlive
the processes that have it open, however they end, and the size of /dev/shm does not limit it. The
others open it as /proc/PID/fd/N. It is mapped once, at a size that it cannot outgrow; pages exist
from the time when memory is first taken from them until it is given back.
"""

import mmap
import os
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

LARGEST = 64 << 30  # bytes of address space a rank's arena takes, at most
LARGE = 1 << 20  # bytes: blocks for which it pays to ask how much memory the host has
GRAIN = 128  # bytes: blocks of different arrays never share a cache line, or a fetched pair of them


class Address(NamedTuple):
    """How other processes of the host find an arena."""

    pid: int
    fd: int
    file: tuple[int, int]
    capacity: int


class Mapping:
    """An arena as this process sees it, writable: `start` is the address of its first byte."""

    def __init__(self, fd: int, capacity: int):
        self.capacity = capacity
        self.memory = mmap.mmap(fd, capacity, mmap.MAP_SHARED)
        with suppress(OSError, AttributeError):  # advice; a host without huge pages works too
            self.memory.madvise(mmap.MADV_HUGEPAGE)
        self.bytes = np.frombuffer(self.memory, np.uint8)
        self.start = self.bytes.ctypes.data

    def offset(self, start: int, count: int) -> int:
        """Where the `count` bytes at address `start` lie in the arena; -1 if they do not."""
        offset = start - self.start
        return offset if 0 <= offset <= self.capacity - count else -1


class Arena(Mapping):
    """This process's own arena, from which it takes blocks. Raises OSError where the host has none."""

    def __init__(self, capacity: int | None = None):
        if not hasattr(os, "memfd_create"):
            raise OSError("this operating system has no memfd_create")
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        size = min(LARGEST, physical) if capacity is None else capacity
        self._fd = os.memfd_create("collectives", os.MFD_CLOEXEC)
        try:
            os.ftruncate(self._fd, size)
            super().__init__(self._fd, size)
        except BaseException:
            os.close(self._fd)
            raise
        self.pid = os.getpid()
        self._free = [(0, size)]  # ranges (start, stop), sorted, never adjacent
        self._returned: deque[tuple[int, int]] = deque()
        self._kept: list[tuple[int, int]] = []
        self._lock = Lock()

    def __del__(self) -> None:
        with suppress(AttributeError, OSError):
            os.close(self._fd)

    @property
    def address(self) -> Address:
        found = os.fstat(self._fd)
        return Address(self.pid, self._fd, (found.st_dev, found.st_ino), self.capacity)

    def take(self, count: int) -> np.ndarray | None:
        """`count` bytes, of zeros or of what was there, given back when nobody holds the array.

        None where the arena, or the memory of the host, is used up.
        """
        place = self._reserve(count)
        return None if place is None else np.asarray(_Block(self, *place))[:count]

    def keep(self, count: int) -> np.ndarray | None:
        """`take`, for what others may read until they have left: given back when the arena is closed."""
        place = self._reserve(count)
        if place is None:
            return None
        self._kept.append(place)
        return self.bytes[place[0] : place[0] + count]

    def _reserve(self, count: int) -> tuple[int, int] | None:
        """Where a block for that many bytes begins, and its length."""
        length = max(GRAIN, -(-count // GRAIN) * GRAIN)
        with self._lock:
            while self._returned:
                self._put_back(*self._returned.popleft())
            place = next((i for i, (start, stop) in enumerate(self._free) if stop - start >= length), None)
            if place is None:
                return None
            start, stop = self._free[place]
            # Memory that the host lacks would be noticed by a signal on first use; and asking for more of it than
            # there is has the system end processes before it says no.
            if length >= LARGE and length > available():
                return None
            try:
                os.posix_fallocate(self._fd, start, length)
            except OSError:
                return None
            self._free[place : place + 1] = [(start + length, stop)] if stop - start > length else []
        return start, length

    def close(self) -> None:
        """Give back what is kept: nobody reads it any more. Arrays stay until they are collected."""
        while self._kept:
            self.give_back(*self._kept.pop())

    def give_back(self, start: int, length: int) -> None:
        """Called when a block is collected, which may be inside `take`: only note it there."""
        if os.getpid() != self.pid:  # a forked child's copy of the array ends; the array does not
            return
        first, last = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE, (start + length) // mmap.PAGESIZE * mmap.PAGESIZE
        if last > first:
            with suppress(OSError, ValueError):
                self.memory.madvise(mmap.MADV_REMOVE, first, last - first)
        self._returned.append((start, length))

    def _put_back(self, start: int, length: int) -> None:
        merged: list[tuple[int, int]] = []
        for low, high in sorted([*self._free, (start, start + length)]):
            if merged and merged[-1][1] == low:
                merged[-1] = (merged[-1][0], high)
            else:
                merged.append((low, high))
        self._free = merged


class _Block:
    """A range of an arena, as NumPy's array interface shows it; arrays made from it keep it alive."""

    def __init__(self, arena: Arena, start: int, length: int):
        self._arena, self._range = arena, (start, length)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        start, length = self._range
        return {"data": (self._arena.start + start, False), "shape": (length,), "typestr": "|u1", "version": 3}

    def __del__(self) -> None:
        self._arena.give_back(*self._range)


def available() -> int:
    """Bytes of memory that the host can still give, as the system estimates them."""
    with suppress(OSError, ValueError), open("/proc/meminfo") as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 1 << 62


def map_peer(address: Sequence[Any]) -> Mapping:
    """The arena of another process of this host. Raises OSError where it cannot be opened."""
    peer = Address(*address)
    path = f"/proc/{peer.pid}/fd/{peer.fd}"
    fd = os.open(path, os.O_RDWR)
    try:
        found = os.fstat(fd)
        if (found.st_dev, found.st_ino) != peer.file:
            raise OSError(f"{path} is another file here: the ranks do not see the same processes")
        return Mapping(fd, peer.capacity)
    finally:
        os.close(fd)
