"""Prepares this process for array work on the CPU.

glibc gives the memory of large arrays back to the kernel when they are freed, and each training step pays again for
the page faults of getting it. Told not to, a step of a small CNN takes two thirds of the time; the process keeps the
memory of its largest step.
"""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST = 32 << 20  # bytes; glibc takes no larger threshold for memory of its own


def keep_memory() -> bool:
    """Tells glibc to keep freed memory; returns whether there is a glibc to tell."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


keep_memory()
