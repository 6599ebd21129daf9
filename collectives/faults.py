"""A rank that fails ends the job, and says why last.

Under MPI a rank that merely exits leaves the others waiting for it. So an exception that nobody
catches, in any thread, prints its traceback and then ends every rank with a non-zero status.
`sys.exit` is no such exception: a rank that leaves that way tells the others (see `farewell`).
"""

import sys
import threading
from collections.abc import Callable
from types import TracebackType

INTERRUPTED = 130  # what a shell reports for a program ended by Ctrl-C


class Hooks:
    """Hooks for uncaught exceptions which print, as before, and then call `end_job(status, what this rank did)`."""

    def __init__(self, who: str, end_job: Callable[[int, str], None]):
        self._who, self._end_job = who, end_job
        self._hooks = (sys.excepthook, threading.excepthook)
        self._own = (self._in_main, self._in_thread)
        sys.excepthook, threading.excepthook = self._own

    def remove(self) -> None:
        """Put back what was there; hooks that somebody has added since stay."""
        if sys.excepthook is self._own[0]:
            sys.excepthook = self._hooks[0]
        if threading.excepthook is self._own[1]:
            threading.excepthook = self._hooks[1]

    def _in_main(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        self._announce()
        self._hooks[0](kind, error, trace)
        if issubclass(kind, KeyboardInterrupt):
            self._end_job(INTERRUPTED, "was interrupted (Ctrl-C) and ended the job")
        self._end_job(1, _raised(kind, error))

    def _in_thread(self, args: threading.ExceptHookArgs) -> None:
        if args.exc_type is SystemExit:  # ends its thread, as always
            return
        self._announce()
        self._hooks[1](args)
        self._end_job(1, _raised(args.exc_type, args.exc_value))

    def _announce(self) -> None:
        print(f"{self._who} raised; the job ends:", file=sys.stderr, flush=True)


def _raised(kind: type[BaseException], error: BaseException | None) -> str:
    said = str(error).partition("\n")[0]
    return f"raised {kind.__name__}" + (f": {said}" if said else "") + " and ended the job"
