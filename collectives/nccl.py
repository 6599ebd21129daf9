"""Collectives of CuPy arrays by NCCL, where every rank of a group has a GPU of its own.

The ranks decide together, over the host's link, when the group's first CuPy arrays come: each says where
its GPU is and whether it has NCCL. Two ranks on one GPU, a rank without NCCL, or RINGTRAIN_NCCL=0 on
any, and the group's arrays go through host memory instead. Calls are agreed on over the host's link as
those of NumPy arrays are; then NCCL moves the data.

NCCL differs from the host's routes where it computes in 16 bits: sums of float16 and bfloat16 are rounded
at every step to that precision, in an order of NCCL's own, and an Average of them is divided before
it is summed, which cannot overflow. Wider floats are summed, then divided once. Sizes of 2^31 items and more
work; counts are 64 bits wide.
"""

import importlib
import os
import platform
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from .errors import CollectiveError, StallError
from .link import Link
from .reduce import BFLOAT16, FLOATS, Op, Reduction, is_wide

OLDEST = 21000  # NCCL 2.10, the first with bfloat16 and averages
ID_BYTES = 128
TEXT = 256  # bytes of what a rank says while a communicator is formed
YIELDING = 1e-3  # seconds that a wait yields its processor before it sleeps
SHORTEST_NAP, LONGEST_NAP = 20e-6, 1e-3
WATCH = 0.5  # seconds between two looks of the watchdog

# ncclDataType_t and ncclRedOp_t. Data that only moves does so as bytes.
UINT8 = 1
TYPES = {np.dtype(name): code for code, name in enumerate(["i1", "u1", "i4", "u4", "i8", "u8", "f2", "f4", "f8"])} | {
    BFLOAT16: 9,
    np.dtype(bool): UINT8,
}
OPS = {Op.Sum: 0, Op.Average: 0, Op.Product: 1, Op.Max: 2, Op.Min: 3}
DIVIDED = 4  # ncclAvg


class _Settings:
    """What `init` has read."""

    wanted = True


_living: set["Nccl"] = set()  # a forked process must not destroy what is its parent's


def configure() -> None:
    """Read RINGTRAIN_NCCL: 0 sends CuPy arrays through host memory. Raises CollectiveError for no 0 or 1."""
    text = os.environ.get("RINGTRAIN_NCCL", "1")
    if text not in ("0", "1"):
        raise CollectiveError(f"RINGTRAIN_NCCL={text!r} must be 1, to use NCCL where it can be, or 0")
    _Settings.wanted = text == "1"


def reduces(dtype: np.dtype, op: Op) -> bool:
    """Whether NCCL computes what is computed on the host, up to rounding.

    It has no 16-bit integers, and does not promise that NaN wins in its minimum and maximum of floats.
    """
    return dtype in TYPES and not (dtype in FLOATS and op in (Op.Min, Op.Max))


def form(link: Link, gpu: int, stream: Any) -> "Nccl | None":
    """The communicator of a link's ranks, or None where they are to stage. Collective over the link."""
    library, unique, place, problem = None, b"", "", "RINGTRAIN_NCCL=0"
    if _Settings.wanted:
        try:
            library = _library()
            place = _place(gpu)
            unique = library.get_unique_id() if link.rank == 0 else b""
            problem = ""
        except Exception as error:
            problem = str(error) or type(error).__name__
    places = _told(link, place)
    if _stopped(link, problem) or len({*places}) < link.size:
        return None
    number = np.frombuffer(unique, np.uint8).copy() if link.rank == 0 else np.empty(ID_BYTES, np.uint8)
    link.broadcast(number, 0)
    comm, problem = None, ""
    try:
        comm = _connected(library, link, gpu, number.tobytes())
    except StallError:
        raise
    except Exception as error:
        problem = str(error) or type(error).__name__
    if _stopped(link, problem):
        if comm is not None:
            comm.abort()
        return None
    return Nccl(library, comm, link, stream)


def _library() -> Any:
    library = importlib.import_module("cupy.cuda.nccl")
    if not library.available:
        raise CollectiveError("CuPy finds no NCCL library: pip install nvidia-nccl-cu13 (or -cu12)")
    if library.get_version() < OLDEST:
        raise CollectiveError(f"NCCL {library.get_version()} is older than {OLDEST}")
    return library


