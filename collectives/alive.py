"""Which processes of this host have ended, told by the kernel at once.

A process is watched through a descriptor of it (pidfd, Linux 5.3), which stays its own when its number is
given to another; where there is none, by the time at which it started, which /proc tells.
"""

import os
import select
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple


class Process(NamedTuple):
    """A process as others can recognise it."""

    pid: int
    #: clock ticks between the start of the host and its own
    started: int
    #: where `pid` means this process: the host since it was started, and its process namespace
    where: str


def this_process() -> Process | None:
    """The process that asks; None where there is no /proc."""
    pid = os.getpid()
    started = _started(pid)
    if started is None:
        return None
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return Process(pid, started, f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}")
    except OSError:
        return None


class Watch:
    """Looks after those of the processes, by rank, that are where this one is."""

    def __init__(self, processes: Mapping[int, Process | None]):
        here = this_process()
        self._poll = select.poll()
        self._polling = threading.Lock()  # the program's thread and those behind async calls all look; poll refuses two
        self._ranks: dict[int, int] = {}  # descriptor -> rank
        self._listed: dict[int, Process] = {}  # those for which there was no descriptor
        self._pids: dict[int, int] = {}
        for rank, process in processes.items():
            if process is None or here is None or process.where != here.where or process == here:
                continue
            self._pids[rank] = process.pid
            try:
                descriptor = os.pidfd_open(process.pid)
            except (AttributeError, OSError):  # ended, or not to be had: what /proc says decides
                self._listed[rank] = process
                continue
            self._ranks[descriptor] = rank
            self._poll.register(descriptor, select.POLLIN)
            if _started(process.pid) != process.started:  # it had ended, and another got its number
                self._listed[rank] = process

    def dead(self) -> dict[int, int]:
        """The process numbers, by rank, of those that have ended."""
        with self._polling:
            ranks = {self._ranks[descriptor] for descriptor, _ in self._poll.poll(0)}
        ranks |= {rank for rank, process in self._listed.items() if _started(process.pid) != process.started}
        return {rank: self._pids[rank] for rank in ranks}

    def close(self) -> None:
        """Watch nobody any more."""
        with self._polling:
            for descriptor in self._ranks:
                with suppress(OSError):
                    self._poll.unregister(descriptor)
                    os.close(descriptor)
            self._ranks, self._listed = {}, {}

    __del__ = close


def _started(pid: int) -> int | None:
    """When a process started, in clock ticks; None if it has ended, be it that nobody has asked how."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()  # the name, in brackets, may hold anything
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])
