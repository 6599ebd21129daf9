"""What a worker process knows about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class WorkerInfo:
    """id: 0, 1, ... of num_workers; dataset: this process's copy."""

    id: int
    num_workers: int
    dataset: Any


_here: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """Which worker this process is, None in one that is none."""
    return _here


def become(info: WorkerInfo) -> None:
    global _here
    _here = info