def _place(gpu: int) -> str:
    """Which GPU of which host this is, whatever its number here and whichever container it is seen from."""
    host = platform.node()
    with suppress(OSError):
        host = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{host} {sys.modules['cupy'].cuda.Device(gpu).pci_bus_id}"


def _connected(library: Any, link: Link, gpu: int, unique: bytes) -> Any:
    """An NcclCommunicator of all ranks.

    Making one waits for the others and cannot be given up, so a thread does it, which may be left behind.
    """
    future: Future = Future()

    def connect() -> None:
        try:
            with sys.modules["cupy"].cuda.Device(gpu):
                future.set_result(library.NcclCommunicator(link.size, unique, link.rank))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=connect, name="collectives nccl", daemon=True).start()
    try:
        return future.result(link.timeout)
    except NotYet:
        raise StallError(f"NCCL has not connected the ranks after {link.timeout:.1f} s") from None


def _told(link: Link, text: str) -> list[str]:
    """The short text of every rank."""
    mine = np.frombuffer(text.encode()[:TEXT].ljust(TEXT, b"\0"), np.uint8)
    everyone = np.empty((link.size, TEXT), np.uint8)
    link.allgather(mine, everyone.reshape(-1))
    return [row.tobytes().rstrip(b"\0").decode(errors="replace") for row in everyone]


def _stopped(link: Link, problem: str) -> bool:
    """Whether any rank has a problem, of which rank 0 warns unless the user wanted it."""
    problems = [f"rank {link.ranks[rank]}: {text}" for rank, text in enumerate(_told(link, problem)) if text]
    if problems and link.rank == 0 and not any("RINGTRAIN_NCCL=0" in text for text in problems):
        warnings.warn(f"CuPy arrays go through host memory, not through NCCL: {problems[0]}", stacklevel=2)
    return bool(problems)


