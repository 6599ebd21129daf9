"""Compiling loops with numba, lazily: importing ringtrain loads and compiles nothing."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from types import CellType, FunctionType
from typing import Any


@cache
def available() -> bool:
    """Whether numba is installed; without it the composed forms run."""
    return importlib.util.find_spec("numba") is not None


def jit(loop: Callable | None = None, reorder: bool = False, contract: bool = False) -> Any:
    """The loop, to be compiled at its first call without holding the interpreter's lock; `@jit(contract=True)` works.

    reorder: sums may be taken in another order, that of vectors; it is the same at every call.
    contract: a product and a sum may be rounded once.

    Machine code is kept on disk for the next process, unless there is no place to write to, and as long as no file here
    that has compiled code changes.
    """
    if loop is None:
        return partial(jit, reorder=reorder, contract=contract)
    from numba import njit

    options: dict[str, Any] = {"nogil": True, "boundscheck": False, "error_model": "numpy"}
    if reorder or contract:
        options["fastmath"] = {flag for flag, wanted in (("reassoc", reorder), ("contract", contract)) if wanted}
    try:
        return njit(cache=True, **options)(versioned(loop))
    except RuntimeError:  # "cannot cache function: no locator available"
        return njit(**options)(loop)


def task(loop: Callable) -> Any:
    """A function of one address as compiled code that other compiled code can call; compiled, or read, at once."""
    from numba import cfunc

    options: dict[str, Any] = {"boundscheck": False, "error_model": "numpy"}
    try:
        return cfunc("void(int64)", cache=True, **options)(versioned(loop))
    except RuntimeError:
        return cfunc("void(int64)", **options)(loop)


def versioned(loop: Callable) -> Callable:
    """The loop with the state of all files that have compiled code among what numba tells loops apart by.

    numba takes machine code from the disk while the loop's own file is the same. But that of functions in other files
    is part of it: after an update it would be half of the old release.
    """
    code = loop.__code__
    code = code.replace(co_freevars=(*code.co_freevars, "version"))  # numba looks at the cells of a function
    cells = (*(loop.__closure__ or ()), CellType(_version()))
    return FunctionType(code, loop.__globals__, loop.__name__, loop.__defaults__, cells)


@cache
def _version() -> str:
    texts = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
    return hashlib.sha256(b"".join(text for text in texts if b"jit" in text)).hexdigest()
