"""The process between a rank's output and the screen: marks stderr, keeps lines whole, outlives a crash.

Each line of stderr is marked ``[rank 3]``; stdout passes unmarked, so that results piped from it stay clean.
Both are forwarded in whole lines, so that lines of different ranks never run into each other.

It is a process and not a thread because a crash must not take the last lines with it: text in the pipe when
the rank segfaults, is killed or calls MPI_Abort still comes out. And it writes to the launcher's own stdout
and stderr, which it is handed over a socket: mpiexec may end without reading what its ranks said last (MPICH
does more often than not when a rank aborts). On a host other than the launcher's there is no such socket, and
the output goes through mpiexec as usual.

Imported by worker.py inside ``python -I -S``: the standard library alone.
"""

import contextlib
import os
import re
import select
import signal
import socket
from collections.abc import Callable

# A print() with unbuffered output is one write() per argument. The relay waits this long (seconds) for the
# rest of a line; what is still incomplete then is a progress bar or a prompt, and is shown as it is.
LINE_PATIENCE = 0.02

CONNECT = 10.0  # seconds for the launcher to answer, before the output goes through mpiexec instead

ATOMIC = 4096  # PIPE_BUF: writes up to this size to a pipe are not torn apart by those of other processes

# MPICH says this on the stderr of the rank that aborts, after the traceback that says why.
ABORT_NOTICE = re.compile(rb"^Abort\(\d+\) on node \d+ \(rank \d+ in comm \d+\): application .*\n", re.M)


class Lines:
    """Bytes in, whole lines out, each with a prefix. A carriage return ends a line too (progress bars)."""

    def __init__(self, out: int, prefix: bytes = b""):
        self.out, self.prefix = out, prefix
        self.pending = b""
        self.at_start = True
        self.used = False

    def feed(self, data: bytes) -> None:
        self.pending += data
        end = max(self.pending.rfind(b"\n"), self.pending.rfind(b"\r")) + 1
        self._forward(self.pending[:end])
        self.pending = self.pending[end:]

    def flush(self) -> None:
        self._forward(self.pending)
        self.pending = b""

    def _forward(self, data: bytes) -> None:
        if self.prefix and data:
            data = ABORT_NOTICE.sub(lambda found: b"" if self.used or found.start() else found[0], data)
            marked = re.sub(rb"([\r\n])(?=[^\r\n])", rb"\1" + self.prefix, data)
            data = self.prefix + marked if self.at_start and data[:1] not in (b"\r", b"\n", b"") else marked
        if data:
            self.at_start = data[-1:] in b"\r\n"
            self.used = True
        while data:
            end = data.rfind(b"\n", 0, ATOMIC) + 1 or ATOMIC
            self._write(data[:end])
            data = data[end:]

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self.out, data) :]
            except BlockingIOError:  # somebody made the terminal non-blocking
                select.select([], [self.out], [])


def forward(streams: dict[int, Lines], on_activity: Callable[[], None]) -> None:
    """Forward each file descriptor to its Lines until all are closed; on_activity() after each round."""
    while streams:
        patience = LINE_PATIENCE if any(lines.pending for lines in streams.values()) else None
        ready, _, _ = select.select(list(streams), [], [], patience)
        for fd in ready:
            if not _forward_some(fd, streams[fd]):
                os.close(fd)
                del streams[fd]
        if not ready:
            for lines in streams.values():
                with contextlib.suppress(OSError):  # met again, and answered, when more comes
                    lines.flush()
        on_activity()


def _forward_some(fd: int, lines: Lines) -> bool:
    """Forward what there is; False at the end, or when nobody reads any more.

    In the latter case the rank is to meet a closed pipe, as it would without a relay.
    """
    try:
        data = os.read(fd, 1 << 16)
        if data:
            lines.feed(data)
        else:
            lines.flush()
    except OSError:
        return False
    return bool(data)


def connect(name: str, rank_pid: int) -> socket.socket | None:
    """Take over the launcher's stdout and stderr; None where the launcher is on another host.

    The connection tells the launcher two more things: that this rank still has output (it is open), and the
    pid of the rank, which it ends should mpiexec fail to.
    """
    if not name:
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(CONNECT)
    try:
        connection.connect("\0" + name)
        connection.send(b"pid %d" % rank_pid)
        _, received, _, _ = socket.recv_fds(connection, 16, 2)
        for target, fd in zip((1, 2), received, strict=True):
            os.dup2(fd, target)
            os.close(fd)
    except (OSError, ValueError):
        connection.close()
        return None
    return connection


def start_relay(rank: int, socket_name: str) -> None:
    """Put a relay between this process's stdout and stderr and where they went before."""
    pipes = {1: os.pipe(), 2: os.pipe()}
    rank_pid = os.getpid()
    if os.fork() == 0:
        # Forked twice, the relay is no child of the rank: a script's os.wait() never meets it. In a session
        # of its own it also survives the signals that end the rank, and delivers what the rank said last.
        try:
            os.setsid()
            connection = connect(socket_name, rank_pid)  # before the rank starts: it may not live for long
            if os.fork() == 0:
                _be_relay(rank, connection, pipes[1][0], pipes[2][0])
        finally:
            os._exit(0)
    os.wait()
    for fd, (read_end, write_end) in pipes.items():
        os.dup2(write_end, fd)
        os.close(read_end)
        os.close(write_end)


def _be_relay(rank: int, connection: socket.socket | None, rank_stdout: int, rank_stderr: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    needed = {1, 2, rank_stdout, rank_stderr, connection.fileno() if connection else -1}
    for fd in map(int, os.listdir("/proc/self/fd")):
        # Above all the write ends of the pipes, and mpiexec's own connections: they must close with the rank.
        if fd not in needed:
            with contextlib.suppress(OSError):
                os.close(fd)
    errors = Lines(2, b"[rank %d] " % rank)
    told = False

    def tell_of_errors() -> None:
        nonlocal told
        if connection and errors.used and not told:
            told = True
            with contextlib.suppress(OSError):
                connection.send(b"stderr")

    forward({rank_stdout: Lines(1), rank_stderr: errors}, tell_of_errors)
