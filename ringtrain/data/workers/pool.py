"""A loader's worker processes: started, given tasks in turn, watched, ended.

Workers are forked from multiprocessing's fork server, a small process that has only imported ringtrain: a fork of the
trainer itself would copy MPI, BLAS threads and CUDA in whatever state they are, which none of them survives. So the
order of `rt.init` and of loaders does not matter, and what goes to a worker is pickled.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from multiprocessing import connection as connections
from multiprocessing import forkserver, reduction
from typing import Any

from ringtrain.data.reader import Task
from ringtrain.data.workers import worker as worker_module
from ringtrain.data.workers.parcel import View, new_file, send
from ringtrain.data.workers.worker import BATCH, ENDED, GRACE, THREAD_VARIABLES

ENDING = GRACE + 4.0  # seconds until a worker that does not end is killed
# What a launcher has told the trainer: a worker is no rank, and must not join the job by accident.
LAUNCHERS = ("OMPI_", "PMIX_", "PMI_", "PRTE_", "MPI_LOCAL", "MPIR_", "HYDRA_", "HYDI_")
_starting = threading.Lock()


class WorkerError(RuntimeError):
    """A worker process that has ended without being told to, or an exception of it that cannot be sent."""


class RemoteTraceback(Exception):
    """An exception's traceback in the process where it was raised, as text."""

    def __init__(self, text: str):
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class _Descriptor:
    """A file descriptor that goes along to a process that is being started."""

    def __init__(self, fd: int):
        self.fd = fd

    def __getstate__(self) -> Any:
        return reduction.DupFd(self.fd)

    def __setstate__(self, state: Any) -> None:
        self.fd = state.detach()


class _Worker:
    """One process, its connection, its slots: which are free, and how many tasks are under way."""

    def __init__(self, number: int, workers: int, parcel: int, head: bytes, spans: Any, slots: int, context: Any):
        self.number, self.under_way = number, deque[int]()
        self.views = [View(new_file()) for _ in range(slots)]
        self.free = deque(range(slots))
        self.connection, theirs = context.Pipe()
        files = [_Descriptor(view.descriptor) for view in self.views]
        self.process = context.Process(
            target=worker_module.main,
            args=(theirs, _Descriptor(parcel), files, number, workers, head, spans),
            name=f"ringtrain-data-{number}",
            daemon=True,
        )
        try:
            self.process.start()
        finally:
            theirs.close()

    def give(self, task: Task) -> None:
        slot = self.free.popleft()
        # A worker that has died meanwhile is found by `reply`, at the first batch that it had not finished.
        with contextlib.suppress(OSError):
            self.connection.send((task, slot))
        self.under_way.append(slot)

    def reply(self, task: Task | None, timeout: float) -> tuple[Any, ...]:
        """The worker's next message. Raises WorkerError if it has died, TimeoutError after `timeout` seconds."""
        ready = connections.wait([self.connection, self.process.sentinel], timeout or None)
        if not ready:
            raise TimeoutError(f"DataLoader: {self} has not finished {task} within {timeout:g} s")
        if self.connection in ready or self.connection.poll():
            with contextlib.suppress(EOFError, OSError):
                return self.connection.recv()
        raise self.died(task)

    def died(self, task: Task | None) -> WorkerError:
        self.process.join(GRACE)
        code = self.process.exitcode
        if code is not None and code < 0:
            try:
                how = f"was killed by {signal.Signals(-code).name}"
            except ValueError:
                how = f"was killed by signal {-code}"
            hint = "; the system does that when memory runs out" if code == -signal.SIGKILL else ""
        else:
            how = f"ended with exit status {code}"
            hint = (
                "; see its own message above. A program starts what it does under "
                "`if __name__ == '__main__':`, because workers import it"
            )
        return WorkerError(f"DataLoader: {self} {how} while it had to gather {task}{hint}")

    def __str__(self) -> str:
        return f"worker {self.number} (process {self.process.pid})"


