"""Which algorithm carries a collective, by its size, its arithmetic and the link.

    ranks                    size                    arithmetic               route
    ---------------------------------------------------------------------------------------------------------
    one                      any                     any                      nothing moves
    on one host              any                     any                      shared memory (shared)
    on several hosts         up to link.small        what MPI can combine     MPI's own allreduce
                             n * size <= link.small  any                      allgather, combined in rank order
    several of them on one   larger                  any                      shared memory inside each, one ring
                                                                              a local rank between (hierarchy)
    each on its own          larger                  16-bit floats            wide reduce-scatter, ring allgather
                             larger                  any other                pipelined ring (ring)
    CuPy, one GPU a rank     any                     what NCCL has            NCCL (nccl)
    CuPy otherwise           any                     any                      through page-locked host memory and
                                                                              the routes above (device)

Data that only moves goes by the link's own collectives up to link.small_moves. The choice depends only on what the
agreement header has compared and on what rank 0 has told all, so all ranks take the same.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from . import exchange, nccl, ring
from .device import into, is_gpu, library, pinned, to_host
from .link import Link, WholeLink
from .reduce import Op, Reduction, is_wide


def as_bytes(flat: np.ndarray) -> np.ndarray:
    """The bytes of a contiguous array, without a copy."""
    return flat.reshape(-1).view(np.uint8)


def allreduce(link: Link, flat: np.ndarray, reduction: Reduction) -> None:
    """Replace contiguous flat by its reduction over the ranks."""
    if flat.size == 0:
        return
    if link.size == 1:
        _alone(flat, reduction)
    elif is_gpu(flat):
        _allreduce_on_gpu(link, flat, reduction)
    elif flat.nbytes <= link.small and _link_combines(link, flat.dtype, reduction.op):
        reduction.prepare(flat)
        link.allreduce(flat, reduction.ufunc)
        reduction.finish(flat)
    elif flat.nbytes * link.size <= link.small:
        _gathered(link, flat, reduction)
    elif isinstance(link, WholeLink):
        link.reduce(flat, reduction)
    else:
        ring.allreduce(link, flat, reduction)


def reduce_scatter(link: Link, flat: np.ndarray, bounds: list[int], reduction: Reduction) -> np.ndarray:
    """flat[bounds[r]:bounds[r+1]] reduced on rank r, as a new array."""
    first, last = bounds[link.rank : link.rank + 2]
    if is_gpu(flat) and link.size > 1:
        return _reduce_scatter_on_gpu(link, flat, bounds, reduction)
    if isinstance(link, WholeLink):
        out = np.empty(last - first, flat.dtype)
        if flat.size:
            link.reduce_scatter(flat, bounds, reduction, out)
        return out
    scratch = flat.copy()
    if link.size == 1:
        _alone(scratch, reduction)
        return scratch
    ring.reduce_scatter(link, scratch, bounds, reduction)
    return scratch[first:last].copy()


def _alone(flat: np.ndarray, reduction: Reduction) -> None:
    if is_wide(flat.dtype):
        reduction.narrow(reduction.widen(flat), flat)
    else:
        reduction.prepare(flat)
        reduction.finish(flat)


def _link_combines(link: Link, dtype: np.dtype, op: Op) -> bool:
    # MPI's minimum of a float and NaN depends on the order of its operands, which differs by rank.
    ordered = op in (Op.Min, Op.Max) and dtype.kind == "f"
    return link.combines and not ordered and not is_wide(dtype)


def _gathered(link: Link, flat: np.ndarray, reduction: Reduction) -> None:
    wide = is_wide(flat.dtype)
    if not wide:
        reduction.prepare(flat)
    everyone = np.empty((link.size, flat.size), flat.dtype)
    link.allgather(as_bytes(flat), as_bytes(everyone))
    total = reduction.widen(everyone[0]) if wide else everyone[0]
    for row in everyone[1:]:
        reduction.accumulate(total, reduction.widen(row) if wide else row)
    if wide:
        reduction.narrow(total, flat)
    else:
        reduction.finish(total)
        flat[...] = total


def broadcast(link: Link, flat: np.ndarray, root: int) -> None:
    """Root's contiguous flat into that of every rank."""
    if link.size == 1 or flat.size == 0:
        return
    if is_gpu(flat):
        _broadcast_on_gpu(link, flat, root)
    elif flat.nbytes <= link.small_moves or isinstance(link, WholeLink):
        link.broadcast(as_bytes(flat), root)
    else:
        exchange.broadcast(link, as_bytes(flat), root)


def allgather_counts(link: Link, *counts: int) -> np.ndarray:
    """An int64 array (size, len(counts)) of what each rank passed."""
    mine = np.array(counts, np.int64)
    everyone = np.empty((link.size, mine.size), np.int64)
    link.allgather(as_bytes(mine), as_bytes(everyone))
    return everyone


