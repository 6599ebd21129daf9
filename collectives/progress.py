"""Collectives that run while the program computes.

Work of one group is done in the order in which it was submitted, one piece at a time, so that all
ranks do it in the same order. A blocking call joins the same order: it runs in its caller's thread
when nothing is queued, which costs no thread switch, and behind what is queued otherwise.
"""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from .errors import CollectiveError, StallError

Waited = Callable[[object, int, int], None]


class Handle:
    """The result of work that may still be under way."""

    def __init__(self, label: object, work: Callable[[], Any], waited: "Waited"):
        self._label, self._waits = label, waited
        self._work: Callable[[], Any] | None = work
        self._finished = threading.Event()
        self._result: Any = None
        self._error: BaseException | None = None
        self._waited = False

    def done(self) -> bool:
        """Whether `wait` would return, or raise, at once."""
        return self._finished.is_set()

    def wait(self, timeout: float | None = None) -> Any:
        """The collective's result, or its error. Handles may be waited for in any order, repeatedly.

        Raises StallError when `timeout` seconds pass first; the work stays under way, and a later
        wait may succeed.
        """
        if not self._finished.is_set() and not self._wait(timeout):
            raise StallError(f"{self._label} is not complete after {timeout} s; it is still under way")
        self._waited = True
        if self._error is not None:
            raise self._error
        return self._result

    def _wait(self, timeout: float | None) -> bool:
        start = time.monotonic_ns()
        try:
            return self._finished.wait(timeout)
        finally:
            self._waits(self._label, start, time.monotonic_ns())

    def _run(self) -> None:
        work, self._work = self._work, None  # what the work holds is released with its result
        assert work is not None
        try:
            self._result = work()
        except BaseException as error:
            self._error = error


class Progress:
    """The order of one group's work, and the thread that does what was queued.

    Labels name work in messages; they become text only when a message needs it. waited: told when somebody
    has waited for work, with its label, from when to when, by the clock time.monotonic_ns.
    """

    def __init__(self, waited: Waited = lambda label, start, end: None) -> None:
        self._waited = waited
        self.turn = threading.Lock()  # held by whoever does a piece of work
        self._queue: deque[Handle] = deque()
        self._changed = threading.Condition(threading.Lock())
        #: how much is queued or being done by the thread, behind which a blocking call has to wait
        self.unfinished = 0
        self._closing = False
        self._failed: list[Handle] = []
        self._thread: threading.Thread | None = None

    @property
    def here(self) -> bool:
        """Whether the caller is the thread that works in the background."""
        return self._thread is not None and threading.get_ident() == self._thread.ident

    def run(self, label: object, work: Callable[[], Any]) -> Any:
        """Do work now, after everything submitted before it; return its result."""
        if self.unfinished:
            return self.submit(label, work).wait()
        with self.turn:
            return work()

    def submit(self, label: object, work: Callable[[], Any]) -> Handle:
        """Do work in the background, after everything submitted before it."""
        handle = Handle(label, work, self._waited)
        with self._changed:
            if self._closing:
                raise CollectiveError(f"{label}: this group has been shut down")
            self.unfinished += 1
            self._queue.append(handle)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work_off, name="collectives", daemon=True)
                self._thread.start()
            self._changed.notify()
        return handle

    def close(self) -> None:
        """Finish what was queued and end the thread. Work has its own deadlines, so this ends."""
        with self._changed:
            self._closing = True
            self._changed.notify()
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
        for handle in self._failed:
            if not handle._waited:
                print(f"{handle._label} failed and nobody waited for it: {handle._error}", file=sys.stderr)

    def _work_off(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closing:
                    self._changed.wait()
                if not self._queue:
                    return
                handle = self._queue.popleft()
            with self.turn:
                handle._run()
            with self._changed:
                self.unfinished -= 1
            if handle._error is not None:
                self._failed = [failed for failed in self._failed if not failed._waited] + [handle]
            handle._finished.set()  # last, so that a caller who has seen it finds the queue empty
