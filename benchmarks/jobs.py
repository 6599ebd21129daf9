"""Jobs of several ranks that wait for their turn: the driver's side of allreduce.py.

Each library runs under its own Python and its own launcher, started once. Its ranks connect to a socket here and do
what they are told, one job at a time; whatever else a library does meanwhile (Horovod has a thread that never rests)
would disturb the others, so that the ranks of a job which has no turn are stopped.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PEERS = Path(os.environ.get("PEERS", HERE.parent / ".peers"))
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
START = 120.0  # seconds for a job's ranks to report, compilation included
ANSWER = 120.0  # seconds for an answer
END = 15.0  # seconds to end in order

#: what measures it, and how a peer that is missing is installed
INSTALL = {
    "mpich": "make peers",
    "gloo": "make peers",
    "mlx": "make peers",
    "horovod": "make peer-horovod (compiles: needs libopenmpi-dev, cmake and g++)",
}
ENVIRONMENT = {"mpich": "mpich", "gloo": "torch", "mlx": "mlx", "horovod": "horovod"}


class JobEnded(Exception):
    """A job has ended, or does not answer."""


def python_of(peer: str) -> Path:
    return PEERS / ENVIRONMENT[peer] / "bin" / "python"


class Job:
    """The ranks of one library: `contestants` are the names under which it takes part."""

    def __init__(self, name: str, ranks: int) -> None:
        self.name, self.ranks = name, ranks
        self._folder = tempfile.TemporaryDirectory()
        self._processes: list[subprocess.Popen] = []
        self._log = open(Path(self._folder.name, "log"), "w+b")  # noqa: SIM115  (closed with the job)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(Path(self._folder.name, "socket")))
        listener.listen(ranks)
        try:
            self._start()
            self._gather(listener)
        except BaseException:
            self.close()
            raise
        finally:
            listener.close()

    def _start(self) -> None:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | ONE_THREAD
        environment["BENCHMARK_SOCKET"] = str(Path(self._folder.name, "socket"))
        environment["BENCHMARK_JOB"] = self.name
        for command, more in commands(self.name, self.ranks, Path(self._folder.name)):
            process = subprocess.Popen(
                command,
                env=environment | more,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._processes.append(process)

    def _gather(self, listener: socket.socket) -> None:
        """Take the ranks' calls, and what they say of themselves."""
        listener.settimeout(0.2)
        streams, deadline = [], time.monotonic() + START
        while len(streams) < self.ranks:
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                if time.monotonic() > deadline or any(process.poll() is not None for process in self._processes):
                    raise JobEnded(f"{self.name} did not start:\n{self.said()}") from None
                continue
            connection.settimeout(ANSWER)
            streams.append(connection.makefile("rw"))
        self._streams = streams
        reports = self._answers()
        self._pids = [report["pid"] for report in reports]
        self.version, self.contestants = reports[0]["version"], reports[0]["contestants"]

    def _answers(self) -> list[dict[str, Any]]:
        answers = []
        for stream in self._streams:
            try:
                line = stream.readline()
            except OSError:
                line = ""
            if not line:
                raise JobEnded(f"{self.name} ended, or does not answer:\n{self.said()}")
            answers.append(json.loads(line))
        return answers

    def ask(self, **order: Any) -> list[dict[str, Any]]:
        """Every rank's answer."""
        for stream in self._streams:
            with contextlib.suppress(OSError):
                stream.write(json.dumps(order) + "\n")
                stream.flush()
        return self._answers()

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Let the ranks run meanwhile, and at no other time."""
        self._signal(signal.SIGCONT)
        try:
            yield
        finally:
            self._signal(signal.SIGSTOP)

    def _signal(self, number: int) -> None:
        for pid in self._pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def said(self) -> str:
        """The last lines of the job's output."""
        self._log.flush()
        text = Path(self._log.name).read_text(errors="replace")
        return "\n".join(text.splitlines()[-15:])

    def close(self) -> None:
        """Hang up, which ends the ranks; then whatever is left."""
        self._signal(signal.SIGCONT) if hasattr(self, "_pids") else None
        for stream in getattr(self, "_streams", []):
            with contextlib.suppress(OSError):
                stream.close()
        deadline = time.monotonic() + (END if hasattr(self, "_pids") else 0)
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._log.close()
        self._folder.cleanup()


def commands(name: str, ranks: int, folder: Path) -> list[tuple[Sequence[str], dict[str, str]]]:
    """What starts the job: command lines with what they need in their environment."""
    if name == "ringtrain":
        script = str(HERE / "contestants" / "ringtrain_ranks.py")
        launch = [sys.executable, "-m", "ringtrain", "run", "-n", str(ranks), "--threads", "1", script]
        return [(launch, {"PYTHONPATH": str(HERE.parent)})]
    python = str(python_of(name))
    script = str(HERE / "contestants" / f"{'mpi' if name == 'mpich' else name}_ranks.py")
    if name == "mpich":
        return [([str(Path(python).with_name("mpiexec")), "-n", str(ranks), python, script], {})]
    if name == "horovod":
        root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
        flags = [*root, "--oversubscribe", "--bind-to", "none", "-x", "HOROVOD_CYCLE_TIME", "-n", str(ranks)]
        return [(["/usr/bin/mpirun", *flags, python, script], {"HOROVOD_CYCLE_TIME": "0.1"})]
    places = [f"127.0.0.1:{port}" for port in free_ports(ranks)]
    if name == "mlx":
        hosts = folder / "hosts.json"
        hosts.write_text(json.dumps([[place] for place in places]))
        return [([python, script], {"MLX_RANK": str(rank), "MLX_HOSTFILE": str(hosts)}) for rank in range(ranks)]
    common = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": places[0].split(":")[1]}
    return [([python, script], common | {"RANK": str(rank), "GLOO_SOCKET_IFNAME": "lo"}) for rank in range(ranks)]


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
