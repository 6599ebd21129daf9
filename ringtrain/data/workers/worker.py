"""What a worker process does: wait for a task, read a batch, put it into the slot that came with the task."""

from __future__ import annotations

import os
import pickle
import queue
import signal
import threading
import time
import traceback
from typing import Any

import numpy as np

from ringtrain import random
from ringtrain.data.reader import END, Task
from ringtrain.data.workers.info import WorkerInfo, become
from ringtrain.data.workers.parcel import Slot, Spans, pickled, receive

# Replies by their first item; the next two are the turn and the batch.
BATCH, ENDED, ERROR = "batch", "ended", "error"
GRACE = 1.0  # seconds that a worker has to end by itself once its loader has gone
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def main(connection: Any, parcel: Any, files: list[Any], worker: int, workers: int, head: bytes, spans: Spans) -> None:
    """The life of a worker, which ends when the other end of its connection is closed, by whatever.

    parcel: the file that holds the arrays of `head` (reader and init function); files: of the slots.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of a terminal; the loader says when to end
    tasks: queue.SimpleQueue[tuple[Task, int] | None] = queue.SimpleQueue()
    # In a thread, so that a loader that sends never waits for a worker that computes or sends.
    threading.Thread(target=_listen, args=(connection, tasks), daemon=True).start()
    try:
        one_thread()
        reader, init = receive(head, spans, parcel.fd)
        become(WorkerInfo(worker, workers, reader.dataset))
        if init is not None:
            init(worker)
    except BaseException as error:
        _send(connection, (ERROR, None, None, *described(error, "while it started")))
        return
    slots = [Slot(file.fd) for file in files]
    while (given := tasks.get()) is not None:
        if not _send(connection, _done(reader, given[0], slots[given[1]])):
            return


def _listen(connection: Any, tasks: queue.SimpleQueue[tuple[Task, int] | None]) -> None:
    try:
        while True:
            tasks.put(connection.recv())
    except (EOFError, OSError):
        tasks.put(None)
    time.sleep(GRACE)  # a daemon thread: a worker that ends by itself does not wait for this
    os._exit(1)


def _done(reader: Any, task: Task, slot: Slot) -> tuple[Any, ...]:
    random.state.seed = task.program_seed
    # What draws past ringtrain is then a function of the batch at least, and not the same in all workers.
    np.random.seed([task.program_seed & 0xFFFFFFFF, task.epoch & 0xFFFFFFFF, task.batch])  # noqa: NPY002
    try:
        batch = reader.batch(task)
        if isinstance(batch, str) and batch == END:
            return (ENDED, task.turn, task.batch)
        head, buffers = pickled(batch)
        return (BATCH, task.turn, task.batch, head, slot.write(buffers))
    except BaseException as error:
        return (ERROR, task.turn, task.batch, *described(error, f"while gathering {task}"))


def described(error: BaseException, when: str) -> tuple[bytes | None, str, str]:
    """An exception as it travels: pickled, if it can be made again from that, and as text."""
    text = "".join(traceback.format_exception(error))
    try:
        packed: bytes | None = pickle.dumps(error)
        pickle.loads(packed)  # type: ignore[arg-type]
    except Exception:
        packed = None
    return packed, text, when


def _send(connection: Any, message: tuple[Any, ...]) -> bool:
    try:
        connection.send(message)
    except OSError:  # the loader has gone
        return False
    return True


def one_thread() -> None:
    """One thread for BLAS and compiled loops here: the other cores have workers, and the training itself."""
    from threadpoolctl import threadpool_limits

    from ...backend import threads

    for name in THREAD_VARIABLES:
        os.environ[name] = "1"
    threadpool_limits(1)
    threads.limit(1)
