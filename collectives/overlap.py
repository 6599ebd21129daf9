"""Work that goes on beside its caller's: one thread, one piece after another, until one fails."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

Piece = tuple["Future[None]", Callable[..., None], tuple[Any, ...]]


class Overlap:
    """A context whose `start` queues work for its thread; it is left when that has ended.

    After a failure, in the thread or in the block, what has not begun never does: whoever fails together
    with others must not leave them a deadline for each piece. At the end of a program, where a job still does
    what is queued, Python may start no thread, and the pools of concurrent.futures take no work: `start` then
    does the work itself.
    """

    def __enter__(self) -> "Overlap":
        self._failed = False
        self._queue: SimpleQueue[Piece | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        thread = threading.Thread(target=self._work_off, name="collectives overlap", daemon=True)
        with suppress(RuntimeError):
            thread.start()
            self._thread = thread
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._failed |= kind is not None
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join()

    def start(self, work: Callable[..., None], *args: Any) -> "Future[None]":
        """The future of work(*args), whose `result` raises what it raised."""
        piece: Piece = (Future(), work, args)
        if self._thread is not None:
            self._queue.put(piece)
        else:
            self._do(*piece)
        return piece[0]

    def _work_off(self) -> None:
        while (piece := self._queue.get()) is not None:
            self._do(*piece)

    def _do(self, future: "Future[None]", work: Callable[..., None], args: tuple[Any, ...]) -> None:
        try:
            if not self._failed:
                work(*args)
            future.set_result(None)
        except BaseException as error:
            self._failed = True
            future.set_exception(error)
