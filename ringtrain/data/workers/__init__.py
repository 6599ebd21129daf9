"""Processes that read batches for a loader."""

from ringtrain.data.workers.info import WorkerInfo, get_worker_info
from ringtrain.data.workers.pool import Pool, WorkerError

__all__ = ["Pool", "WorkerError", "WorkerInfo", "get_worker_info"]
