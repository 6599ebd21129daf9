"""Ranks that have run out of data: what they contribute while the others go on.

A rank in `join` answers every header with JOIN. That differs from the others' call, so all descriptors
are exchanged, as they are before a MismatchError: the joined ranks learn what the others do and take
part with the neutral element of its operation, and averages divide by the ranks that are not joined.
Nobody pays for this before the first rank joins.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from . import verbs
from .errors import MismatchError
from .header import JOIN, Arrays, Call, name_ranks
from .link import Link
from .reduce import Op
from .verbs import Work


def request() -> Work:
    """A joined rank's part of the next collective: True if that is `join` everywhere."""
    return Work(JOIN, lambda link: True)


def adapted(work: Work, call: Call, ranks: Sequence[int], live: Sequence[int]) -> Work:
    """One rank's part of `call`, which only the `live` ones of the group take part in.

    ranks: the group's in the world. Raises MismatchError, the same on every rank, where a joined
    rank has nothing neutral to contribute.
    """
    joined = [ranks[rank] for rank in range(len(ranks)) if rank not in live]
    if why := _refusal(call, live):
        by_rank = {rank: str(JOIN if rank in joined else call) for rank in ranks}
        raise MismatchError(f"{name_ranks(joined)} joined, having no more data, and {call} {why}", by_rank)
    if work.call == JOIN:
        return _stand_in(call, len(ranks), len(live))
    if work.reduction is not None:
        work.reduction.size = len(live)
    if work.call.memory is not None:
        return work._replace(move=partial(_through_host, work.move))
    return work


def _through_host(move: Callable[[Link], Any], link: Link) -> Any:
    """Move CuPy arrays where those who have joined can reach them: they bring NumPy arrays."""
    link.gpu.through_host = True
    try:
        return move(link)
    finally:
        link.gpu.through_host = False


def _refusal(call: Call, live: Sequence[int]) -> str:
    """Why ranks that are not live cannot be stood in for; '' if they can."""
    if call.refused:
        return ""
    if call.verb not in _STAND_INS:
        return f"needs every rank: those that joined take part in {', '.join(_STAND_INS)} only"
    if call.root is not None and call.root not in live:
        return "has a root that joined: take one that has not"
    if call.prescale != 1 and call.op not in (Op.Sum, Op.Average):
        return f"has a prescale, with which no value is neutral to {call.op!r}: scale the array before"
    return ""


def _stand_in(call: Call, size: int, live: int) -> Work:
    if call.refused:  # the others will raise, and nothing moves
        return Work(JOIN, lambda link: None)
    work = _STAND_INS[call.verb](call, size)
    if work.reduction is not None:
        work.reduction.size = live

    def move(link: Link) -> None:
        work.move(link)

    return Work(JOIN, move)


def neutral(dtype: np.dtype, shape: tuple[int, ...], op: Op | None) -> np.ndarray:
    """An array that changes nothing when it is combined with others by op."""
    if op is Op.Product:
        return np.ones(shape, dtype)
    if op not in (Op.Min, Op.Max):
        return np.zeros(shape, dtype)
    if dtype.kind == "b":
        return np.full(shape, op is Op.Min, dtype)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return np.full(shape, limits.max if op is Op.Min else limits.min, dtype)
    return np.full(shape, np.inf if op is Op.Min else -np.inf).astype(dtype)


def _allreduce(call: Call, size: int) -> Work:
    assert call.dtype is not None and call.shape is not None and call.op is not None
    own = neutral(call.dtype, call.shape, call.op)
    return verbs.allreduce(size, own, call.op, call.name, call.prescale, call.postscale, True)


def _grouped_allreduce(call: Call, size: int) -> Work:
    assert isinstance(call.detail, Arrays) and call.op is not None
    own = [neutral(dtype, shape, call.op) for dtype, shape in call.detail]
    return verbs.grouped_allreduce(size, own, call.op, call.name, call.prescale, call.postscale, False)


def _allgather(call: Call, size: int) -> Work:
    assert call.shape is not None
    return verbs.allgather(size, np.empty((0, *call.shape[1:]), call.dtype), call.name)


def _broadcast(call: Call, size: int) -> Work:
    assert call.shape is not None and call.root is not None
    return verbs.broadcast(size, np.empty(call.shape, call.dtype), call.root, call.name, True)


def _barrier(call: Call, size: int) -> Work:
    return Work(call, lambda link: None)


_STAND_INS: dict[str, Callable[[Call, int], Work]] = {
    "allreduce": _allreduce,
    "grouped_allreduce": _grouped_allreduce,
    "allgather": _allgather,
    "broadcast": _broadcast,
    "barrier": _barrier,
}
