"""Which line of the program runs, or asked for a collective: what messages call a rank's place."""

import os
import sys
import sysconfig
import threading
from types import FrameType
from typing import NamedTuple

import numpy as np

_PACKAGES = tuple(
    os.path.join(path, "")
    for path in (
        os.path.dirname(os.path.abspath(__file__)),
        os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "ringtrain"),
        os.path.dirname(np.__file__),
    )
)
_LIBRARY = os.path.join(sysconfig.get_path("stdlib"), "")
_INSTALLED = tuple(os.path.join(sysconfig.get_path(kind), "") for kind in ("purelib", "platlib"))


class Line(NamedTuple):
    """A line of a program; as text 'train.py:57 in load_batch'."""

    path: str
    number: int
    function: str

    def __str__(self) -> str:
        below = os.path.relpath(self.path) if os.path.isabs(self.path) else self.path
        return f"{self.path if below.startswith('..') else below}:{self.number} in {self.function}"


def calling() -> Line:
    """The line of the program that the caller's thread is at: see `place`."""
    return _line(sys._getframe(1))


def place() -> str:
    """The line of the program that the main thread is at, as text.

    That is the innermost frame which is neither of this project, nor of NumPy, nor of Python's
    library; if all are, the innermost.
    """
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    return "the end of its main thread" if frame is None else str(_line(frame))


def _line(innermost: FrameType) -> Line:
    frame: FrameType | None = innermost
    while frame is not None and not _is_program(frame.f_code.co_filename):
        frame = frame.f_back
    frame = frame or innermost
    return Line(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)


def _is_program(path: str) -> bool:
    if path.startswith(("<frozen", *_PACKAGES)):
        return False
    return not path.startswith(_LIBRARY) or path.startswith(_INSTALLED)