class Nccl:
    """One rank's end of a communicator. Arrays are contiguous and on its GPU, whose stream is the current one.

    Every verb returns when its data is there. It raises StallError when the link's timeout passes first, and
    CollectiveError for an error of NCCL's; the communicator is then aborted, which ends the kernels that wait.
    """

    def __init__(self, library: Any, comm: Any, link: Link, stream: Any):
        self._library, self._comm, self._link, self._stream = library, comm, link, stream
        self._cuda = sys.modules["cupy"].cuda
        self._lock = threading.Lock()
        self._aborted = False
        self._deadline = float("inf")
        self._closed = threading.Event()
        _living.add(self)
        threading.Thread(target=self._watch, name="collectives nccl watchdog", daemon=True).start()

    # -- verbs ----------------------------------------------------------------------------------------

    def allreduce(self, flat: Any, reduction: Reduction) -> None:
        """Replace flat by its reduction over the ranks."""
        reduction.prepare(flat)
        code, op, rest = _plan(flat.dtype, reduction)
        with self._operation() as stream:
            self._comm.allReduce(flat.data.ptr, flat.data.ptr, flat.size, code, op, stream)
        rest.finish(flat)

    def reduce_scatter(self, flat: Any, bounds: Sequence[int], reduction: Reduction, out: Any) -> None:
        """Reduce flat[bounds[r]:bounds[r+1]] on rank r into out; segments may differ in length."""
        if reduction.prescale != 1:
            flat = flat.copy()
            reduction.prepare(flat)
        code, op, rest = _plan(flat.dtype, reduction)
        with self._operation() as stream:
            if _even(bounds):
                self._comm.reduceScatter(flat.data.ptr, out.data.ptr, bounds[1], code, op, stream)
            else:
                for root, (start, stop) in enumerate(pairwise(bounds)):
                    target = out.data.ptr if root == self._link.rank else 0
                    if stop > start:
                        self._comm.reduce(_at(flat, start), target, stop - start, code, op, root, stream)
        rest.finish(out)

    def broadcast(self, flat: Any, root: int) -> None:
        """Root's flat into that of every rank."""
        with self._operation() as stream:
            self._comm.broadcast(flat.data.ptr, flat.data.ptr, flat.nbytes, UINT8, root, stream)

    def allgather(self, own: Any, out: Any, bounds: Sequence[int]) -> None:
        """Own of each rank into out[bounds[r]:bounds[r+1]]; lengths may differ."""
        size = out.itemsize
        with self._operation() as stream:
            if _even(bounds):
                self._comm.allGather(own.data.ptr, out.data.ptr, bounds[1] * size, UINT8, stream)
                return
            for root, (start, stop) in enumerate(pairwise(bounds)):
                if stop > start:
                    source = own.data.ptr if root == self._link.rank else _at(out, start)
                    self._comm.broadcast(source, _at(out, start), (stop - start) * size, UINT8, root, stream)

    def alltoall(self, own: Any, out: Any, leaving: Sequence[int], arriving: Sequence[int]) -> None:
        """own[leaving[p]:leaving[p+1]] to each peer p, and theirs to out[arriving[p]:arriving[p+1]]."""
        size = own.itemsize
        with self._operation() as stream:
            for peer, (start, stop) in enumerate(pairwise(leaving)):
                if stop > start:
                    self._comm.send(_at(own, start), (stop - start) * size, UINT8, peer, stream)
            for peer, (start, stop) in enumerate(pairwise(arriving)):
                if stop > start:
                    self._comm.recv(_at(out, start), (stop - start) * size, UINT8, peer, stream)

    # -- waiting --------------------------------------------------------------------------------------

    @contextmanager
    def _operation(self) -> Iterator[int]:
        """What is launched inside, on this stream, is one operation and complete when it is left."""
        if self._aborted:
            raise CollectiveError("this group's NCCL communicator has been aborted")
        self._deadline = time.monotonic() + self._link.timeout
        try:
            self._library.groupStart()
            try:
                yield self._stream.ptr
            finally:
                self._library.groupEnd()
            self._wait()
        except BaseException as error:
            stalled = self._aborted  # by the watchdog, which is why the launch has failed
            self._abort()
            if stalled and not isinstance(error, StallError):
                raise StallError(f"no answer for {self._link.timeout:.1f} s through NCCL") from error
            if isinstance(error, self._library.NcclError):
                raise CollectiveError(f"NCCL: {error}") from error
            raise
        finally:
            self._deadline = float("inf")

    def _wait(self) -> None:
        """Return when the stream has done all that it has been given."""
        event = self._stream.record(self._cuda.Event(disable_timing=True))
        started = time.monotonic()
        while not event.done:
            waited = time.monotonic() - started
            if waited < YIELDING:
                os.sched_yield()
                continue
            time.sleep(min(LONGEST_NAP, max(SHORTEST_NAP, waited / 8)))
            self._raise_what_is_wrong(waited)
        if self._aborted:
            raise StallError(f"no answer for {self._link.timeout:.1f} s through NCCL")

    def _raise_what_is_wrong(self, waited: float) -> None:
        with self._lock:
            if not self._aborted:
                self._comm.check_async_error()
        self._link.check()
        if waited > self._link.timeout:
            raise StallError(f"no answer for {waited:.1f} s through NCCL")

    def _watch(self) -> None:
        """Abort an operation whose very launch waits too long for another rank."""
        while not self._closed.wait(min(WATCH, self._link.timeout / 4)):
            if time.monotonic() > self._deadline + WATCH:
                self._abort()

    def _abort(self) -> None:
        with self._lock:
            if not self._aborted:
                self._aborted = True
                self._comm.abort()
        self._closed.set()

    def close(self, failed: bool) -> None:
        """Free the communicator; collective unless it has failed."""
        if failed:
            self._abort()
        elif not self._aborted:
            self._comm.destroy()
        self._closed.set()
        _living.discard(self)


def _plan(dtype: np.dtype, reduction: Reduction) -> tuple[int, int, Reduction]:
    """NCCL's type and operation, and what is left to do with the result."""
    if is_wide(dtype) and reduction.op is Op.Average:
        return TYPES[dtype], DIVIDED, Reduction(Op.Sum, reduction.size, 1.0, reduction.postscale)
    return TYPES[dtype], OPS[reduction.op], reduction


def _even(bounds: Sequence[int]) -> bool:
    return len({stop - start for start, stop in pairwise(bounds)}) == 1


def _at(flat: Any, item: int) -> int:
    """The address of an item."""
    return flat.data.ptr + item * flat.itemsize
