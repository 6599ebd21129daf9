"""What each verb asks for and what it then does: arguments in, a header and a piece of work out.

A function here checks one rank's arguments, raising TypeError or ValueError, copies what must not
change under way, and returns `Work`. It does not communicate: the group compares the `call` of all
ranks first, and an argument that is wrong on one rank only must not leave the others waiting.
"""

import math
import pickle
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import exchange, reduce, ring, routes
from .device import duplicate, is_gpu, library, of_one_kind, to_host
from .fusion import Fused
from .header import Arrays, Call
from .link import Link, Offer
from .reduce import Op, Reduction


class Work(NamedTuple):
    """One rank's part of a collective. `problem` is raised, and nothing moves, if all ranks have one.

    offer: the array that `move` gives to its first collective and how it is reduced, if that is known beforehand.
    """

    call: Call
    move: Callable[[Link], Any]
    problem: Exception | None = None
    timeout: float | None = None
    offer: Offer | None = None
    #: what it computes, if that depends on how many ranks take part
    reduction: Reduction | None = None
    #: bytes that this rank puts in, for the books
    nbytes: int = 0


def as_array(x: Any) -> Any:
    """x as the array that it is, NumPy's or CuPy's, or else as a NumPy array."""
    if is_gpu(x):
        return x
    if not isinstance(x, np.ndarray) and hasattr(x, "__cuda_array_interface__"):
        raise TypeError(f"a {type(x).__name__} on a GPU: pass cupy.asarray(x), which shares its memory")
    array = np.asarray(x)
    if array.dtype.hasobject:
        raise TypeError(f"{array.dtype} arrays hold Python objects: use broadcast_object or allgather_object")
    if array.dtype.itemsize == 0:
        raise TypeError(f"items of {array.dtype} have no bytes: there is nothing to communicate")
    return array


def as_target(x: Any) -> Any:
    """An array that a result can be written to."""
    if is_gpu(x):
        return x
    if not isinstance(x, np.ndarray):
        raise TypeError(f"a result can be written to a NumPy or CuPy array in place, not to {type(x).__name__}")
    if not x.flags.writeable:
        raise ValueError("this array is read-only: use the verb without the trailing underscore")
    return as_array(x)


def snapshot(x: Any) -> Any:
    """A copy of what its owner may change while work is under way; x itself where the verb will refuse it."""
    try:
        return duplicate(as_array(x))
    except (TypeError, ValueError):
        return x


def _rows(x: Any, verb: str) -> Any:
    """x as a C-contiguous array with a first axis."""
    array = as_array(x)
    if array.ndim:
        return library(array).ascontiguousarray(array)
    raise ValueError(f"{verb} works along the first axis and was given a 0-d array: pass x.reshape(1)")


def _peer(rank: int, size: int, what: str) -> int:
    if not 0 <= rank < size:
        raise ValueError(f"{what}={rank} is not a rank of this group of {size}")
    return int(rank)


def _row_size(array: np.ndarray) -> int:
    """Items in one row of an array whose first axis may be empty."""
    return math.prod(array.shape[1:])


def _flat(array: Any, in_place: bool) -> Any:
    """What is communicated of an array: its own memory if the result is to be there and it is contiguous, or a copy."""
    return array.reshape(-1) if in_place and array.flags.c_contiguous else duplicate(array).reshape(-1)


def _result(x: Any, array: Any, flat: Any, in_place: bool) -> Any:
    """What the caller gets when `_flat` has become the result: x itself, with that in it, or a new array."""
    if not in_place:
        return flat.reshape(array.shape)
    if not array.flags.c_contiguous:
        array[...] = flat.reshape(array.shape)
    return x


def allreduce(size: int, x: Any, op: Op, name: str | None, prescale: float, postscale: float, in_place: bool) -> Work:
    array = as_target(x) if in_place else as_array(x)
    reduce.check(array.dtype, op, prescale, postscale)
    reduction = Reduction(op, size, float(prescale), float(postscale))
    flat = _flat(array, in_place)

    def move(link: Link) -> Any:
        routes.allreduce(link, flat, reduction)
        return _result(x, array, flat, in_place)

    call = Call("allreduce", name, array.dtype, array.shape, op, reduction.prescale, reduction.postscale)
    offer = (flat, reduction) if flat.size else None
    return Work(call, move, offer=offer, reduction=reduction, nbytes=array.nbytes)


