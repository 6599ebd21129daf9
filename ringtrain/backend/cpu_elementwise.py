"""Elementwise rules as compiled loops: every array is read once and written once.

A rule is a function of numbers that returns as many as it changes (see `optim/stretch.py`). One loop is compiled for
each rule and dtype at first use, and kept on disk.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from . import threads
from .jit import jit

GRAIN = 4096  # elements: ranges begin with a page
SHARED = 1 << 16  # elements from which waking another thread pays


def stamp(rule: Callable) -> int:
    """What changes when the rule's file does: the machine code on disk is kept under it."""
    try:
        return zlib.crc32(Path(rule.__code__.co_filename).read_bytes())
    except OSError:  # typed at a prompt, or inside an archive
        return zlib.crc32(rule.__code__.co_code + repr(rule.__code__.co_consts).encode())


@cache
def _loop(rule: Callable, slots: int, count: int) -> Callable:
    from numba.extending import register_jitable

    from .loops import updates

    register_jitable(rule)
    return jit(updates[slots](rule, stamp(rule), count))


class _Elementwise:
    def accepts(self, p: Any) -> bool:
        return p.dtype in (np.float32, np.float64)

    def __call__(
        self, rule: Callable, p: Any, g: Any, slots: Sequence[Any], numbers: Sequence[float], flush: bool
    ) -> None:
        """Numbers take the arrays' dtype, so that float32 stays float32 in the loop."""
        loop, given = _loop(rule, len(slots), len(numbers)), np.array(numbers, p.dtype)
        if p.size < SHARED or threads.count() == 1:
            loop(p, g, *slots, given, flush)
        else:
            threads.shared(
                p.size, GRAIN, lambda first, last: loop(*[a[first:last] for a in (p, g, *slots)], given, flush)
            )


KERNEL = _Elementwise()
