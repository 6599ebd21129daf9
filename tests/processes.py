"""What has become of a process, as tests ask that start some."""

import time
from pathlib import Path


def state(pid):
    """As in /proc: S sleeps, T is stopped; None for a process that is gone or only waits to be collected."""
    try:
        found = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return None
    return None if found in "ZX" else found


def until(condition, seconds=30):
    """Whether the condition holds, or will soon."""
    last = time.monotonic() + seconds
    while not condition() and time.monotonic() < last:
        time.sleep(0.02)
    return condition()
