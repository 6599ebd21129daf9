"""Objects through memory that two processes map: the arrays in it lie there once, and are not copied on the way.

Pickle protocol 5 keeps an object's large buffers apart. They are written into an anonymous file (memfd_create(2)),
which whoever has its descriptor maps. Such a file has no name: it is gone with the last process that holds it,
however that process ends, so nothing can be left behind, and no limit of /dev/shm counts.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import pickle
import weakref
from collections.abc import Callable
from typing import Any

ALIGN = 64  # bytes: a cache line, and what vector loads like
PAGE = mmap.PAGESIZE

Spans = list[tuple[int, int]]  # offset and length of each buffer


def new_file() -> int:
    """The descriptor of a new anonymous file, empty."""
    return os.memfd_create("ringtrain-data", os.MFD_CLOEXEC)


def layout(buffers: list[memoryview], start: int = 0) -> tuple[Spans, int]:
    """Where buffers lie one after the other, aligned; and where the last one ends."""
    spans, end = [], start
    for buffer in buffers:
        end = -(-end // ALIGN) * ALIGN
        spans.append((end, buffer.nbytes))
        end += buffer.nbytes
    return spans, end


def pickled(thing: Any) -> tuple[bytes, list[memoryview]]:
    """An object without its buffers, and those."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(thing, protocol=5, buffer_callback=buffers.append)
    return head, [buffer.raw() for buffer in buffers]


class Slot:
    """A file of the worker's, written over and over: grows as batches do."""

    def __init__(self, descriptor: int):
        self.descriptor, self._size = descriptor, 0
        self._map: mmap.mmap | None = None

    def write(self, buffers: list[memoryview]) -> Spans:
        """Copies buffers in; returns where they lie."""
        spans, end = layout(buffers)
        if end > self._size:
            size = -(-max(end, self._size + self._size // 2) // PAGE) * PAGE
            os.ftruncate(self.descriptor, size)
            if self._map is not None:
                self._map.close()
            self._map, self._size = mmap.mmap(self.descriptor, size), size
        for (start, length), buffer in zip(spans, buffers, strict=True):
            if length:
                assert self._map is not None
                self._map[start : start + length] = buffer
        return spans


class View:
    """The same file on the other side: objects are made around it, or with copies of what it holds."""

    def __init__(self, descriptor: int):
        self.descriptor = descriptor
        self._map: mmap.mmap | None = None

    def read(self, head: bytes, spans: Spans, copy: bool, done: Callable[[], Any]) -> Any:
        """The object. `done` is called when nothing reads the file any more: at once where it was copied, else
        when the last array made here is gone."""
        end = max((start + length for start, length in spans), default=0)
        if not end:
            done()
            return pickle.loads(head, buffers=[bytearray() for _ in spans])
        if self._map is None or len(self._map) < end:
            size = os.fstat(self.descriptor).st_size
            self._map = mmap.mmap(self.descriptor, size)  # arrays around the smaller one keep that alive
        if copy:
            whole = memoryview(self._map)
            thing = pickle.loads(head, buffers=[bytearray(whole[a : a + n]) for a, n in spans])
            whole.release()
            done()
            return thing
        lease = (ctypes.c_ubyte * end).from_buffer(self._map)
        weakref.finalize(lease, done).atexit = False  # type: ignore[misc]
        view = memoryview(lease).cast("B")
        return pickle.loads(head, buffers=[view[a : a + n] for a, n in spans])


def send(thing: Any, descriptor: int) -> tuple[bytes, Spans]:
    """Puts an object's buffers into a file, for any number of readers; returns the rest of it."""
    head, buffers = pickled(thing)
    slot = Slot(descriptor)
    return head, slot.write(buffers)


def receive(head: bytes, spans: Spans, descriptor: int) -> Any:
    """The object that `send` put there: its arrays share the file until they are written (copy on write)."""
    size = os.fstat(descriptor).st_size
    whole = memoryview(mmap.mmap(descriptor, size, flags=mmap.MAP_PRIVATE)) if size else memoryview(bytearray())
    return pickle.loads(head, buffers=[whole[a : a + n] for a, n in spans])