def grouped_allreduce(
    size: int, xs: Sequence[Any], op: Op, name: str | None, prescale: float, postscale: float, in_place: bool
) -> Work:
    given = list(xs)
    arrays = [as_target(x) if in_place else as_array(x) for x in given]
    of_one_kind(arrays)
    for array in arrays:
        reduce.check(array.dtype, op, prescale, postscale)
    reduction = Reduction(op, size, float(prescale), float(postscale))
    fused = Fused(arrays)

    def move(link: Link) -> list[np.ndarray]:
        for buffer in fused.buffers:
            routes.allreduce(link, buffer, reduction)
        if not in_place:
            return fused.views
        fused.unpack(arrays)
        return given

    detail = Arrays((array.dtype, array.shape) for array in arrays)
    call = Call("grouped_allreduce", name, None, None, op, reduction.prescale, reduction.postscale, detail=detail)
    return Work(call, move, reduction=reduction, nbytes=sum(array.nbytes for array in arrays))


def allgather(size: int, x: Any, name: str | None) -> Work:
    own = _rows(x, "allgather")

    def move(link: Link) -> np.ndarray:
        rows = routes.offsets(routes.allgather_counts(link, len(own))[:, 0]) if size > 1 else [0, len(own)]
        out, items = library(own).empty((rows[-1], *own.shape[1:]), own.dtype), _row_size(own)
        routes.allgather(link, own, out.reshape(-1), [row * items for row in rows])
        return out

    return Work(Call("allgather", name, own.dtype, (None, *own.shape[1:])), move, nbytes=own.nbytes)


def allgather_into(size: int, out: Any, x: Any, name: str | None) -> Work:
    own, target = _rows(x, "allgather_into"), as_target(out)
    of_one_kind((own, target))
    wanted = (size * len(own), *own.shape[1:])
    if target.shape != wanted or target.dtype != own.dtype:
        raise ValueError(
            f"out is {target.dtype}{list(target.shape)}: {size} ranks of {own.dtype}{list(own.shape)} "
            f"need {own.dtype}{list(wanted)}"
        )

    def move(link: Link) -> Any:
        flat = target.reshape(-1) if target.flags.c_contiguous else library(own).empty(target.size, target.dtype)
        routes.allgather(link, own, flat, [rank * own.size for rank in range(size + 1)])
        if not target.flags.c_contiguous:
            target[...] = flat.reshape(wanted)
        return out

    return Work(Call("allgather_into", name, own.dtype, own.shape), move, nbytes=own.nbytes)


def broadcast(size: int, x: Any, root: int, name: str | None, in_place: bool) -> Work:
    array = as_target(x) if in_place else as_array(x)
    root = _peer(root, size, "root")
    flat = _flat(array, in_place)

    def move(link: Link) -> Any:
        routes.broadcast(link, flat, root)
        return _result(x, array, flat, in_place)

    return Work(Call("broadcast", name, array.dtype, array.shape, root=root), move, nbytes=array.nbytes)


def reduce_scatter(size: int, x: Any, op: Op, name: str | None, prescale: float, postscale: float) -> Work:
    array = _rows(x, "reduce_scatter")
    reduce.check(array.dtype, op, prescale, postscale)
    reduction = Reduction(op, size, float(prescale), float(postscale))
    rows = ring.split_evenly(len(array), size)

    def move(link: Link) -> np.ndarray:
        items = _row_size(array)
        bounds = [row * items for row in rows]
        out = routes.reduce_scatter(link, array.reshape(-1), bounds, reduction)
        return out.reshape(rows[link.rank + 1] - rows[link.rank], *array.shape[1:])

    call = Call("reduce_scatter", name, array.dtype, array.shape, op, reduction.prescale, reduction.postscale)
    return Work(call, move, nbytes=array.nbytes)


