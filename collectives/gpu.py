"""A group's stream on a GPU: what a rank's collectives of CuPy arrays are ordered by.

A collective reads what the caller's stream has been given to compute before the call: an event on that
stream is waited for by the group's own. When the call returns, or its handle has been waited for, that stream
has finished and the host knows, so that results are ready on every stream. Memory is safe, too: CuPy hands
freed memory out again in the order of the stream it came from, and a collective begins behind the caller's.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from . import nccl
from .link import Link
from .verbs import Work

#: how a header names where arrays are; NumPy's are not mentioned
MEMORY = "CuPy"


def gpu_of(link: Link, device: int) -> "Gpu":
    """The link's GPU, fixed by this rank's first CuPy array there. Raises ValueError for another than that."""
    if link.gpu is None:
        link.gpu = Gpu(device)
    if link.gpu.device != device:
        raise ValueError(
            f"the array lies on GPU {device}, and this rank's others in this group on GPU {link.gpu.device}: "
            "copy it there, or form a group for each GPU"
        )
    return link.gpu


class Gpu:
    """One link's stream on one GPU and, once the ranks have formed it, its NCCL communicator."""

    def __init__(self, device: int):
        self._cuda = sys.modules["cupy"].cuda
        self.device = device
        with self._cuda.Device(device):
            self._stream = self._cuda.Stream(non_blocking=True)
        #: whether all goes through the host, because some ranks have joined and bring NumPy arrays
        self.through_host = False
        self._formed = False
        self._nccl: nccl.Nccl | None = None

    def prepare(self, build: Callable[..., Work], arguments: tuple) -> Work:
        """The work that `build` makes, to be moved on this stream behind the caller's."""
        with self._cuda.Device(self.device):
            work = build(*arguments)
            ready = self._cuda.get_current_stream().record(self._cuda.Event(disable_timing=True))
        move = partial(self._run, work.move, ready)
        return work._replace(call=work.call._replace(memory=MEMORY), move=move, offer=None)

    def _run(self, move: Callable[[Link], Any], ready: Any, link: Link) -> Any:
        with self._cuda.Device(self.device), self._stream:
            self._stream.wait_event(ready)
            result = move(link)
            self._stream.synchronize()
        return result

    def nccl(self, link: Link) -> "nccl.Nccl | None":
        """The communicator of the link's ranks, if they have one; the first call is collective."""
        if self.through_host:
            return None
        if not self._formed:
            self._nccl = nccl.form(link, self.device, self._stream)
            self._formed = True
        return self._nccl

    def close(self, failed: bool) -> None:
        """Give the communicator back, by force where the group has failed."""
        communicator, self._nccl = self._nccl, None
        if communicator is not None:
            communicator.close(failed)
