"""Jobs that take turns: the driver's side, for every benchmark that compares libraries in one run.

Each library runs under its own Python and its own launcher, started once. Its ranks connect to a socket here, do what
they are told (answers.py) and wait, blocked, while others have their turn. A job that ends, or does not answer in time,
raises JobEnded and is ended for good: nothing waits for it again, and nothing of it is left.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
START = 180.0  # seconds for the ranks to report; a first start compiles
ANSWER = 120.0  # seconds for an answer
END = 10.0  # seconds to end in order

#: what to start, and the variables that it needs: one launcher of all ranks, or every rank by itself
Commands = Sequence[tuple[Sequence[str], dict[str, str]]]


class JobEnded(Exception):
    """A job has ended, or does not answer."""


class Job:
    """The ranks of one library, which said `about` themselves.

    commands: given a folder for files of the job, what starts it. restless: whether the library keeps a thread busy
    while nothing is asked of it; the ranks are then stopped while they have no turn.
    """

    def __init__(self, name: str, ranks: int, commands: Callable[[Path], Commands], restless: bool = False) -> None:
        self.name, self.ranks, self._restless = name, ranks, restless
        self._folder = tempfile.TemporaryDirectory(prefix="turns-")
        self._log = Path(self._folder.name, "log")
        self._processes: list[subprocess.Popen] = []
        self._connections: list[socket.socket] = []
        self._handles: list[int] = []  # of the ranks' processes, which are children of a launcher
        self._asked: Any = None
        try:
            self._start(commands(Path(self._folder.name)))
        except BaseException:
            self.kill()
            raise
        if restless:
            self._signal(signal.SIGSTOP)

    def _start(self, commands: Commands) -> None:
        with socket.socket(socket.AF_UNIX) as listener, self._log.open("wb") as log:
            address = str(Path(self._folder.name, "socket"))
            listener.bind(address)
            listener.listen(self.ranks)
            # Each library's own choice of BLAS kernels: a pinned OpenBLAS core would slow one side down.
            outer = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "PYTHONPATH")}
            for command, more in commands:
                paths = os.pathsep.join(filter(None, [str(HERE), more.get("PYTHONPATH")]))
                environment = outer | ONE_THREAD | more | {"TURNS_SOCKET": address, "PYTHONPATH": paths}
                self._processes.append(
                    subprocess.Popen(
                        command,
                        env=environment,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                        preexec_fn=_end_with_driver,
                    )
                )
            self._gather(listener)

    def _gather(self, listener: socket.socket) -> None:
        """Take the ranks' calls, in rank order, and what they say of themselves."""
        listener.settimeout(0.2)
        deadline = time.monotonic() + START
        while len(self._connections) < self.ranks:
            try:
                self._connections.append(listener.accept()[0])
            except TimeoutError:
                ended = [process for process in self._processes if process.poll() is not None]
                if ended or time.monotonic() > deadline:
                    what = f"ended with status {ended[0].returncode}" if ended else f"took more than {START:.0f} s"
                    raise JobEnded(self._report(f"starting it {what}")) from None
        said = self._answers(START)
        order = sorted(range(self.ranks), key=lambda number: said[number]["rank"])
        self._connections = [self._connections[number] for number in order]
        self.about = said[order[0]]
        self._handles = [os.pidfd_open(said[number]["pid"]) for number in order]

    def ask(self, limit: float = ANSWER, **order: Any) -> list[dict[str, Any]]:
        """Give every rank the order; the answers, by rank. limit: seconds."""
        if not self._connections:
            raise JobEnded(f"{self.name} has ended")
        self._asked = order
        try:
            if self._restless:
                self._signal(signal.SIGCONT)
            text = json.dumps(order).encode() + b"\n"
            with contextlib.suppress(OSError):  # who has hung up is found out by listening
                for connection in self._connections:
                    connection.sendall(text)
            answers = self._answers(limit)
            if self._restless:
                self._signal(signal.SIGSTOP)
            return answers
        except BaseException:
            self.kill()
            raise

    def _answers(self, limit: float) -> list[dict[str, Any]]:
        """A line of every rank, for as long as all are there."""
        texts = [b""] * self.ranks
        answers: dict[int, dict[str, Any]] = {}
        deadline = time.monotonic() + limit
        with selectors.DefaultSelector() as selector:
            for number, connection in enumerate(self._connections):
                selector.register(connection, selectors.EVENT_READ, number)
            while len(answers) < self.ranks:
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    raise JobEnded(self._report(f"no answer within {limit:g} s"))
                for key, _ in ready:
                    data = _received(self._connections[key.data])
                    if not data:
                        raise JobEnded(self._report(f"rank {key.data} has ended"))
                    texts[key.data] += data
                    if not data.endswith(b"\n"):
                        continue
                    answers[key.data] = json.loads(texts[key.data])
                    if "error" in answers[key.data]:
                        raise JobEnded(self._report(f"rank {key.data}: {answers[key.data]['error']}"))
                    selector.unregister(key.fileobj)
        return [answers[number] for number in range(self.ranks)]

    def _report(self, what: str) -> str:
        """What happened, to which command, doing what, and the last lines that it printed."""
        command = " ".join(map(str, self._processes[0].args)) if self._processes else ""  # type: ignore[arg-type]
        doing = f" when asked for {self._asked}" if self._asked else ""
        last = self._log.read_text(errors="replace").splitlines()[-8:]
        return "\n    ".join([f"{self.name}: {what}{doing} ({command})", *last])

    def _signal(self, number: int) -> None:
        for handle in self._handles:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)

    def close(self) -> None:
        """Hang up, which ends the ranks in order; then end whatever is left."""
        if self._restless:
            self._signal(signal.SIGCONT)
        self._hang_up()
        deadline = time.monotonic() + END
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
        self.kill()

    def kill(self) -> None:
        """End every process of the job now. May be repeated."""
        self._hang_up()
        self._signal(signal.SIGKILL)
        for process in self._processes:
            process.terminate()  # a launcher ends the ranks that have not reported yet
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        while self._handles:
            os.close(self._handles.pop())
        self._processes.clear()
        self._folder.cleanup()

    def _hang_up(self) -> None:
        while self._connections:
            self._connections.pop().close()


def _received(connection: socket.socket) -> bytes:
    """What has arrived; nothing from a process that has ended."""
    try:
        return connection.recv(1 << 16)
    except ConnectionError:
        return b""


def _end_with_driver() -> None:
    """In the child: have the kernel end it in order should the driver itself be killed."""
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG of linux/prctl.h
    _LIBC.prctl(set_parent_death_signal, signal.SIGTERM)


_LIBC = ctypes.CDLL(None)