def alltoall(size: int, x: Any, splits: Sequence[int] | None, name: str | None) -> Work:
    own = _rows(x, "alltoall")
    if splits is None:
        if len(own) % size:
            raise ValueError(f"alltoall cannot divide {len(own)} rows evenly among {size} ranks: pass splits")
        counts = [len(own) // size] * size
    else:
        counts = [int(count) for count in splits]
        if len(counts) != size or min(counts) < 0 or sum(counts) != len(own):
            raise ValueError(f"splits={counts} must be {size} counts, one a rank, not negative, of sum {len(own)}")

    def move(link: Link) -> Any:
        outgoing = np.array(counts, np.int64)
        incoming = np.empty_like(outgoing)
        routes.alltoall(link, outgoing, incoming, range(size + 1), range(size + 1))
        out = library(own).empty((int(incoming.sum()), *own.shape[1:]), own.dtype)
        routes.alltoall(link, own.reshape(-1), out.reshape(-1), _bounds(own, counts), _bounds(out, incoming))
        return out if splits is None else (out, incoming)

    detail = "even splits" if splits is None else "splits given"
    return Work(Call("alltoall", name, own.dtype, (None, *own.shape[1:]), detail=detail), move, nbytes=own.nbytes)


def _bounds(array: Any, counts: Sequence[int] | np.ndarray) -> list[int]:
    """Offsets, in items, of consecutive groups of rows."""
    items = _row_size(array)
    return [row * items for row in routes.offsets(counts)]


def gather(size: int, x: Any, root: int, name: str | None) -> Work:
    array = as_array(x)
    own, shape = library(array).ascontiguousarray(array), array.shape
    root = _peer(root, size, "root")

    def move(link: Link) -> list[np.ndarray] | None:
        said = routes.allgather_bytes(link, pickle.dumps(shape))
        if link.rank != root:
            routes.gather(link, own.reshape(-1), [], root)
            return None
        parts = [library(own).empty(pickle.loads(said_shape), own.dtype) for said_shape in said]
        routes.gather(link, own.reshape(-1), [part.reshape(-1) for part in parts], root)
        return parts

    return Work(Call("gather", name, own.dtype, root=root), move, nbytes=own.nbytes)


def scatter(size: int, rank: int, xs: Sequence[Any] | None, root: int, name: str | None) -> Work:
    root = _peer(root, size, "root")
    parts: list[np.ndarray] = []
    if rank == root:
        if xs is None or len(xs) != size:
            given = "None" if xs is None else f"{len(xs)} arrays"
            raise ValueError(f"scatter needs one array a rank from its root: {size}, and was given {given}")
        parts = [to_host(x) if is_gpu(x) else duplicate(as_array(x)) for x in xs]
    plan = pickle.dumps([(part.shape, part.dtype, is_gpu(x)) for part, x in zip(parts, xs or (), strict=False)])

    def move(link: Link) -> tuple[np.ndarray, bool]:
        """The array, in host memory, and whether it was CuPy's."""
        said = broadcast_bytes(link, plan, root)
        shape, dtype, from_gpu = pickle.loads(said)[link.rank]
        own = np.empty(shape, dtype)
        exchange.scatter(link, [part.reshape(-1) for part in parts], own.reshape(-1), root)
        return own, from_gpu

    return Work(Call("scatter", name, root=root), move, nbytes=sum(part.nbytes for part in parts))


def broadcast_object(size: int, rank: int, obj: Any, root: int, name: str | None) -> Work:
    root = _peer(root, size, "root")
    data = pickle.dumps(obj, pickle.HIGHEST_PROTOCOL) if rank == root else b""
    call = Call("broadcast_object", name, root=root)
    return Work(call, lambda link: broadcast_bytes(link, data, root), nbytes=len(data))


def broadcast_bytes(link: Link, data: bytes, root: int) -> memoryview:
    """Root's data, of a length that only the root knows."""
    length = np.array([len(data)], np.int64)
    routes.broadcast(link, length, root)
    out = np.frombuffer(data, np.uint8) if link.rank == root else np.empty(int(length[0]), np.uint8)
    routes.broadcast(link, out, root)
    return out.data


def allgather_object(obj: Any, name: str | None) -> Work:
    data = pickle.dumps(obj, pickle.HIGHEST_PROTOCOL)
    return Work(Call("allgather_object", name), lambda link: routes.allgather_bytes(link, data), nbytes=len(data))