def allgather(link: Link, own: np.ndarray, out: np.ndarray, bounds: list[int]) -> None:
    """Contiguous own of each rank into flat out, where it fills out[bounds[r]:bounds[r+1]]."""
    if link.size == 1:
        out[...] = own.reshape(-1)
        return
    if out.size == 0:
        return
    if is_gpu(out):
        _allgather_on_gpu(link, own.reshape(-1), out, bounds)
        return
    if isinstance(link, WholeLink):
        link.gather_segments(out, bounds, own.reshape(-1))
        return
    widths = {stop - start for start, stop in pairwise(bounds)}
    if len(widths) == 1 and out.nbytes <= link.small_moves:
        apart = own.copy() if np.may_share_memory(own, out) else own  # MPI does not read what it writes
        link.allgather(as_bytes(apart), as_bytes(out))
        return
    out[bounds[link.rank] : bounds[link.rank + 1]] = own.reshape(-1)
    ring.allgather(link, out, bounds)


def alltoall(link: Link, own: np.ndarray, out: np.ndarray, leaving: Sequence[int], arriving: Sequence[int]) -> None:
    """Flat own[leaving[p]:leaving[p+1]] to each peer p, and theirs into flat out[arriving[p]:arriving[p+1]]."""
    if link.size == 1:
        out[...] = own
    elif is_gpu(own):
        _alltoall_on_gpu(link, own, out, leaving, arriving)
    else:
        exchange.alltoall(link, _cut(own, leaving), _cut(out, arriving))


def _cut(flat: np.ndarray, bounds: Sequence[int]) -> list[np.ndarray]:
    return [flat[start:stop] for start, stop in pairwise(bounds)]


def gather(link: Link, own: np.ndarray, parts: Sequence[np.ndarray], root: int) -> None:
    """Flat own of each rank into flat parts[rank] on the root; `parts` is ignored elsewhere."""
    if not is_gpu(own) or link.size == 1:
        exchange.gather(link, own, parts, root)
        return
    hosts = [pinned(part.shape, part.dtype) for part in parts]
    exchange.gather(link, to_host(own), hosts, root)
    for host, part in zip(hosts, parts, strict=True):
        into(host, part)


# -- CuPy arrays: by NCCL, or through the host ---------------------------------------------------------


def _allreduce_on_gpu(link: Link, flat: Any, reduction: Reduction) -> None:
    communicator = link.gpu.nccl(link)
    if communicator is not None and nccl.reduces(flat.dtype, reduction.op):
        communicator.allreduce(flat, reduction)
        return
    host = to_host(flat)
    allreduce(link, host, reduction)
    into(host, flat)


def _reduce_scatter_on_gpu(link: Link, flat: Any, bounds: list[int], reduction: Reduction) -> Any:
    out = library(flat).empty(bounds[link.rank + 1] - bounds[link.rank], flat.dtype)
    communicator = link.gpu.nccl(link)
    if communicator is not None and nccl.reduces(flat.dtype, reduction.op):
        if flat.size:
            communicator.reduce_scatter(flat, bounds, reduction, out)
        return out
    into(reduce_scatter(link, to_host(flat), bounds, reduction), out)
    return out


def _broadcast_on_gpu(link: Link, flat: Any, root: int) -> None:
    communicator = link.gpu.nccl(link)
    if communicator is not None:
        communicator.broadcast(flat, root)
        return
    host = to_host(flat) if link.rank == root else pinned(flat.shape, flat.dtype)
    broadcast(link, host, root)
    if link.rank != root:
        into(host, flat)


def _allgather_on_gpu(link: Link, own: Any, out: Any, bounds: list[int]) -> None:
    communicator = link.gpu.nccl(link)
    if communicator is not None:
        communicator.allgather(own, out, bounds)
        return
    host = pinned(out.shape, out.dtype)
    allgather(link, to_host(own), host, bounds)
    into(host, out)


def _alltoall_on_gpu(link: Link, own: Any, out: Any, leaving: Sequence[int], arriving: Sequence[int]) -> None:
    communicator = link.gpu.nccl(link)
    if communicator is not None:
        communicator.alltoall(own, out, leaving, arriving)
        return
    host = pinned(out.shape, out.dtype)
    alltoall(link, to_host(own), host, leaving, arriving)
    into(host, out)


# -- small messages of the verbs' own -------------------------------------------------------------------


def allgather_bytes(link: Link, data: bytes) -> list[memoryview]:
    """Data of every rank, of any length, in rank order."""
    if link.size == 1:
        return [memoryview(data)]
    own = np.frombuffer(data, np.uint8)
    bounds = offsets(allgather_counts(link, own.size)[:, 0])
    out = np.empty(bounds[-1], np.uint8)
    allgather(link, own, out, bounds)
    return [out.data[start:stop] for start, stop in pairwise(bounds)]


def offsets(counts: Iterable[int]) -> list[int]:
    """Where pieces of these lengths begin when they lie end to end, and where the last one ends."""
    return [0, *accumulate(map(int, counts))]
