"""A thread that computes what is next while somebody works with what is there."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any


def ahead(function: Callable[[Any], Any], tasks: Iterable[Any], room: int) -> Iterator[Any]:
    """`function(task)` for each task, at most `room` of them computed before they are asked for.

    The thread starts with the first `next` and lives as long as this generator. An exception is raised here, with a
    note that names the task.
    """
    ready: queue.SimpleQueue[tuple[Any, BaseException | None] | None] = queue.SimpleQueue()
    places = threading.Semaphore(room)
    stop = threading.Event()
    thread = threading.Thread(
        target=_compute, args=(function, tasks, ready, places, stop), name="ringtrain-prefetch", daemon=True
    )
    thread.start()
    try:
        while (made := ready.get()) is not None:
            result, error = made
            del made
            if error is not None:
                try:
                    raise error
                finally:
                    del error  # its traceback holds this frame: a cycle, which would live on
            places.release()
            yield result
            del result
    finally:
        # Also reached by break, by an exception in the loop's body and by garbage collection, all of
        # which close a generator. Waiting makes sure that nobody uses the data set after the loop.
        stop.set()
        places.release()
        if thread is not threading.current_thread():  # a cyclic collection may run in any thread
            thread.join()


def _compute(
    function: Callable[[Any], Any],
    tasks: Iterable[Any],
    ready: queue.SimpleQueue[tuple[Any, BaseException | None] | None],
    places: threading.Semaphore,
    stop: threading.Event,
) -> None:
    for task in tasks:
        places.acquire()
        if stop.is_set():
            return
        try:
            ready.put((function(task), None))
        except BaseException as error:
            error.add_note(f"(DataLoader: while gathering {task})")
            ready.put((None, error))
            return
    ready.put(None)