class Pool:
    """`workers` processes that read with a copy of `reader`, each `ahead` batches ahead of what is wanted.

    init: called in each with its number, once.
    Raises TypeError if reader or init cannot be pickled.
    """

    def __init__(self, reader: Any, workers: int, ahead: int, init: Any = None):
        self.ahead, self._turn, self._workers, self._open = ahead, 0, list[_Worker](), True
        parcel = new_file()
        try:
            head, spans = self._packed(reader, init, parcel)
            context = start_server()
            for number in range(workers):
                # Two more slots than tasks: one batch is in the loop's hands, and one on its way there.
                self._workers.append(_Worker(number, workers, parcel, head, spans, ahead + 2, context))
        except BaseException:
            self.close()
            raise
        finally:
            os.close(parcel)

    @staticmethod
    def _packed(reader: Any, init: Any, parcel: int) -> tuple[bytes, Any]:
        try:
            return send((reader, init), parcel)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise TypeError(
                f"DataLoader: the data set ({type(reader.dataset).__name__}), collate_fn and worker_init_fn go to "
                f"worker processes, but: {error}. Lambdas and functions or classes within functions do not: define "
                f"them at the top of a module. Open files and the like: open them on first use, in the worker, and "
                f"leave them out in __getstate__. Or take num_workers=0, which reads in a thread"
            ) from error

    @property
    def pids(self) -> list[int]:
        return [w.process.pid for w in self._workers]  # type: ignore[misc]

    def batches(self, whats: Iterable[Any], epoch: int, program_seed: int, timeout: float) -> Iterator[Any]:
        """The batches of one pass, in order."""
        self._turn += 1
        self._drain(timeout)
        tasks = (Task(self._turn, n, what, epoch, program_seed) for n, what in enumerate(whats))
        given: deque[Task] = deque()
        for _ in range(self.ahead * len(self._workers)):
            self._give(tasks, given)
        while given:
            task = given.popleft()
            worker = self._workers[task.batch % len(self._workers)]
            message = worker.reply(task, timeout)
            slot = worker.under_way.popleft()
            if message[0] != BATCH:
                worker.free.append(slot)
                if message[0] == ENDED:
                    return
                raise self._raised(worker, *message[3:])
            # Where the loop keeps what it got, all slots are in its hands: then it gets copies.
            copy = not worker.free
            batch = worker.views[slot].read(message[3], message[4], copy, _giver(worker.free, slot))
            self._give(tasks, given)
            yield batch
            del batch

    def _give(self, tasks: Iterator[Task], given: deque[Task]) -> None:
        task = next(tasks, None)
        if task is not None:
            self._workers[task.batch % len(self._workers)].give(task)
            given.append(task)

    def _drain(self, timeout: float) -> None:
        """Waits for what is under way for a pass that was left early."""
        for worker in self._workers:
            while worker.under_way:
                worker.reply(None, timeout)
                worker.free.append(worker.under_way.popleft())

    def _raised(self, worker: _Worker, packed: bytes | None, text: str, when: str) -> BaseException:
        error = WorkerError(f"an exception that cannot be sent:\n{text}") if packed is None else pickle.loads(packed)
        error.add_note(f"(DataLoader: {worker}, {when})")
        error.__cause__ = RemoteTraceback(text)
        return error

    def close(self) -> None:
        """Ends the workers; waits for them, and kills those that do not end."""
        if not self._open:
            return
        self._open = False
        for worker in self._workers:
            worker.connection.close()
        deadline = time.monotonic() + ENDING
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.exitcode is None:
                worker.process.kill()
                worker.process.join()
            worker.process.close()
            for view in worker.views:
                os.close(view.descriptor)


def _giver(free: deque[int], slot: int) -> Any:
    return lambda: free.append(slot)


def start_server() -> Any:
    """multiprocessing's context of the fork server, which runs now and has imported ringtrain."""
    context = multiprocessing.get_context("forkserver")
    with _starting:
        before = dict(os.environ)
        context.set_forkserver_preload([worker_module.__name__])  # without effect on a server that runs
        try:
            for name in before:
                if name.startswith(LAUNCHERS):
                    del os.environ[name]
            os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
            forkserver.ensure_running()
        finally:
            for name in set(os.environ) - set(before):
                del os.environ[name]
            os.environ.update(before)
    return context
