"""One running job: mpiexec, the output of its ranks, and the signals that end them."""

import contextlib
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence

from ringtrain.cli.banners import BannerFilter, killed_by

GRACE = 10.0  # seconds that ranks have between SIGTERM and SIGKILL, e.g. to write a checkpoint
DRAIN = 2.0  # seconds to wait for last words once mpiexec has ended
HINTS: dict[int, str] = {
    signal.SIGKILL: "; did the machine run out of memory?",
    signal.SIGBUS: "; is /dev/shm full? An MPI library keeps its own memory there",
}
TICK = 0.2  # seconds; how late a deadline may be noticed


class Job:
    """A job of several ranks, started by mpiexec in a session of its own and waited for.

    The session keeps a Ctrl-C at the terminal from reaching mpiexec directly: it gets exactly one signal,
    from here, and ends its ranks in order (two in a row make it give up on them).
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]):
        self.selector = selectors.DefaultSelector()
        self.failures = b""  # the failure paragraphs taken out of mpiexec's output
        self.heard = False  # whether a rank wrote to stderr
        self.ranks: dict[socket.socket, int] = {}  # relay connection -> pid of its rank, on this host
        self.signal = 0  # the first signal that asked for the end
        self.deadline = float("inf")  # when the next, harder step is due
        name = f"ringtrain-{os.getpid()}-{uuid.uuid4().hex}"
        # An abstract address: nothing in the file system to clean up after a crash.
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind("\0" + name)
        self.listener.listen(1024)
        self.process = subprocess.Popen(
            command,
            env={**environment, "RINGTRAIN_RELAY": name},
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=_die_with_launcher(),
            restore_signals=False,  # Intel's mpiexec now and then dies of SIGPIPE while it cleans up
        )

    def wait(self) -> int:
        """Forward output until the job has ended; its exit status, 128 + signal when a signal ended it."""
        assert self.process.stdout and self.process.stderr
        previous = {
            number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
        self.selector.register(self.listener, selectors.EVENT_READ, self._accept)
        for source, target in ((self.process.stdout, 1), (self.process.stderr, 2)):
            self._forward(source.fileno(), target)
        try:
            while self.process.poll() is None:
                self._serve(TICK)
                self._press()
            self._drain()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            self.selector.close()
            self.listener.close()
        return self._report(self.process.returncode)

    # Output

    def _serve(self, timeout: float) -> None:
        for key, _ in self.selector.select(timeout):
            key.data()

    def _drain(self) -> None:
        """mpiexec has ended: let the relays finish, then make sure that no rank of this host outlives it."""
        last = time.monotonic() + DRAIN
        while len(self.selector.get_map()) > 1 and time.monotonic() < last:
            if self.signal or self.process.returncode:
                self._kill_ranks()
            self._serve(TICK)

    def _forward(self, source: int, target: int) -> None:
        banners = BannerFilter(lambda data: _write(target, data), self._on_failure)

        def forward() -> None:
            data = os.read(source, 1 << 16)
            if data:
                banners.feed(data)
                return
            self.selector.unregister(source)
            banners.close()

        self.selector.register(source, selectors.EVENT_READ, forward)

    def _on_failure(self, paragraph: bytes) -> None:
        self.failures += paragraph

    def _accept(self) -> None:
        connection, _ = self.listener.accept()
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        if struct.unpack("3i", credentials)[1] != os.getuid():
            connection.close()
            return
        with contextlib.suppress(OSError):
            socket.send_fds(connection, [b"out"], [1, 2])
        self.selector.register(connection, selectors.EVENT_READ, lambda: self._hear(connection))

    def _hear(self, connection: socket.socket) -> None:
        try:
            message = connection.recv(64)
        except OSError:
            message = b""
        if message.startswith(b"pid "):
            self.ranks[connection] = int(message[4:])
        elif message == b"stderr":
            self.heard = True
        elif not message:
            self.ranks.pop(connection, None)
            self.selector.unregister(connection)
            connection.close()

    # The end

    def _on_signal(self, number: int, frame: object) -> None:
        if not self.signal:
            self.signal = number
            # SIGTERM whatever came: ranks then end without a KeyboardInterrupt traceback each.
            self._send(signal.SIGTERM)
            self.deadline = time.monotonic() + GRACE
        elif number == signal.SIGINT:
            self.deadline = 0.0  # a second Ctrl-C: at once

    def _press(self) -> None:
        if time.monotonic() >= self.deadline:
            self._kill_ranks()
            self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def _kill_ranks(self) -> None:
        """End the ranks of this host whose output is still open, should mpiexec have left any."""
        for pid in self.ranks.values():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def _report(self, status: int) -> int:
        """Say how the job failed where no rank did; what the shell is to see."""
        if self.signal:
            _say(f"ended by {signal.Signals(self.signal).name}")
            return 128 + self.signal
        killed = killed_by(self.failures)
        if killed:
            rank, number = killed
            which = "a rank" if rank is None else f"rank {rank}"
            _say(f"{which} was ended by signal {number} ({signal.strsignal(number)})" + HINTS.get(number, ""))
        elif status and not self.heard:
            _say(f"the job ended with status {status}, and no rank said why on stderr")
        return status if status >= 0 else 128 - status


def _say(message: str) -> None:
    print(f"ringtrain run: {message}", file=sys.stderr, flush=True)


def _write(fd: int, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError):  # the reader has gone; the job goes on
        while data:
            data = data[os.write(fd, data) :]


def _die_with_launcher():
    """A function for the child: have the kernel end mpiexec in order should the launcher itself be killed."""
    import ctypes

    set_parent_death_signal = 1  # PR_SET_PDEATHSIG of linux/prctl.h
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(set_parent_death_signal, signal.SIGTERM)
